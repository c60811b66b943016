//! The dongle's verbs on the simulator.

use super::Up;
use crate::scenario::cluster::{Cluster, Machine};
use crate::scenario::rig::{Cannot, Done, Missing};
use crate::scenario::verb::Verb;
use crate::sim::dongle::faults::DongleFault;
use crate::sim::fault::Fault;
use crate::sim::knobs::trio::{ArbiterKnobs, Stopped};

const NONE: Missing =
    Missing { verb: "dongle", why: "the story's cluster has none: Cluster::arbiter" };

/// The dongle of a story's cluster.
pub(super) fn knobs(cluster: &Cluster) -> Option<ArbiterKnobs> {
    let dongle = cluster.arbiter?;
    Some(ArbiterKnobs {
        stopped: cluster.watchdog_s.map_or(Stopped::ByNothing, Stopped::ByWatchdog),
        reset_lines: dongle.reset_lines,
        evidence: dongle.evidence,
        supply: dongle.supply,
        external_watchdog: dongle.external_watchdog,
        // Machines of stories boot at once; what a fence is for takes longer on any real one.
        reboot_us: 3_000_000,
        ..ArbiterKnobs::plain()
    })
}

impl Up<'_> {
    /// The verb, if it is one of the dongle's.
    pub(super) fn act_on_dongle(&mut self, verb: Verb) -> Option<Done> {
        let here = Machine::index;
        let fault = match verb {
            Verb::ResetDongle => DongleFault::Reset,
            Verb::HangDongle => DongleFault::Hang,
            Verb::RemoveDongle => DongleFault::Remove,
            Verb::InsertDongle { spare } => DongleFault::Insert { spare },
            Verb::CutHalf(m) => DongleFault::Half(here(m), true),
            Verb::HealHalf(m) => DongleFault::Half(here(m), false),
            Verb::DeafenPort(m) => DongleFault::Deaf(here(m), true),
            Verb::MutePort(m) => DongleFault::Mute(here(m), true),
            Verb::HealPort(m) => {
                self.world.apply(Fault::Dongle(DongleFault::Deaf(here(m), false)));
                DongleFault::Mute(here(m), false)
            }
            Verb::CutFeed(m) => DongleFault::Feed(here(m), false),
            Verb::HealFeed(m) => DongleFault::Feed(here(m), true),
            Verb::WireReset(m, wire) => DongleFault::Wire(here(m), wire),
            Verb::TestReset(m) => DongleFault::Test(here(m)),
            _ => return None,
        };
        if self.world.dongle.is_none() {
            return Some(Err(Cannot::Missing(NONE)));
        }
        self.world.apply(Fault::Dongle(fault));
        Some(Ok(()))
    }
}
