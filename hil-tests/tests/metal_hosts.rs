//! The rig `metal` on two hosts over a real ssh. The hosts are machines of the namespace rig with Debian's dropbear in
//! them, their serial line is the line model, and what rig.toml's power commands switch is the rig: what is proved is the
//! way there, not a board or an outlet.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hb_linux::rig::bench::{Bench, Half, Network, Node, Options};
use hb_linux::rig::dongle::{self, Dongle};
use hb_linux::rig::{init, links, sys};
use hil_tests::inside::{inside, programs};
use hil_tests::netns::files;
use hil_tests::scenario::{Cluster, Machine};
use hil_tests::vm::image;

/// All that is told here.
const PATIENCE: Duration = Duration::from_secs(240);
/// Of a machine, until its dropbear answers.
const BOOT: Duration = Duration::from_secs(20);
/// The rig's own interface on the service's network, and the switch's end of it.
const INTERFACE: &str = "metal0";
const PLUG: &str = "metal0sw";
const PACKAGES: [&str; 3] = ["dropbear-bin", "libtomcrypt1", "libtommath1"];

/// What a host needs to be one, or why there is none here.
struct Kit {
    place: PathBuf,
    dropbear: PathBuf,
    libraries: PathBuf,
}

impl Kit {
    /// Debian's packages, in target/rig-vm: to be had outside only, where there is a network.
    fn fetch() -> Result<PathBuf, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("dropbear lets root in only where it is root".into());
        }
        let target = programs().hb.ancestors().nth(2).ok_or("no target directory")?.to_owned();
        let hand = target.join(image::TARGET).join("release/hil-guest");
        if !hand.exists() {
            return Err(format!(
                "{}: not built; `cargo xtask rig vm --list` builds it",
                hand.display()
            ));
        }
        let packages = target.join("rig-vm/packages");
        // One test unpacks them for all.
        static UNPACKING: Mutex<()> = Mutex::new(());
        let _unpacking = UNPACKING.lock().unwrap_or_else(PoisonError::into_inner);
        for name in PACKAGES {
            if !packages.join(name).is_dir() {
                image::unpack(&packages, name, &packages.join(name))?;
            }
        }
        Command::new("ssh").arg("-V").output().map_err(|error| format!("ssh: {error}"))?;
        Ok(packages)
    }

    fn unpack(packages: &Path) -> Result<Self, String> {
        let place = std::env::temp_dir().join(format!("hb-hosts-{}", std::process::id()));
        let libraries = place.join("lib");
        fs::create_dir_all(&libraries).map_err(|error| error.to_string())?;
        for name in &PACKAGES[1..] {
            let from = packages.join(name).join("usr/lib/x86_64-linux-gnu");
            for file in fs::read_dir(from).map_err(|error| error.to_string())?.flatten() {
                let to = libraries.join(file.file_name());
                fs::copy(file.path(), to).map_err(|error| error.to_string())?;
            }
        }
        let programs = packages.join("dropbear-bin/usr");
        let kit = Self { place, dropbear: programs.join("sbin/dropbear"), libraries };
        kit.keys(&programs.join("bin/dropbearkey"))?;
        Ok(kit)
    }

    fn keys(&self, dropbearkey: &Path) -> Result<(), String> {
        let done = |command: &mut Command| -> Result<(), String> {
            let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
        };
        let (host, own) = (self.place.join("host"), self.place.join("own"));
        let mut command = Command::new(dropbearkey);
        command.args(["-t", "ed25519", "-f"]).arg(host);
        done(command.env("LD_LIBRARY_PATH", &self.libraries))?;
        done(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&own))?;
        let mut config = String::new();
        for (number, name) in ["linuxha1", "linuxha2"].iter().enumerate() {
            config.push_str(&format!("Host {name}\nHostName 192.168.85.{}\n", number + 1));
        }
        config.push_str(&format!(
            "Host *\nUser root\nIdentityFile {}\nIdentitiesOnly yes\nStrictHostKeyChecking no\n\
             UserKnownHostsFile /dev/null\nLogLevel ERROR\n",
            own.display()
        ));
        let file = self.place.join("config");
        fs::write(&file, config).map_err(|error| error.to_string())?;
        // The real ssh, with an administrator's ~/.ssh/config.
        let script = format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", file.display());
        self.program("ssh", &script)
    }

    fn program(&self, name: &str, script: &str) -> Result<(), String> {
        let path = self.place.join("bin").join(name);
        fs::create_dir_all(self.place.join("bin"))
            .and_then(|()| fs::write(&path, script))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .map_err(|error| error.to_string())
    }

    fn path(&self) -> String {
        format!(
            "{}:{}",
            self.place.join("bin").display(),
            std::env::var("PATH").unwrap_or_default()
        )
    }
}

/// Two machines with dropbear, the rig's own interface beside them, and what the power commands switch.
struct Hosts {
    bench: Bench,
    kit: Kit,
    doors: [Option<Child>; 2],
}

impl Hosts {
    fn new(kit: Kit) -> Self {
        Self::with(kit, None)
    }

    /// With the rig's dongle in the line: provisioned with a story's keys, its reset lines tested.
    fn with(kit: Kit, cluster: Option<&Cluster>) -> Self {
        let dongle = cluster.map(|cluster| dongle::Build {
            baud: cluster.baud,
            reset_lines: true,
            evidence: dongle::Evidence::Supervised,
            supply: dongle::Supply::Both,
        });
        let options = Options { dongle, ..Options::of_the_guide(programs().clone()) };
        let bench = Bench::new(&options).expect("the rig can be made");
        if let Some(cluster) = cluster {
            for (name, text) in [
                ("ha.cf", files::ha_cf(cluster)),
                ("haresources", files::haresources(cluster, Machine::A)),
                ("authkeys", files::AUTHKEYS.to_owned()),
            ] {
                bench.install(Node::One, name, &text, 0o600).expect("a file");
            }
        }
        let here = File::open("/proc/thread-self/ns/net").expect("it is there");
        links::veth(PLUG, INTERFACE, [2, 0, 0, 0, 0x64, 9], here.as_fd()).expect("a veth pair");
        sys::checksums_in_software(INTERFACE).expect("a veth can");
        bench.switch(Network::Public).plug(PLUG).expect("the switch has room");
        // The switch's ends of the machines' cables lie here, too, and must not answer for this interface (ip-sysctl).
        fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1").expect("it is the rig's own");
        links::up(INTERFACE).expect("it is there");
        links::add_address(INTERFACE, [192, 168, 85, 90].into(), 24).expect("it is free");
        let mut hosts = Self { bench, kit, doors: [None, None] };
        Node::BOTH.into_iter().for_each(|node| hosts.on(node));
        hosts
    }

    /// The machine boots, and its sshd. What is on its disk lies in /var/log.
    fn on(&mut self, node: Node) {
        self.bench.power_on_without_daemon(node).expect("it boots");
        let inside = |path: &Path| init::inside(path).display().to_string();
        let hb = programs().hb.parent().expect("it lies somewhere");
        let script = format!(
            "set -e; rm -f /root; mkdir -p /root/.ssh /var/log/disk /var/lib/heartbeat-rig; chmod 700 /root /root/.ssh; \
             cp {}.pub /root/.ssh/authorized_keys; echo 'PATH={}:$PATH' >/root/.bashrc; \
             mount --bind /var/log/disk /var/lib/heartbeat-rig; \
             export LD_LIBRARY_PATH={}; exec {} -F -E -s -r {} -p 22",
            inside(&self.kit.place.join("own")),
            inside(hb),
            inside(&self.kit.libraries),
            inside(&self.kit.dropbear),
            inside(&self.kit.place.join("host")),
        );
        let machine = self.bench.machine(node);
        let mut command = machine.command("/bin/sh", &["-c", &script]).expect("it is on");
        let words = File::create(self.kit.place.join(format!("door{}", node.index())));
        command.stdout(Stdio::null()).stderr(words.expect("a file"));
        self.doors[node.index()] = Some(command.spawn().expect("hb runs"));
        let door = SocketAddr::from((Network::Public.address(node), 22));
        let began = Instant::now();
        while TcpStream::connect_timeout(&door, Duration::from_millis(200)).is_err() {
            assert!(began.elapsed() < BOOT, "dropbear doesn't answer at {door}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn off(&mut self, node: Node) {
        self.bench.power_off(node);
        if let Some(mut door) = self.doors[node.index()].take() {
            let _ = door.wait();
        }
    }

    /// Does what rig.toml's commands ask for, by files in the kit's place.
    fn switch(&mut self) {
        // Whom the dongle has reset.
        for (node, _) in self.bench.resets() {
            self.off(node);
            self.on(node);
        }
        for node in Node::BOTH {
            let wish = |word: &str| self.kit.place.join(format!("{word}{}", node.index()));
            let (off, on, reset) = (wish("off"), wish("on"), wish("reset"));
            if reset.exists() {
                self.off(node);
                self.on(node);
                fs::remove_file(reset).expect("it is ours");
            }
            if off.exists() {
                self.off(node);
                fs::remove_file(off).expect("it is ours");
            }
            if on.exists() {
                self.on(node);
                fs::remove_file(on).expect("it is ours");
            }
        }
    }

    /// What the person is asked for, done with the rig.
    fn do_by_hand(&mut self, asked: &str) {
        let node = if asked.contains("linuxha1") { Node::One } else { Node::Two };
        let unplugged = asked.starts_with("unplug ");
        if asked.contains("the null-modem cable of ttyS0 ") {
            self.bench.cut_serial(0, unplugged);
        } else if asked.contains("the cable of eth1 ") {
            self.bench.cut(Network::Private, unplugged);
        } else if asked.starts_with("press the reset button of ") {
            self.off(node);
            self.on(node);
        } else if asked.starts_with("unplug the cable between the dongle and ")
            || asked.starts_with("plug the cable between the dongle and ")
        {
            self.bench.half(node, Half::Cut, unplugged);
        } else if asked == "press the dongle's reset button" {
            self.dongle().reset().expect("it can be reset");
        } else if asked.starts_with("take the dongle out: ") {
            self.dongle().remove();
        } else if asked == "put the dongle in again" {
            self.dongle().insert(false).expect("it can be put in");
        } else if asked.starts_with("take the power from ") {
            self.off(node);
        } else if asked.starts_with("give ") {
            self.on(node);
        } else {
            panic!("no hands for: {asked}");
        }
    }

    fn dongle(&self) -> &Dongle {
        self.bench.dongle().expect("the rig has one")
    }

    /// Without power commands.
    fn rig_toml_by_hand(&self) -> PathBuf {
        let file = self.kit.place.join("rig.toml");
        let dongle = self.bench.dongle().is_some();
        let text = format!(
            "dongle = {dongle}\nclient = \"{INTERFACE}\"\n[[line]]\na = \"/dev/ttyS0\"\nb = \"/dev/ttyS0\"\n\
             [a]\nssh = \"linuxha1\"\n[b]\nssh = \"linuxha2\"\n"
        );
        fs::write(&file, text).expect("writable");
        file
    }

    fn rig_toml(&self, off: &str) -> PathBuf {
        let place = self.kit.place.display();
        let mut text =
            format!("client = \"{INTERFACE}\"\n[[line]]\na = \"/dev/ttyS0\"\nb = \"/dev/ttyS0\"\n");
        for (number, (table, host)) in [("a", "linuxha1"), ("b", "linuxha2")].iter().enumerate() {
            let wish = |word: &str| {
                let file = format!("{place}/{word}{number}");
                format!("touch {file}; while [ -e {file} ]; do sleep 0.02; done")
            };
            let off = if off.is_empty() { wish("off") } else { off.to_owned() };
            text.push_str(&format!(
                "[{table}]\nssh = \"{host}\"\npower.off = \"{off}\"\npower.on = \"{}\"\n\
                 power.reset = \"{}\"\n",
                wish("on"),
                wish("reset")
            ));
        }
        let file = self.kit.place.join("rig.toml");
        fs::write(&file, text).expect("writable");
        file
    }

    /// `cargo xtask rig metal`, as xtask becomes it; its output.
    fn metal(&mut self, off: &str, stories: &[&str]) -> (Option<i32>, String) {
        let file = self.rig_toml(off);
        let said = self.kit.place.join("said");
        let words = File::create(&said).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_metal"))
            .arg("--config")
            .arg(file)
            .arg("--unattended")
            .args(stories)
            .env("PATH", self.kit.path())
            .env("HB_RIG_PROGRAMS", programs().hb.parent().expect("it lies somewhere"))
            .stdin(Stdio::null())
            .stderr(words.try_clone().expect("a descriptor"))
            .stdout(words)
            .spawn()
            .expect("it runs");
        let began = Instant::now();
        let status = loop {
            self.switch();
            if let Some(status) = child.try_wait().expect("it is ours") {
                break status;
            }
            if began.elapsed() > PATIENCE {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        (status.code(), fs::read_to_string(said).expect("readable"))
    }
}

/// What a program has asked so far, and how much of it was answered.
#[derive(Default)]
struct Prompts {
    heard: String,
    answered: usize,
}

impl Prompts {
    /// The next that waits for an answer.
    fn next(&mut self) -> Option<String> {
        let rest = &self.heard[self.answered..];
        let (question, _) = rest.split_once(", then press Enter (s, Enter: skip this story) ")?;
        let asked = question.rsplit_once(">> ").map_or(question, |(_, asked)| asked).to_owned();
        self.answered += question.len() + 1;
        Some(asked)
    }
}

impl Hosts {
    /// `cargo xtask rig metal` with somebody at its terminal; its output, and what was asked.
    fn metal_by_hand(&mut self, stories: &[&str]) -> (Option<i32>, String, Vec<String>) {
        let said = self.kit.place.join("said");
        let mut child = Command::new(env!("CARGO_BIN_EXE_metal"))
            .arg("--config")
            .arg(self.rig_toml_by_hand())
            .args(stories)
            .env("PATH", self.kit.path())
            .env("HB_RIG_PROGRAMS", programs().hb.parent().expect("it lies somewhere"))
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(File::create(&said).expect("a file"))
            .spawn()
            .expect("it runs");
        let (mut hands, mut words) =
            (child.stdin.take().expect("piped"), child.stderr.take().expect("piped"));
        let prompts = Arc::new(Mutex::new(Prompts::default()));
        let listener = std::thread::spawn({
            let prompts = prompts.clone();
            move || {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = words.read(&mut bytes) {
                    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                    prompts.lock().expect("no panic").heard.push_str(&text);
                }
            }
        });
        let (began, mut asked) = (Instant::now(), Vec::new());
        let status = loop {
            let question = prompts.lock().expect("no panic").next();
            self.switch();
            if let Some(question) = question {
                self.do_by_hand(&question);
                asked.push(question);
                hands.write_all(b"\n").expect("it waits for an answer");
            }
            if let Some(status) = child.try_wait().expect("it is ours") {
                break status;
            }
            if began.elapsed() > PATIENCE {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        listener.join().expect("no panic");
        (status.code(), fs::read_to_string(said).expect("readable"), asked)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        Node::BOTH.into_iter().for_each(|node| self.off(node));
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.kit.place);
        }
    }
}

/// Inside, with two hosts; a skip where there can be none.
fn with_hosts(name: &str, test: impl FnOnce(Hosts)) {
    with_kit(name, |kit| test(Hosts::new(kit)));
}

fn with_kit(name: &str, test: impl FnOnce(Kit)) {
    match Kit::fetch() {
        Ok(packages) => inside(name, || {
            test(Kit::unpack(&packages).expect("it can be unpacked"));
        }),
        Err(why) => println!("SKIP: {name}: {}", why.replace('\n', "; ")),
    }
}

#[test]
fn two_hosts_over_ssh_tell_stories_and_skip_what_takes_hands() {
    with_hosts("two_hosts_over_ssh_tell_stories_and_skip_what_takes_hands", |mut hosts| {
        let stories = [
            "power_loss_of_the_holder",
            "a_reset_holder_is_taken_over",
            "a_killed_daemon_leaves_nothing_behind",
            "standby_and_takeover",
            "each_link_is_cut_and_healed",
            "the_holder_dies_and_is_fenced",
        ];
        let (code, said) = hosts.metal("", &stories);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("4 passed, 0 failed, 2 skipped"), "{said}");
        for why in [
            "story each_link_is_cut_and_healed: needs verb cut: it takes hands",
            "story the_holder_dies_and_is_fenced: needs verb dongle: rig.toml has none",
        ] {
            assert!(said.contains(why), "{why}: {said}");
        }
    });
}

/// What no command of rig.toml does is asked of whoever sits at the terminal: here the test, with the rig's cables.
#[test]
fn a_person_at_two_hosts_unplugs_cables_and_presses_the_reset_button() {
    let name = "a_person_at_two_hosts_unplugs_cables_and_presses_the_reset_button";
    with_hosts(name, |mut hosts| {
        let stories = [
            "each_link_is_cut_and_healed",
            "the_loser_releases_before_the_winner_announces",
            "a_reset_holder_is_taken_over",
        ];
        let (code, said, asked) = hosts.metal_by_hand(&stories);
        assert_eq!(code, Some(0), "{said}\n{asked:#?}");
        assert!(said.contains("3 passed, 0 failed, 0 skipped"), "{said}");
        let presses =
            asked.iter().filter(|one| one.as_str() == "press the reset button of linuxha1");
        assert_eq!(presses.count(), 1, "{asked:#?}");
        // Each link alone, then both.
        let unplugged = asked.iter().filter(|one| one.starts_with("unplug ")).count();
        let plugged = asked.iter().filter(|one| one.starts_with("plug ")).count();
        assert_eq!((unplugged, plugged), (4, 4), "{asked:#?}");
    });
}

#[test]
fn a_person_at_two_hosts_takes_the_dongle_out_and_unplugs_it_and_switches_machines_off() {
    let name =
        "a_person_at_two_hosts_takes_the_dongle_out_and_unplugs_it_and_switches_machines_off";
    with_kit(name, |kit| {
        let cluster = Cluster::two_nodes().group("web", Machine::A).arbiter();
        let mut hosts = Hosts::with(kit, Some(&cluster));
        let stories = [
            "the_dongle_goes_and_comes_back",
            "a_half_of_the_line_is_cut",
            "the_holder_dies_and_is_fenced",
            "a_stopped_holder_is_fenced_before_the_other_starts",
        ];
        let (code, said, asked) = hosts.metal_by_hand(&stories);
        assert_eq!(code, Some(0), "{said}\n{asked:#?}");
        assert!(said.contains("3 passed, 0 failed, 1 skipped"), "{said}");
    });
}

/// The rig believes no command: what it was told to switch off must be off.
#[test]
fn a_power_command_that_switches_nothing_makes_the_story_fail() {
    with_hosts("a_power_command_that_switches_nothing_makes_the_story_fail", |mut hosts| {
        let (code, said) = hosts.metal("true", &["power_loss_of_the_holder"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("linuxha1 was switched off, and still answers over ssh"), "{said}");
        assert!(
            said.contains("linuxha1 has") && said.contains("linuxha2 log"),
            "no timeline: {said}"
        );
        let evidence = said.lines().find_map(|line| line.strip_prefix("evidence: "));
        let evidence = PathBuf::from(evidence.unwrap_or_else(|| panic!("none: {said}")));
        let heard = fs::read(evidence.join("public.pcap")).expect("the client's machine listens");
        // More than a pcap file's header (draft-ietf-opsawg-pcap).
        assert!(heard.len() > 24, "{} bytes", heard.len());
        assert!(said.contains("eth0: linuxha1 announces 192.168.85.3"), "{said}");
    });
}

/// `hb serial test --peer root@HOST:PORT` starts the other end there.
#[test]
fn hb_serial_test_reaches_the_other_end_over_ssh() {
    with_hosts("hb_serial_test_reaches_the_other_end_over_ssh", |hosts| {
        let hb = init::inside(&programs().hb).display().to_string();
        let path = init::inside(&hosts.kit.place.join("bin")).display().to_string();
        // Its files lie elsewhere, seen from a machine.
        let place = hosts.kit.place.display().to_string();
        let config = fs::read_to_string(hosts.kit.place.join("config")).expect("readable");
        let inside = init::inside(&hosts.kit.place).display().to_string();
        fs::write(hosts.kit.place.join("config"), config.replace(&place, &inside)).expect("ours");
        let script = format!("#!/bin/sh\nexec /usr/bin/ssh -F {inside}/config \"$@\"\n");
        hosts.kit.program("ssh", &script).expect("ours");
        let test = format!(
            "PATH={path}:$PATH exec {hb} serial test /dev/ttyS0 --peer root@linuxha2:/dev/ttyS0 --speeds 38400 --json"
        );
        let machine = hosts.bench.machine(Node::One);
        let output = machine.run("/bin/sh", &["-c", &test]).expect("hb runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let found: serde_json::Value =
            serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{errors}"));
        assert_eq!(found["verdict"]["matter"], "sound", "{found:#}");
        assert_eq!(found["theirs"]["node"], "linuxha2", "{found:#}");
    });
}
