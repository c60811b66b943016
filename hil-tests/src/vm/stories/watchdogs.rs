//! Watchdogs that bite, and those that must not.

use hb_linux::rig::outlet::Cause;
use hb_proto::time::{Duration, Instant};

use super::super::rig::{Guests, Special, WATCHDOG_S};
use super::{PATIENCE, Stop, Told, fail, guarded, web};
use crate::scenario::cluster::Link;
use crate::scenario::cluster::Machine::{A, B};
use crate::scenario::rig::Rig;
use crate::scenario::verb::{Conduct, Order, ResetWire, Verb, Way};

/// The time-out that the driver really has, as the kernel tells it.
fn time_out(guests: &mut Guests) -> Told {
    let said = guests.shell(A, "cat /sys/class/watchdog/watchdog0/timeout")?;
    if said.trim() == WATCHDOG_S.to_string() {
        return Ok(());
    }
    fail(format!("the driver's time-out is {} s, and not {WATCHDOG_S}", said.trim()))
}

/// What the client's own look at two holders may lag behind: an answer that was under way.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// SIGSTOP for the daemon that serves: its machine is gone within the watchdog's time. Until then this is the classics'
/// split: without an arbiter the peer doesn't wait for it (docs/protocol.md §1).
pub(super) fn softdog_resets_the_machine_of_a_stopped_daemon(guests: &mut Guests) -> Told {
    guests.begin(&guarded().auto_failback(false), &Special::default())?;
    if !guests.log_has(A, "Using watchdog device", Instant::ZERO) {
        return fail("the log of linuxha1 names no watchdog");
    }
    time_out(guests)?;
    let since = guests.now();
    guests.act(Verb::StopDaemon(A))?;
    guests.until_served_by(B, PATIENCE)?;
    let bitten = guests.until_bitten(A, since)?;
    // It boots, and is the standby.
    guests.until_settled(PATIENCE)?;
    if guests.serves() != Some(B) {
        return fail("linuxha2 no longer serves");
    }
    guests.all_is_well(bitten + UNDER_WAY)
}

/// The kernel feeds once when the device is closed without the magic letter; then it is over.
pub(super) fn softdog_resets_the_machine_of_a_daemon_stopped_and_killed(
    guests: &mut Guests,
) -> Told {
    guests.begin(&guarded().auto_failback(false), &Special::default())?;
    guests.act(Verb::StopDaemon(A))?;
    guests.run_for(Duration::from_millis(2500));
    let since = guests.now();
    guests.act(Verb::KillDaemon(A))?;
    let bitten = guests.until_bitten(A, since)?;
    guests.until_settled(PATIENCE)?;
    guests.all_is_well(bitten + UNDER_WAY)
}

pub(super) fn softdog_lets_an_orderly_stop_pass_and_a_busy_one_is_named(
    guests: &mut Guests,
) -> Told {
    guests.begin(&guarded(), &Special::default())?;
    guests.act(Verb::Leave(A))?;
    guests.until_served_by(B, PATIENCE)?;
    let state = guests.shell(A, "cat /sys/class/watchdog/watchdog0/state")?;
    if state.trim() != "inactive" {
        return fail(format!("after an orderly stop the watchdog is {}", state.trim()));
    }
    guests.never_reset(A, Duration::from_secs(u64::from(WATCHDOG_S) + 3))?;
    // Somebody else takes it; an untouched softdog waits for a minute.
    guests.shell(A, "sleep 1000 >/dev/watchdog </dev/null 2>/dev/null &")?;
    let since = guests.now();
    guests.act(Verb::StartDaemon(A))?;
    guests.until_log(A, "already in use", since)?;
    guests.all_is_well(Instant::ZERO)
}

pub(super) fn softdog_with_nowayout_is_named_and_bites_after_a_stop(guests: &mut Guests) -> Told {
    let modules = vec!["softdog nowayout=1".to_owned()];
    guests.begin(&guarded().auto_failback(false), &Special { modules, ..Special::default() })?;
    guests.until_log(A, "nowayout", Instant::ZERO)?;
    let since = guests.now();
    guests.act(Verb::Leave(A))?;
    guests.until_served_by(B, PATIENCE)?;
    guests.until_bitten(A, since)?;
    guests.all_is_well(Instant::ZERO)
}

/// A holder that neither the peer nor the dongle hears must stop, and its script hangs: its watchdog resets it, as its reset
/// line is broken. The peer starts after that, and not before.
pub(super) fn a_hung_stop_ends_in_a_reset_and_the_peer_waits_for_it(guests: &mut Guests) -> Told {
    guests.begin(&web().arbiter().auto_failback(false), &Special::default())?;
    guests.until("linuxha1 has all votes", Duration::from_secs(60), |it| it.has_all_votes(A, 0))?;
    guests.act(Verb::WireReset(A, ResetWire::Broken))?;
    guests.act(Verb::Script(A, "web", Conduct::Hangs(Order::Stop)))?;
    let since = guests.now();
    guests.act(Verb::Cut(Link::Private, Way::Both))?;
    guests.act(Verb::CutHalf(A))?;
    guests.until_log(A, "the watchdog is not fed any more", since)?;
    let reset = guests.until_bitten_after_neglect(since)?;
    guests.until_served_by(B, Duration::from_secs(40))?;
    let journal = guests.journal();
    let early = journal.iter().find(|one| one.machine == B && one.at > since && one.at < reset);
    if let Some(early) = early {
        return fail(format!("linuxha2 began before linuxha1 was reset: {early:?}"));
    }
    guests.all_is_well(Instant::ZERO)
}

impl Guests {
    /// The watchdog of A is no longer fed some time after `since`; its bite.
    fn until_bitten_after_neglect(&mut self, since: Instant) -> Result<Instant, Stop> {
        let limit = Duration::from_secs(u64::from(WATCHDOG_S) + 12);
        self.until("the watchdog resets linuxha1", limit, |guests| !guests.resets(A).is_empty())?;
        match self.resets(A).first() {
            Some((at, Cause::Watchdog)) if *at > since => Ok(*at),
            other => fail(format!("what reset linuxha1: {other:?}")),
        }
    }
}

/// An emulated chip, not a timer of the kernel: it bites a kernel that is gone, too.
pub(super) fn i6300esb_resets_a_stopped_daemon_s_machine_and_a_panicked_one(
    guests: &mut Guests,
) -> Told {
    let devices = ["-device", "i6300esb"].map(str::to_owned).to_vec();
    let modules = vec!["i6300esb".to_owned()];
    let special = Special {
        devices,
        modules,
        ha_cf: "watchdog /dev/watchdog\n".into(),
        ..Special::default()
    };
    // Its guests boot, and the second waits for the first.
    guests.begin(&web().initdead_ms(20_000).auto_failback(false), &special)?;
    let identity = guests.shell(A, "cat /sys/class/watchdog/watchdog0/identity")?;
    if !identity.contains("i6300ESB") {
        return fail(format!("the watchdog is a {}", identity.trim()));
    }
    time_out(guests)?;
    let since = guests.now();
    guests.act(Verb::StopDaemon(A))?;
    let bitten = guests.until_bitten(A, since)?;
    guests.until_settled(Duration::from_secs(40))?;
    let since = guests.now();
    guests.act(Verb::PanicKernel(B))?;
    guests.until_served_by(A, PATIENCE)?;
    guests.until_bitten(B, since)?;
    guests.all_is_well(bitten + UNDER_WAY)
}

pub(super) fn hb_watchdog_shows_and_tests(guests: &mut Guests) -> Told {
    let modules = vec!["softdog".to_owned()];
    guests.begin(&web(), &Special { modules, ..Special::default() })?;
    let shown = guests.shell(B, "hb watchdog show")?;
    for words in ["watchdog0", "Software Watchdog", "nobody"] {
        if !shown.contains(words) {
            return fail(format!("hb watchdog show says nothing of {words}:\n{shown}"));
        }
    }
    guests.act(Verb::Leave(B))?;
    let since = guests.now();
    guests.shell(B, "hb watchdog test --reset-this-machine </dev/null >/tmp/test 2>&1 &")?;
    guests.until_bitten(B, since)?;
    guests.until_settled(PATIENCE)?;
    let result = guests.shell(B, "hb watchdog test --result")?;
    if !result.contains("it bit") {
        return fail(format!("hb watchdog test --result: {result}"));
    }
    guests.all_is_well(Instant::ZERO)
}
