//! The verbs of two hosts: done over ssh, by rig.toml's power commands, or asked of the person.

use std::sync::Arc;
use std::time::Duration as StdDuration;

use hb_linux::rig::bench::Network;
use hb_proto::time::Instant;
use serde_json::json;

use super::super::remote::{Remote, switch};
use super::TwoHosts;
use crate::netns::files;
use crate::scenario::cluster::{Link, Machine};
use crate::scenario::rig::{Cannot, Done, Missing};
use crate::scenario::verb::{Verb, Way};
use crate::vm::agent::Sink;
use crate::vm::seen;

/// Real machines take minutes to boot.
const BOOT_PATIENCE: StdDuration = StdDuration::from_secs(300);
/// A machine without power falls silent by then.
const OFF_PATIENCE: StdDuration = StdDuration::from_secs(10);
/// One that went unasked is looked for this often: a connection that fails takes seconds.
const LOOK_EVERY: hb_proto::time::Duration = hb_proto::time::Duration::from_secs(2);

fn missing(verb: &Verb, why: &'static str) -> Cannot {
    Missing { verb: verb.name(), why }.into()
}

/// Waits until ssh finds the machine.
pub(super) fn wait_for(remote: &Remote) -> Result<(), String> {
    let deadline = std::time::Instant::now() + BOOT_PATIENCE;
    loop {
        match remote.is_there() {
            Ok(()) => return Ok(()),
            Err(why) if std::time::Instant::now() >= deadline => return Err(why),
            Err(_) => std::thread::sleep(StdDuration::from_secs(1)),
        }
    }
}

impl TwoHosts {
    fn ask(&mut self, verb: &Verb, do_this: &str) -> Done {
        if self.person.please(do_this) {
            return Ok(());
        }
        Err(missing(verb, "it takes hands, and nobody did it"))
    }

    fn remote(&self, machine: Machine) -> &Remote {
        &self.remotes[machine.index()]
    }

    /// By the command of rig.toml, else by the person.
    fn operate(&mut self, verb: &Verb, command: Option<String>, do_this: &str) -> Done {
        match command {
            Some(command) => switch(&command).map_err(Cannot::Broken),
            None => self.ask(verb, do_this),
        }
    }

    fn sink(&self, machine: Machine) -> Result<Sink, Cannot> {
        let Some(up) = &self.up else { return Err(Cannot::Broken("no cluster was built".into())) };
        let (inner, renamed) = (seen::sink(&up.seen, machine), self.remote(machine).names());
        Ok(Arc::new(move |at, told| match told["line"].as_str() {
            Some(line) => {
                let mut told = told.clone();
                told["line"] = json!(renamed.in_our_words(line));
                inner(at, &told);
            }
            None => inner(at, told),
        }))
    }

    /// A command that ends well and switches nothing off would make every story true.
    fn must_be_off(&mut self, machine: Machine, at: Instant) -> Done {
        let deadline = std::time::Instant::now() + OFF_PATIENCE;
        while !self.remote(machine).is_silent() {
            if std::time::Instant::now() >= deadline {
                let why = format!("{machine} was switched off, and still answers over ssh");
                return Err(Cannot::Broken(why));
            }
        }
        self.remotes[machine.index()].forget();
        let waited = self.clock.now().since(at);
        let up = self.up()?;
        up.waits.push((at, waited));
        up.has_ended(machine, at);
        Ok(())
    }

    fn power_off(&mut self, verb: &Verb, machine: Machine) -> Done {
        self.up()?.note_ends();
        let command = self.remote(machine).host.power.off.clone();
        let do_this = format!("take the power from {machine} ({})", self.remote(machine).host.ssh);
        self.operate(verb, command, &do_this)?;
        let at = self.clock.now();
        self.up()?.lost[machine.index()] = None;
        self.must_be_off(machine, at)
    }

    fn power_on(&mut self, verb: &Verb, machine: Machine) -> Done {
        // The first power-on of a story finds a machine that runs.
        if self.remote(machine).is_there().is_err() {
            let command = self.remote(machine).host.power.on.clone();
            let do_this = format!("give {machine} ({}) power", self.remote(machine).host.ssh);
            self.operate(verb, command, &do_this)?;
        }
        self.come_up(machine)
    }

    fn reset(&mut self, verb: &Verb, machine: Machine) -> Done {
        let Some(command) = self.remote(machine).host.power.reset.clone() else {
            if self.remote(machine).host.power.off.is_some() {
                self.power_off(verb, machine)?;
                return self.power_on(verb, machine);
            }
            self.up()?.note_ends();
            self.ask(verb, &format!("press the reset button of {machine}"))?;
            let at = self.clock.now();
            self.must_be_off(machine, at)?;
            return self.come_up(machine);
        };
        self.up()?.note_ends();
        switch(&command).map_err(Cannot::Broken)?;
        let at = self.clock.now();
        self.must_be_off(machine, at)?;
        self.come_up(machine)
    }

    /// Waits for the machine and makes it one of the two.
    fn come_up(&mut self, machine: Machine) -> Done {
        let (began, sink) = (self.clock.now(), self.sink(machine)?);
        let groups = self.up()?.cluster.groups.len();
        let clock = self.clock;
        let remote = &mut self.remotes[machine.index()];
        remote.connect(clock, &sink, BOOT_PATIENCE).map_err(Cannot::Broken)?;
        remote.serve_pages(groups).map_err(Cannot::Broken)?;
        let took = clock.now().since(began);
        let up = self.up()?;
        up.lost[machine.index()] = None;
        up.waits.push((began, took));
        self.daemon(machine, "start")
    }

    /// Notes machines that went unasked, and takes those up that are back.
    pub(super) fn tend(&mut self) {
        for machine in Machine::BOTH {
            let now = self.clock.now();
            let was_lost = self.remote(machine).was_lost();
            let Some(up) = &mut self.up else { return };
            if was_lost {
                up.note_ends();
                up.has_ended(machine, now);
                up.resets.push((now, machine));
                if up.cluster.arbiter.is_none() {
                    up.complaints.push(format!("{machine} went, and nothing here may reset it"));
                }
                up.lost[machine.index()] = Some(now);
                self.remotes[machine.index()].forget();
            } else if up.lost[machine.index()].is_some_and(|last| now.since(last) >= LOOK_EVERY) {
                up.lost[machine.index()] = Some(now);
                if self.remote(machine).is_there().is_ok()
                    && let Err(why) = self.come_up(machine)
                    && let Some(up) = &mut self.up
                {
                    up.complaints.push(format!("{machine} is back, and can't be used: {why:?}"));
                }
            }
        }
    }

    fn daemon(&mut self, machine: Machine, word: &str) -> Done {
        let up = self.up()?;
        up.views[machine.index()] = None;
        if word == "start" {
            up.ends.started(machine);
        }
        let order = json!({"do": "daemon", "word": word});
        self.remote(machine).order(order).map(drop).map_err(Cannot::Broken)
    }

    fn ends(&mut self, machine: Machine, word: &str, how: &'static str) -> Done {
        self.up()?.ends.expect(machine, how);
        self.daemon(machine, word)
    }

    fn shell(&self, machine: Machine, text: &str) -> Done {
        self.remote(machine).shell(text).map(drop).map_err(Cannot::Broken)
    }

    fn hb(&self, machine: Machine, words: &[&str]) -> Done {
        let ran = self.remote(machine).run(&[&["hb"], words].concat()).map_err(Cannot::Broken)?;
        match ran.code {
            0 => Ok(()),
            // hb's own exit code 1: the daemon answered, and refused.
            1 => Err(Cannot::Refused(ran.err.trim().to_owned())),
            code => Err(Cannot::Broken(format!("hb {words:?} on {machine}: {code}: {}", ran.err))),
        }
    }

    fn cable(&self, link: Link) -> String {
        match link {
            Link::Serial(line) => {
                let [a, b] = &self.config.lines[line];
                format!("the null-modem cable of ttyS{line} ({} to {})", a.display(), b.display())
            }
            Link::Private | Link::Public => {
                let network = if link == Link::Public { Network::Public } else { Network::Private };
                let [a, b] = Machine::BOTH.map(|machine| self.remote(machine).interface(network));
                format!("the cable of {link} ({a} to {b})")
            }
        }
    }

    pub(super) fn do_it(&mut self, verb: Verb) -> Done {
        match verb {
            Verb::PowerOff(at) => self.power_off(&verb, at),
            Verb::PowerOn(at) => self.power_on(&verb, at),
            Verb::Reset(at) => self.reset(&verb, at),
            Verb::StopDaemon(at) => self.daemon(at, "stop"),
            Verb::ContinueDaemon(at) => self.daemon(at, "continue"),
            Verb::KillDaemon(at) => self.ends(at, "kill", "signal 9"),
            Verb::KillHelper(at) => self.shell(at, crate::vm::verbs::KILL_HELPER),
            Verb::StartDaemon(at) => self.daemon(at, "start"),
            Verb::Leave(at) => self.ends(at, "terminate", "code 0"),
            Verb::Cut(link, Way::Both) => {
                let what = format!("unplug {} at one end", self.cable(link));
                self.ask(&verb, &what)
            }
            Verb::Heal(link, Way::Both) => {
                let what = format!("plug {} in again", self.cable(link));
                self.ask(&verb, &what)
            }
            Verb::Unplug(link, at) => {
                let what = format!("unplug {} at {at}", self.cable(link));
                self.ask(&verb, &what)
            }
            Verb::Replug(link, at) => {
                let what = format!("plug {} in again at {at}", self.cable(link));
                self.ask(&verb, &what)
            }
            Verb::Cut(..) | Verb::Heal(..) => {
                Err(missing(&verb, "a cable is unplugged whole, not wire by wire"))
            }
            Verb::FillCpu(at) => self.shell(at, crate::vm::verbs::FILL_CPU),
            Verb::FreeCpu(at) => self.shell(at, "touch /run/free-cpu; sleep 1; rm /run/free-cpu"),
            Verb::Script(at, name, conduct) => {
                let file = format!("/var/log/{}", files::conduct_file(name));
                let text = files::conduct(conduct);
                self.remote(at).write(&file, &text, 0o644).map_err(Cannot::Broken)
            }
            Verb::StartOutside(at, name) => {
                self.shell(at, &format!("/etc/ha.d/resource.d/rec {name} outside"))
            }
            Verb::Standby(at) => self.hb(at, &["standby"]),
            Verb::Takeover(at) => self.hb(at, &["takeover"]),
            Verb::TakeoverPeerIsOff(at) => self.hb(at, &["takeover", "--peer-is-off"]),
            Verb::Reload(at) => self.hb(at, &["reload"]),
            Verb::SetBaud(line, at, baud) => {
                let port = self.config.lines[line][at.index()].display().to_string();
                self.shell(at, &format!("stty -F {port} {baud}"))
            }
            Verb::Noise(..) | Verb::Break(..) => {
                Err(missing(&verb, "a real line is as noisy as it is"))
            }
            other => self.on_dongle(other),
        }
    }

    fn on_dongle(&mut self, verb: Verb) -> Done {
        let what = match verb {
            Verb::ResetDongle => "press the dongle's reset button".to_owned(),
            Verb::RemoveDongle => "take the dongle out: both cables and its power".to_owned(),
            Verb::InsertDongle { spare: false } => "put the dongle in again".to_owned(),
            Verb::InsertDongle { spare: true } => "put the spare dongle in".to_owned(),
            Verb::CutHalf(at) => format!("unplug the cable between the dongle and {at}"),
            Verb::HealHalf(at) => format!("plug the cable between the dongle and {at} in again"),
            Verb::CutFeed(at) => format!("unplug the dongle's power feed from {at}"),
            Verb::HealFeed(at) => format!("plug the dongle's power feed from {at} in again"),
            other => return Err(missing(&other, "not on real machines")),
        };
        self.ask(&verb, &what)
    }
}
