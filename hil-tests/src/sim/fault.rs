//! What can go wrong, and what operators do at the worst moment.

use std::fmt;

use super::dongle::faults::DongleFault;
use super::queue::At;

/// Which machine: 0 is A, 1 is B.
pub type Who = usize;

/// A's and B's names.
pub const NAMES: [&str; 2] = ["A", "B"];

/// How a path treats what it carries. One direction of one link; how often, in events per million.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Weather {
    /// Datagrams, or serial bytes, lost.
    pub loss: u32,
    /// Datagrams that arrive twice, or serial bytes that are repeated.
    pub twice: u32,
    /// Serial bytes, or datagrams, with a flipped bit.
    pub flips: u32,
    /// Serial: two bytes merged to one.
    pub merges: u32,
    /// Datagrams are delayed up to so many µs more, each for itself: so they overtake each other.
    pub delay_us: u64,
    /// Every datagram takes so many µs more.
    pub late_us: u64,
    /// Datagrams that wait until the next ones have overtaken them.
    pub overtaken: u32,
    /// Datagrams, or serial bytes, with which a burst begins: all is lost for `burst_us`.
    pub bursts: u32,
    pub burst_us: u64,
    /// Serial: so many bytes of a burst arrive as anything.
    pub burst_bytes: u32,
}

/// Where in its turn the daemon loses the processor: always between reading the clock and acting on it,
/// so that what was true when it decided may be over when it acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// After the clock was read on waking up, before anything is dropped.
    Woken,
    /// After everything that arrived was taken in.
    Drained,
    /// After deciding, before acting.
    Decided,
    /// After a frame was stamped, before it is written.
    Stamped,
    /// Before the watchdog is looked after.
    Feeding,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Woken, Self::Drained, Self::Decided, Self::Stamped, Self::Feeding];
}

/// How a machine's resource scripts behave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mood {
    /// As they should.
    #[default]
    Healthy,
    /// So many times slower.
    Slow(u32),
    /// `start` never ends.
    StartHangs,
    /// `stop` never ends.
    StopHangs,
    /// `status` never ends.
    StatusHangs,
    /// `start` fails.
    StartFails,
    /// `stop` fails, and the resource goes on.
    StopFails,
    /// `stop` does its work and says that it failed.
    StopSaysFailed,
    /// `status` says that nothing runs, and `stop` fails: the node must believe it.
    Lies,
}

impl Mood {
    /// Everything but health.
    pub const ILL: [Self; 8] = [
        Self::Slow(4),
        Self::StartHangs,
        Self::StopHangs,
        Self::StatusHangs,
        Self::StartFails,
        Self::StopFails,
        Self::StopSaysFailed,
        Self::Lies,
    ];
}

/// What an operator does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// `hb standby`.
    Standby,
    /// `hb takeover`.
    Takeover,
    /// `hb stop`.
    Leave,
    /// Starts heartbeat, if it isn't running.
    Start,
    /// `hb takeover --peer-is-off`.
    PeerIsOff,
}

/// What an operator changes in one node's files before restarting it. heartbeatd reads its files when
/// it starts and never again (SIGHUP makes it say so, no more), so a restart is all that a reload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Files {
    /// As all along.
    Same,
    /// Another haresources than the peer's: nothing is promised while both nodes are there.
    OtherHaresources,
    /// Twice the keepalive, warntime, deadtime and initdead: the longer deadtime counts for both.
    TwiceAsSlow,
    /// Twice the guard, with an arbiter (R14).
    MoreGuard,
    /// Half the lease (R14).
    LessLease,
    /// No arbiter: a classic node beside one that has it (R2).
    NoArbiter,
}

impl Files {
    /// What two voters' files can be.
    pub const CLASSIC: [Self; 3] = [Self::Same, Self::OtherHaresources, Self::TwiceAsSlow];
    /// What three voters' files can be besides: other terms.
    pub const TERMS: [Self; 4] =
        [Self::TwiceAsSlow, Self::MoreGuard, Self::LessLease, Self::NoArbiter];
}

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    PowerOff(Who),
    PowerOn(Who),
    Reset(Who),
    /// The whole machine stands still: hypervisor, SMM.
    Freeze(Who),
    Thaw(Who),
    /// The kernel panics: nothing runs, the power stays on, an armed watchdog bites.
    PanicKernel(Who),
    /// SIGSTOP of the daemon: what arrives piles up.
    Stop(Who),
    /// SIGCONT.
    Continue(Who),
    /// The daemon loses the processor once, at this point of its turn, for so many µs.
    Stall(Who, Point, u64),
    /// SIGKILL, or a panic: the helper carries out the dead man's order.
    KillDaemon(Who),
    /// The daemon finds out and starts another.
    KillHelper(Who),
    /// Nobody is left to give anything up.
    KillBoth(Who),
    /// The daemon dies so many times, each time soon after its start.
    CrashLoop(Who, u32),
    /// What `from` sends on the link is lost.
    Cut {
        from: Who,
        link: usize,
    },
    Mend {
        from: Who,
        link: usize,
    },
    /// Both directions of every link.
    CutAll,
    MendAll,
    Weather {
        from: Who,
        link: usize,
        weather: Weather,
    },
    Scripts(Who, Mood),
    Operator(Who, Command),
    /// The node's files are changed, and heartbeat is restarted there: leave, start.
    Reload(Who, Files),
    /// Somebody sets the wall clock by so many milliseconds.
    WallStep(Who, i64),
    /// `hb takeover --peer-is-off`, be it true or not.
    PeerIsOff(Who),
    /// A machine holds a serial line in a break for so many µs.
    Break {
        from: Who,
        link: usize,
        us: u64,
    },
    /// A machine's end of a serial line is set to another speed, or to the right one again.
    Speed {
        who: Who,
        link: usize,
        baud: Option<u32>,
    },
    Dongle(DongleFault),
}

impl Fault {
    /// Kinds, for counting and for switching on and off.
    pub const KINDS: [&'static str; 29] = [
        "power off",
        "reset",
        "freeze",
        "stop",
        "stall",
        "kill daemon",
        "kill helper",
        "kill both",
        "crash loop",
        "cut",
        "weather",
        "scripts",
        "operator",
        "wall step",
        "kernel panic",
        "reload",
        "dongle reset",
        "dongle hang",
        "dongle removed",
        "spare dongle",
        "dongle line",
        "dongle port",
        "dongle feed",
        "reset line",
        "line test",
        "peer is off",
        "terms",
        "line break",
        "line speed",
    ];

    /// How many of them two voters know: those before the dongle's.
    pub const CLASSIC: usize = 16;

    /// Where the dongle's end, and those of serial lines alone begin: guides stir them in.
    pub const LINES: usize = 27;

    /// Position in [`Fault::KINDS`]; repairs count as none.
    #[must_use]
    pub const fn kind(&self) -> Option<usize> {
        Some(match self {
            Self::PowerOff(_) => 0,
            Self::Reset(_) => 1,
            Self::Freeze(_) => 2,
            Self::Stop(_) => 3,
            Self::Stall(..) => 4,
            Self::KillDaemon(_) => 5,
            Self::KillHelper(_) => 6,
            Self::KillBoth(_) => 7,
            Self::CrashLoop(..) => 8,
            Self::Cut { .. } | Self::CutAll => 9,
            Self::Weather { .. } => 10,
            Self::Scripts(_, Mood::Healthy) => return None,
            Self::Scripts(..) => 11,
            Self::Operator(..) => 12,
            Self::WallStep(..) => 13,
            Self::PanicKernel(_) => 14,
            Self::Reload(_, Files::MoreGuard | Files::LessLease | Files::NoArbiter) => 26,
            Self::Reload(..) => 15,
            Self::PeerIsOff(_) => 25,
            Self::Break { .. } => 27,
            Self::Speed { baud: Some(_), .. } => 28,
            Self::Dongle(fault) => return fault.kind(),
            Self::PowerOn(_)
            | Self::Thaw(_)
            | Self::Continue(_)
            | Self::Mend { .. }
            | Self::Speed { baud: None, .. }
            | Self::MendAll => {
                return None;
            }
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PowerOff(who) => write!(f, "{} loses power", NAMES[who]),
            Self::PowerOn(who) => write!(f, "{} gets power", NAMES[who]),
            Self::Reset(who) => write!(f, "{} is reset", NAMES[who]),
            Self::Freeze(who) => write!(f, "{} freezes", NAMES[who]),
            Self::Thaw(who) => write!(f, "{} thaws", NAMES[who]),
            Self::PanicKernel(who) => write!(f, "{}'s kernel panics", NAMES[who]),
            Self::Reload(who, files) => {
                write!(f, "{} is restarted with files: {files:?}", NAMES[who])
            }
            Self::Stop(who) => write!(f, "{}'s daemon is stopped (SIGSTOP)", NAMES[who]),
            Self::Continue(who) => write!(f, "{}'s daemon is continued", NAMES[who]),
            Self::Stall(who, point, us) => {
                write!(f, "{}'s daemon stalls for {us} µs once it has {point:?}", NAMES[who])
            }
            Self::KillDaemon(who) => write!(f, "{}'s daemon is killed", NAMES[who]),
            Self::KillHelper(who) => write!(f, "{}'s helper is killed", NAMES[who]),
            Self::KillBoth(who) => write!(f, "{}'s daemon and helper are killed", NAMES[who]),
            Self::CrashLoop(who, times) => {
                write!(f, "{}'s daemon crashes {times} times", NAMES[who])
            }
            Self::Cut { from, link } => write!(f, "link {link} from {} is cut", NAMES[from]),
            Self::Mend { from, link } => write!(f, "link {link} from {} is mended", NAMES[from]),
            Self::CutAll => f.write_str("all links are cut"),
            Self::MendAll => f.write_str("all links are mended"),
            Self::Weather { from, link, weather } => {
                write!(f, "link {link} from {}: {weather:?}", NAMES[from])
            }
            Self::Scripts(who, mood) => write!(f, "{}'s scripts: {mood:?}", NAMES[who]),
            Self::Operator(who, command) => write!(f, "operator on {}: {command:?}", NAMES[who]),
            Self::WallStep(who, ms) => {
                write!(f, "{}'s wall clock is set by {ms} ms", NAMES[who])
            }
            Self::PeerIsOff(who) => write!(f, "operator on {}: the peer is off", NAMES[who]),
            Self::Break { from, link, us } => {
                write!(f, "{} holds link {link} in a break for {us} µs", NAMES[from])
            }
            Self::Speed { who, link, baud } => {
                write!(f, "link {link} at {}: speed {baud:?}", NAMES[who])
            }
            Self::Dongle(fault) => fault.fmt(f),
        }
    }
}

/// A fault and when it happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planned {
    /// True time since the world began.
    pub at: At,
    /// What.
    pub fault: Fault,
}
