//! What goes wrong on a wire, by the dice: [`Faults`] of a network, [`Noise`] of a serial line.
//!
//! One seed decides everything that a direction does, in the order of what it carries: the same
//! frames meet the same fates. (When they are sent is up to the machines, so a rig is not repeatable
//! as the simulator is; the seed makes a run comparable, not identical.)

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A frame that is held back lets the next one pass, but waits no longer than this for it.
const HELD_AT_MOST: Duration = Duration::from_millis(500);

/// What a network does to the frames that pass in one direction. [`Default`]: nothing.
///
/// Corruption is missing on purpose: Ethernet's check sequence turns it into loss.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Faults {
    /// Decides which frames are hit.
    pub seed: u64,
    /// Share of frames that are lost, 0–1.
    pub loss: f64,
    /// Share of the others that arrive twice, 0–1.
    pub duplicate: f64,
    /// Share of the others that the next frame overtakes, 0–1.
    pub reorder: f64,
    /// Time that every frame takes longer.
    pub delay: Duration,
    /// Up to so much more, evenly distributed. Frames keep their order nevertheless.
    pub jitter: Duration,
}

/// What a serial line does to the bytes of one direction. [`Default`]: nothing.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Noise {
    /// Decides which bytes are hit.
    pub seed: u64,
    /// Share of bytes of which one bit is flipped, 0–1.
    pub flip: f64,
    /// Share of bytes that are lost, 0–1.
    pub lose: f64,
    /// Share of bytes that arrive twice, 0–1.
    pub repeat: f64,
    /// Share of bytes at which a burst begins, 0–1.
    pub burst: f64,
    /// Bytes that a burst turns into random ones.
    pub burst_bytes: u32,
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): one word of
/// state, any seed is good. Enough for dice; not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True in `share` of all throws. Always one throw, so that a changed share moves no later fate.
    fn hits(&mut self, share: f64) -> bool {
        // 53 bits: as many as a f64 holds exactly.
        ((self.next() >> 11) as f64) < share * (1_u64 << 53) as f64
    }

    fn below(&mut self, limit: Duration) -> Duration {
        let part = self.next() >> 32;
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(((u128::from(nanos) * u128::from(part)) >> 32) as u64)
    }
}

/// One direction of a network with its faults: frames go in, and come out when they are due.
#[derive(Debug)]
pub(super) struct Faulty {
    faults: Faults,
    dice: Dice,
    /// In the order in which they are due.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    /// Waits for the next frame to pass.
    held: Option<(Instant, Vec<u8>)>,
}

impl Faulty {
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults, dice: Dice::new(faults.seed), under_way: VecDeque::new(), held: None }
    }

    /// Other faults from now on, from fresh dice; what is under way stays so.
    pub(super) fn change(&mut self, faults: Faults) {
        (self.faults, self.dice) = (faults, Dice::new(faults.seed));
    }

    /// Decides the fate of a frame. Four throws for each, whatever they decide.
    pub(super) fn put(&mut self, now: Instant, frame: &[u8]) {
        let lost = self.dice.hits(self.faults.loss);
        let twice = self.dice.hits(self.faults.duplicate);
        let overtaken = self.dice.hits(self.faults.reorder);
        let due = now + self.faults.delay + self.dice.below(self.faults.jitter);
        if lost {
            return;
        }
        if overtaken && self.held.is_none() {
            self.held = Some((due + HELD_AT_MOST, frame.to_vec()));
            return;
        }
        for _ in 0..1 + u8::from(twice) {
            self.append(due, frame.to_vec());
        }
        if let Some((_, held)) = self.held.take() {
            self.append(due, held);
        }
    }

    fn append(&mut self, due: Instant, frame: Vec<u8>) {
        let last = self.under_way.back().map(|&(due, _)| due);
        self.under_way.push_back((last.map_or(due, |last| last.max(due)), frame));
    }

    /// The next frame that has arrived by now.
    pub(super) fn take(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.held.as_ref().is_some_and(|&(due, _)| due <= now)
            && let Some((due, frame)) = self.held.take()
        {
            self.append(due, frame);
        }
        if self.under_way.front().is_some_and(|&(due, _)| due <= now) {
            return self.under_way.pop_front().map(|(_, frame)| frame);
        }
        None
    }

    /// When [`Self::take`] has something next.
    pub(super) fn due(&self) -> Option<Instant> {
        let held = self.held.as_ref().map(|&(due, _)| due);
        self.under_way.front().map(|&(due, _)| due).into_iter().chain(held).min()
    }
}

/// One direction of a serial line with its noise.
#[derive(Debug)]
pub(super) struct Noisy {
    noise: Noise,
    dice: Dice,
    burst_left: u32,
}

impl Noisy {
    pub(super) const fn new(noise: Noise) -> Self {
        Self { noise, dice: Dice::new(noise.seed), burst_left: 0 }
    }

    /// What the receiver makes of these bytes, and how many of them were hit.
    pub(super) fn spoil(&mut self, bytes: &[u8]) -> (Vec<u8>, u64) {
        let mut spoilt = Vec::with_capacity(bytes.len() + 4);
        let mut hit = 0;
        for &byte in bytes {
            let before = spoilt.len();
            self.spoil_one(byte, &mut spoilt);
            hit += u64::from(spoilt[before..] != [byte]);
        }
        (spoilt, hit)
    }

    fn spoil_one(&mut self, byte: u8, into: &mut Vec<u8>) {
        let (flips, lost) = (self.dice.hits(self.noise.flip), self.dice.hits(self.noise.lose));
        let (twice, bursts) = (self.dice.hits(self.noise.repeat), self.dice.hits(self.noise.burst));
        let random = self.dice.next();
        if bursts {
            self.burst_left = self.noise.burst_bytes;
        }
        if self.burst_left > 0 {
            self.burst_left -= 1;
            into.push(random as u8);
        } else if !lost {
            let byte = if flips { byte ^ (1 << (random & 7)) } else { byte };
            into.extend(std::iter::repeat_n(byte, 1 + usize::from(twice)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of the frames that came out, in order, each with how long it took; one goes in every
    /// 10 ms.
    fn carried(faults: Faults, count: u32) -> Vec<(u32, Duration)> {
        let start = Instant::now();
        let mut faulty = Faulty::new(faults);
        let mut out = Vec::new();
        let mut drain = |faulty: &mut Faulty, until: Instant| {
            while let Some(due) = faulty.due().filter(|&due| due <= until) {
                let frame = faulty.take(due).expect("due");
                let number = u32::from_le_bytes(frame.try_into().expect("four bytes"));
                out.push((number, due - (start + Duration::from_millis(10) * number)));
            }
        };
        for number in 0..count {
            let now = start + Duration::from_millis(10) * number;
            drain(&mut faulty, now);
            faulty.put(now, &number.to_le_bytes());
        }
        drain(&mut faulty, start + Duration::from_secs(3600));
        out
    }

    #[test]
    fn without_faults_everything_arrives_at_once() {
        let out = carried(Faults::default(), 100);
        assert_eq!(out, (0..100).map(|number| (number, Duration::ZERO)).collect::<Vec<_>>());
    }

    #[test]
    fn shares_are_kept_and_the_seed_decides() {
        let lossy = Faults { seed: 7, loss: 0.3, ..Faults::default() };
        let kept = carried(lossy, 10_000);
        assert!((6_800..7_200).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept, carried(lossy, 10_000));
        assert_ne!(kept, carried(Faults { seed: 8, ..lossy }, 10_000));
        let doubled = carried(Faults { seed: 7, duplicate: 0.2, ..Faults::default() }, 10_000);
        assert!((11_800..12_200).contains(&doubled.len()), "{}", doubled.len());
        assert_eq!(carried(Faults { loss: 1.0, ..Faults::default() }, 100), []);
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_swaps_neighbours() {
        let (delay, jitter) = (Duration::from_millis(5), Duration::from_millis(40));
        let out = carried(Faults { seed: 1, delay, jitter, ..Faults::default() }, 1000);
        assert!(out.is_sorted_by_key(|&(number, _)| number));
        assert!(out.iter().all(|&(_, took)| took >= delay && took <= delay + jitter));
        assert!(out.iter().any(|&(_, took)| took > jitter));
        let out = carried(Faults { seed: 1, reorder: 0.1, ..Faults::default() }, 1000);
        let overtaken = out.windows(2).filter(|pair| pair[0].0 > pair[1].0).count();
        assert!((60..140).contains(&overtaken), "{overtaken}");
        let mut numbers: Vec<u32> = out.iter().map(|&(number, _)| number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>(), "nothing is lost");
    }

    #[test]
    fn healing_loses_nothing_and_keeps_the_order() {
        let start = Instant::now();
        let delay = Duration::from_millis(50);
        let mut faulty = Faulty::new(Faults { delay, ..Faults::default() });
        faulty.put(start, b"one");
        faulty.change(Faults::default());
        faulty.put(start, b"two");
        assert_eq!(faulty.take(start), None);
        assert_eq!(faulty.due(), Some(start + delay));
        assert_eq!(faulty.take(start + delay).as_deref(), Some(&b"one"[..]));
        assert_eq!(faulty.take(start + delay).as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn a_held_frame_does_not_wait_for_ever() {
        let out = carried(Faults { reorder: 1.0, ..Faults::default() }, 1);
        assert_eq!(out, [(0, HELD_AT_MOST)]);
    }

    #[test]
    fn noise_hits_the_share_that_it_says() {
        let clean = vec![0x55; 100_000];
        let spoilt = |noise| Noisy::new(noise).spoil(&clean);
        assert_eq!(spoilt(Noise::default()), (clean.clone(), 0));
        let (bytes, hit) = spoilt(Noise { seed: 3, flip: 0.01, ..Noise::default() });
        assert!((800..1200).contains(&hit), "{hit}");
        assert!(bytes.iter().all(|byte| (byte ^ 0x55).count_ones() <= 1));
        let (bytes, hit) = spoilt(Noise { seed: 3, lose: 0.01, ..Noise::default() });
        assert_eq!(bytes.len() as u64 + hit, 100_000);
        let (bytes, hit) = spoilt(Noise { seed: 3, repeat: 0.01, ..Noise::default() });
        assert_eq!(bytes.len() as u64, 100_000 + hit);
        let noise = Noise { seed: 3, burst: 0.001, burst_bytes: 50, ..Noise::default() };
        let (bytes, hit) = spoilt(noise);
        assert_eq!(bytes.len(), 100_000);
        assert!((4_000..6_000).contains(&hit), "{hit}");
    }
}
