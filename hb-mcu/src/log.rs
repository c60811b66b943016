//! What happens, for whoever has a probe at the chip's debug port: defmt's records, written by the same hand that fills
//! the ring of [`crate::trace`].
//!
//! The feature `defmt` alone has this. A record costs some tens of instructions and none of the hot path: a frame that
//! is passed on makes no event. What takes the records must not wait for a reader: boards use RTT without its blocking
//! mode.

use core::sync::atomic::{AtomicU32, Ordering};

use hb_proto::arbiter::{Arbiter, Hindrance};
use hb_proto::id::{BootId, Voter};
use hb_proto::time::Instant;
use hb_proto::wire::Reject;
use hb_proto::wire::message::arbiter::ResetReason;
use hb_proto::wire::service::{Ask, Note, Refusal};

/// Time of the last event, milliseconds of its life. A logger runs with interrupts off: a board's clock, which may wait
/// for an interrupt of its own, would wait for ever.
static AT_MS: AtomicU32 = AtomicU32::new(0);

defmt::timestamp!("{=u32:ms}", AT_MS.load(Ordering::Relaxed));

/// A life begins, with keys and a number or without.
pub(crate) fn began(boot: Option<BootId>, reset: ResetReason) {
    AT_MS.store(0, Ordering::Relaxed);
    match boot {
        Some(boot) => defmt::info!("life {} began; reset by {}", boot.value(), reset),
        None => defmt::info!("no key yet; reset by {}", reset),
    }
}

/// An event of the ring, as [`Note`] describes its argument.
pub(crate) fn note(at_ms: u32, what: Note, arg: u32) {
    AT_MS.store(at_ms, Ordering::Relaxed);
    // 3 names nobody, and no event has it.
    let node = Voter::from_code(arg as u8).unwrap_or(Voter::Arbiter);
    let more = arg >> 8;
    match what {
        Note::Heard if more & 1 != 0 => defmt::info!("{} is heard", node),
        Note::Heard => defmt::warn!("{} is silent", node),
        Note::Forgot => defmt::warn!("nobody was heard for a lease: promises count as anybody's"),
        Note::Pulsed => defmt::warn!("fence of {}: pulsed", node),
        Note::Confirmed => defmt::info!("fence of {}: confirmed", node),
        Note::Miswired => defmt::error!("a pulse hit the wrong machine"),
        Note::Stall => defmt::warn!("late by {} ms", arg),
        Note::Rejected => {
            let reason = Reject::ALL.get(usize::from(arg as u8)).copied();
            defmt::warn!("port {}: a frame was dropped: {}", more, reason);
        }
        Note::Served => defmt::info!("request {} was served", arg),
        Note::Tested if more & 1 != 0 => defmt::info!("the line of {} is proved", node),
        Note::Tested => defmt::warn!("the line of {} is not proved", node),
        // Told by those who know more.
        Note::Began | Note::Refused | Note::Unknown => {}
    }
}

/// An operator's request was refused.
pub(crate) fn refused(why: Refusal) {
    defmt::warn!("request refused: {}", why);
}

/// Keys or times were changed in the store. No record has a secret in it.
pub(crate) fn stored(ask: &Ask) {
    match ask {
        Ask::SetKey { key, signs, .. } => defmt::info!("key {} is set; signs: {}", key, signs),
        Ask::DropKey { key } => defmt::info!("key {} is dropped", key),
        Ask::Settings(new) => {
            defmt::info!("pulse {} ms, watchdog {} ms", new.pulse_ms, new.watchdog_ms);
        }
        _ => {}
    }
}

/// What nodes ask to have reset, as last told.
#[derive(Debug, Default)]
pub(crate) struct Requests([Option<(BootId, Option<Hindrance>)>; 2]);

impl Requests {
    /// Call before the arbiter decides: a request that is followed is told before its pulse.
    pub(crate) fn look(&mut self, at_ms: u32, now: Instant, arbiter: &Arbiter) {
        for (told, node) in self.0.iter_mut().zip([Voter::A, Voter::B]) {
            let asked = arbiter.fence_request(now, node);
            let before = core::mem::replace(told, asked);
            let Some((boot, hindrance)) = asked.filter(|_| asked != before) else { continue };
            AT_MS.store(at_ms, Ordering::Relaxed);
            let new = before.is_none_or(|(asked, _)| asked != boot);
            if new {
                defmt::info!("fence of {}, life {}: asked", node, boot.value());
            }
            match hindrance {
                None => defmt::info!("fence of {}, life {}: due", node, boot.value()),
                // The pulse that was due a turn ago has been given, which is an event.
                Some(Hindrance::Again | Hindrance::UnderWay) if !new => {}
                Some(why) => defmt::info!("fence of {}: refused: {}", node, why),
            }
        }
    }
}
