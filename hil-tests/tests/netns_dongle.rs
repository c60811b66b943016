//! The dongle between two real daemons: the failure table, and what its outputs and its memory do.
//!
//! The table's verdicts are the client's. Where a test looks at the dongle itself, it looks at its outputs and at
//! the machines that they reset, never at what a daemon says of them.

use std::process::{Command, Stdio};

use hb_linux::rig::bench::Node;
use hb_linux::rig::dongle::Pulled;
use hb_linux::rig::init;
use hb_linux::rig::outlet::Cause;
use hb_proto::time::Duration;
use hil_tests::inside::{evidence, inside, programs};
use hil_tests::netns::rig::Namespaces;
use hil_tests::scenario::runner::{self, Verdict};
use hil_tests::scenario::verb::Verb;
use hil_tests::scenario::{
    Cannot, Cluster, Dongle, Evidence, Link, Machine, ResetWire, Rig, Scenario, Told,
};

const A: Machine = Machine::A;
const B: Machine = Machine::B;

/// Plays a part of the failure table, in rigs of its own: whether all went as the table says, and the output.
fn played(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_failure_table"))
        .args(["--at-once", "3"])
        .args(arguments)
        .env("HB_RIG_PROGRAMS", programs().hb.parent().expect("a directory"))
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    (output.status.success(), format!("{text}{problems}"))
}

fn table(arguments: &[&str]) {
    let (good, text) = played(arguments);
    // What passed only at a second try says so.
    println!("{text}");
    assert!(good, "{text}");
}

#[test]
fn every_single_failure() {
    table(&["singles"]);
}

#[test]
fn every_single_failure_without_reset_lines() {
    table(&["singles", "--no-reset-lines"]);
}

/// The whole of both is `cargo xtask rig netns --failure-table`.
#[test]
fn every_seventeenth_pair_of_failures() {
    table(&["pairs", "--every", "17"]);
}

#[test]
fn every_29th_pair_of_failures_at_nearly_the_same_time() {
    table(&["soon", "--every", "29"]);
}

/// Where only time ends what was promised to the dead.
#[test]
fn every_29th_pair_of_failures_without_reset_lines() {
    table(&["pairs", "--every", "29", "--no-reset-lines"]);
}

/// The last row of the table: a human decides (R14).
#[test]
fn the_dongle_and_then_a_node() {
    table(&["pairs", "dongle removed, then", "power lost"]);
}

/// A machine that hangs, that the dongle can't reach, and that has no watchdog goes on serving beside the
/// next holder: the promise of its guard was wrong (R10), and the table must say so.
#[test]
fn the_table_sees_two_holders() {
    let case = ["pairs", "holder's reset wire broken, then holder's daemon hangs"];
    table(&case);
    let (good, text) = played(&[&case[..], &["--sabotage"]].concat());
    assert!(!good && text.contains("TWO HOLDERS"), "{text}");
}

/// A rig with a pair that is well, and what can be asked of it beyond the language.
struct Play {
    rig: Namespaces,
    cluster: Cluster,
    begun: bool,
}

impl Play {
    fn of(dongle: Dongle) -> Self {
        let pair = Cluster::two_nodes().address_group("web", A).watchdog_s(Some(1));
        let rig = Namespaces::new(programs().clone());
        Self { rig, cluster: pair.dongle(dongle), begun: false }
    }

    /// What follows begins with a pair that is well, and must end well.
    fn tell(&mut self, what: &str, told: impl FnOnce(&mut Scenario<'_>) -> Told) {
        let (cluster, begun) = (self.cluster.clone(), std::mem::replace(&mut self.begun, true));
        let place = evidence().expect("inside").join(what.replace(' ', "_"));
        let verdict = runner::tell_as(what, &mut self.rig, &place, |s| {
            if begun {
                s.go_on(cluster);
            } else {
                s.begin(cluster)?;
                s.until("both vote", Duration::from_secs(10), |s| s.rig().has_all_votes(A, 0))?;
            }
            told(s)
        });
        match verdict {
            Verdict::Passed => {}
            Verdict::Failed { why, timeline, .. } => panic!("{what}: {why}\n{timeline}"),
            Verdict::Skipped(why) => panic!("{what}: {why}"),
        }
        let overlap = self.rig.overlap(0, hb_proto::time::Instant::ZERO).expect("a client");
        assert_eq!(overlap, None, "{what}: two holders");
    }

    fn pulled(&self) -> Vec<Pulled> {
        let bench = self.rig.bench().expect("built");
        bench.dongle().expect("built in").pulled()
    }

    fn resets_of(&self, node: Node) -> Vec<Cause> {
        let bench = self.rig.bench().expect("built");
        bench.resets_of(node).into_iter().map(|reset| reset.cause).collect()
    }

    /// What a machine's ha-log says, over all its lives.
    fn logged(&self, node: Node, text: &str) -> bool {
        self.rig.bench().expect("built").machine(node).ha_log().contains(text)
    }

    fn told(&self, text: &str) -> bool {
        let bench = self.rig.bench().expect("built");
        bench.dongle().expect("built in").events().iter().any(|(_, event)| event.contains(text))
    }
}

fn outputs(pulled: &[Pulled]) -> Vec<(Node, Option<Node>)> {
    pulled.iter().map(|pulled| (pulled.output, pulled.hit)).collect()
}

/// Whatever happens to lines, networks and the dongle itself: no machine is reset by anything.
#[test]
fn nothing_but_a_reset_output_power_cycles_a_machine() {
    inside("nothing_but_a_reset_output_power_cycles_a_machine", || {
        let mut play = Play::of(Dongle::default());
        play.tell("lines and the dongle suffer", |s| {
            for (verb, mend) in [
                (Verb::CutHalf(A), Verb::HealHalf(A)),
                (Verb::CutHalf(B), Verb::HealHalf(B)),
                (Verb::RemoveDongle, Verb::InsertDongle { spare: false }),
            ] {
                s.act(verb)?;
                s.run_for_ms(1500);
                s.act(mend)?;
                s.settle()?;
            }
            s.reset_dongle()?;
            s.run_for_ms(500);
            s.hang_dongle()?;
            s.run_for_ms(2500);
            s.cut(Link::Private)?;
            s.run_for_ms(1500);
            s.heal(Link::Private)?;
            s.settle()?;
            s.expect_holder(0, A)
        });
        assert_eq!(outputs(&play.pulled()), []);
        assert_eq!([play.resets_of(Node::One), play.resets_of(Node::Two)], [[], []]);
        play.tell("A hangs", |s| {
            s.stop_daemon(A)?;
            s.expect_holder_within(0, B, s.budget(0))?;
            s.expect_holder(0, A)
        });
        assert_eq!(outputs(&play.pulled()), [(Node::One, Some(Node::One))]);
        assert_eq!(play.resets_of(Node::One), [Cause::Dongle]);
        assert_eq!(play.resets_of(Node::Two), []);
    });
}

/// The wire broke after its test: the pulse reaches nobody, nothing ends early, and the machine's own watchdog
/// does it. Once that machine has lost its power instead, time does it.
#[test]
fn a_broken_reset_wire_ends_nothing_early() {
    inside("a_broken_reset_wire_ends_nothing_early", || {
        let mut play = Play::of(Dongle::default());
        play.tell("A hangs, its wire is broken", |s| {
            s.wire_reset(A, ResetWire::Broken)?;
            s.stop_daemon(A)?;
            let fence = s.budget(0);
            s.all_the_time("B has nothing", fence, |s| !s.holds_any(0, B))?;
            s.expect_holder(0, A)?;
            s.settle()
        });
        assert_eq!(outputs(&play.pulled()), [(Node::One, None)]);
        assert_eq!(play.resets_of(Node::One), [Cause::Watchdog]);
        play.tell("A loses power, its wire is broken", |s| {
            s.until("it votes", Duration::from_secs(9), |s| s.rig().has_all_votes(A, 0))?;
            s.power_off(A)?;
            let (fence, full) = (s.budget(0), s.cluster().timing.full());
            s.all_the_time("B has nothing", fence, |s| !s.holds_any(0, B))?;
            s.expect_holder_within(0, B, full + s.planned_budget(0))
        });
        assert_eq!(outputs(&play.pulled()), [(Node::One, None); 2]);
        assert!(!play.told("Confirmed"));
        let unconfirmed =
            "CRIT: no evidence that linuxha1 (life 2) was reset: nothing that was promised to it";
        assert!(play.logged(Node::Two, unconfirmed));
        assert!(!play.logged(Node::Two, "there is evidence"));
    });
}

#[test]
fn swapped_reset_wires_are_found_and_never_pulled_again() {
    inside("swapped_reset_wires_are_found_and_never_pulled_again", || {
        let mut play = Play::of(Dongle { evidence: Evidence::Sensed, ..Dongle::default() });
        play.tell("A hangs, the wires are swapped", |s| {
            s.wire_reset(A, ResetWire::Swapped)?;
            s.wire_reset(B, ResetWire::Swapped)?;
            s.stop_daemon(A)?;
            s.run_for_ms(8000);
            s.expect_holder(0, A)?;
            s.settle()?;
            s.stop_daemon(A)?;
            s.run_for_ms(3000);
            s.expect_holder(0, A)
        });
        assert_eq!(outputs(&play.pulled()), [(Node::One, Some(Node::Two))], "once");
        assert!(play.told("Miswired"));
        for node in Node::BOTH {
            assert!(play.logged(
                node,
                "CRIT: the arbiter's reset lines are miswired: a pulse for one node"
            ));
        }
        // Tested again, each line hits the other machine still: that is no proof.
        assert!(!play.logged(Node::One, "no longer called miswired"));
        assert_eq!(play.resets_of(Node::One), [Cause::Watchdog; 2]);
        assert_eq!(play.resets_of(Node::Two), [Cause::Dongle]);
    });
}

/// A sense input falls with the machine that a pulse resets. One that has no power fell before: that proves
/// nothing, and time does it.
#[test]
fn a_sense_input_is_evidence_of_a_reset_and_not_of_an_earlier_fall() {
    inside("a_sense_input_is_evidence_of_a_reset_and_not_of_an_earlier_fall", || {
        let mut play = Play::of(Dongle { evidence: Evidence::Sensed, ..Dongle::default() });
        play.tell("A hangs", |s| {
            s.stop_daemon(A)?;
            s.expect_holder_within(0, B, s.budget(0))?;
            s.expect_holder(0, A)?;
            s.settle()
        });
        assert!(play.told("Confirmed"));
        play.tell("A loses power", |s| {
            s.power_off(A)?;
            let full = s.cluster().timing.full();
            s.expect_holder_within(0, B, full + s.planned_budget(0))?;
            s.power_on(A)?;
            s.expect_holder(0, A)
        });
    });
}

/// R8: killing the dongle's process is its reset; taking it out is a loss of power.
#[test]
fn its_memory_of_promises_outlives_a_reset_and_not_a_loss_of_power() {
    inside("its_memory_of_promises_outlives_a_reset_and_not_a_loss_of_power", || {
        // Without reset lines: a fence would prove that B holds nothing.
        let mut play = Play::of(Dongle { reset_lines: false, ..Dongle::default() });
        play.tell("B is off, the dongle is reset", |s| {
            s.power_off(B)?;
            s.run_for_ms(1500);
            s.reset_dongle()?;
            s.expect_holder_stays(0, A, Duration::from_secs(4))?;
            s.remove_dongle()?;
            s.insert_dongle()?;
            s.expect_released_within(0, A, Duration::from_secs(1))?;
            let full = s.cluster().timing.full();
            s.expect_holder_within(0, A, full + Duration::from_secs(1))?;
            s.power_on(B)?;
            s.settle()
        });
        let dongle = play
            .rig
            .bench()
            .and_then(|bench| bench.dongle().map(hb_linux::rig::dongle::Dongle::lives));
        assert_eq!(dongle, Some(3), "three lives");
    });
}

/// A spare has no history and no tested line: it votes, and resets nobody until its lines are tested.
#[test]
fn a_spare_votes_at_once_and_resets_after_its_lines_are_tested() {
    inside("a_spare_votes_at_once_and_resets_after_its_lines_are_tested", || {
        let mut play = Play::of(Dongle::default());
        play.tell("a spare is put in", |s| {
            s.remove_dongle()?;
            s.run_for_ms(700);
            s.insert_spare_dongle()?;
            let full = s.cluster().timing.full();
            s.until("it votes", full + Duration::from_secs(2), |s| s.rig().has_all_votes(A, 0))?;
            s.expect_no_takeover(Duration::from_secs(1))?;
            s.stop_daemon(A)?;
            s.run_for_ms(900);
            s.expect_holder(0, A)?;
            s.settle()
        });
        assert_eq!(outputs(&play.pulled()), [], "an untested line");
        assert_eq!(play.resets_of(Node::One), [Cause::Watchdog]);
        play.tell("its lines are tested", |s| {
            s.until("it votes", Duration::from_secs(9), |s| s.rig().has_all_votes(A, 0))?;
            match s.rig().act(Verb::TestReset(A)) {
                Err(Cannot::Refused(_)) => {}
                other => panic!("A serves, and its line was tested: {other:?}"),
            }
            s.test_reset(B)?;
            s.settle()?;
            s.standby(A)?;
            s.expect_holder(0, B)?;
            s.until("it votes", Duration::from_secs(9), |s| s.rig().has_all_votes(B, 0))?;
            s.test_reset(A)
        });
        assert_eq!(
            outputs(&play.pulled()),
            [(Node::Two, Some(Node::Two)), (Node::One, Some(Node::One))]
        );
        play.tell("and then it fences", |s| {
            s.expect_holder(0, A)?;
            s.settle()?;
            s.until("it votes", Duration::from_secs(9), |s| s.rig().has_all_votes(A, 0))?;
            s.stop_daemon(A)?;
            s.expect_holder_within(0, B, s.budget(0))
        });
    });
}

#[test]
fn it_lives_as_long_as_one_machine_feeds_it() {
    inside("it_lives_as_long_as_one_machine_feeds_it", || {
        let mut play = Play::of(Dongle::default());
        let is_on = |play: &Play| {
            let bench = play.rig.bench().expect("built");
            bench.dongle().expect("built in").is_on()
        };
        play.tell("one feed is cut", |s| {
            s.act(Verb::CutFeed(A))?;
            s.expect_no_takeover(Duration::from_secs(1))
        });
        assert!(is_on(&play));
        play.tell("the other one, too", |s| {
            s.act(Verb::CutFeed(B))?;
            s.expect_no_takeover(Duration::from_secs(1))
        });
        assert!(!is_on(&play));
        play.tell("both are back", |s| {
            s.act(Verb::HealFeed(A))?;
            s.act(Verb::HealFeed(B))?;
            s.until("it votes", Duration::from_secs(9), |s| s.rig().has_all_votes(A, 0))
        });
        assert!(is_on(&play));
    });
}

/// `hb` in linuxha1, while the story goes on until it has ended; its exit code and what it said.
fn hb(s: &mut Scenario<'_>, mut command: Command) -> (Option<i32>, String) {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hb starts");
    // A machine boots while the rig is looked after.
    for _ in 0..200 {
        if child.try_wait().expect("ours").is_some() {
            break;
        }
        s.run_for_ms(100);
    }
    let output = child.wait_with_output().expect("ours");
    let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    (output.status.code(), text)
}

/// The operator's own way: `hb dongle commission` resets a machine that runs nothing and sees it come back, and
/// `hb dongle fence` has a silent one reset, whether or not anybody needs that.
#[test]
fn an_operator_commissions_a_line_and_fences_a_silent_standby() {
    inside("an_operator_commissions_a_line_and_fences_a_silent_standby", || {
        let cluster = Cluster::two_nodes().address_group("web", A).dongle(Dongle::default());
        let rig = Namespaces::new(programs().clone());
        let mut play = Play { rig, cluster, begun: false };
        play.tell("all is well", |_| Ok(()));
        let inside_hb = init::inside(&programs().hb).display().to_string();
        let of = |play: &Play, words: &[&str]| {
            let bench = play.rig.bench().expect("built");
            bench
                .machine(Node::One)
                .command(&inside_hb, &[&["dongle"], words].concat())
                .expect("has power")
        };
        let commission = of(&play, &["commission", "linuxha2", "--confirm"]);
        let status = of(&play, &["status"]);
        play.tell("B's line is tested by the operator", |s| {
            // The verb does the same, and explains B's silence to the story.
            s.test_reset(B)?;
            s.settle()?;
            let (code, text) = hb(s, commission);
            assert!(text.contains("proved: linuxha2 began a new life after"), "{text}");
            assert_eq!(code, Some(0), "{text}");
            s.settle()?;
            let (code, text) = hb(s, status);
            assert!(text.contains("last test    linuxha2: proved, back after"), "{text}");
            assert!(code == Some(0) && text.contains("linuxha2 tested"), "{text}");
            s.expect_holder(0, A)
        });
        assert_eq!(play.resets_of(Node::Two), [Cause::Dongle, Cause::Dongle]);
        let refused = of(&play, &["fence", "linuxha2", "--confirm"]);
        let fence = of(&play, &["fence", "linuxha2", "--confirm"]);
        play.tell("B hangs, nobody needs it, and the operator has it reset", |s| {
            let (code, text) = hb(s, refused);
            assert!(
                code == Some(1) && text.contains("a node that is heard is never reset"),
                "{text}"
            );
            s.stop_daemon(B)?;
            s.run_for_ms(2000);
            let (code, text) = hb(s, fence);
            assert!(code == Some(0) && text.contains("was reset, there is evidence"), "{text}");
            s.settle()?;
            s.expect_holder(0, A)
        });
        let causes = play.resets_of(Node::Two);
        assert_eq!(causes, [Cause::Dongle; 3], "and by nothing else");
        assert_eq!(play.resets_of(Node::One), []);
    });
}
