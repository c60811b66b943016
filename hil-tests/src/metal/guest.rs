//! A guest with emulated FTDI adapters, Debian's kernel and Debian's udev: for what only a real driver and real
//! names show. Its kernel, busybox and modules are those of rig `vm` ([`crate::vm::image`]); an archive behind
//! that one adds udev, this host's `hb` and the rig's own program, with the libraries that they need.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::vm::cpio::Archive;
use crate::vm::image::{self, Image};
use crate::vm::power::{GUESTS, QEMU, realtime};
use crate::vm::qmp::Qmp;

/// What begins a line of the console that says how far the guest is.
const MARK: &str = "=== ";
/// Names of Debian's udev that make /dev/serial.
const RULES: [&str; 2] = ["50-udev-default.rules", "60-serial.rules"];
/// Its console is ttyS0; ttyS1 is where it waits for the word to go on.
const KERNEL: &str = "console=ttyS0,115200 rdinit=/metal-init quiet panic=-1 nokaslr mitigations=off no_timer_check tsc=reliable \
     clocksource=tsc";
/// Before the script's own words.
const BEGIN: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs run /run; mkdir -p /run/lock /var/lock
hostname linuxha1
modprobe xhci_pci; modprobe ftdi_sio
/metal/udevd --daemon; /metal/udevadm trigger; /metal/udevadm settle
exec 3</dev/ttyS1
say() { echo; echo "=== $1"; }
go() { say "$1"; read -r word <&3; }
adapters() { until [ "$(ls /dev/serial/by-path 2>/dev/null | wc -l)" = "$1" ]; do sleep 0.2; done; }
"#;

/// A guest that runs one script. Dropping it takes its power.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    qmp: Qmp,
    go_on: UnixStream,
    console: PathBuf,
}

/// Where things lie: `target/rig-vm`, and the programs that its image is made of.
///
/// # Errors
/// What is missing, for a skip's reason.
pub fn image(target: &Path) -> Result<Image, String> {
    let binaries = target.join(image::TARGET).join("release");
    if !binaries.join("hil-guest").exists() {
        return Err(format!(
            "{}: not built; `cargo xtask rig vm --image` builds it",
            binaries.join("hil-guest").display()
        ));
    }
    Command::new(QEMU).arg("--version").output().map_err(|error| format!("{QEMU}: {error}"))?;
    image::make(&target.join("rig-vm"), &binaries)
}

impl Guest {
    /// Boots; `adapters` are device files of this host, each behind one adapter; `programs` are put into
    /// /usr/bin. Sockets and the console lie in `directory`.
    ///
    /// # Errors
    /// In words.
    pub fn boot(
        directory: &Path,
        image: &Image,
        adapters: &[PathBuf],
        programs: &[PathBuf],
        script: &str,
    ) -> Result<Self, String> {
        let told = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(directory).map_err(|error| told(directory, error))?;
        let initramfs = directory.join("initramfs");
        let mut archive =
            fs::read(&image.initramfs).map_err(|error| told(&image.initramfs, error))?;
        // The kernel unpacks one archive after the other (admin-guide/initrd.rst); the first is padded to
        // whole words.
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(additions(&image.directory, programs, script)?);
        fs::write(&initramfs, archive).map_err(|error| told(&initramfs, error))?;
        // Its clock is the host's, and what is tested in it has deadlines of seconds: a guest that gets a twentieth of
        // a processor fails them, which says nothing of a cable.
        let mut command = Command::new(if realtime() { "chrt" } else { "setpriv" });
        if realtime() {
            command.args(["-r", GUESTS, "setpriv"]);
        }
        command.args(["--pdeathsig", "KILL", QEMU]).args(arguments(directory, image, adapters));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("setpriv: {error}"))?;
        let qmp = Qmp::connect(&directory.join("qmp"))?;
        let port = directory.join("go");
        let go_on = UnixStream::connect(&port).map_err(|error| told(&port, error))?;
        Ok(Self { child, qmp, go_on, console: directory.join("console") })
    }

    /// Waits until the script says `mark`; returns all that was said since the mark before.
    ///
    /// # Errors
    /// It doesn't within `patience`; the whole console's text.
    pub fn until(&mut self, mark: &str, patience: Duration) -> Result<String, String> {
        let deadline = Instant::now() + patience;
        loop {
            let bytes = fs::read(&self.console).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).replace('\r', "");
            let line = format!("\n{MARK}{mark}\n");
            if let Some(at) = text.find(&line) {
                let before = &text[..at];
                let from = before.rfind(&format!("\n{MARK}")).map_or(0, |from| from + 1);
                return Ok(before[from..].to_owned());
            }
            let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if Instant::now() >= deadline || ended {
                return Err(format!("the guest didn't come to {mark:?}:\n{text}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The word that a `go` of the script waits for.
    ///
    /// # Errors
    /// The guest is gone.
    pub fn go_on(&mut self) -> Result<(), String> {
        self.go_on.write_all(b"go\n").map_err(|error| error.to_string())
    }

    /// Pulls an adapter out of its socket, or puts it back.
    ///
    /// # Errors
    /// QEMU's own words.
    pub fn adapter(&mut self, number: usize, present: bool) -> Result<(), String> {
        let id = format!("adapter{number}");
        if present {
            let device = json!({"driver": "usb-serial", "chardev": format!("line{number}"), "id": id,
                                "bus": "usb.0", "port": (number + 1).to_string()});
            self.qmp.command("device_add", &device).map(drop)
        } else {
            self.qmp.command("device_del", &json!({"id": id})).map(drop)
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn arguments(directory: &Path, image: &Image, adapters: &[PathBuf]) -> Vec<String> {
    let file = |name: &str| directory.join(name).display().to_string();
    let mut all = Vec::new();
    let mut add = |words: &[&str]| all.extend(words.iter().map(|word| (*word).to_owned()));
    add(&["-M", "pc,hpet=off", "-cpu", "max", "-accel", "tcg,thread=multi", "-smp", "1"]);
    add(&["-m", "384", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    add(&["-kernel", &image.kernel.display().to_string(), "-initrd", &file("initramfs")]);
    add(&["-append", KERNEL, "-qmp", &format!("unix:{},server=on,wait=off", file("qmp"))]);
    add(&["-serial", &format!("file:{}", file("console"))]);
    add(&["-serial", &format!("unix:{},server=on,wait=off", file("go"))]);
    add(&["-device", "qemu-xhci,id=usb"]);
    for (number, device) in adapters.iter().enumerate() {
        add(&["-chardev", &format!("serial,id=line{number},path={}", device.display())]);
        let socket = number + 1;
        add(&["-device"]);
        add(&[&format!(
            "usb-serial,chardev=line{number},id=adapter{number},bus=usb.0,port={socket}"
        )]);
    }
    all
}

/// udev, the programs, the script.
fn additions(directory: &Path, programs: &[PathBuf], script: &str) -> Result<Vec<u8>, String> {
    let udev = directory.join("packages/udev");
    if !udev.is_dir() {
        image::unpack(&directory.join("packages"), "udev", &udev)?;
    }
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut archive = Archive::default();
    let udevadm = udev.join("bin/udevadm");
    // One program under two names; by its name it is the daemon.
    archive.file("metal/udevadm", 0o755, &read(&udevadm)?);
    archive.link("metal/udevd", "udevadm");
    for name in RULES {
        let rule = udev.join("lib/udev/rules.d").join(name);
        archive.file(&format!("lib/udev/rules.d/{name}"), 0o644, &read(&rule)?);
    }
    let mut needed = libraries(&udevadm)?;
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("usr/bin/{name}"), 0o755, &read(program)?);
        needed.extend(libraries(program)?);
    }
    needed.sort();
    needed.dedup();
    for library in needed {
        let inside = library.strip_prefix("/").unwrap_or(&library).to_string_lossy().into_owned();
        archive.file(&inside, 0o755, &read(&library)?);
    }
    archive.file("metal-init", 0o755, format!("{BEGIN}{script}\npoweroff -f\n").as_bytes());
    Ok(archive.finish())
}

/// All that ldd(1) says a program loads, the loader among it.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("ldd").arg(program).output();
    let output = output.map_err(|error| format!("ldd: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.contains("not found") {
        return Err(format!("{}: a library is missing: {text}", program.display()));
    }
    let paths =
        text.lines().filter_map(|line| line.split_whitespace().find(|w| w.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}
