//! What a dongle says, as a person reads it.

use std::path::Path;

use hb_proto::wire::Reject;
use hb_proto::wire::message::arbiter::{LineShown, ResetReason};
use hb_proto::wire::service::{
    Answer, Ask, Board, Challenge, Entry, Identity, Note, Refusal, SelfTest, Settings, TestState,
};

use super::line::Line;
use super::pins;
use super::tests_of_lines;
use crate::dongle::{Expected, InWords, judge};

/// A line on stdout. That nobody reads it any more is no reason to leave something half done.
pub fn say(line: &str) {
    let _ = super::super::print(&format!("{line}\n"));
}

/// Why something was not done.
pub fn refused(why: Refusal) -> String {
    let reason = match why {
        Refusal::NotSigned => "it must be signed with its key",
        Refusal::OldChallenge => "something else was done meanwhile; try again",
        Refusal::NoKey => "it has no key yet: hb dongle provision",
        Refusal::InUse => "that node may be running something",
        Refusal::NotHeard => "it does not hear that node, so nobody could see what the pulse does",
        Refusal::UnderWay => "another test is under way",
        Refusal::NoRoom => "it has no room for another key",
        Refusal::StoreFailed => "it can't store that: its memory fails",
        Refusal::WrongKey => "it has no such key, or that is the one that signs",
        Refusal::NotANode => "that is no node",
        Refusal::NoNumber => "it has no number of its own yet",
        Refusal::Unknown => {
            "its program doesn't know that request, or names a reason that this one doesn't know: bring the older of \
             the two up to date"
        }
        Refusal::OutOfRange => "a time is out of range",
    };
    format!("the dongle refuses: {reason}")
}

/// `1, 3`
pub fn numbers(keys: u16) -> String {
    let numbers: Vec<_> =
        (0..16).filter(|id| keys >> id & 1 == 1).map(|id: u16| id.to_string()).collect();
    if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
}

const fn board(board: Board) -> &'static str {
    match board {
        Board::Host => "a process of the test rig",
        Board::Lm3s6965evb => "lm3s6965evb (emulated)",
        Board::Rp2040Pico => "Raspberry Pi Pico",
        Board::NucleoL476rg => "Nucleo-L476RG",
        Board::Unknown => "a board that this program doesn't know",
    }
}

const fn reset(reason: ResetReason) -> &'static str {
    match reason {
        ResetReason::Unknown => "unknown",
        ResetReason::PowerOn => "power on",
        ResetReason::BrownOut => "power dipped",
        ResetReason::Watchdog => "its own watchdog",
        ResetReason::Software => "its program (new keys, or a failure)",
        ResetReason::Pin => "its reset pin",
    }
}

const fn line_word(line: LineShown) -> &'static str {
    match line {
        LineShown::Untested => "untested",
        LineShown::Commissioned => "tested",
        LineShown::Miswired => "miswired",
    }
}

/// `hb dongle status`; false when something is wrong.
///
/// # Errors
/// Nothing answers.
pub fn status(line: &mut Line, state_dir: &Path) -> Result<bool, String> {
    let (settings, names) = (line.settings.clone(), line.names());
    let through = if line.is_through_daemon() { ", through heartbeatd" } else { "" };
    let identity = line.identify(false)?;
    let answers = line.identify(true).is_ok();
    say(&format!("dongle in {}{through}", line.device));
    let mut text = facts(&identity, &names);
    match tests_of_lines::records(state_dir) {
        Ok(records) => {
            for (node, result) in &records {
                let word = if result.proved { "proved" } else { "NOT proved" };
                let (at, seconds, dongle) = (result.at, result.seconds, result.dongle);
                text.push((
                    "last test",
                    format!("{node}: {word}, back after {seconds} s (dongle {dongle}, at {at})"),
                ));
            }
        }
        Err(error) => eprintln!("hb: the record of tests can't be read: {error}"),
    }
    for (name, value) in text {
        say(&format!("  {name:<11}  {value}"));
    }
    let problems = judge(&identity, Some(answers), &Expected::of(&settings));
    for &problem in &problems {
        let words = InWords { problem, line: &line.device, me: settings.me, names: &names };
        say(&format!("! {words}"));
    }
    Ok(problems.is_empty())
}

fn facts(identity: &Identity, names: &[String; 2]) -> Vec<(&'static str, String)> {
    let Challenge { id, boot, .. } = identity.challenge;
    let number = if id == 0 { "none yet".to_owned() } else { id.to_string() };
    let [major, minor, patch] = identity.firmware;
    let signs = identity.signing.map_or_else(|| "none".to_owned(), |key| key.to_string());
    let power: Vec<_> = identity
        .feeds
        .iter()
        .zip(names)
        .map(|(feed, name)| match feed {
            Some(true) => format!("from {name}"),
            Some(false) => format!("not from {name}"),
            None => format!("{name}'s feed is not sensed"),
        })
        .collect();
    let lines =
        identity.lines.iter().zip(names).map(|(line, name)| format!("{name} {}", line_word(*line)));
    let mut facts = vec![
        (
            "number",
            format!(
                "{number}; life {boot}, up {} s, began by: {}",
                identity.uptime_s,
                reset(identity.reset)
            ),
        ),
        ("program", format!("{major}.{minor}.{patch} on {}", board(identity.board))),
        ("keys", format!("{signs} signs; accepted: {}", numbers(identity.keys))),
        ("port", format!("{} is this node's", identity.port + 1)),
        ("power", power.join(", ")),
        ("reset lines", lines.collect::<Vec<_>>().join(", ")),
    ];
    if let Some(Settings { pulse_ms, watchdog_ms }) = identity.settings {
        let silence =
            if watchdog_ms == 0 { "deadtime".to_owned() } else { format!("{watchdog_ms} ms") };
        facts.push(("times", format!("a pulse of {pulse_ms} ms; watchdog after {silence}")));
    }
    if let Some(test) = identity.test {
        let state = match test.state {
            TestState::UnderWay => "under way",
            TestState::Proved => "proved",
            TestState::Failed => "NOT proved",
        };
        let name = names.get(test.node.index()).map_or("?", String::as_str);
        facts.push(("line test", format!("{name}: {state}")));
    }
    facts
}

/// `hb dongle trace`.
///
/// # Errors
/// Nothing answers.
pub fn trace(line: &mut Line) -> Result<bool, String> {
    let names = line.names();
    let (mut after, mut lost) = (0, false);
    loop {
        let answer = line.look(false, &Ask::Trace { after })?;
        let (newest, first, entries) = match answer {
            Answer::Trace { newest, first, entries } => (newest, first, entries),
            Answer::Refused { why, .. } => return Err(refused(why)),
            other => return Err(format!("the dongle answered something else: {other:?}")),
        };
        if after == 0 && first > 1 && !std::mem::replace(&mut lost, true) {
            say(&format!("({} older events are no longer kept)", first - 1));
        }
        for entry in &entries {
            say(&event(entry, &names));
        }
        let last = first + u32::try_from(entries.len()).unwrap_or(0);
        if entries.is_empty() || last > newest {
            return Ok(true);
        }
        after = last - 1;
        // In the clear it answers at a bounded rate.
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
}

fn event(entry: &Entry, names: &[String; 2]) -> String {
    let name = |number: u32| names.get(number as usize).map_or("?", String::as_str);
    let (low, high) = (entry.arg & 0xFF, entry.arg >> 8 & 1 == 1);
    let what = match entry.what {
        Note::Began => format!("life {} began", entry.arg),
        Note::Heard if high => format!("{} is heard", name(low)),
        Note::Heard => format!("{} is silent", name(low)),
        Note::Forgot => "nobody was heard for a lease: promises are over".to_owned(),
        Note::Pulsed => format!("{}'s reset line was pulled", name(low)),
        Note::Confirmed => format!("{} went down, there is evidence", name(low)),
        Note::Miswired => "a pulse hit the wrong machine: the lines are miswired".to_owned(),
        Note::Stall => format!("its program was late by {} ms", entry.arg),
        Note::Rejected => {
            let reason = Reject::ALL.get(low as usize).map_or("?", |reason| reason.name());
            format!("a frame on port {} was dropped: {reason}", 1 + u8::from(high))
        }
        Note::Served => "something was done by request".to_owned(),
        Note::Refused => format!("a request was refused (reason {})", entry.arg),
        Note::Tested => {
            let word = if high { "proved" } else { "NOT proved" };
            format!("the test of {}'s reset line ended: {word}", name(low))
        }
        Note::Unknown => "something that this program doesn't know".to_owned(),
    };
    format!("{:>7}.{:03} s  {what}", entry.at_ms / 1000, entry.at_ms % 1000)
}

/// `hb dongle self-test`; false when something is wrong.
pub fn self_test(found: &SelfTest, names: &[String; 2]) -> bool {
    let mut good = true;
    let mut check = |what: String, sound: bool| {
        good &= sound;
        say(&format!("{}  {what}", if sound { "ok   " } else { "WRONG" }));
    };
    check("its memory can be read, and is whole".to_owned(), found.store);
    check("HMAC-SHA-256 gives what RFC 4231 says".to_owned(), found.crypto);
    for (name, at_rest) in names.iter().zip(found.outputs_at_rest) {
        check(format!("the reset output to {name} is at rest"), at_rest);
    }
    for (name, high) in names.iter().zip(found.line_high) {
        match high {
            Some(high) => check(format!("{name}'s own pull-up holds its reset line"), high),
            None => say(&format!("-      {name}'s reset line is not supervised")),
        }
    }
    for (name, high) in names.iter().zip(found.sense_high) {
        match high {
            Some(true) => say(&format!("-      {name}'s sense input says that it has power")),
            Some(false) => say(&format!("-      {name}'s sense input says that it has no power")),
            None => say(&format!("-      {name} has no sense input")),
        }
    }
    say(&format!("-      its longest turn took {} us", found.longest_turn_us));
    good
}

/// `hb dongle pinout`.
///
/// # Errors
/// No pins are known for the board.
pub fn pinout(of: Board) -> Result<bool, String> {
    let pins = pins::of(of).ok_or_else(|| format!("no pins are known here for {}", board(of)))?;
    say(board(of));
    for (name, place, purpose) in pins {
        say(&format!("  {name:<6}  {place:<14}  {purpose}"));
    }
    say("A is the node whose name comes first in the alphabet, and has port 1; B has port 2.");
    Ok(true)
}
