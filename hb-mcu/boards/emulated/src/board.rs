//! One emulated board.

use std::fs::{self, File};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::line::Line;
use crate::monitor::{Monitor, Qtest, connect};

/// Which ELF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Firmware {
    /// As it is shipped.
    Shipped,
    /// With faults on demand.
    Faults,
    /// With its log by defmt.
    Logging,
}

/// The ELF that `cargo xtask firmware` built, or why there is none.
///
/// # Errors
/// What is missing here, and how to get it.
pub fn firmware(which: Firmware) -> Result<PathBuf, String> {
    let found = Command::new("qemu-system-arm").arg("--version").output();
    if found.is_err() {
        return Err("no qemu-system-arm here (apt-get install qemu-system-arm)".to_owned());
    }
    let target = std::env::var_os("HB_FIRMWARE").map(PathBuf::from);
    let target = target
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/firmware"));
    let target = match which {
        Firmware::Shipped => target,
        Firmware::Faults => target.join("faults"),
        Firmware::Logging => target.join("defmt"),
    };
    let elf = target.join("thumbv7m-none-eabi/release/lm3s6965evb");
    if elf.is_file() {
        Ok(elf)
    } else {
        Err(format!("no {}; `cargo xtask firmware` builds it", elf.display()))
    }
}

/// A GPIO port: its number among QEMU's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpioPort(usize);

/// Sense inputs on bits 4 and 5, power feeds on 6 and 7.
pub const PORT_C: GpioPort = GpioPort(2);
/// Reset outputs on bits 0 and 1, reset lines on 2 and 3.
pub const PORT_E: GpioPort = GpioPort(4);
/// The button on bit 1, low when pressed.
const PORT_F: GpioPort = GpioPort(5);

/// A change of a reset output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin {
    /// When it was seen.
    pub at: Instant,
    /// 0 is A's, 1 B's.
    pub node: u8,
    /// Pulled.
    pub high: bool,
}

/// What outlives a loss of power, and where sockets lie.
#[derive(Debug)]
pub struct Supply {
    directory: PathBuf,
}

impl Supply {
    /// An empty EEPROM, in a directory of its own.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("hb-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory for temporary files");
        let supply = Self { directory };
        fs::write(supply.eeprom(), vec![0xFF; 8192]).expect("room for 8 KiB");
        supply
    }

    /// The EEPROM's cells.
    #[must_use]
    pub fn eeprom(&self) -> PathBuf {
        self.directory.join("eeprom")
    }

    /// Every access to a pin's registers while a board was on, if it was traced.
    #[must_use]
    pub fn trace(&self) -> String {
        fs::read_to_string(self.directory.join("trace")).unwrap_or_default()
    }
}

impl Drop for Supply {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A board that is on.
pub struct Board {
    child: Child,
    monitor: Monitor,
    qtest: Qtest,
    /// Paths of the GPIO ports in QEMU's object tree.
    gpio: Vec<String>,
    /// The nodes' ends of both lines.
    pub lines: [Line; 2],
    /// UART2: where faults are asked for.
    pub faults: UnixStream,
    directory: PathBuf,
}

impl Board {
    /// Power comes.
    #[must_use]
    pub fn on(elf: &Path, supply: &Supply) -> Self {
        Self::with(elf, supply, &[])
    }

    /// Power comes, with more arguments for QEMU.
    #[must_use]
    pub fn with(elf: &Path, supply: &Supply, more: &[&str]) -> Self {
        Self::start(elf, supply, more, false)
    }

    fn start(elf: &Path, supply: &Supply, more: &[&str], pressed: bool) -> Self {
        let place = |name: &str| supply.directory.join(name);
        for socket in ["u0", "u1", "u2", "qmp", "qtest"] {
            let _ = fs::remove_file(place(socket));
        }
        let listener = UnixListener::bind(place("qtest")).expect("a socket");
        let errors = File::create(place("stderr")).expect("a file");
        let mut command = Command::new("qemu-system-arm");
        command.args(["-M", "lm3s6965evb", "-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-accel", "tcg", "-S", "-kernel"]).arg(elf);
        for uart in ["u0", "u1", "u2"] {
            let path = place(uart);
            let socket = format!("socket,id={uart},path={},server=on,wait=off", path.display());
            command.args(["-chardev", &socket, "-serial", &format!("chardev:{uart}")]);
        }
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", place("qmp").display()));
        command.arg("-qtest").arg(format!("unix:{}", place("qtest").display()));
        command.args(["-qtest-log", "none", "-drive"]);
        command.arg(format!("if=none,id=ee,format=raw,file={}", supply.eeprom().display()));
        let memory = "at24c-eeprom,bus=i2c,address=0x50,address-size=2,rom-size=8192,drive=ee";
        command.args(["-device", memory]).args(more);
        command.args(["-D"]).arg(place("trace"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().expect("qemu-system-arm runs");
        let (qtest, _) = listener.accept().expect("QEMU connects");
        let mut board = Self {
            child,
            monitor: Monitor::new(&place("qmp")),
            qtest: Qtest::new(qtest),
            gpio: Vec::new(),
            lines: ["u0", "u1"].map(|uart| Line::new(connect(&place(uart)))),
            faults: connect(&place("u2")),
            directory: supply.directory.clone(),
        };
        board.gpio = board.find_gpio();
        let resets = board.gpio[PORT_E.0].clone();
        board.qtest.command(&format!("irq_intercept_out {resets}"));
        board.set_input(PORT_F, 1, !pressed);
        board.monitor.command("cont", json!({}));
        board
    }

    /// Power comes while the button is held.
    #[must_use]
    pub fn with_button(elf: &Path, supply: &Supply) -> Self {
        Self::start(elf, supply, &[], true)
    }

    fn find_gpio(&mut self) -> Vec<String> {
        const ALL: &str = "/machine/unattached";
        let list = self.monitor.command("qom-list", json!({ "path": ALL }));
        let mut found: Vec<(usize, String)> = Vec::new();
        for entry in list.as_array().expect("a list") {
            let name = entry["name"].as_str().unwrap_or_default();
            if entry["type"] == "child<pl061_luminary>" {
                let number = name.trim_start_matches("device[").trim_end_matches(']');
                found.push((number.parse().expect("numbered"), format!("{ALL}/{name}")));
            }
        }
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// Sets the level of an input.
    pub fn set_input(&mut self, port: GpioPort, bit: u8, high: bool) {
        let path = &self.gpio[port.0];
        let line = format!("set_irq_in {path} unnamed-gpio-in {bit} {}", u8::from(high));
        self.qtest.command(&line);
    }

    /// Changes of the reset outputs since the last call.
    pub fn pins(&mut self) -> Vec<Pin> {
        self.qtest.pump();
        let changes = self.qtest.changes.drain(..).filter(|&(_, pin, _)| pin < 2);
        changes.map(|(at, node, high)| Pin { at, node, high }).collect()
    }

    /// How often the chip was reset since the last call.
    pub fn resets(&mut self) -> usize {
        self.monitor.events().iter().filter(|event| *event == "RESET").count()
    }

    /// Its reset button.
    pub fn reset(&mut self) {
        self.monitor.command("system_reset", json!({}));
    }

    /// What the monitor says to a line of its own language.
    pub fn monitor(&mut self, line: &str) -> String {
        let said = self.monitor.command("human-monitor-command", json!({ "command-line": line }));
        said.as_str().unwrap_or_default().to_owned()
    }

    /// Reads memory as it is now.
    pub fn memory(&mut self, address: u32, size: u32) -> Vec<u8> {
        let file = self.directory.join("memory");
        let arguments = json!({ "val": address, "size": size, "filename": file });
        self.monitor.command("pmemsave", arguments);
        fs::read(&file).expect("QEMU wrote it")
    }

    /// Writes a word of memory, as a probe at the debug port does.
    pub fn poke(&mut self, address: u32, value: u32) {
        self.qtest.command(&format!("writel {address:#x} {value:#x}"));
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.qtest.pump();
        }
    }

    /// Waits until something is true, at most so long; whether it came true.
    pub fn until(&mut self, time: Duration, mut true_yet: impl FnMut(&mut Self) -> bool) -> bool {
        let end = Instant::now() + time;
        loop {
            if true_yet(self) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            self.wait(Duration::from_millis(2));
        }
    }
}

impl Drop for Board {
    /// Power goes.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
