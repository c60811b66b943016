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
    /// Share of UDP datagrams over IPv4 that arrive with one bit of their data inverted, 0–1.
    /// Ethernet's check sequence and UDP's checksum would make a loss of it: here it happened where
    /// neither looks, in a network card that computes both.
    pub corrupt: f64,
    /// Share of frames at which a burst of losses begins, 0–1.
    pub burst: f64,
    /// Frames that a burst swallows.
    pub burst_frames: u32,
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
    burst_left: u32,
}

impl Faulty {
    pub(super) fn new(faults: Faults) -> Self {
        let dice = Dice::new(faults.seed);
        Self { faults, dice, under_way: VecDeque::new(), held: None, burst_left: 0 }
    }

    /// Other faults from now on, from fresh dice; what is under way stays so.
    pub(super) fn change(&mut self, faults: Faults) {
        (self.faults, self.dice, self.burst_left) = (faults, Dice::new(faults.seed), 0);
    }

    /// Decides the fate of a frame. Seven throws for each, whatever they decide.
    pub(super) fn put(&mut self, now: Instant, frame: &[u8]) {
        let lost = self.dice.hits(self.faults.loss);
        let twice = self.dice.hits(self.faults.duplicate);
        let overtaken = self.dice.hits(self.faults.reorder);
        let due = now + self.faults.delay + self.dice.below(self.faults.jitter);
        let (corrupt, bursts) =
            (self.dice.hits(self.faults.corrupt), self.dice.hits(self.faults.burst));
        let random = self.dice.next();
        if bursts && self.burst_left == 0 {
            self.burst_left = self.faults.burst_frames;
        }
        let swallowed = self.burst_left > 0;
        self.burst_left = self.burst_left.saturating_sub(1);
        if lost || swallowed {
            return;
        }
        let mut frame = frame.to_vec();
        if corrupt {
            invert_a_bit(&mut frame, random);
        }
        if overtaken && self.held.is_none() {
            self.held = Some((due + HELD_AT_MOST, frame));
            return;
        }
        if twice {
            self.append(due, frame.clone());
        }
        self.append(due, frame);
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

/// Inverts one bit of a UDP datagram's data; other frames stay as they are. Its checksum becomes 0,
/// "none was computed" (RFC 768), so that the receiving kernel lets it pass.
fn invert_a_bit(frame: &mut [u8], random: u64) {
    const ETHERNET: usize = 14;
    const UDP: usize = 8;
    // Type 0x0800 is IPv4 (RFC 894), whose length of header is in words of 4 bytes and whose protocol
    // 17 is UDP (RFC 791, RFC 768).
    let ipv4 = frame.get(12..ETHERNET) == Some(&[0x08, 0x00]);
    let udp = frame.get(ETHERNET + 9) == Some(&17);
    let words = frame.get(ETHERNET).map_or(0, |byte| usize::from(byte & 0x0F));
    let header = ETHERNET + 4 * words;
    let data = header + UDP;
    let length = frame.get(header + 4..header + 6).map_or(0, |length| {
        usize::from(u16::from_be_bytes([length[0], length[1]])).saturating_sub(UDP)
    });
    if !ipv4 || !udp || length == 0 || frame.len() < data + length {
        return;
    }
    frame[header + 6..data].fill(0);
    frame[data + (random >> 3) as usize % length] ^= 1 << (random & 7);
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
    fn bursts_swallow_frames_in_a_row() {
        let faults = Faults { seed: 5, burst: 0.02, burst_frames: 10, ..Faults::default() };
        let numbers: Vec<u32> = carried(faults, 10_000).into_iter().map(|one| one.0).collect();
        let gaps = numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|&gap| gap > 0);
        let gaps: Vec<u32> = gaps.collect();
        // Two bursts may follow each other.
        assert!(gaps.iter().all(|gap| gap % 10 == 0), "{gaps:?}");
        assert!((100..220).contains(&gaps.len()), "{}", gaps.len());
    }

    #[test]
    fn a_corrupted_datagram_differs_by_one_bit_of_its_data() {
        // A UDP datagram of 4 bytes, without anything that doesn't matter here.
        let mut whole = vec![0; 14 + 20 + 8 + 4];
        (whole[12], whole[14], whole[23], whole[14 + 20 + 5]) = (8, 0x45, 17, 12);
        whole[14 + 20 + 6..][..2].copy_from_slice(&[0x12, 0x34]);
        let mut faulty = Faulty::new(Faults { seed: 2, corrupt: 1.0, ..Faults::default() });
        let now = Instant::now();
        for _ in 0..100 {
            faulty.put(now, &whole);
            let came = faulty.take(now).expect("it arrives");
            assert_eq!(came[14 + 20 + 6..][..2], [0, 0], "no checksum");
            let bits = |frame: &[u8]| frame[42..].iter().map(|byte| byte.count_ones()).sum::<u32>();
            assert_eq!((bits(&came), came.len()), (1, whole.len()));
        }
        let arp = vec![0xFF; 42];
        faulty.put(now, &arp);
        assert_eq!(faulty.take(now), Some(arp), "what isn't UDP stays whole");
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
