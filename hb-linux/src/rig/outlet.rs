//! A machine's power and reset, for everything that can end what runs in it at any moment: the plug, the
//! dongle's reset outputs, the machine's own watchdog.
//!
//! Any thread may cut; whoever owns the rig boots the machine again ([`super::bench::Bench::resets`]).

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::line::{Line, Side};
use super::switch::{PortId, Switch};

/// Killing all processes of a machine takes milliseconds; a kernel that needs longer is not waited for.
const DEATH: Duration = Duration::from_secs(2);

/// From a reset until a machine is up again. Real ones take longer; the client, whose verdict two holders are,
/// takes a holder that it sees again within 300 ms for one that never let go.
pub const BOOT: Duration = Duration::from_secs(1);

/// What pulled a machine's reset line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// An output of the dongle.
    Dongle,
    /// The machine's own watchdog.
    Watchdog,
}

impl Cause {
    /// For a person.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dongle => "the dongle",
            Self::Watchdog => "its watchdog",
        }
    }
}

/// A reset that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reset {
    /// When nothing of the machine ran any more.
    pub at: Instant,
    /// What did it.
    pub cause: Cause,
}

/// What a machine with power is plugged into.
#[derive(Debug)]
pub struct Live {
    /// The process with which all of it ends: a machine's init, or the QEMU that is the machine.
    pub pidfd: OwnedFd,
    /// Where its network cables end.
    pub network: Vec<(Arc<Switch>, PortId)>,
    /// Where its serial cables end.
    pub lines: Vec<(Arc<Line>, Side)>,
}

#[derive(Debug, Default)]
struct State {
    live: Option<Live>,
    /// Its reset line is pulled by so many.
    pulled: u32,
    /// It was reset, and nobody has booted it since.
    reset: Option<Reset>,
    /// All of them.
    resets: Vec<Reset>,
    /// Counts power-ons: who watched the former one has nothing to say of this one.
    power_ons: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Outlet(Mutex<State>);

impl Outlet {
    /// The machine runs; the number of this power-on.
    pub fn switched_on(&self, live: Live) -> u64 {
        let mut state = self.lock();
        state.live = Some(live);
        state.reset = None;
        state.power_ons += 1;
        state.power_ons
    }

    /// Power loss: not a frame and not a byte leaves any more, then all in it is killed.
    pub fn unplug(&self) {
        let mut state = self.lock();
        state.reset = None;
        state.cut();
    }

    /// Its reset line is pulled. True: something ran until now.
    pub(super) fn pull_reset(&self, cause: Cause) -> bool {
        let mut state = self.lock();
        state.pulled += 1;
        state.reset_by(cause)
    }

    /// It is let go.
    pub(super) fn release_reset(&self) {
        let mut state = self.lock();
        state.pulled = state.pulled.saturating_sub(1);
    }

    /// Its own watchdog resets it, if it is still in its `power_on`th life.
    pub fn watchdog_bites(&self, power_on: u64) {
        let mut state = self.lock();
        if state.power_ons == power_on {
            state.reset_by(Cause::Watchdog);
        }
    }

    /// Whether something runs in its `power_on`th life.
    pub fn is_in(&self, power_on: u64) -> bool {
        let state = self.lock();
        state.power_ons == power_on && state.live.is_some()
    }

    /// Whether something runs in it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.lock().live.is_some()
    }

    /// Whether something pulls its reset line.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        self.lock().pulled > 0
    }

    /// The reset after which it is up now: its line is free again, and [`BOOT`] is over.
    #[must_use]
    pub fn boots_after(&self) -> Option<Reset> {
        let state = self.lock();
        state.reset.filter(|reset| state.pulled == 0 && reset.at.elapsed() >= BOOT)
    }

    /// Every reset so far.
    #[must_use]
    pub fn resets(&self) -> Vec<Reset> {
        self.lock().resets.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reset_by(&mut self, cause: Cause) -> bool {
        if !self.cut() {
            return false;
        }
        let reset = Reset { at: Instant::now(), cause };
        self.reset = Some(reset);
        self.resets.push(reset);
        true
    }

    fn cut(&mut self) -> bool {
        let Some(live) = self.live.take() else { return false };
        for (switch, port) in &live.network {
            switch.unplug(*port);
        }
        for (line, side) in &live.lines {
            line.detach(*side);
        }
        // Process 1: with it the kernel kills all that runs in its namespace, and it ends last
        // (pid_namespaces(7)).
        let _ = pidfd_send_signal(&live.pidfd, Signal::KILL);
        let timeout = Timespec { tv_sec: DEATH.as_secs().cast_signed(), tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&live.pidfd, PollFlags::IN)], Some(&timeout));
        true
    }
}
