//! One guest with its power on: a QEMU process, its control channel, the hand inside.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::json;

use super::agent::{Agent, Sink};
use super::image::Image;
use super::qmp::Qmp;
use crate::chronicle::Clock;

/// QEMU's program for the guests.
pub const QEMU: &str = "qemu-system-x86_64";
/// A boot under TCG takes 4 s on an idle host.
pub const BOOT_PATIENCE: Duration = Duration::from_secs(90);
/// Than the rig, where realtime is forbidden (nice(1)).
const NICER: &str = "10";
/// Times are the point of a guest: its clock is the host's, its calibrations are left out, and a panic
/// stays a panic (admin-guide/kernel-parameters.rst).
const KERNEL: &str = "console=ttyS2,115200 quiet panic=0 oops=panic nokaslr mitigations=off no_timer_check \
                      cryptomgr.notests tsc=reliable clocksource=tsc net.ifnames=0";

/// What a guest is plugged into.
#[derive(Debug)]
pub struct Wires {
    /// ttyS0, ttyS1: device files of the host; `None`: a port with nothing on it.
    pub serial: [Option<PathBuf>; 2],
    /// eth0, eth1: sockets that carry whole frames, and hardware addresses.
    pub network: Vec<(Option<OwnedFd>, String)>,
    /// More of QEMU's arguments.
    pub extra: Vec<String>,
}

/// A guest with power. Dropping it takes the power away.
#[derive(Debug)]
pub struct Power {
    child: Child,
    /// QEMU's control channel.
    pub qmp: Qmp,
    /// The hand inside.
    pub agent: Agent,
}

/// What a guest begins with.
pub struct Start<'a> {
    /// Sockets and the console's text lie here, beginning with `name`.
    pub directory: &'a Path,
    /// The life's own.
    pub name: &'a str,
    /// What it boots.
    pub image: &'a Image,
    /// Its disk's file.
    pub disk: &'a Path,
    /// What it is plugged into.
    pub wires: &'a Wires,
    /// The rig's.
    pub clock: Clock,
    /// What it tells goes here.
    pub sink: Sink,
    /// A snapshot that it goes on from, instead of a boot.
    pub restore: Option<&'a Path>,
}

/// Real machines have processors of their own: where the rig may, its guests don't wait for what else the host does
/// (chrt(1)); and where they compute, the rig's wires, which run at a higher priority, don't wait for them.
pub fn realtime() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let tried =
            Command::new("chrt").args(["-r", GUESTS, "true"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    })
}

/// The guests' realtime priority, and the rig's.
pub const GUESTS: &str = "1";
/// See [`GUESTS`].
pub const RIG: &str = "2";

impl Power {
    /// Starts QEMU; [`Agent::wait_until_up`] tells when the guest is up.
    ///
    /// # Errors
    /// QEMU isn't there or says why it can't.
    pub fn on(start: Start<'_>) -> Result<Self, String> {
        let Start { directory, name, image, disk, wires, clock, sink, restore } = start;
        let socket = |kind: &str| directory.join(format!("{name}.{kind}"));
        let (port, control) = (socket("agent"), socket("qmp"));
        for stale in [&port, &control] {
            let _ = std::fs::remove_file(stale);
        }
        let listener =
            UnixListener::bind(&port).map_err(|error| format!("{}: {error}", port.display()))?;
        let words = File::options().create(true).append(true).open(socket("qemu"));
        let words = words.map_err(|error| error.to_string())?;
        let before = if realtime() { ["chrt", "-r", GUESTS] } else { ["nice", "-n", NICER] };
        let mut command = Command::new(before[0]);
        // Its parent's end is its own: no guest outlives a rig that is killed.
        command.args(&before[1..]).args(["setpriv", "--pdeathsig", "KILL", QEMU]);
        command.args(arguments(directory, name, image, disk, wires));
        if let Some(snapshot) = restore {
            command.args(["-incoming", &format!("file:{}", snapshot.display())]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(words)
            .spawn()
            .map_err(|error| format!("{}: {error}; it is in Debian's util-linux", before[0]))?;
        let connected = Agent::accept(&listener, clock, sink, BOOT_PATIENCE)
            .and_then(|agent| Ok((agent, Qmp::connect(&control)?)));
        let restored = connected.and_then(|(agent, mut qmp)| {
            restore.map_or(Ok(()), |_| restored(&mut qmp))?;
            Ok((agent, qmp))
        });
        match restored {
            Ok((agent, qmp)) => Ok(Self { child, qmp, agent }),
            Err(why) => {
                let _ = child.kill();
                let _ = child.wait();
                let said = std::fs::read_to_string(socket("qemu")).unwrap_or_default();
                Err(format!("{why}\n{said}"))
            }
        }
    }

    /// Its process, to be watched or killed from elsewhere.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn pidfd(&self) -> Result<OwnedFd, String> {
        pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())
            .map_err(|error| error.to_string())
    }

    /// Writes the whole machine, which stands still from here on, into a file.
    ///
    /// # Errors
    /// QEMU's own words: before 8.2 it can't.
    pub fn save(&mut self, path: &Path) -> Result<(), String> {
        self.freeze()?;
        self.qmp.command("migrate", &json!({"uri": format!("file:{}", path.display())}))?;
        loop {
            let state = self.qmp.command("query-migrate", &json!({}))?;
            match state["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => return Err(format!("a snapshot: {state}")),
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// The whole machine stands still, its clocks and its watchdog too.
    ///
    /// # Errors
    /// QEMU's own words.
    pub fn freeze(&mut self) -> Result<(), String> {
        self.qmp.command("stop", &json!({})).map(drop)
    }

    /// It goes on.
    ///
    /// # Errors
    /// QEMU's own words.
    pub fn thaw(&mut self) -> Result<(), String> {
        self.qmp.command("cont", &json!({}))?;
        self.agent.thawed();
        Ok(())
    }

    /// The carrier of a network card: its plug.
    ///
    /// # Errors
    /// QEMU's own words.
    pub fn carrier(&mut self, interface: usize, present: bool) -> Result<(), String> {
        let name = format!("nic{interface}");
        self.qmp.command("set_link", &json!({"name": name, "up": present})).map(drop)
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        // Ended already, if it was reset.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A machine that stood still when it was saved goes on.
fn restored(qmp: &mut Qmp) -> Result<(), String> {
    loop {
        let state = qmp.command("query-status", &json!({}))?;
        if state["status"] != "inmigrate" {
            return qmp.command("cont", &json!({})).map(drop);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// QEMU's command line; a snapshot fits only where it is the same but for paths.
pub fn arguments(
    directory: &Path,
    name: &str,
    image: &Image,
    disk: &Path,
    wires: &Wires,
) -> Vec<String> {
    use std::os::fd::AsRawFd;

    let file = |kind: &str| directory.join(format!("{name}.{kind}")).display().to_string();
    let mut all: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| all.extend(words.iter().map(|word| (*word).to_owned()));
    // One processor: two guests on two cores. A guest that resets itself ends its QEMU, and the rig boots it.
    add(&["-name", name, "-M", "pc,hpet=off", "-cpu", "max", "-accel", "tcg,thread=multi"]);
    add(&["-smp", "1", "-m", "160", "-nodefaults", "-no-user-config", "-display", "none"]);
    add(&["-no-reboot", "-action", "watchdog=reset", "-device", "vmgenid,guid=auto"]);
    add(&["-kernel", &image.kernel.display().to_string()]);
    add(&["-initrd", &image.initramfs.display().to_string(), "-append", KERNEL]);
    add(&["-qmp", &format!("unix:{},server=on,wait=off", file("qmp"))]);
    for (number, device) in wires.serial.iter().enumerate() {
        let end =
            device.as_ref().map(|device| format!("serial,id=s{number},path={}", device.display()));
        add(&["-chardev", &end.unwrap_or_else(|| format!("null,id=s{number}"))]);
        add(&["-device", &format!("isa-serial,chardev=s{number},index={number}")]);
    }
    add(&["-chardev", &format!("file,id=con,append=on,path={}", file("console"))]);
    // IRQ 4 is ttyS0's, and an ISA interrupt can't be shared by two that are in use.
    add(&["-device", "isa-serial,chardev=con,index=2,irq=5"]);
    add(&["-device", "virtio-serial-pci", "-chardev"]);
    add(&[&format!("socket,id=agent,path={}", file("agent"))]);
    add(&["-device", "virtserialport,chardev=agent,name=rig"]);
    for (number, (socket, mac)) in wires.network.iter().enumerate() {
        let end = socket.as_ref().map(|socket| {
            format!("dgram,id=n{number},local.type=fd,local.str={}", socket.as_raw_fd())
        });
        add(&["-netdev", &end.unwrap_or_else(|| format!("hubport,id=n{number},hubid={number}"))]);
        add(&[
            "-device",
            &format!("virtio-net-pci,netdev=n{number},id=nic{number},mac={mac},romfile="),
        ]);
    }
    let drive = format!("file={},format=raw,if=none,id=disk", disk.display());
    add(&["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"]);
    all.extend(wires.extra.iter().cloned());
    all
}
