//! QEMU with the board in it: its pins, its memory, its power. Who speaks over its UARTs is somebody else's affair.

use std::fs::{self, File};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::json;

use crate::board::{GpioPort, PORT_E, PORT_F, Pin, Supply};
use crate::debugger::Debugger;
use crate::monitor::{Monitor, Qtest, connect};

/// The board's emulator.
const QEMU: &str = "qemu-system-arm";
/// How [`Supply::trace`] names port E, on which the reset outputs are.
pub const TRACED_PORT_E: &str = "/machine/unattached/device[5]";
/// `b .`, the loop that ends nowhere (ARMv7-M, A7.7.12).
const FOR_EVER: [u8; 2] = [0xFE, 0xE7];

/// How a board gets its power.
#[derive(Clone, Copy, Default, Debug)]
pub struct Begin<'a> {
    /// The button is held meanwhile.
    pub button: bool,
    /// More arguments for QEMU.
    pub more: &'a [&'a str],
    /// A program that becomes QEMU, with its arguments (setpriv, say).
    pub by: &'a [&'a str],
    /// A debugger can stop the processor ([`Chip::hang`]).
    pub debugger: bool,
}

/// A board that is on.
pub struct Chip {
    child: Child,
    monitor: Monitor,
    qtest: Qtest,
    /// Paths of the GPIO ports in QEMU's object tree.
    gpio: Vec<String>,
    /// UART2: where faults are asked for.
    pub faults: UnixStream,
    directory: PathBuf,
}

impl Chip {
    /// Power comes; the other ends of UART0 and UART1.
    ///
    /// # Panics
    /// QEMU doesn't start.
    #[must_use]
    pub fn on(elf: &Path, supply: &Supply, begin: Begin<'_>) -> (Self, [UnixStream; 2]) {
        let place = |name: &str| supply.directory().join(name);
        for socket in ["u0", "u1", "u2", "qmp", "qtest", "gdb"] {
            let _ = fs::remove_file(place(socket));
        }
        let listener = UnixListener::bind(place("qtest")).expect("a socket");
        let errors = File::create(place("stderr")).expect("a file");
        let mut command = Command::new(begin.by.first().unwrap_or(&QEMU));
        if !begin.by.is_empty() {
            command.args(&begin.by[1..]).arg(QEMU);
        }
        command.args(["-M", "lm3s6965evb", "-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-accel", "tcg", "-S", "-kernel"]).arg(elf);
        for uart in ["u0", "u1", "u2"] {
            let path = place(uart);
            let socket = format!("socket,id={uart},path={},server=on,wait=off", path.display());
            command.args(["-chardev", &socket, "-serial", &format!("chardev:{uart}")]);
        }
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", place("qmp").display()));
        command.arg("-qtest").arg(format!("unix:{}", place("qtest").display()));
        if begin.debugger {
            command.arg("-gdb").arg(format!("unix:{},server=on,wait=off", place("gdb").display()));
        }
        command.args(["-qtest-log", "none", "-drive"]);
        command.arg(format!("if=none,id=ee,format=raw,file={}", supply.eeprom().display()));
        let memory = "at24c-eeprom,bus=i2c,address=0x50,address-size=2,rom-size=8192,drive=ee";
        command.args(["-device", memory]).args(begin.more);
        command.args(["-D"]).arg(place("trace"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().expect("qemu-system-arm runs");
        let (qtest, _) = listener.accept().expect("QEMU connects");
        let mut chip = Self {
            child,
            monitor: Monitor::new(&place("qmp")),
            qtest: Qtest::new(qtest),
            gpio: Vec::new(),
            faults: connect(&place("u2")),
            directory: supply.directory().to_owned(),
        };
        let uarts = ["u0", "u1"].map(|uart| connect(&place(uart)));
        chip.gpio = chip.find_gpio();
        let resets = chip.gpio[PORT_E.0].clone();
        assert_eq!(resets, TRACED_PORT_E, "this QEMU has another tree of devices");
        chip.qtest.command(&format!("irq_intercept_out {resets}"));
        chip.set_input(PORT_F, 1, !begin.button);
        chip.monitor.command("cont", &json!({}));
        (chip, uarts)
    }

    fn find_gpio(&mut self) -> Vec<String> {
        const ALL: &str = "/machine/unattached";
        let list = self.monitor.command("qom-list", &json!({ "path": ALL }));
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

    /// Writes a word of memory.
    pub fn poke(&mut self, address: u32, value: u32) {
        self.qtest.command(&format!("writel {address:#x} {value:#x}"));
    }

    /// Takes note of what the pins did, for a millisecond at most.
    pub fn pump(&mut self) {
        self.qtest.pump();
    }

    /// Changes of the reset outputs since the last call.
    pub fn pins(&mut self) -> Vec<Pin> {
        self.qtest.pump();
        let changes = self.qtest.changes.drain(..).filter(|&(_, pin, _)| pin < 2);
        changes.map(|(at, node, high): (Instant, u8, bool)| Pin { at, node, high }).collect()
    }

    /// How often the chip was reset since the last call.
    pub fn resets(&mut self) -> usize {
        self.monitor.events().iter().filter(|event| *event == "RESET").count()
    }

    /// Its reset button.
    pub fn reset(&mut self) {
        self.monitor.command("system_reset", &json!({}));
    }

    /// Its program loops for ever from now on, wherever it was; everything else goes on. The flash is as it was.
    ///
    /// # Panics
    /// It was not begun with a debugger, or has no such loop in its flash.
    pub fn hang(&mut self) {
        const FLASH: u32 = 256 * 1024;
        let flash = self.memory(0, FLASH);
        let mut words = flash.chunks_exact(2);
        let at = words.position(|word| word == FOR_EVER).expect("every firmware ends in a loop");
        Debugger::attach(&self.directory.join("gdb"))
            .jump(2 * u32::try_from(at).expect("in flash"));
    }

    /// Whether QEMU still runs; where not, its last words.
    ///
    /// # Errors
    /// As said.
    pub fn alive(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            ended => {
                let words = fs::read_to_string(self.directory.join("stderr")).unwrap_or_default();
                Err(format!("{QEMU} ended ({ended:?}): {}", words.trim()))
            }
        }
    }

    /// What the monitor says to a line of its own language.
    pub fn monitor(&mut self, line: &str) -> String {
        let said = self.monitor.command("human-monitor-command", &json!({ "command-line": line }));
        said.as_str().unwrap_or_default().to_owned()
    }

    /// Reads memory as it is now.
    ///
    /// # Panics
    /// QEMU refuses.
    pub fn memory(&mut self, address: u32, size: u32) -> Vec<u8> {
        let file = self.directory.join("memory");
        let arguments = json!({ "val": address, "size": size, "filename": file });
        self.monitor.command("pmemsave", &arguments);
        fs::read(&file).expect("QEMU wrote it")
    }
}

impl Drop for Chip {
    /// Power goes.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
