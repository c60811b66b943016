//! Holes of an early draft of the rules for three voters, each played as it would have opened
//! (docs/testing/holes.md has all of them).

mod trio;

use hb_proto::action::{Action, Outcome, Verb};
use hb_proto::config::{ConfigError, LinkKind};
use hb_proto::event::Event;
use hb_proto::id::{LinkId, Voter};
use hb_proto::node::{ArbiterState, Ground, Obstacle};
use hb_proto::time::Duration;
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::arbiter::ResetReason;
use trio::{A, B, BY_TIME, FULL, GUARD, Trio, WATCHDOG, WEB, ms};

/// A is stopped, and killed just before its watchdog fires. The kernel feeds that once as it closes the device,
/// so the machine serves for two timeouts. For how long two had the address.
fn killed_just_before_its_watchdog_fires(guard: Duration) -> Duration {
    let mut trio = Trio::with(|config| config.timing.guard = guard).started_up();
    trio.freeze(A);
    trio.run(WATCHDOG.percent(95));
    trio.machines[A].reboots = false;
    trio.kill(A);
    trio.run_until(ms(8000), "B serves", |trio| trio.serves(B));
    trio.run(ms(8000));
    assert_eq!(trio.machines[A].resets, 1);
    trio.double
}

#[test]
fn r10_guard_covers_two_timeouts_of_the_watchdog() {
    assert_eq!(killed_just_before_its_watchdog_fires(GUARD), ms(0));
    let once = WATCHDOG + ms(500);
    assert!(
        killed_just_before_its_watchdog_fires(once) > ms(0),
        "the story shows what it is about"
    );
}

/// A machine that can be paused has an unbounded guard: while it is paused nobody else serves, for however
/// long. It goes on where it stopped, or gives way, and never beside another.
#[test]
fn r10_a_paused_machine_is_waited_for() {
    let mut trio = Trio::with(|config| config.timing.guard = Duration::MAX).started_up();
    trio.machines[A].has_watchdog = false;
    trio.freeze(A);
    trio.run(ms(3_600_000));
    assert!(trio.holds_address(A) && !trio.holds_address(B));
    let now = trio.now;
    assert_eq!(trio.node(B).obstacle(WEB, now), Some(Obstacle::OwnPromise { ends_in: None }));
    trio.thaw(A);
    trio.run_until(ms(3000), "A serves", |trio| trio.serves(A));
    trio.run(ms(10_000));
    assert_eq!(trio.double, ms(0));
}

/// A has no watchdog but the dongle's. It hangs, and in that moment the dongle loses power and has forgotten
/// that A was armed. Time alone never gives B the group: the guard is what stops a node without the dongle.
#[test]
fn r13_the_external_watchdog_is_no_part_of_guard() {
    for broken in [false, true] {
        let mut trio = Trio::with(|config| {
            config.timing.guard = Duration::MAX;
            if let Some(arbiter) = &mut config.arbiter {
                arbiter.external_watchdog = true;
            }
        });
        trio.wire_reset_lines();
        let mut trio = trio.started_up();
        (trio.machines[A].has_watchdog, trio.machines[A].reboots) = (false, false);
        trio.freeze(A);
        trio.unplug();
        if broken {
            (trio.dongle.wired, trio.dongle.supervised) = ([None; 2], false);
        }
        trio.plug_in(ResetReason::BrownOut);
        trio.run(ms(60_000));
        assert_eq!(trio.double, ms(0), "broken {broken}");
        assert_eq!(
            trio.machines[A].resets,
            u32::from(!broken),
            "B asks for it, with what it knows"
        );
        assert_eq!(trio.holds_address(A) && !trio.holds_address(B), broken);
    }
}

/// Both had a guard of 9 s. A hangs; B and the dongle are started anew, B with 2 s. What their former lives
/// promised lasts as long as it did.
#[test]
fn r8_shorter_terms_do_not_shorten_what_former_lives_promised() {
    let mut trio = Trio::with(|config| config.timing.guard = ms(9000)).started_up();
    trio.machines[A].has_watchdog = false;
    trio.freeze(A);
    let hung = trio.now;
    trio.kill(B);
    trio.machines[B].config.timing.guard = ms(2000);
    trio.machines[B].config.timing.initdead = ms(500);
    trio.start(B);
    trio.reset_dongle();
    trio.run(ms(8900));
    assert!(!trio.holds_address(B) && trio.holds_address(A), "{}", trio.now.since(hung));
    // Its own watchdog, a slow one.
    trio.power_off(A);
    trio.run_until(ms(1500), "B serves", |trio| trio.serves(B));
    assert_eq!(trio.double, ms(0));
}

/// The dongle has been dead for days. B's daemon is restarted, for an upgrade: A's only vote.
#[test]
fn r8_a_standby_that_restarts_votes_again_at_once() {
    let mut trio = Trio::started();
    trio.unplug();
    trio.run(ms(20_000));
    trio.dark = ms(0);
    trio.kill(B);
    trio.run(ms(100));
    trio.start(B);
    trio.run(ms(20_000));
    assert!(trio.serves(A) && trio.dark == ms(0), "dark for {}", trio.dark);
}

/// Both want it at the start, the arbiter votes for A, and A asks alone: B's death later is no loss of a vote.
#[test]
fn r3_the_standby_holds_no_vote_that_the_holder_needs() {
    for late in 0..30 {
        let mut trio = Trio::new();
        trio.plug_in(ResetReason::PowerOn);
        let (first, second) = if late % 2 == 0 { (A, B) } else { (B, A) };
        trio.start(first);
        trio.run(ms(late));
        trio.start(second);
        trio.run_until(ms(20_000), "somebody serves", |trio| trio.serves(A) || trio.serves(B));
        trio.run(ms(7000));
        assert!(trio.serves(A), "home");
        trio.dark = ms(0);
        trio.power_off(B);
        trio.run(ms(10_000));
        assert!(trio.serves(A) && trio.dark == ms(0), "B {late} ms apart");
    }
}

/// A stop that never ends, in a handover: A still has its votes, and is reset all the same.
#[test]
fn r10_a_stop_that_hangs_ends_in_a_reset() {
    let mut trio = Trio::with(|config| config.auto_failback = false).started_up();
    trio.machines[A].script_time = ms(3_600_000);
    let now = trio.now;
    trio.node(A).request_standby(now, None).expect("B takes it");
    trio.node(A).handle_timeout(now);
    trio.drain(A);
    trio.run(ms(59_000));
    assert_eq!(trio.machines[A].resets, 0, "it has a minute");
    trio.machines[A].reboots = false;
    trio.run_until(ms(10_000), "reset", |trio| trio.machines[A].resets == 1);
    trio.run_until(BY_TIME, "B serves", |trio| trio.serves(B));
    assert_eq!(trio.double, ms(0));
}

/// A's authority lapses, and its script takes longer to stop than the watchdog waits: the address goes at once,
/// the machine with all that it runs soon after.
#[test]
fn r10_a_slow_stop_after_a_lapse_ends_in_a_reset() {
    let mut trio = Trio::started();
    trio.machines[A].script_time = ms(30_000);
    trio.machines[A].reboots = false;
    trio.isolate(A, true);
    trio.run(ms(500));
    assert!(!trio.holds_address(A));
    trio.run(WATCHDOG + ms(300));
    assert_eq!(trio.machines[A].resets, 1);
    trio.run_until(BY_TIME, "B serves", |trio| trio.serves(B));
    assert_eq!(trio.double, ms(0));
}

/// A loop decides to start something, and stalls before it does: what it decided upon has lapsed by then.
#[test]
fn r2_authority_is_looked_at_again_just_before_a_start_leaves() {
    for late in [ms(1), ms(1000)] {
        let mut trio = Trio::new();
        trio.start(A);
        trio.start(B);
        trio.run_until(ms(1000), "the first start", |trio| trio.starts() == 1);
        let (now, ticket) = (trio.now, trio.machines[A].orders[0].1);
        let node = trio.node(A);
        node.handle_done(now, ticket, Outcome::Done);
        let next = node.poll_action(now + late);
        if late == ms(1) {
            assert!(matches!(next, Some(Action::Run { verb: Verb::Start, .. })), "{next:?}");
        } else {
            assert_eq!(next, Some(Action::DropAddresses { group: WEB }));
        }
    }
}

/// B's file says a deadtime of an hour: nobody waits for a silence that long.
#[test]
fn an_announced_deadtime_is_believed_up_to_two_minutes() {
    let mut trio = Trio::new();
    let timing = &mut trio.machines[B].config.timing;
    (timing.deadtime, timing.initdead) = (ms(3_600_000), ms(3_600_000));
    let mut trio = trio.started_up();
    let timing = trio.machines[A].config.timing;
    assert_eq!(trio.node(A).peer().deadtime(&timing), ms(120_000));
    assert_eq!(trio.arbiter().deadtime(), ms(120_000));
}

/// The dongle hangs on A's power alone: both nodes can tell.
#[test]
fn who_feeds_the_arbiter_is_shown() {
    let mut trio = Trio::started();
    trio.dongle.arbiter.as_mut().expect("plugged in").handle_feed(Voter::A, true);
    trio.run(ms(300));
    let now = trio.now;
    for who in [A, B] {
        let status = trio.node(who).arbiter(now).and_then(|report| report.status).expect("heard");
        assert_eq!(status.nodes.map(|node| node.feeds), [true, false]);
    }
}

/// A's store of boot ids was lost, and only the arbiter, which hears it, can tell it so.
#[test]
fn r9_a_node_learns_from_the_arbiter_that_its_number_is_old() {
    let mut trio = Trio::new();
    trio.machines[A].boot = 900;
    let mut trio = trio.started_up();
    trio.power_off(A);
    trio.run_until(BY_TIME, "B serves", |trio| trio.serves(B));
    trio.cut_net(true);
    trio.own_only = [true; 2];
    trio.machines[A].boot = 4;
    trio.start(A);
    trio.run(ms(2000));
    let taken = |event: &Event| match event {
        Event::BootIdTaken { heard } => Some(heard.value()),
        _ => None,
    };
    assert_eq!(trio.events_of(A).iter().find_map(taken), Some(901));
    assert!(trio.machines[A].node.is_none(), "it departs, to begin above");
    assert!(trio.serves(B) && trio.double == ms(0));
}

/// The human's vote ends a lease after the peer was heard, also in a turn that stalls after it heard the peer: what
/// is looked at again just before an action leaves (R2) must not find the vote of before.
#[test]
fn r14_a_human_s_vote_is_over_by_its_time_whoever_notices() {
    let mut trio = Trio::started();
    trio.unplug();
    trio.power_off(A);
    trio.run(ms(20_000));
    let now = trio.now;
    assert_eq!(trio.node(B).request_takeover_peer_is_off(now), Ok(1));
    trio.run_until(ms(1000), "B serves", |trio| trio.serves(B));
    let met = trio.events_of(B).len();
    trio.machines[A].config.auto_failback = false;
    trio.start(A);
    trio.run_until(ms(20_000), "B hears A", |trio| {
        trio.events_of(B)[met..].iter().any(|event| matches!(event, Event::PeerLife { .. }))
    });
    let now = trio.now;
    let lease = trio.node(B).config().timing.lease;
    assert_eq!(trio.node(B).ground(WEB, now), Some(Ground::Human));
    assert_eq!(trio.node(B).ground(WEB, now + lease), None, "no turn was needed to end it");
}

fn ring(ids: &[u8], signing: u8) -> KeyRing {
    let key = |&id| Key::hmac(id, &[b'k', id]).expect("id in range");
    KeyRing::new(ids.iter().map(key).collect(), signing).expect("listed")
}

fn with_keys(trio: &mut Trio, who: usize, keys: KeyRing) {
    trio.machines[who].keys = keys;
    trio.kill(who);
    trio.start(who);
    trio.run(ms(2000));
}

/// R14. Two keys are known to all, one after the other signs with the new one; the old one goes when all three
/// do. Nobody stops meanwhile.
#[test]
fn r14_an_old_key_goes_when_all_three_show_the_new_one() {
    let mut trio = Trio::new();
    let both = |signing| ring(&[1, 2], signing);
    for machine in &mut trio.machines {
        machine.keys = both(1);
    }
    trio.dongle.keys = both(1);
    let mut trio = trio.started_up();
    assert_eq!(trio.node(A).key_user(1), Some(Voter::A));
    with_keys(&mut trio, B, both(2));
    assert_eq!(trio.node(B).key_user(1), Some(Voter::A));
    with_keys(&mut trio, A, both(2));
    trio.run(ms(10_000));
    assert_eq!(trio.node(A).key_user(1), Some(Voter::Arbiter), "the dongle would be deaf and dumb");
    trio.dongle.keys = both(2);
    trio.reset_dongle();
    trio.run(ms(2000));
    assert_eq!([A, B].map(|who| trio.node(who).key_user(1)), [None; 2]);
    trio.dark = ms(0);
    with_keys(&mut trio, B, ring(&[2], 2));
    trio.dongle.keys = ring(&[2], 2);
    trio.reset_dongle();
    trio.run(ms(5000));
    let now = trio.now;
    let authority = trio.node(A).authority(WEB, now);
    assert!(authority.peer.is_some() && authority.arbiter.is_some(), "{authority:?}");
    assert_eq!(trio.dark, ms(0));
}

/// What happens if the old key goes too early: the dongle is as good as dead, and that is shown; nobody stops.
#[test]
fn r14_a_dongle_with_the_old_key_alone_is_a_dead_one() {
    let mut trio = Trio::new();
    for machine in &mut trio.machines {
        machine.keys = ring(&[2], 2);
    }
    trio.dongle.keys = ring(&[1], 1);
    trio.plug_in(ResetReason::PowerOn);
    trio.start(A);
    trio.start(B);
    trio.run_until(ms(1000), "A serves by B's vote", |trio| trio.serves(A));
    trio.run(ms(5000));
    let now = trio.now;
    let report = trio.node(A).arbiter(now).expect("configured");
    assert_eq!(report.state, ArbiterState::Absent);
    assert_eq!(trio.node(A).key_user(1), Some(Voter::Arbiter), "not heard: it may need any");
}

/// The arbiter's line dies with it, so another link is a must; and so is a guard.
#[test]
fn an_arbiter_needs_a_network_and_a_guard() {
    let mut config = trio::config(Voter::A);
    assert_eq!(config.check(), Ok(()));
    config.timing.guard = ms(0);
    assert_eq!(config.check(), Err(ConfigError::NoGuard));
    config.timing.guard = GUARD;
    config.links.pop();
    assert_eq!(config.check(), Err(ConfigError::ArbiterAlone));
    config.links.push(LinkKind::Serial { baud: 115_200 }).expect("room");
    assert_eq!(
        config.check(),
        Err(ConfigError::ArbiterAlone),
        "another serial line dies alone, but …"
    );
    config.links.push(LinkKind::Broadcast).expect("room");
    config.arbiter.as_mut().expect("configured").link = LinkId(2);
    assert_eq!(config.check(), Err(ConfigError::ArbiterLink));
}

/// Who waits for what after a power cut of the whole site, when one node returns, and what is shown of it.
#[test]
fn after_a_site_power_cut_what_is_waited_for_is_shown() {
    let mut trio = Trio::new();
    trio.plug_in(ResetReason::PowerOn);
    trio.start(B);
    trio.run(ms(1000));
    let now = trio.now;
    let obstacle = trio.node(B).obstacle(WEB, now);
    let Some(Obstacle::OwnPromise { ends_in: Some(left) }) = obstacle else {
        panic!("{obstacle:?}")
    };
    assert!(left < FULL && left > ms(3500), "A may run by what B's former life promised: {left}");
    trio.run(ms(5000));
    let now = trio.now;
    let obstacle = trio.node(B).obstacle(WEB, now);
    let Some(Obstacle::PeerUnknown { ends_in }) = obstacle else { panic!("{obstacle:?}") };
    assert!(ends_in > ms(3900) && ends_in < ms(4100), "initdead: {ends_in}");
    trio.run_until(ends_in + ms(100), "B serves", |trio| trio.serves(B));
    let now = trio.now;
    assert_eq!(trio.node(B).obstacle(WEB, now), None);
}

/// The dongle gets its power last: what another one may have promised in its place is waited for.
#[test]
fn after_a_site_power_cut_a_late_dongle_is_waited_for() {
    let mut trio = Trio::new();
    trio.start(B);
    trio.run(ms(30_000));
    trio.plug_in(ResetReason::PowerOn);
    trio.run(ms(1000));
    let now = trio.now;
    let obstacle = trio.node(B).obstacle(WEB, now);
    let Some(Obstacle::ArbiterPromise { to: None, ends_in: Some(left) }) = obstacle else {
        panic!("{obstacle:?}")
    };
    assert!(left > FULL.saturating_sub(ms(1000)) && left < FULL, "{left}");
    trio.run_until(left, "B serves", |trio| trio.serves(B));
}

/// The same where guard is unbounded: nothing but A's return, or a human, will do; it says so.
#[test]
fn after_a_site_power_cut_an_unbounded_guard_needs_a_human() {
    let mut trio = Trio::with(|config| config.timing.guard = Duration::MAX);
    trio.plug_in(ResetReason::PowerOn);
    trio.start(B);
    trio.run(ms(600_000));
    let now = trio.now;
    assert_eq!(trio.node(B).obstacle(WEB, now), Some(Obstacle::OwnPromise { ends_in: None }));
    assert_eq!(trio.node(B).request_takeover_peer_is_off(now), Ok(1));
    trio.run_until(ms(1000), "B serves", |trio| trio.serves(B));
    trio.start(A);
    trio.run(ms(15_000));
    assert!(trio.serves(A), "home");
    assert_eq!(trio.double, ms(0));
}

/// R9. The numbers of a life end. The arbiter begins a new life; nobody stops, and it votes again.
#[cfg(feature = "mutants")]
#[test]
fn r9_an_arbiter_at_the_end_of_its_numbers_begins_a_new_life() {
    let mut trio = Trio::started();
    let orders = trio.starts();
    trio.dongle.arbiter.as_mut().expect("plugged in").skip_to(u32::MAX - 10);
    trio.run(ms(20_000));
    assert_eq!(trio.dongle.restarts, 1);
    assert_eq!(trio.starts(), orders);
    assert_eq!(trio.dark, ms(0));
    let now = trio.now;
    assert!(trio.node(A).authority(WEB, now).arbiter.is_some());
}

/// R9. So does a node, with time to hand its groups over.
#[cfg(feature = "mutants")]
#[test]
fn r9_a_node_at_the_end_of_its_numbers_hands_over_and_departs() {
    let mut trio = Trio::started();
    trio.node(A).skip_to(u32::MAX - (1 << 20) - 10);
    trio.run(ms(3000));
    assert!(trio.machines[A].node.is_none() && trio.serves(B));
    assert!(trio.dark < ms(100) && trio.double == ms(0), "{}", trio.dark);
}

/// The lemma that every story is held against turns red when its rule is broken.
#[cfg(feature = "mutants")]
#[test]
fn the_judge_of_lemma_1_notices() {
    use hb_proto::mutant::Mutant;
    trio::mutants::each_is_noticed(&[(Mutant::R4NoGuard, "a healthy trio", || {
        let mut trio = Trio::started();
        trio.run(ms(1000));
        assert!(trio.judged > 100, "{}", trio.judged);
    })]);
}
