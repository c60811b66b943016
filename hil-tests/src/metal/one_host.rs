//! Two daemons on this machine, in namespaces, over real serial ports.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hb_linux::rig::machine::Programs;
use hb_proto::time::{Duration, Instant};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::person::Person;
use crate::netns::rig::Namespaces;
use crate::scenario::cluster::{Cluster, Link, Machine};
use crate::scenario::phrase::Phrase;
use crate::scenario::rig::{Cannot, Done, Entry, Missing, Moment, Moved, Rig, View};
use crate::scenario::verb::{Verb, Way};

/// See the module. Build it inside [`crate::inside::inside`] or `hb rig-enter`.
pub struct OneHost {
    inner: Namespaces,
    lines: Vec<[PathBuf; 2]>,
    person: Box<dyn Person>,
}

impl OneHost {
    /// Nothing is built yet; rig time begins. `lines` become ttyS0, ttyS1, … of both machines.
    #[must_use]
    pub fn new(programs: Programs, lines: Vec<[PathBuf; 2]>, person: Box<dyn Person>) -> Self {
        let inner = Namespaces::over_ports(programs, lines.clone());
        Self { inner, lines, person }
    }

    fn ask(&mut self, verb: &'static str, do_this: &str) -> Done {
        if self.person.please(do_this) {
            return Ok(());
        }
        Err(Missing { verb, why: "it takes hands, and nobody did it" }.into())
    }

    fn cable(&self, line: usize) -> String {
        let [a, b] = &self.lines[line];
        format!("the null-modem cable of ttyS{line} ({} to {})", a.display(), b.display())
    }

    /// As stty(1) of another program would: root may open a port that is claimed (ioctl_tty(2), TIOCEXCL).
    fn set_baud(&self, line: usize, at: Machine, baud: u32) -> std::io::Result<()> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let port: OwnedFd = rustix::fs::open(&self.lines[line][at.index()], flags, Mode::empty())?;
        let mut termios = tcgetattr(&port)?;
        termios.set_speed(baud)?;
        Ok(tcsetattr(&port, OptionalActions::Now, &termios)?)
    }
}

fn missing(verb: &Verb, why: &'static str) -> Cannot {
    Missing { verb: verb.name(), why }.into()
}

impl Rig for OneHost {
    fn name(&self) -> &'static str {
        "metal"
    }

    fn build(&mut self, cluster: &Cluster) -> Done {
        if cluster.serial_lines > self.lines.len() {
            let verb = "serial line";
            return Err(Missing { verb, why: "the story takes more than rig.toml has" }.into());
        }
        if cluster.arbiter.is_some() {
            return Err(Missing { verb: "dongle", why: "this rig plays none yet" }.into());
        }
        self.inner.build(cluster)
    }

    fn act(&mut self, verb: Verb) -> Done {
        match verb {
            Verb::Cut(Link::Serial(line), Way::Both) => {
                self.ask(verb.name(), &format!("unplug {} at one end", self.cable(line)))
            }
            Verb::Heal(Link::Serial(line), Way::Both) => {
                self.ask(verb.name(), &format!("plug {} in again", self.cable(line)))
            }
            Verb::Cut(Link::Serial(_), Way::From(_))
            | Verb::Heal(Link::Serial(_), Way::From(_)) => {
                Err(missing(&verb, "a cable is unplugged whole, not wire by wire"))
            }
            Verb::Unplug(Link::Serial(_), _) | Verb::Replug(Link::Serial(_), _) => {
                Err(missing(&verb, "a namespace isn't given the adapter's new device"))
            }
            Verb::Noise(..) | Verb::Break(..) => {
                Err(missing(&verb, "a real line is as noisy as it is"))
            }
            Verb::SetBaud(line, at, baud) => self
                .set_baud(line, at, baud)
                .map_err(|error| Cannot::Broken(format!("{verb}: {error}"))),
            other => self.inner.act(other),
        }
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn run_for(&mut self, span: Duration) {
        self.inner.run_for(span);
    }

    fn slack(&self, since: Instant) -> Duration {
        self.inner.slack(since)
    }

    fn doubts(&self, since: Instant) -> Option<String> {
        self.inner.doubts(since)
    }

    fn resolution(&self) -> Duration {
        self.inner.resolution()
    }

    fn journal(&mut self) -> Vec<Entry> {
        self.inner.journal()
    }

    fn daemon_runs(&mut self, machine: Machine) -> bool {
        self.inner.daemon_runs(machine)
    }

    fn view(&mut self, machine: Machine) -> Option<View> {
        self.inner.view(machine)
    }

    fn has_all_votes(&mut self, machine: Machine, group: usize) -> bool {
        self.inner.has_all_votes(machine, group)
    }

    fn answering(&mut self, group: usize) -> Result<Option<Machine>, Missing> {
        self.inner.answering(group)
    }

    fn dark(&mut self, group: usize, from: Instant) -> Result<Duration, Missing> {
        self.inner.dark(group, from)
    }

    fn overlap(&mut self, group: usize, from: Instant) -> Result<Option<Instant>, Missing> {
        self.inner.overlap(group, from)
    }

    fn announcements(&mut self, machine: Machine, group: usize) -> Result<Vec<Instant>, Missing> {
        self.inner.announcements(machine, group)
    }

    fn told(
        &mut self,
        machine: Machine,
        phrase: &Phrase,
        since: Instant,
    ) -> Result<usize, Missing> {
        self.inner.told(machine, phrase, since)
    }

    fn moves(&mut self, machine: Machine) -> Result<Vec<Moved>, Missing> {
        self.inner.moves(machine)
    }

    fn accepted_twice(&mut self) -> Result<Vec<String>, Missing> {
        self.inner.accepted_twice()
    }

    fn complaints(&mut self) -> Vec<String> {
        self.inner.complaints()
    }

    fn timeline(&mut self) -> Vec<Moment> {
        self.inner.timeline()
    }

    fn keep(&mut self, directory: &Path) -> Result<(), String> {
        self.inner.keep(directory)?;
        let lines = self.lines.iter().map(|[a, b]| format!("{} to {}\n", a.display(), b.display()));
        std::fs::write(directory.join("lines"), lines.collect::<String>())
            .map_err(|error| error.to_string())
    }
}
