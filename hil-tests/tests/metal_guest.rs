//! Emulated FTDI adapters in a guest with Debian's kernel and udev: detection, names, unplug and replug under another
//! number, the wrong machine at the other end, bit error rate. Between the adapters stands the rig's line model.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hb_linux::rig::faults::Noise;
use hb_linux::rig::line::{Line, Port, Side};
use hb_linux::serial::end::{self, Settings};
use hb_linux::serial::ports::{self, Hardware, Holder};
use hb_linux::serial::tty;
use hil_tests::inside::programs;
use hil_tests::metal::config;
use hil_tests::metal::guest::{self, Guest};
use hil_tests::netns::host::prefer_wires;
use serde_json::Value;

/// A boot under TCG, and a test at three speeds, on a host that has other work.
const PATIENCE: Duration = Duration::from_secs(120);

/// Half a second of blocks at 38,400 baud fits into a port's buffer: a busy host delays bytes, and loses none.
/// `$1` to `$3` are the adapters' by-path names, in the order of their sockets.
const SCRIPT: &str = r#"
adapters 3
set -- /dev/serial/by-path/*
say ports; hb serial ports --json
say detect; cd /tmp; metal --detect --speeds 9600,38400; cat rig.toml
say config; metal --detect
# A fake ssh: it runs what it is given, here.
printf '#!/bin/sh\nwhile [ "$1" != hb ]; do shift; done\nexec "$@"\n' >/usr/bin/ssh; chmod +x /usr/bin/ssh
say ssh; hb serial test "$1" --peer "root@linuxha1:$2" --speeds 38400 --json 2>/dev/null
go noise
say noisy; hb serial test "$1" --peer "$2" --speeds 38400 --json 2>/dev/null
go stranger
say strange; hb serial test "$3" --peer linuxha2 --speeds 0 --wait 60 --json 2>/dev/null
sleep 1000 <"$1" &
say held; hb serial test "$1" --peer "$2"
go unplug; adapters 2
say unplugged; hb serial ports --json
go replug; adapters 3
say replugged; hb serial ports --json
say again; hb serial test "$1" --peer "$2" --speeds 38400 --json 2>/dev/null
say end
"#;

fn cable() -> (Line, [PathBuf; 2]) {
    let line = Line::new().expect("a line");
    let devices = [Side::A, Side::B].map(|side| {
        let port = Port::new().expect("a pty");
        let device = port.device().to_owned();
        line.attach(side, port);
        device
    });
    (line, devices)
}

fn json(text: &str) -> Value {
    let from = text.find(['{', '[']).unwrap_or_else(|| panic!("no JSON: {text}"));
    // What a kernel message adds behind it is not ours.
    let mut values = serde_json::Deserializer::from_str(&text[from..]).into_iter::<Value>();
    values.next().and_then(Result::ok).unwrap_or_else(|| panic!("no JSON: {text}"))
}

fn ports_of(text: &str) -> Vec<ports::Port> {
    let all: Vec<ports::Port> = serde_json::from_value(json(text)).expect("a list of ports");
    all.into_iter().filter(|port| matches!(port.hardware, Hardware::Usb { .. })).collect()
}

fn matter(text: &str) -> String {
    json(text)["verdict"]["matter"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn adapters_in_a_guest_are_detected_tested_and_followed_by_their_path() {
    let exe = std::env::current_exe().expect("this test has a path");
    let target = exe.ancestors().nth(3).unwrap_or(Path::new("target"));
    let image = match guest::image(target) {
        Ok(image) => image,
        Err(why) => {
            println!(
                "SKIP: adapters_in_a_guest_are_detected_tested_and_followed_by_their_path: {why}"
            );
            return;
        }
    };
    let (line, [one, two]) = cable();
    let (_other_line, [three, far]) = cable();
    let directory = std::env::temp_dir().join(format!("hb-metal-guest-{}", std::process::id()));
    let metal = PathBuf::from(env!("CARGO_BIN_EXE_metal"));
    let mut guest = Guest::boot(
        &directory,
        &image,
        &[one, two, three],
        &[programs().hb.clone(), metal],
        SCRIPT,
    )
    .unwrap_or_else(|why| panic!("{why}"));
    // The wires are threads of this process.
    prefer_wires();
    let told = story(&mut guest, &line, &far);
    drop(guest);
    match told {
        Ok(()) => std::fs::remove_dir_all(&directory).expect("it is ours"),
        Err(why) => panic!("{why}\nthe guest's console: {}", directory.join("console").display()),
    }
}

fn story(guest: &mut Guest, line: &Line, far: &Path) -> Result<(), String> {
    let text = guest.until("detect", PATIENCE)?;
    identified(&ports_of(&text));
    let text = guest.until("config", PATIENCE)?;
    detected(&text);
    let text = guest.until("ssh", PATIENCE)?;
    assert!(text.contains("rig.toml: exists, and is left alone"), "{text}");
    let text = guest.until("noise", PATIENCE)?;
    assert_eq!(matter(&text), "sound", "with the other end's report: {text}");
    assert_eq!(json(&text)["theirs"]["node"], "linuxha1", "{text}");

    line.noise(Side::A, Some(Noise { seed: 5, flip: 0.004, ..Noise::default() }));
    guest.go_on()?;
    let text = guest.until("stranger", PATIENCE)?;
    line.noise(Side::A, None);
    let found = json(&text);
    assert_eq!(matter(&text), "errors", "{text}");
    let wrong = found["ours"]["speeds"][0]["out"]["bits_wrong"].as_u64();
    let back = found["ours"]["speeds"][0]["back"]["bits_wrong"].as_u64();
    assert!(wrong.is_some_and(|wrong| wrong > 0) && back == Some(0), "one way is noisy: {text}");

    let stranger = stranger(far);
    guest.go_on()?;
    let text = guest.until("held", PATIENCE)?;
    stranger.join().map_err(|_| "the stranger panicked".to_owned())?;
    assert_eq!(matter(&text), "wrong-peer", "{text}");
    assert!(text.contains("linuxha9 on /dev/ttyS7, not linuxha2"), "{text}");

    let text = guest.until("unplug", PATIENCE)?;
    assert!(text.contains("in use by sleep"), "{text}");
    guest.adapter(0, false)?;
    guest.go_on()?;
    guest.until("unplugged", PATIENCE)?;
    let text = guest.until("replug", PATIENCE)?;
    assert_eq!(ports_of(&text).len(), 2, "{text}");
    guest.adapter(0, true)?;
    guest.go_on()?;
    guest.until("replugged", PATIENCE)?;
    let text = guest.until("again", PATIENCE)?;
    renumbered(&ports_of(&text));
    let text = guest.until("end", PATIENCE)?;
    assert_eq!(matter(&text), "sound", "the same by-path name, another ttyUSB: {text}");
    Ok(())
}

/// USB identity by serialport, names by udev.
fn identified(ports: &[ports::Port]) {
    assert_eq!(ports.len(), 3, "{ports:#?}");
    for port in ports {
        let Hardware::Usb { vendor, product, serial_number, .. } = &port.hardware else { continue };
        assert_eq!((*vendor, *product), (0x0403, 0x6001));
        let number = serial_number.as_ref().expect("QEMU's adapters have one");
        let by_id = port.by_id.as_ref().expect("so udev names them by it");
        assert!(by_id.display().to_string().contains(number.as_str()), "{port:#?}");
        assert!(port.by_path.is_some() && port.holders.is_empty(), "{port:#?}");
    }
}

/// Two adapters wired to each other, and a rig.toml of them; the console is left out.
fn detected(text: &str) {
    for words in
        ["USB 0403:6001 QEMU QEMU USB SERIAL", "is left out: in use by the kernel's console"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(text.contains("38400 baud") && text.contains("no error"), "{text}");
    let from = text.find("# What `cargo xtask rig metal`").unwrap_or_else(|| panic!("{text}"));
    let config = config::parse(Path::new("rig.toml"), &text[from..]).expect("it can be read");
    assert_eq!(config.lines.len(), 1, "{text}");
    for (port, socket) in config.lines[0].iter().zip(["usb-0:1:", "usb-0:2:"]) {
        let name = port.display().to_string();
        assert!(name.starts_with("/dev/serial/by-path/") && name.contains(socket), "{name}");
    }
}

/// The first socket's adapter has another number than before, the others keep theirs.
fn renumbered(ports: &[ports::Port]) {
    let named = |socket: &str| {
        let is_it = |port: &&ports::Port| {
            port.by_path.as_ref().is_some_and(|path| path.display().to_string().contains(socket))
        };
        ports.iter().find(is_it).unwrap_or_else(|| panic!("{socket}: {ports:#?}")).device.clone()
    };
    assert_eq!(named("usb-0:1:"), Path::new("/dev/ttyUSB3"), "{ports:#?}");
    assert_eq!(named("usb-0:2:"), Path::new("/dev/ttyUSB1"), "{ports:#?}");
    assert!(ports.iter().all(|port| !port.holders.iter().any(Holder::is_heartbeatd)));
}

/// Another machine's test at the other end of the third adapter's line.
fn stranger(far: &Path) -> std::thread::JoinHandle<()> {
    let settings = Settings {
        id: 9,
        node: "linuxha9".into(),
        device: "/dev/ttyS7".into(),
        baud: 19_200,
        patience: Duration::from_secs(60),
        speeds: Vec::new(),
    };
    let mut port = tty::Line::open(far, 19_200, &std::env::temp_dir()).expect("it is free");
    std::thread::spawn(move || {
        end::run(&mut port, &mut [], &settings, &mut |_| ());
    })
}
