//! What can happen to a cluster: faults, repairs and an operator's commands, for every rig.

use std::fmt;

use hb_proto::time::Duration;

use super::cluster::{Link, Machine};

/// Which way of a link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Way {
    /// Both.
    Both,
    /// What this machine sends.
    From(Machine),
}

/// Damage on a serial line, for each way, in events per million bytes. Zeros: a clean line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Noise {
    /// A bit arrives inverted.
    pub flipped: u32,
    /// A byte doesn't arrive.
    pub lost: u32,
    /// A byte arrives twice.
    pub repeated: u32,
    /// A byte and the next arrive as one, their bits mixed.
    pub merged: u32,
    /// A burst of random bytes begins.
    pub bursts: u32,
    /// Bytes that a burst spoils.
    pub burst_bytes: u32,
}

/// Weather on a network, for each way, in events per million datagrams. Zeros: fair.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Weather {
    /// Not delivered.
    pub lost: u32,
    /// Delivered twice.
    pub duplicated: u32,
    /// Delivered after the next one.
    pub reordered: u32,
    /// Every datagram takes this much longer.
    pub delay: Duration,
    /// Delivered with one bit inverted, where no checksum of the network sees it.
    pub corrupted: u32,
    /// A burst of losses begins.
    pub bursts: u32,
    /// Datagrams that a burst swallows.
    pub burst_datagrams: u32,
}

/// A word that a resource script is called with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Order {
    /// `start`.
    Start,
    /// `stop`.
    Stop,
    /// `status`.
    Status,
}

/// How a resource script behaves from now on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Conduct {
    /// As it should.
    Obeys,
    /// It does, after this long.
    Slow(Duration),
    /// Its stop lets go at once and cleans up for this long before it returns: a second stop finds
    /// nothing to do, and what is started meanwhile is swept away with the rest.
    Lingers(Duration),
    /// Never returns from this word, until it is killed.
    Hangs(Order),
    /// Does nothing and exits with 1.
    Fails(Order),
    /// Does nothing and exits with 0.
    Lies(Order),
}

/// Where the dongle's reset output for a machine ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ResetWire {
    /// On that machine's reset header.
    #[default]
    Sound,
    /// Nowhere: the wire is broken.
    Broken,
    /// On the other machine's reset header.
    Swapped,
}

/// Something that happens. Every rig knows each of them or says that it is [`super::Missing`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    /// Power loss: nothing leaves the machine any more; only its disk stays.
    PowerOff(Machine),
    /// Power; the daemon starts as soon as the machine is up.
    PowerOn(Machine),
    /// The reset button: power off, and on at once.
    Reset(Machine),
    /// The whole machine stands still (a hypervisor's pause); its wires keep what arrives.
    Freeze(Machine),
    /// It goes on where it was.
    Thaw(Machine),
    /// SIGSTOP for the daemon alone.
    StopDaemon(Machine),
    /// SIGCONT.
    ContinueDaemon(Machine),
    /// SIGKILL for the daemon alone.
    KillDaemon(Machine),
    /// SIGKILL for the daemon's helper process alone.
    KillHelper(Machine),
    /// As a service manager starts it.
    StartDaemon(Machine),
    /// The kernel panics: nothing runs, nothing leaves, the power stays on.
    PanicKernel(Machine),
    /// A wire carries nothing, one way or both; carriers stay as they are.
    Cut(Link, Way),
    /// It carries again.
    Heal(Link, Way),
    /// The machine's own plug or adapter is pulled: the carrier or the device goes with it.
    Unplug(Link, Machine),
    /// It is put back.
    Replug(Link, Machine),
    /// Damage on a serial line from now on; [`Noise::default`] ends it.
    Noise(usize, Noise),
    /// A break condition on a serial line, sent by a machine's end for so long.
    Break(usize, Machine, Duration),
    /// Something sets a machine's end of a serial line to another speed: bit/s.
    SetBaud(usize, Machine, u32),
    /// Weather on a network from now on; [`Weather::default`] ends it.
    Disturb(Link, Weather),
    /// Every core of the machine is kept busy by other processes.
    FillCpu(Machine),
    /// They end.
    FreeCpu(Machine),
    /// Its wall clock jumps by so many milliseconds.
    StepClock(Machine, i64),
    /// A resource script changes its conduct on one machine.
    Script(Machine, &'static str, Conduct),
    /// Something other than heartbeat starts a resource script there: the operating system, say.
    StartOutside(Machine, &'static str),
    /// The dongle is reset; its power stays.
    ResetDongle,
    /// Its firmware hangs: nothing is forwarded, no vote, until its own watchdog resets it.
    HangDongle,
    /// It is taken out; the null-modem line ends with it.
    RemoveDongle,
    /// A dongle is put in: the same, or a spare with no history.
    InsertDongle {
        /// Never used before.
        spare: bool,
    },
    /// The cable between a machine and the dongle is cut, both ways: one half of the null-modem
    /// line, modem lines included. [`Verb::Cut`] of that link cuts both halves.
    CutHalf(Machine),
    /// It is whole again.
    HealHalf(Machine),
    /// The dongle's port at a machine hears nothing any more (a dead receiver); it still sends.
    DeafenPort(Machine),
    /// The dongle's port at a machine sends nothing any more (a dead driver); it still hears.
    MutePort(Machine),
    /// That port hears and sends again.
    HealPort(Machine),
    /// The dongle gets no power from a machine any more, though that one has some.
    CutFeed(Machine),
    /// It does again, while that machine has power.
    HealFeed(Machine),
    /// Where the dongle's reset output for a machine ends from now on.
    WireReset(Machine, ResetWire),
    /// An operator tests the dongle's reset output for a machine, with nothing running there: only a
    /// line that stopped that machine and no other counts as wired (R12).
    TestReset(Machine),
    /// `hb standby`: all groups that the machine holds go to the peer.
    Standby(Machine),
    /// `hb takeover`: all groups come to the machine.
    Takeover(Machine),
    /// `hb takeover --peer-is-off`: a human votes in place of the peer (R14).
    TakeoverPeerIsOff(Machine),
    /// Orderly leave: SIGTERM.
    Leave(Machine),
    /// The daemon reads its files again.
    Reload(Machine),
    /// The machine's software is replaced by the next version: leave, exchange, start.
    Upgrade(Machine),
}

impl Verb {
    /// The name by which a skip lists it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PowerOff(_) => "power off",
            Self::PowerOn(_) => "power on",
            Self::Reset(_) => "reset",
            Self::Freeze(_) => "freeze",
            Self::Thaw(_) => "thaw",
            Self::StopDaemon(_) => "stop daemon",
            Self::ContinueDaemon(_) => "continue daemon",
            Self::KillDaemon(_) => "kill daemon",
            Self::KillHelper(_) => "kill helper",
            Self::StartDaemon(_) => "start daemon",
            Self::PanicKernel(_) => "panic kernel",
            Self::Cut(..) => "cut",
            Self::Heal(..) => "heal",
            Self::Unplug(..) => "unplug",
            Self::Replug(..) => "replug",
            Self::Noise(..) => "noise",
            Self::Break(..) => "break",
            Self::SetBaud(..) => "set baud",
            Self::Disturb(..) => "disturb",
            Self::FillCpu(_) => "fill CPU",
            Self::FreeCpu(_) => "free CPU",
            Self::StepClock(..) => "step clock",
            Self::Script(..) => "script conduct",
            Self::StartOutside(..) => "start outside",
            Self::ResetDongle => "reset dongle",
            Self::HangDongle => "hang dongle",
            Self::RemoveDongle => "remove dongle",
            Self::InsertDongle { .. } => "insert dongle",
            Self::CutHalf(_) => "cut dongle line",
            Self::HealHalf(_) => "heal dongle line",
            Self::DeafenPort(_) => "deafen dongle port",
            Self::MutePort(_) => "mute dongle port",
            Self::HealPort(_) => "heal dongle port",
            Self::CutFeed(_) => "cut dongle power feed",
            Self::HealFeed(_) => "heal dongle power feed",
            Self::WireReset(..) => "wire reset line",
            Self::TestReset(_) => "test reset line",
            Self::Standby(_) => "standby",
            Self::Takeover(_) => "takeover",
            Self::TakeoverPeerIsOff(_) => "takeover --peer-is-off",
            Self::Leave(_) => "leave",
            Self::Reload(_) => "reload",
            Self::Upgrade(_) => "upgrade",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Both => f.write_str("both ways"),
            Self::From(machine) => write!(f, "what {machine} sends"),
        }
    }
}

/// For the timeline.
impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::PowerOff(at)
            | Self::PowerOn(at)
            | Self::Reset(at)
            | Self::Freeze(at)
            | Self::Thaw(at)
            | Self::StopDaemon(at)
            | Self::ContinueDaemon(at)
            | Self::KillDaemon(at)
            | Self::KillHelper(at)
            | Self::StartDaemon(at)
            | Self::PanicKernel(at)
            | Self::FillCpu(at)
            | Self::FreeCpu(at)
            | Self::Standby(at)
            | Self::Takeover(at)
            | Self::TakeoverPeerIsOff(at)
            | Self::CutHalf(at)
            | Self::HealHalf(at)
            | Self::DeafenPort(at)
            | Self::MutePort(at)
            | Self::HealPort(at)
            | Self::CutFeed(at)
            | Self::HealFeed(at)
            | Self::TestReset(at)
            | Self::Leave(at)
            | Self::Reload(at)
            | Self::Upgrade(at) => write!(f, " {at}"),
            Self::Cut(link, way) | Self::Heal(link, way) => write!(f, " {link}, {way}"),
            Self::Unplug(link, at) | Self::Replug(link, at) => write!(f, " {link} of {at}"),
            Self::Noise(line, noise) => write!(f, " on ttyS{line}: {noise:?}"),
            Self::Break(line, at, lasting) => write!(f, " of {lasting} on ttyS{line} from {at}"),
            Self::SetBaud(line, at, baud) => write!(f, " of ttyS{line} on {at} to {baud}"),
            Self::Disturb(link, weather) => write!(f, " {link}: {weather:?}"),
            Self::StepClock(at, by) => write!(f, " of {at} by {by} ms"),
            Self::Script(at, name, conduct) => write!(f, " of {name} on {at}: {conduct:?}"),
            Self::StartOutside(at, name) => write!(f, " of heartbeat: {name} on {at}"),
            Self::InsertDongle { spare } => write!(f, "{}", if *spare { " (a spare)" } else { "" }),
            Self::WireReset(at, wire) => write!(f, " of {at}: {wire:?}"),
            Self::ResetDongle | Self::HangDongle | Self::RemoveDongle => Ok(()),
        }
    }
}
