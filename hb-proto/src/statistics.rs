//! Figures for people: counted beside the decisions, never decided from.

use heapless::{Deque, Vec};

use crate::event::Failover;
use crate::id::BootId;
use crate::time::{Duration, Instant};
use crate::wire::Reject;

/// Round trips kept for percentiles: about a minute of hellos at the default rate.
pub const RTT_SAMPLES: usize = 64;
/// Hellos whose echo is awaited: one more leaves before the echo of the last comes back when the two
/// nodes' hellos cross, and several in the course of a handover.
const HELLOS_KEPT: usize = 8;
/// Frames over which loss is told: 12.8 s at 100 ms.
pub const LOSS_WINDOW: u32 = 128;

/// One link's figures since start.
#[derive(Clone, Debug, Default)]
pub struct LinkStatistics {
    /// Frames written.
    pub sent: u64,
    /// Bytes written, as they travel (COBS included on serial lines).
    pub sent_bytes: u64,
    /// Frames accepted, whether first copy or later one.
    pub received: u64,
    /// Frames not written because the line was busy or would not take them.
    pub skipped: u64,
    /// Frames dropped, by reason.
    pub rejected: [u64; Reject::COUNT],
    /// Longest time between two frames.
    pub longest_gap: Duration,
    /// Mean deviation of arrivals from the keepalive, smoothed by 1/16 (RFC 3550 §6.4.1).
    pub jitter: Option<Duration>,
    rtt_us: Deque<u32, RTT_SAMPLES>,
    /// The newest scheduled frame.
    newest: Option<(BootId, u32, Instant)>,
    /// Bit n: the frame n before the newest arrived.
    arrived: u128,
    /// Frames that the window has seen, up to its size.
    seen: u32,
    last_regular: Option<(u32, Instant)>,
    last_at: Option<Instant>,
    /// Numbers and times of the last hellos sent by this link: give the round trip when one is echoed.
    hellos_sent: Deque<(u32, Instant), HELLOS_KEPT>,
    /// Number and time of the last hello heard on it.
    pub(crate) hello_heard: Option<(u32, Instant)>,
}

impl LinkStatistics {
    pub(crate) fn arrived(
        &mut self,
        now: Instant,
        boot: BootId,
        seq: u32,
        regular: bool,
        keepalive: Duration,
    ) {
        self.received += 1;
        if let Some(last) = self.last_at.replace(now) {
            self.longest_gap = self.longest_gap.max(now.since(last));
        }
        if regular {
            self.count_loss(now, boot, seq, keepalive);
        }
        self.count_jitter(now, seq, regular, keepalive);
    }

    /// Scheduled frames alone tell of loss: one off the schedule may have been left out by its sender,
    /// on a line that was busy. So no more is missing than numbers are, nor than keepalives have passed.
    fn count_loss(&mut self, now: Instant, boot: BootId, seq: u32, keepalive: Duration) {
        match self.newest.replace((boot, seq, now)) {
            Some((life, last, at)) if life == boot && seq > last => {
                let keepalive = keepalive.micros().max(1);
                let slots = (now.since(at).micros() + keepalive / 2) / keepalive;
                let step = (seq - last).min(u32::try_from(slots).unwrap_or(u32::MAX)).max(1);
                self.arrived = if step < LOSS_WINDOW { self.arrived << step | 1 } else { 1 };
                self.seen = self.seen.saturating_add(step).min(LOSS_WINDOW);
            }
            _ => (self.arrived, self.seen) = (1, 1),
        }
    }

    pub(crate) fn hello_left(&mut self, seq: u32, now: Instant) {
        if self.hellos_sent.is_full() {
            self.hellos_sent.pop_front();
        }
        // Room was made above.
        let _ = self.hellos_sent.push_back((seq, now));
    }

    /// When hello `seq` was sent by this link, if it was one of the last few.
    pub(crate) fn hello_left_at(&self, seq: u32) -> Option<Instant> {
        self.hellos_sent.iter().find(|sent| sent.0 == seq).map(|&(_, at)| at)
    }

    pub(crate) fn rebase(&mut self, by: Duration) {
        let pairs = [&mut self.last_regular, &mut self.hello_heard];
        for (_, at) in pairs.into_iter().flatten().chain(&mut self.hellos_sent) {
            *at = at.rebased(by);
        }
        self.last_at = self.last_at.map(|at| at.rebased(by));
        self.newest = self.newest.map(|(boot, seq, at)| (boot, seq, at.rebased(by)));
    }

    /// Only two scheduled frames in a row tell how far the link shifts them.
    fn count_jitter(&mut self, now: Instant, seq: u32, regular: bool, keepalive: Duration) {
        if !regular || keepalive == Duration::ZERO {
            self.last_regular = None;
            return;
        }
        if let Some((last_seq, last)) = self.last_regular
            && seq == last_seq.wrapping_add(1)
        {
            let spacing = now.since(last).micros();
            let off = spacing.abs_diff(keepalive.micros());
            let old = self.jitter.map_or(off, Duration::micros);
            self.jitter = Some(Duration::from_micros(old - old / 16 + off / 16));
        }
        self.last_regular = Some((seq, now));
    }

    pub(crate) fn round_trip(&mut self, rtt: Duration) {
        if self.rtt_us.is_full() {
            self.rtt_us.pop_front();
        }
        // Room was made above.
        let _ = self.rtt_us.push_back(u32::try_from(rtt.micros()).unwrap_or(u32::MAX));
    }

    /// Round trip that `percent` of the kept samples don't exceed; `None` before the first.
    #[must_use]
    pub fn rtt(&self, percent: usize) -> Option<Duration> {
        let mut sorted: Vec<u32, RTT_SAMPLES> = self.rtt_us.iter().copied().collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        Some(Duration::from_micros(u64::from(sorted[(last * percent).div_ceil(100)])))
    }

    /// Share of the sender's last frames that didn't arrive here, 0–1; what is overdue at `now` counts.
    #[must_use]
    pub fn loss(&self, now: Instant, keepalive: Duration) -> Option<f32> {
        let last = self.last_at?;
        let overdue = now.since(last).micros() / keepalive.micros().max(1);
        let overdue = u32::try_from(overdue.saturating_sub(1)).unwrap_or(u32::MAX).min(LOSS_WINDOW);
        let kept = if overdue < LOSS_WINDOW { self.arrived << overdue } else { 0 };
        let window = self.seen.saturating_add(overdue).min(LOSS_WINDOW);
        if window == 0 {
            // Nothing on the schedule yet.
            return None;
        }
        let mask = if window < LOSS_WINDOW { (1 << window) - 1 } else { u128::MAX };
        Some(1.0 - (kept & mask).count_ones() as f32 / window as f32)
    }
}

/// Figures of the node as a whole.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// How often this process was not scheduled in time (by more than 2 × keepalive).
    pub stalls: u32,
    /// The longest such delay.
    pub longest_stall: Duration,
    /// The last time that this node took over a group from its peer.
    pub last_failover: Option<Failover>,
    /// Frames processed: the first copy of each.
    pub frames: u64,
    /// Events that found no room and were not told.
    pub events_lost: u32,
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    const KEEPALIVE: Duration = Duration::from_millis(100);

    fn boot(id: u32) -> BootId {
        BootId::new(id).expect("in range")
    }

    /// The window against a list of what arrived, for every step up to twice its size, twice in a row.
    #[test]
    fn loss_is_the_share_of_the_last_128_frames() {
        let window = LOSS_WINDOW as usize;
        for first in 1..=2 * LOSS_WINDOW {
            for second in [1, 2, 63, 64, 65, 126, 127, 128, 129, 255, u32::MAX / 2] {
                let (mut statistics, mut now) = (LinkStatistics::default(), Instant::ZERO);
                let mut arrived: Vec<bool> = [true].into();
                statistics.arrived(now, boot(1), 1, true, KEEPALIVE);
                for (seq, step) in [(1 + first, first), (1 + first + second, second)] {
                    now += KEEPALIVE.times(u64::from(step));
                    statistics.arrived(now, boot(1), seq, true, KEEPALIVE);
                    // Longer than any window, however far the numbers jump.
                    let lost = (step - 1).min(4 * LOSS_WINDOW) as usize;
                    arrived.extend(std::iter::repeat_n(false, lost).chain([true]));
                }
                let last = &arrived[arrived.len().saturating_sub(window)..];
                let came = last.iter().filter(|&&came| came).count();
                let loss = 1.0 - came as f32 / last.len() as f32;
                assert_eq!(statistics.loss(now, KEEPALIVE), Some(loss), "{first}, {second}");
            }
        }
    }

    /// What is overdue shifts the window as if it had been counted; all of it lost is 1, never more.
    #[test]
    fn overdue_frames_are_lost_ones() {
        let mut statistics = LinkStatistics::default();
        let at = |seq: u32| Instant::ZERO + KEEPALIVE.times(u64::from(seq));
        for seq in 1..=200 {
            statistics.arrived(at(seq), boot(1), seq, true, KEEPALIVE);
        }
        for overdue in 0..=300 {
            // One keepalive is the next frame's own time.
            let now = at(200) + KEEPALIVE.times(overdue + 1);
            let lost = overdue.min(u64::from(LOSS_WINDOW)) as f32 / LOSS_WINDOW as f32;
            assert_eq!(statistics.loss(now, KEEPALIVE), Some(lost), "{overdue}");
        }
        assert_eq!(statistics.loss(Instant::NEVER, Duration::ZERO), Some(1.0));
        assert_eq!(LinkStatistics::default().loss(Instant::NEVER, KEEPALIVE), None);
    }

    /// A frame off the schedule that its sender left out, because the line was busy, is not lost.
    #[test]
    fn what_was_never_written_is_not_lost() {
        let mut statistics = LinkStatistics::default();
        let mut seq = 0;
        for slot in 0..100 {
            // Before every third frame one more was numbered, and left out here.
            seq += if slot % 3 == 0 { 2 } else { 1 };
            let now = Instant::ZERO + KEEPALIVE.times(slot);
            statistics.arrived(now, boot(1), seq, true, KEEPALIVE);
        }
        assert_eq!(statistics.loss(Instant::ZERO + KEEPALIVE.times(100), KEEPALIVE), Some(0.0));
    }

    /// A new life, and a number that goes back, begin a new window: nothing is called lost.
    #[test]
    fn a_new_life_loses_nothing() {
        let mut statistics = LinkStatistics::default();
        for (life, seq) in [(1, 1000), (1, 1200), (2, 1), (2, u32::MAX), (2, 3), (3, u32::MAX)] {
            statistics.arrived(Instant::ZERO, boot(life), seq, true, KEEPALIVE);
        }
        assert_eq!(statistics.loss(Instant::ZERO, KEEPALIVE), Some(0.0));
    }

    #[test]
    fn round_trips_keep_the_newest_and_saturate() {
        let mut statistics = LinkStatistics::default();
        assert_eq!(statistics.rtt(50), None);
        for micros in 0..200 {
            statistics.round_trip(Duration::from_micros(micros));
        }
        let percentiles = [0, 50, 99, 100].map(|p| statistics.rtt(p).map(Duration::micros));
        assert_eq!(percentiles, [Some(136), Some(168), Some(199), Some(199)]);
        statistics.round_trip(Duration::MAX);
        assert_eq!(statistics.rtt(100).map(Duration::micros), Some(u64::from(u32::MAX)));
    }
}
