//! A machine of its own, over ssh(1): what the rig needs there, and the hand that does it.
//!
//! On the machine the rig keeps everything in one directory, and shows it to the daemon in a mount namespace of its own
//! (unshare(1)): its /etc/ha.d, /var/log and /var/lib/heartbeat are not the machine's. The network and the clocks are.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hb_linux::rig::Mac;
use hb_linux::rig::bench::Network;
use serde_json::json;

use super::config::Host;
use crate::chronicle::Clock;
use crate::netns::files;
use crate::scenario::cluster::Machine;
use crate::vm::agent::{Agent, Ran, Sink};
use crate::vm::bench::node;

/// The rig's own directory there.
pub const PLACE: &str = "/var/lib/heartbeat-rig";
/// The rig's programs there; they need no library of the machine's.
const PROGRAMS: [&str; 3] = ["heartbeatd", "hb", "hil-guest"];
/// A machine that boots is asked again this often.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// What any order may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A machine that doesn't answer for this long is taken to be off.
const SILENT: Duration = Duration::from_secs(2);
/// Both networks'.
const PREFIX: u8 = 24;

/// The machine, and the connection to it while there is one.
#[derive(Debug)]
pub struct Remote {
    /// As rig.toml has it.
    pub host: Host,
    machine: Machine,
    /// Its serial ports, ttyS0 first.
    ports: Vec<PathBuf>,
    programs: PathBuf,
    life: Option<Life>,
}

impl Remote {
    /// Lets go of the connection to a machine that is gone.
    pub fn forget(&mut self) {
        self.life = None;
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.disconnect();
    }
}

#[derive(Debug)]
struct Life {
    agent: Agent,
    ssh: Child,
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}

impl Remote {
    /// Nothing is done yet. `programs` has what is built for machines without libraries.
    #[must_use]
    pub fn new(host: Host, machine: Machine, ports: Vec<PathBuf>, programs: PathBuf) -> Self {
        Self { host, machine, ports, programs, life: None }
    }

    /// Puts the rig's programs there, and empties what an earlier story left.
    ///
    /// # Errors
    /// What ssh(1) or the machine said.
    pub fn install(&self) -> Result<(), String> {
        // Its state stays from story to story: a life's number only grows (protocol.md R9), and a dongle remembers it.
        self.ssh(&format!("mkdir -p {PLACE} && cd {PLACE} && rm -rf etc log"), None)?;
        for name in PROGRAMS {
            let path = self.programs.join(name);
            if !path.exists() {
                return Err(format!(
                    "{}: not built; `cargo xtask rig metal` builds it for a rig.toml with [a] and [b]",
                    path.display()
                ));
            }
            // The hand is of another build than the one that runs: replaced by name.
            let script = format!(
                "cd {PLACE} && cat >{name}.new && chmod 755 {name}.new && mv {name}.new {name}"
            );
            self.ssh(&script, Some(&path))?;
        }
        Ok(())
    }

    /// Connects, and waits for a machine that boots.
    ///
    /// # Errors
    /// It isn't there within `patience`; what was said last.
    pub fn connect(&mut self, clock: Clock, sink: &Sink, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.try_connect(clock, sink) {
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() >= deadline => {
                    return Err(format!("{} ({}): {why}", self.machine, self.host.ssh));
                }
                Err(_) => std::thread::sleep(ASK_AGAIN),
            }
        }
    }

    /// One try.
    ///
    /// # Errors
    /// What ssh(1) or the machine said.
    pub fn try_connect(&mut self, clock: Clock, sink: &Sink) -> Result<(), String> {
        self.life = None;
        let mut ssh = self
            .command(&self.entrance())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("ssh: {error}; it is in Debian's openssh-client"))?;
        let (to, from) = (ssh.stdin.take(), ssh.stdout.take());
        let (Some(to), Some(from)) = (to, from) else { return Err("ssh has no pipes".into()) };
        let agent =
            Agent::over(to, from, clock, sink.clone()).map_err(|error| error.to_string())?;
        let up = agent.wait_until_up(PATIENCE);
        let mut life = Life { agent, ssh };
        if let Err(why) = up {
            let _ = life.ssh.kill();
            let mut said = String::new();
            if let Some(mut errors) = life.ssh.stderr.take() {
                let _ = std::io::Read::read_to_string(&mut errors, &mut said);
            }
            return Err(format!("{why} {}", said.trim()));
        }
        life.agent.order(json!({"do": "follow"}), PATIENCE)?;
        self.life = Some(life);
        Ok(())
    }

    /// What the machine runs from then on: everything ends with it.
    fn entrance(&self) -> String {
        let name = self.machine.name();
        let mut script = format!(
            "set -e; cd {PLACE}; mkdir -p etc/resource.d state log /etc/ha.d /var/lib/heartbeat /run/heartbeat\n\
             {}\n",
            end_pages()
        );
        for network in [Network::Public, Network::Private] {
            let (interface, address) =
                (self.interface(network), network.address(node(self.machine)));
            script.push_str(&format!(
                "ip -4 addr show dev {interface} | grep -qF ' {address}/{PREFIX} ' || \
                 ip addr add {address}/{PREFIX} broadcast + dev {interface}; ip link set {interface} up\n"
            ));
        }
        script.push_str(&format!(
            "exec env HIL_HEARTBEATD={PLACE}/heartbeatd PATH={PLACE}:$PATH \
             unshare --uts --mount --propagation private sh -c 'hostname {name}; set -e; \
             mount --bind {PLACE}/etc /etc/ha.d; mount --bind {PLACE}/state /var/lib/heartbeat; \
             mount --bind {PLACE}/log /var/log; mount -t tmpfs run /run/heartbeat; exec {PLACE}/hil-guest -'"
        ));
        script
    }

    /// ssh(1) asks for nothing: keys and names are its own affair (ssh_config(5)).
    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]);
        command.arg(&self.host.ssh).arg(script);
        command
    }

    fn ssh(&self, script: &str, input: Option<&Path>) -> Result<String, String> {
        let stdin = match input {
            None => Stdio::null(),
            Some(path) => {
                File::open(path).map_err(|error| format!("{}: {error}", path.display()))?.into()
            }
        };
        let output = self.command(script).stdin(stdin).output();
        let output =
            output.map_err(|error| format!("ssh: {error}; it is in Debian's openssh-client"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("ssh {}: {}: {said}", self.host.ssh, output.status))
    }

    /// The machine's own name for a network's interface.
    #[must_use]
    pub fn interface(&self, network: Network) -> &str {
        match network {
            Network::Public => &self.host.public,
            Network::Private => &self.host.private,
        }
    }

    /// Its files name its own ports and interfaces; stories, and what is read of its log, call them as everywhere.
    #[must_use]
    pub fn in_its_words(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (number, port) in self.ports.iter().enumerate() {
            text = text.replace(&format!("/dev/ttyS{number}\n"), &format!("{}\n", port.display()));
            text = text.replace(&format!("/dev/ttyS{number} "), &format!("{} ", port.display()));
        }
        for network in [Network::Public, Network::Private] {
            let (called, real) = (network.interface(), self.interface(network));
            text = text.replace(&format!("udp {called}\n"), &format!("udp {real}\n"));
        }
        text
    }

    /// What reads its log.
    #[must_use]
    pub fn names(&self) -> Names {
        let port = |(number, port): (usize, &PathBuf)| {
            (port.display().to_string(), format!("/dev/ttyS{number}"))
        };
        let mut names: Vec<_> = self.ports.iter().enumerate().map(port).collect();
        for network in [Network::Public, Network::Private] {
            for before in [":", "interface "] {
                let name = |name: &str| format!("{before}{name}");
                names.push((name(self.interface(network)), name(network.interface())));
            }
        }
        Names(names)
    }

    /// Whether ssh finds the machine.
    ///
    /// # Errors
    /// What ssh(1) said.
    pub fn is_there(&self) -> Result<(), String> {
        self.ssh("true", None).map(drop)
    }

    fn agent(&self) -> Result<&Agent, String> {
        let life = self.life.as_ref();
        life.map(|life| &life.agent).ok_or_else(|| format!("{} has no power", self.machine))
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.life.as_ref().is_some_and(|life| !life.agent.is_gone())
    }

    /// Whether the machine had one, and it ended by itself.
    #[must_use]
    pub fn was_lost(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.agent.is_gone())
    }

    /// Lets go of the connection; what ran by it ends.
    pub fn disconnect(&mut self) {
        if self.is_on() {
            // The pages would outlive it. A machine that is gone has none.
            let _ = self.shell(&end_pages());
        }
        self.life = None;
    }

    /// Whether nothing answers any more.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.agent().is_ok_and(|agent| agent.order(json!({"do": "ping"}), SILENT).is_err())
    }

    /// An order to the hand there.
    ///
    /// # Errors
    /// The machine's own words.
    pub fn order(&self, order: serde_json::Value) -> Result<serde_json::Value, String> {
        self.agent()?.order(order, PATIENCE)
    }

    /// Runs a program there.
    ///
    /// # Errors
    /// It can't be started, or doesn't end in time.
    pub fn run(&self, argv: &[&str]) -> Result<Ran, String> {
        self.agent()?.run(argv, PATIENCE)
    }

    /// Runs a shell's words there; they must end with 0.
    ///
    /// # Errors
    /// As [`Self::run`]; and what they said when they end with something else.
    pub fn shell(&self, text: &str) -> Result<String, String> {
        let ran = self.run(&["/bin/sh", "-c", text])?;
        if ran.code == 0 {
            return Ok(ran.out);
        }
        Err(format!("{text} on {}: code {}: {}{}", self.machine, ran.code, ran.out, ran.err))
    }

    /// Writes a file there.
    ///
    /// # Errors
    /// The machine's own words.
    pub fn write(&self, path: &str, text: &str, mode: u32) -> Result<(), String> {
        self.order(json!({"do": "write", "path": path, "text": text, "mode": mode})).map(drop)
    }

    /// What the daemon's observe socket says; None while it says nothing.
    #[must_use]
    pub fn observe(&self) -> Option<String> {
        let answer = self.agent().ok()?.order(json!({"do": "observe"}), SILENT).ok()?;
        answer["text"].as_str().map(str::to_owned)
    }

    /// Serves a page on each group's address: whoever has the address answers.
    ///
    /// # Errors
    /// The machine's own words.
    pub fn serve_pages(&self, groups: usize) -> Result<(), String> {
        for group in 0..groups {
            let address = files::address(group);
            self.shell(&format!(
                "{PLACE}/hb rig-web {address}:80 </dev/null >/dev/null 2>&1 & echo $! >>{PLACE}/pages"
            ))?;
        }
        Ok(())
    }

    /// The hardware address of its public interface.
    ///
    /// # Errors
    /// The machine's own words.
    pub fn public_mac(&self) -> Result<Mac, String> {
        let interface = self.interface(Network::Public);
        let text = self.shell(&format!("ip -o link show dev {interface}"))?;
        let word = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
        let bytes = word.unwrap_or_default().split(':').map(|byte| u8::from_str_radix(byte, 16));
        let bytes = bytes.collect::<Result<Vec<_>, _>>().unwrap_or_default();
        bytes.try_into().map_err(|_| {
            format!(
                "{}: {interface}: expected link/ether and an address in `{}`",
                self.machine,
                text.trim()
            )
        })
    }
}

/// What a machine calls its ports and interfaces, and what stories do.
#[derive(Clone, Debug)]
pub struct Names(Vec<(String, String)>);

impl Names {
    /// A line of its log, in a story's words.
    #[must_use]
    pub fn in_our_words(&self, line: &str) -> String {
        let replaced = |line: String, (real, called): &(String, String)| line.replace(real, called);
        self.0.iter().fold(line.to_owned(), replaced)
    }
}

/// A shell's words that end the pages of an earlier connection: by number, if it is still that program's.
fn end_pages() -> String {
    format!(
        "for page in $(cat {PLACE}/pages 2>/dev/null); do case \"$(readlink /proc/$page/exe)\" in \
         '{PLACE}/hb'*) kill $page; while kill -0 $page 2>/dev/null; do sleep 0.1; done;; esac; done; \
         rm -f {PLACE}/pages"
    )
}

/// Runs one of rig.toml's power commands here.
///
/// # Errors
/// What it said, when it doesn't end with 0.
pub fn switch(command: &str) -> Result<(), String> {
    let output = Command::new("/bin/sh").args(["-c", command]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("/bin/sh: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command}: {}: {}", output.status, String::from_utf8_lossy(&said).trim()))
}
