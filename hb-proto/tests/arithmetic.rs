//! Numbers at their ends: sequence numbers, boot ids, instants, and what an echo names of them.

use hb_proto::id::{BootId, GroupId, LinkId};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::message::{Echo, GroupState, GroupStates, next_seq};

const LOW: u32 = 1 << 20;

fn boot(id: u32) -> BootId {
    BootId::new(id).expect("in range")
}

/// Every low part once, at both ends of the high part: 2 × 2²⁰ numbers in a row.
#[test]
fn sequence_numbers_grow_by_one_and_leave_out_what_would_echo_as_none() {
    for high in [0, u32::MAX - LOW + 1] {
        let mut seq = high;
        for expected in high + 1..=high | (LOW - 1) {
            seq = next_seq(seq).expect("not the end");
            assert_eq!(seq, expected);
        }
    }
    for high in (0..u32::MAX >> 20).map(|high| high << 20) {
        let last = high | (LOW - 1);
        assert_eq!(next_seq(last), Some(last + 2), "{last} + 1 has no low bits");
    }
    assert_eq!(next_seq(u32::MAX), None, "a new life must begin");
    assert_eq!(next_seq(u32::MAX - 1), Some(u32::MAX));
}

/// All 2²⁰ low parts for boot ids at every boundary: an echo names its own frame, no neighbour, and is
/// never the value that the wire reads as none.
#[test]
fn an_echo_names_its_frame_and_no_neighbour() {
    for id in [1, 0xFF, 0x100, 0x101, BootId::MAX] {
        let life = boot(id);
        let next = life.next().unwrap_or(boot(1));
        let none = Echo::of(boot(0x100), 0);
        let mut seq = 0;
        while seq < LOW - 1 {
            seq = next_seq(seq).expect("not the end");
            let echo = Echo::of(life, seq);
            assert!(echo.names(life, seq));
            assert!(!echo.names(life, seq - 1) && !echo.names(life, seq + 1));
            assert!(!echo.names(next, seq), "an echo of another life is no echo");
            assert_ne!(echo, none);
        }
    }
}

/// What the low bits can't tell apart lies exactly 2²⁰ frames or 256 lives away: beyond any memory of
/// sent frames, and beyond any lease.
#[test]
fn echoes_repeat_after_a_million_frames_and_after_256_lives() {
    for seq in [1, 2, LOW - 1, LOW + 1, u32::MAX - LOW] {
        for id in [1, 255, 256, BootId::MAX - 256] {
            let echo = Echo::of(boot(id), seq);
            assert!(echo.names(boot(id), seq + LOW));
            assert!(echo.names(boot(id + 256), seq));
            for apart in 1..256 {
                assert!(!echo.names(boot(id + apart), seq), "{apart} lives on");
            }
            for apart in [1, 2, 63, 64, LOW / 2, LOW - 1] {
                assert!(!echo.names(boot(id), seq + apart), "{apart} frames on");
            }
        }
    }
}

/// The frames that a voter remembers never share an echo, wherever in its numbers it is.
#[test]
fn remembered_frames_have_echoes_of_their_own() {
    const REMEMBERED: usize = hb_proto::authority::MAX_SENT;
    for start in [0, LOW - 64, LOW - 1, LOW, 5 * LOW - 30, u32::MAX - 70] {
        let frames: Vec<_> =
            std::iter::successors(next_seq(start), |&seq| next_seq(seq)).take(REMEMBERED).collect();
        for life in [boot(1), boot(0x100), boot(BootId::MAX)] {
            for (at, &one) in frames.iter().enumerate() {
                for &other in &frames[..at] {
                    assert_ne!(Echo::of(life, one), Echo::of(life, other), "{one} and {other}");
                }
            }
        }
    }
}

#[test]
fn boot_ids_end_where_the_wire_ends() {
    assert_eq!(BootId::new(0), None, "0 is no life");
    assert_eq!(BootId::new(BootId::MAX + 1), None);
    assert_eq!(BootId::new(u32::MAX), None);
    assert_eq!(boot(BootId::MAX).next(), None);
    let mut last = boot(1);
    for id in 2..=BootId::MAX {
        let next = last.next().expect("not the end");
        assert!(next > last && next.value() == id);
        last = next;
    }
    assert_eq!(last.value(), 0x00FF_FFFF);
}

const EDGES: [u64; 12] = [
    0,
    1,
    2,
    999,
    1000,
    1001,
    u32::MAX as u64,
    u64::MAX / 1000,
    u64::MAX / 1000 + 1,
    u64::MAX / 2,
    u64::MAX - 1,
    u64::MAX,
];

/// The last instant, one microsecond before the last number: an instant that is none is stored as a number, too.
const LAST: u64 = u64::MAX - 1;

fn clamp_instant(value: i128) -> u64 {
    value.clamp(0, i128::from(LAST)) as u64
}

fn clamp(value: i128) -> u64 {
    value.clamp(0, i128::from(u64::MAX)) as u64
}

/// What two times add up to, held against 128-bit arithmetic that can't overflow.
fn two_times_are_right(a: u64, b: u64) {
    let (wide_a, wide_b) = (i128::from(a), i128::from(b));
    let (at, span) = (Instant::from_micros(a), Duration::from_micros(b));
    let (when, then) = (i128::from(a.min(LAST)), i128::from(b.min(LAST)));
    assert_eq!((at + span).micros(), clamp_instant(when + wide_b), "{a} + {b}");
    assert_eq!((at - span).micros(), clamp_instant(when - wide_b), "{a} - {b}");
    assert_eq!(at.since(Instant::from_micros(b)).micros(), clamp(when - then), "{b} to {a}");
    let other = Duration::from_micros(a);
    assert_eq!((span + other).micros(), clamp(wide_a + wide_b), "{b} + {a}");
    assert_eq!(other.saturating_sub(span).micros(), clamp(wide_a - wide_b), "{a} - {b}");
    // Below 2^128, beyond the signed half of it.
    let product = u128::from(a) * u128::from(b);
    let product = u64::try_from(product).unwrap_or(u64::MAX);
    assert_eq!(other.times(b).micros(), product, "{a} × {b}");
    // Saturates before it divides: a percentage of what can't be multiplied is a lower bound.
    assert_eq!(other.percent(b).micros(), product / 100, "{b} % of {a}");
    let mut moved = at;
    moved += span;
    assert_eq!(moved, at + span);
    let rebased = if at == Instant::NEVER { at } else { at - span };
    assert_eq!(at.rebased(span), rebased, "{a} in an epoch {b} later");
    assert_eq!(at < Instant::from_micros(b), when < then);
}

/// The numbers whose pairs are all tried: this many from 0 on, and as many up to the top.
const ALL_OF: u64 = 1 << 10;

#[test]
fn time_is_exact_in_a_small_domain_and_saturates_at_the_top() {
    let domain = || (0..ALL_OF).chain(u64::MAX - ALL_OF + 1..=u64::MAX);
    for a in domain() {
        domain().for_each(|b| two_times_are_right(a, b));
    }
}

/// Where a narrower number, a product or a signed one would end: every pair of what lies around.
#[test]
fn time_is_exact_around_every_edge() {
    const AROUND: u64 = 64;
    const CENTRES: [u64; 9] = [
        AROUND,
        1 << 16,
        1 << 31,
        1 << 32,
        u64::MAX / 1_000_000,
        u64::MAX / 1000,
        u64::MAX / 100,
        1 << 63,
        u64::MAX - AROUND,
    ];
    let domain = || CENTRES.into_iter().flat_map(|edge| edge - AROUND..=edge + AROUND);
    for a in domain() {
        domain().for_each(|b| two_times_are_right(a, b));
    }
}

#[test]
fn time_saturates_at_both_ends() {
    for a in EDGES {
        EDGES.into_iter().for_each(|b| two_times_are_right(a, b));
        assert_eq!(Instant::from_millis(a).micros(), clamp_instant(i128::from(a) * 1000));
        assert_eq!(Duration::from_millis(a).micros(), clamp(i128::from(a) * 1000));
        assert_eq!(Duration::from_secs(a).micros(), clamp(i128::from(a) * 1_000_000));
        assert_eq!(Duration::from_micros(a).millis(), a / 1000);
    }
}

/// A deadline that never comes never comes in another epoch either; all others stay as far ahead.
#[test]
fn rebasing_keeps_order_distance_and_never() {
    for by in EDGES {
        let span = Duration::from_micros(by);
        assert_eq!(Instant::NEVER.rebased(span), Instant::NEVER);
        for a in EDGES.into_iter().filter(|&a| a < LAST) {
            let at = Instant::from_micros(a);
            assert_eq!(at.rebased(span), at - span);
            for b in EDGES.into_iter().filter(|&b| b < LAST && b >= by && a >= by) {
                let later = Instant::from_micros(b);
                assert_eq!(later.rebased(span).since(at.rebased(span)), later.since(at));
            }
        }
    }
}

#[test]
fn times_of_the_standard_library_survive_or_saturate() {
    for micros in EDGES {
        let span = Duration::from_micros(micros);
        assert_eq!(Duration::from(core::time::Duration::from(span)), span);
    }
    assert_eq!(Duration::from(core::time::Duration::MAX), Duration::MAX);
    assert_eq!(Duration::from(core::time::Duration::from_nanos(1999)).micros(), 1);
}

/// What a promise binds its giver to is never shorter than what its user may count.
#[test]
fn full_outlasts_lease() {
    for micros in EDGES {
        let lease = Duration::from_micros(micros);
        let timing =
            hb_proto::config::Timing { lease, ..hb_proto::config::Timing::classic_defaults() };
        // Whole milliseconds, as hellos say them.
        let micros = lease.whole_millis().micros();
        let overflows = micros.checked_mul(105).is_none();
        assert!(overflows || timing.full() >= lease, "{lease}");
        // 5 % of drift, as protocol.md §3 allows for: neither less nor more.
        let stretched = micros.checked_mul(105).map(|hundredths| hundredths / 100);
        assert!(stretched.is_none_or(|full| timing.full().micros() == full), "{lease}");
    }
}

#[test]
fn every_group_keeps_its_two_bits() {
    use GroupState::{Asking, Idle, Promised, Running};
    for group in 0..16 {
        for fill in [Idle, Asking, Running, Promised] {
            for state in [Idle, Asking, Running, Promised] {
                let mut states = GroupStates::default();
                (0..16).for_each(|id| states.set(GroupId(id), fill));
                states.set(GroupId(group), state);
                for id in 0..16 {
                    let expected = if id == group { state } else { fill };
                    assert_eq!(states.state(GroupId(id)), expected);
                }
            }
        }
    }
    let mut states = GroupStates::default();
    for beyond in 16..=u8::MAX {
        states.set(GroupId(beyond), Running);
        assert_eq!(states.state(GroupId(beyond)), Idle, "there is no group {beyond}");
    }
    assert_eq!(states, GroupStates::default());
}

#[test]
fn every_link_has_a_bit_of_its_own() {
    let bits: Vec<_> = (0..8).map(|link| LinkId(link).bit()).collect();
    assert_eq!(bits.iter().fold(0, |set, bit| set | bit), 0xFF);
    assert!(bits.iter().all(|bit| bit.count_ones() == 1));
}
