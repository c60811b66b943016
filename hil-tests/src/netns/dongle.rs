//! The verbs of the dongle, on the namespace rig.

use std::time::Duration as StdDuration;

use hb_linux::rig::bench::Half;
use hb_linux::rig::dongle;
use hb_linux::rig::machine::Programs;
use hb_proto::time::Duration;

use super::verbs::{Up, broken, missing, node, why_missing};
use crate::chronicle::Clock;
use crate::scenario::cluster::{self, Machine};
use crate::scenario::rig::{Cannot, Done};
use crate::scenario::verb::{ResetWire, Verb};

/// A test of a reset line lasts until the machine is back.
const TEST_PATIENCE: Duration = Duration::from_secs(15);

impl Up {
    pub(super) fn act_on_dongle(&mut self, clock: Clock, programs: &Programs, verb: Verb) -> Done {
        let Some(dongle) = self.bench.dongle() else {
            return Err(missing(verb.name(), why_missing(&verb)));
        };
        let half = |at, what, on| self.bench.half(node(at), what, on);
        match verb {
            Verb::ResetDongle => dongle.reset().map_err(broken)?,
            Verb::HangDongle => dongle.hang(),
            Verb::RemoveDongle => dongle.remove(),
            Verb::InsertDongle { spare } => dongle.insert(spare).map_err(broken)?,
            Verb::CutHalf(at) => half(at, Half::Cut, true),
            Verb::HealHalf(at) => half(at, Half::Cut, false),
            Verb::DeafenPort(at) => half(at, Half::Deaf, true),
            Verb::MutePort(at) => half(at, Half::Mute, true),
            Verb::HealPort(at) => {
                half(at, Half::Deaf, false);
                half(at, Half::Mute, false);
            }
            Verb::CutFeed(at) => dongle.cut_feed(node(at), true).map_err(broken)?,
            Verb::HealFeed(at) => dongle.cut_feed(node(at), false).map_err(broken)?,
            Verb::WireReset(at, wire) => dongle.wire(
                node(at),
                match wire {
                    ResetWire::Sound => dongle::ResetWire::Sound,
                    ResetWire::Broken => dongle::ResetWire::Broken,
                    ResetWire::Swapped => dongle::ResetWire::Swapped,
                },
            ),
            Verb::TestReset(at) => return self.test_reset(clock, programs, at),
            other => return Err(missing(other.name(), why_missing(&other))),
        }
        Ok(())
    }

    /// Returns when the outcome is known: the machine is back by then, or another one was hit.
    fn test_reset(&mut self, clock: Clock, programs: &Programs, at: Machine) -> Done {
        let outcome = |up: &Self| up.bench.dongle().and_then(dongle::Dongle::test_outcome);
        if let Some(dongle) = self.bench.dongle() {
            dongle.test_line(node(at));
        }
        let deadline = clock.now() + TEST_PATIENCE;
        while clock.now() < deadline {
            self.tend(clock, programs)?;
            match outcome(self).as_deref() {
                Some("proved" | "failed") => return Ok(()),
                Some(refused) => return Err(Cannot::Refused(refused.to_owned())),
                None => std::thread::sleep(StdDuration::from_millis(5)),
            }
        }
        Err(Cannot::Broken(format!("the test of {at}'s reset line has no outcome")))
    }
}

/// As the bench builds it.
pub(crate) fn build_of(given: cluster::Dongle, baud: u32) -> dongle::Build {
    dongle::Build {
        baud,
        reset_lines: given.reset_lines,
        evidence: match given.evidence {
            cluster::Evidence::Supervised => dongle::Evidence::Supervised,
            cluster::Evidence::Sensed => dongle::Evidence::Sensed,
            cluster::Evidence::NewLife => dongle::Evidence::NewLife,
        },
        supply: match given.supply {
            cluster::Supply::Both => dongle::Supply::Both,
            cluster::Supply::One(machine) => dongle::Supply::One(node(machine)),
            cluster::Supply::External => dongle::Supply::External,
        },
    }
}
