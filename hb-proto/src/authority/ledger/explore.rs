//! Numbers of frames, for an explorer.

use heapless::Vec;

use super::{FrameName, Ledger, Sent};
use crate::authority::Part;
use crate::authority::explore::{Renumber, lately};
use crate::id::Voter;
use crate::time::{Duration, Instant};

impl<P: Part> Ledger<P> {
    /// Renumbers every frame that is remembered; of own frames that became one, one is kept.
    pub(crate) fn renumber(&mut self, number: &Renumber<'_>) {
        let (me, boot) = (self.me(), self.boot);
        let own = |seq: u32| number(me, FrameName { boot, seq });
        if self.seq > 0 {
            self.seq = own(self.seq);
        }
        let mut sent: Vec<Sent, { super::MAX_SENT }> = Vec::new();
        for &Sent { seq, at } in &self.sent {
            let seq = own(seq);
            match sent.last_mut() {
                Some(last) if last.seq == seq => last.at = at,
                // As many as there were at most.
                _ => drop(sent.push(Sent { seq, at })),
            }
        }
        self.sent = sent;
        for (of, voice) in Voter::ALL.into_iter().zip(&mut self.voices) {
            let Some(voice) = voice else { continue };
            voice.newest.seq = number(of, voice.newest);
            voice.echoed = voice.echoed.map(own);
        }
        for promises in &mut self.promises {
            promises.renumber(number, &own);
        }
    }

    /// Times that are over at `now` become one: nothing asks how long ago.
    pub(crate) fn level(&mut self, now: Instant, deadtime: Duration) {
        for sent in &mut self.sent {
            // An echo of it is fresh no more.
            sent.at = lately(sent.at, now, self.terms.lease);
        }
        for voice in self.voices.iter_mut().flatten() {
            voice.at = lately(voice.at, now, deadtime);
            if voice.fresh_until <= now {
                // Whether it was fresh when it came is asked for as long as its sender is thought alive.
                let was_fresh = voice.fresh_until > voice.at && voice.at > Instant::ZERO;
                let just_after = voice.at + Duration::from_micros(1);
                voice.fresh_until = if was_fresh { just_after } else { Instant::ZERO };
            }
        }
        for promises in &mut self.promises {
            promises.level(now);
        }
    }
}
