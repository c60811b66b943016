//! Every word that ha.cf ever knew, and what becomes of it here.

use super::diagnostic::Severity;
use super::diagnostic::quoted;

/// What becomes of a directive.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// Read and used.
    Used,
    /// Comes later; until then the line is ignored, which endangers nothing.
    Later(&'static str),
    /// Accepted; it has no effect, because …
    Harmless(&'static str),
    /// Can't be accepted, because …; what to write instead.
    Refused(&'static str),
    /// Depends on its values.
    Judged(fn(&[&str]) -> (Severity, &'static str)),
}

use Fate::{Harmless, Judged, Later, Refused, Used};

/// The union of the directives of heartbeat 0.4.5 to 3.0.6, and ours: the arbiter, what it may do, lease, guard and alerts.
///
/// A word is ignored only where that endangers nothing: a file that asks for fencing, or for a
/// program that protects data, must not be obeyed in part.
pub(super) const WORDS: &[(&str, Fate)] = &[
    ("serial", Used),
    ("baud", Used),
    ("bcast", Used),
    ("udp", Used),
    ("ucast", Used),
    ("ucast6", Used),
    ("mcast", Used),
    ("mcast6", Used),
    ("udpport", Used),
    ("keepalive", Used),
    ("warntime", Used),
    ("deadtime", Used),
    ("initdead", Used),
    ("node", Used),
    ("auto_failback", Used),
    ("nice_failback", Used),
    ("watchdog", Used),
    ("carrier_hints", Used),
    ("logfile", Used),
    ("debugfile", Used),
    (
        "hopfudge",
        Harmless("it bounds how often a frame is passed on in a ring; two nodes are no ring"),
    ),
    ("ppp-udp", Used),
    ("ping", Later("reachability of other machines does not influence takeover yet")),
    ("ping6", Later("reachability of other machines does not influence takeover yet")),
    ("ping_group", Later("reachability of other machines does not influence takeover yet")),
    ("deadping", Later("it belongs to `ping`, which is not offered yet")),
    (
        "hbaping",
        Refused(
            "storage adapters are not pinged; remove the line, and watch the storage from a \
             resource script's `status`",
        ),
    ),
    ("cluster", Harmless("the keys of authkeys tell clusters apart; give each cluster its own")),
    ("autojoin", Judged(autojoin)),
    ("uuidfrom", Harmless("nodes are known by their names of the `node` lines")),
    ("hbgenmethod", Harmless("each start of a node has a number of its own, kept on disk")),
    (
        "stonith",
        Refused(
            "fencing by plug-ins is not offered yet, and without it the pair would be less safe \
             than this file asks for. Remove the line to run without fencing",
        ),
    ),
    (
        "stonith_host",
        Refused(
            "fencing by plug-ins is not offered yet, and without it the pair would be less safe \
             than this file asks for. Remove the line to run without fencing",
        ),
    ),
    ("respawn", Judged(respawn)),
    (
        "failfast",
        Refused(
            "programs that reboot the node when they end are not offered yet. Remove the line, and \
             watch the program from a resource script's `status`",
        ),
    ),
    ("apiauth", Harmless("there is no client API to guard; only root may give commands")),
    ("crm", Judged(crm)),
    ("pacemaker", Judged(crm)),
    ("debug", Harmless("the log always holds every change of state; `debugfile` holds the rest")),
    ("realtime", Judged(realtime)),
    ("rtprio", Harmless("heartbeatd picks its priority itself")),
    ("use_logd", Harmless("heartbeatd writes its log in a process of its own anyway")),
    ("conn_logd_time", Harmless("there is no log daemon to connect to")),
    ("logfacility", Judged(logfacility)),
    ("coredumps", Harmless("the system decides about core dumps (core(5))")),
    ("msgfmt", Harmless("frames are binary and have one format")),
    ("compression", Harmless("a status frame has 32 bytes; there is nothing to compress")),
    ("compression_threshold", Harmless("a status frame has 32 bytes; nothing is compressed")),
    ("traditional_compression", Harmless("nothing is compressed")),
    ("max_rexmit_delay", Harmless("nothing is sent again: every frame carries the whole state")),
    (
        "env",
        Refused(
            "environment variables for resource scripts are not offered yet, and a script may need \
             this one. Remove the line and set the variable in the script itself",
        ),
    ),
    ("syslogmsgfmt", Harmless("the log has one format")),
    ("memreserve", Harmless("heartbeatd takes its memory at its start and no more later")),
    (
        "quorum_server",
        Refused(
            "a third machine that decides is not offered, and the pair would be less safe than this \
             file asks for. Remove the line to run without one",
        ),
    ),
    ("log_badpack", Harmless("refused frames are always counted; `hb status` shows them")),
    ("arbiter", Used),
    ("fence", Used),
    ("dongle_watchdog", Used),
    ("alert", Used),
    ("lease", Used),
    ("guard", Used),
    ("guard_unsafe", Used),
];

/// The fate of a word, if ha.cf knows it.
pub(super) fn fate(word: &str) -> Option<Fate> {
    WORDS.iter().find(|(known, _)| *known == word).map(|&(_, fate)| fate)
}

/// What to tell about a word that is known but not [`Fate::Used`].
pub(super) fn verdict(word: &str, fate: Fate, values: &[&str]) -> Option<(Severity, String)> {
    let (severity, sentence) = match fate {
        Used => return None,
        Later(sentence) => (Severity::Warning, sentence),
        Harmless(sentence) => (Severity::Note, sentence),
        Refused(sentence) => (Severity::Error, sentence),
        Judged(judge) => judge(values),
    };
    let what = match severity {
        Severity::Note => "accepted without effect",
        Severity::Warning => "not yet, line ignored",
        Severity::Error => "refused",
    };
    Some((severity, format!("{word}: {what}: {sentence}")))
}

/// The error for a word that ha.cf does not know.
pub(super) fn unknown(word: &str) -> String {
    let bare = word.split('=').next().unwrap_or_default().to_lowercase();
    let nearest = WORDS
        .iter()
        .map(|&(known, _)| (strsim::damerau_levenshtein(&bare, known), known))
        .min()
        .filter(|&(distance, known)| distance <= (known.len() / 3).clamp(1, 3));
    let hint = match nearest {
        Some((0, known)) if word.contains('=') => {
            format!("write `{known} VALUE`, with a blank instead of `=`")
        }
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => "the manual lists every directive; remove the line if it is none".to_owned(),
    };
    format!("read {}, which is no directive: {hint}", quoted(word))
}

fn autojoin(values: &[&str]) -> (Severity, &'static str) {
    match values {
        ["none"] => (Severity::Note, "both nodes are named anyway"),
        _ => (
            Severity::Error,
            "only the two named nodes take part; write `autojoin none` or remove the line",
        ),
    }
}

fn respawn(values: &[&str]) -> (Severity, &'static str) {
    let program = values.get(1).and_then(|path| path.rsplit('/').next());
    match program {
        Some("ipfail") => {
            (Severity::Warning, "reachability of other machines does not influence takeover yet")
        }
        // dopd outdates the peer's disk; of other programs nobody here knows what they protect.
        _ => (
            Severity::Error,
            "programs are not started from ha.cf yet, and this one may protect data. Remove the \
             line, and start the program as a service of the system or as a resource",
        ),
    }
}

fn crm(values: &[&str]) -> (Severity, &'static str) {
    match values {
        [word] if is_false(word) => (Severity::Note, "haresources rules, as always here"),
        _ => (
            Severity::Error,
            "there is no resource manager beside haresources; remove the line and list the \
             resources there",
        ),
    }
}

fn realtime(values: &[&str]) -> (Severity, &'static str) {
    match values {
        [word] if is_false(word) => (
            Severity::Warning,
            "heartbeatd always takes realtime priority and locks its memory where it is allowed to",
        ),
        _ => (
            Severity::Note,
            "heartbeatd always takes realtime priority and locks its memory where it is allowed to",
        ),
    }
}

fn logfacility(values: &[&str]) -> (Severity, &'static str) {
    match values {
        ["none"] => (Severity::Note, "the log goes to `logfile` only"),
        _ => (Severity::Warning, "the log goes to `logfile` only, not to syslog"),
    }
}

/// The words that ha.cf takes for yes and no, in any case.
pub(super) fn parse_switch(word: &str) -> Option<bool> {
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "true" | "on" | "yes" | "y" | "1" => Some(true),
        "false" | "off" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

fn is_false(word: &str) -> bool {
    parse_switch(word) == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_stands_once_and_has_a_sentence() {
        for (index, &(word, fate)) in WORDS.iter().enumerate() {
            assert!(WORDS[..index].iter().all(|(other, _)| *other != word), "{word} twice");
            match (fate, verdict(word, fate, &[])) {
                (Used, verdict) => assert_eq!(verdict, None, "{word}"),
                (_, Some((_, sentence))) => assert!(sentence.len() > word.len() + 30, "{sentence}"),
                (_, None) => panic!("{word} has no sentence"),
            }
        }
    }

    #[test]
    fn the_manual_lists_every_word() {
        let manual = include_str!("../../../docs/ha.cf.md");
        for (word, _) in WORDS {
            let named = [format!("`{word}`"), format!("`{word} ")];
            assert!(named.iter().any(|text| manual.contains(text.as_str())), "{word} is missing");
        }
    }

    #[test]
    fn the_nearest_word_is_suggested() {
        for (word, suggested) in [
            ("keepalve", "`keepalive`"),
            ("Deadtime", "`deadtime`"),
            ("dead_time", "`deadtime`"),
            ("baudrate", "no directive"),
            ("autofailback", "`auto_failback`"),
            ("nodes", "`node`"),
            ("deadtime=10", "with a blank"),
            ("xyzzy", "remove the line"),
            ("", "no directive"),
        ] {
            let message = unknown(word);
            assert!(message.contains(suggested), "{word}: {message}");
        }
    }

    /// What a file asks for its safety is never skipped.
    #[test]
    fn safety_is_never_ignored() {
        for (word, values) in [
            ("stonith", &[][..]),
            ("stonith_host", &[]),
            ("quorum_server", &[]),
            ("failfast", &[]),
            ("respawn", &["hacluster", "/usr/lib/heartbeat/dopd"]),
            ("crm", &["yes"]),
            ("autojoin", &["any"]),
        ] {
            let (severity, _) = verdict(word, fate(word).unwrap(), values).unwrap();
            assert_eq!(severity, Severity::Error, "{word}");
        }
        let ipfail = ["hacluster", "/usr/lib/heartbeat/ipfail"];
        assert_eq!(
            verdict("respawn", fate("respawn").unwrap(), &ipfail).unwrap().0,
            Severity::Warning
        );
        assert_eq!(verdict("crm", fate("crm").unwrap(), &["OFF"]).unwrap().0, Severity::Note);
    }
}
