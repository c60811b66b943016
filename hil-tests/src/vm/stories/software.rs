//! Software and settings that change while the pair serves, one node after the other.

use hb_proto::time::{Duration, Instant};
use serde_json::Value;

use super::super::rig::{Guests, Special};
use super::super::verbs::PLACE;
use super::{PATIENCE, Told, fail, web};
use crate::netns::files;
use crate::scenario::cluster::Machine;
use crate::scenario::cluster::Machine::{A, B};
use crate::scenario::rig::{Cannot, Rig};
use crate::scenario::verb::Verb;

const OLD: &str = "1 sha256 the-key-of-the-years-before";
const NEW: &str = "2 sha256 the-key-of-the-years-to-come";
/// Longer than silence before death.
const A_WHILE: Duration = Duration::from_secs(2);
/// An orderly leave is taken over without waiting: this, and what the host adds.
const HANDED_OVER: Duration = Duration::from_millis(500);

/// heartbeatd and ha.cf of a running pair, the standby's first: the service is handed over once, nobody is taken for
/// dead, and a machine that boots again has the new program.
pub(super) fn software_and_settings_change_one_node_after_the_other(guests: &mut Guests) -> Told {
    let before = web().auto_failback(false);
    let after = before.clone().times_ms(100, 1000, 3000);
    guests.begin(&before, &Special::default())?;
    let since = guests.now();
    for (machine, serves) in [(B, A), (A, B)] {
        let mark = guests.now();
        guests.write(machine, "/etc/ha.d/ha.cf", &files::ha_cf(&after), 0o644)?;
        if runs_next(guests, machine)? {
            return fail(format!("{machine} runs the next program before it has it"));
        }
        guests.act(Verb::Upgrade(machine))?;
        guests.until_served_by(serves, PATIENCE)?;
        guests.until_settled(PATIENCE)?;
        if !runs_next(guests, machine)? {
            return fail(format!("{machine} was given another program, and runs the old one"));
        }
        let equal = machine == A;
        let what = if equal { "both have the new settings" } else { "the settings differ" };
        guests.until(what, PATIENCE, |it| same_settings(it) == Some(equal))?;
        let dark = guests.dark(0, mark).map_err(|missing| missing.to_string())?;
        let limit = HANDED_OVER + guests.slack(mark);
        if dark > limit {
            return fail(format!(
                "{machine} was upgraded, and nobody served for {dark}; {limit} at most"
            ));
        }
    }
    for machine in Machine::BOTH {
        if guests.log_has(machine, "is dead", since) {
            return fail(format!("{machine} took an upgrade for a death"));
        }
    }
    guests.act(Verb::Reset(A))?;
    guests.until_settled(PATIENCE)?;
    if !runs_next(guests, A)? {
        return fail("linuxha1 has booted, and runs the old program");
    }
    guests.until_served_by(B, PATIENCE)?;
    guests.all_is_well(Instant::ZERO)
}

/// Whether all of heartbeatd that runs is the file that the upgrade brought.
fn runs_next(guests: &mut Guests, machine: Machine) -> Result<bool, super::Stop> {
    let script = format!(
        "next=$(stat -c %d:%i {PLACE} 2>/dev/null); for pid in $(pidof heartbeatd); do stat -Lc %d:%i /proc/$pid/exe; done \
         | sort -u | {{ read -r one; read -r two; test -n \"$one\" && test -z \"$two\" && test \"$one\" = \"$next\" && \
         echo yes; true; }}"
    );
    Ok(guests.shell(machine, &script)?.trim() == "yes")
}

/// Whether both daemons say that their settings are the same; `None` while one says nothing.
fn same_settings(guests: &mut Guests) -> Option<bool> {
    let mut same = true;
    for machine in Machine::BOTH {
        let text = guests.bench()?.observe(machine)?;
        let status: Value = serde_json::from_str(&text).ok()?;
        let settings = &status["configuration"]["settings"];
        settings["peers"].as_str()?;
        same &= settings["ours"] == settings["peers"];
    }
    Some(same)
}

/// authkeys in three rounds, by `hb reload`: no daemon is started anew, nobody is taken for dead, and a step that would
/// make a stranger of the peer is refused.
pub(super) fn keys_are_read_again_without_a_restart(guests: &mut Guests) -> Told {
    guests.begin(&web(), &Special { authkeys: Some(authkeys(1, &[OLD])), ..Special::default() })?;
    let since = guests.now();
    for machine in Machine::BOTH {
        take(guests, machine, &authkeys(1, &[OLD, NEW]))?;
    }
    take(guests, A, &authkeys(2, &[OLD, NEW]))?;
    guests.write(A, "/etc/ha.d/authkeys", &authkeys(2, &[NEW]), 0o600)?;
    match guests.act(Verb::Reload(A)) {
        Err(Cannot::Refused(why)) if why.contains("linuxha2 signs with it") => {}
        other => return fail(format!("linuxha2 signs with a key that linuxha1 drops: {other:?}")),
    }
    take(guests, B, &authkeys(2, &[OLD, NEW]))?;
    guests.until("nobody needs the old key", PATIENCE, |it| {
        Machine::BOTH
            .iter()
            .all(|machine| key(it, *machine, 1).is_some_and(|key| key["needed_by"].is_null()))
    })?;
    for machine in Machine::BOTH {
        take(guests, machine, &authkeys(2, &[NEW]))?;
    }
    guests.run_for(A_WHILE);
    for machine in Machine::BOTH {
        if key(guests, machine, 1).is_some() || key(guests, machine, 2).is_none() {
            return fail(format!("{machine} has other keys than its authkeys"));
        }
        for words in ["is dead", "heartbeat starting.", "not signed with our key"] {
            if guests.log_has(machine, words, since) {
                return fail(format!(
                    "keys were read again, and the log of {machine} has `{words}`"
                ));
            }
        }
    }
    let dark = guests.dark(0, since).map_err(|missing| missing.to_string())?;
    let limit = guests.slack(since);
    if dark > limit {
        return fail(format!("keys were read again, and nobody served for {dark}"));
    }
    guests.all_is_well(Instant::ZERO)
}

fn authkeys(signing: u8, keys: &[&str]) -> String {
    format!("auth {signing}\n{}\n", keys.join("\n"))
}

fn take(guests: &mut Guests, machine: Machine, text: &str) -> Told {
    guests.write(machine, "/etc/ha.d/authkeys", text, 0o600)?;
    Ok(guests.act(Verb::Reload(machine))?)
}

/// What the daemon says of one of its keys.
fn key(guests: &mut Guests, machine: Machine, number: u8) -> Option<Value> {
    let text = guests.bench()?.observe(machine)?;
    let status: Value = serde_json::from_str(&text).ok()?;
    status["keys"].as_array()?.iter().find(|key| key["id"] == number).cloned()
}
