//! The three files together, held against each other and against this machine.

use std::net::IpAddr;
use std::path::Path;

use hb_proto::config::{
    ArbiterConfig, Config, ConfigError, Digests, GroupConfig, LinkKind, Patience, ResourceKind,
    Timing,
};
use hb_proto::id::Voter;

use super::diagnostic::{Diagnostic, Report, Severity};
use super::hacf::{self, HaCf};
use super::media::written;
use super::source::{self, Privacy};
use super::times::{At, GivenTimes};
use super::{
    GroupLine, Medium, ResourceLine, Settings, authkeys, digest, haresources, ppp, third_voter,
};
use crate::net::Interface;

/// Usable settings and what there is to say about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Ready to run.
    pub settings: Settings,
    /// Notes and warnings, file by file, in the order of the lines.
    pub diagnostics: Vec<Diagnostic>,
    /// The line of ha.cf of each of `settings.media`, same order.
    pub media_lines: Vec<usize>,
    /// The line of ha.cf that names the arbiter.
    pub arbiter_line: Option<usize>,
    /// The line of ha.cf that names the watchdog.
    pub watchdog_line: Option<usize>,
    /// The line of ha.cf that names the alert script.
    pub alert_line: Option<usize>,
    on_guest: Option<Diagnostic>,
}

impl Loaded {
    /// Why these files can't be used on a hypervisor's guest (R10); `None` if they can.
    #[must_use]
    pub const fn refusal_on_guest(&self) -> Option<&Diagnostic> {
        self.on_guest.as_ref()
    }
}

impl Settings {
    /// Reads CONFIG_DIR/ha.cf, haresources and authkeys.
    ///
    /// `node` is `--node`; without it, this node is the one that `uname -n` names. `interfaces` are
    /// this machine's (`net::interfaces()`): a `ucast` line that names one of their addresses is
    /// meant for the other node.
    ///
    /// # Errors
    /// Everything that is wrong in the three files at once, notes and warnings included; at least one
    /// is an error.
    pub fn load(
        config_dir: &Path,
        node: Option<&str>,
        interfaces: &[Interface],
    ) -> Result<Loaded, Vec<Diagnostic>> {
        let uname = rustix::system::uname();
        let uname = uname.nodename().to_string_lossy();
        load_as(config_dir, Identity { asked: node, uname: &uname }, interfaces)
    }
}

/// What this machine is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a> {
    /// `--node`.
    pub(super) asked: Option<&'a str>,
    /// `uname -n`.
    pub(super) uname: &'a str,
}

/// This node and its peer, as ha.cf writes them.
#[derive(Clone, Debug)]
struct Pair {
    me: String,
    peer: String,
}

pub(super) fn load_as(
    config_dir: &Path,
    identity: Identity<'_>,
    interfaces: &[Interface],
) -> Result<Loaded, Vec<Diagnostic>> {
    let path = |name: &str| config_dir.join(name);
    let hacf_path = path("ha.cf");
    let mut report = Report::new(&hacf_path);
    let hint = "it names the two nodes and the media between them";
    let hacf = keep(source::read(&hacf_path, Privacy::Public, hint), &mut report)
        .map(|text| hacf::parse(&text, &|name, ip| is_local(interfaces, name, ip), &mut report));
    let mut timing = match &hacf {
        Some(hacf) => hacf.times.resolve(&mut report),
        None => Timing::classic_defaults(),
    };
    let arbiter =
        hacf.as_ref().and_then(|hacf| third_voter::resolve(hacf, &mut timing, &mut report));
    let names = hacf.as_ref().and_then(|hacf| two_nodes(&hacf.nodes, &mut report));
    let pair = names.as_ref().and_then(|names| choose(names, identity, &mut report));

    let haresources_path = path("haresources");
    let mut groups_report = Report::new(&haresources_path);
    let known = names.as_ref().map(|[one, other]| [one.value.as_str(), other.value.as_str()]);
    let hint = "it lists the resource groups, such as `linuxha1 192.168.85.3 httpd`";
    let groups = keep(source::read(&haresources_path, Privacy::Public, hint), &mut groups_report)
        .map(|text| haresources::parse(&text, known, &mut groups_report));

    let authkeys_path = path("authkeys");
    let mut keys_report = Report::new(&authkeys_path);
    let keys = authkeys::load(&authkeys_path, &mut keys_report);

    let proto = hacf.as_ref().map(|hacf| {
        let groups = groups.as_deref().unwrap_or_default();
        let proto = assemble(hacf, timing, arbiter, pair.as_ref(), groups);
        hold_to_rules(&proto, hacf, &mut report);
        proto
    });
    let reports = [report, groups_report, keys_report];
    let diagnostics: Vec<_> = reports.into_iter().flat_map(Report::into_diagnostics).collect();
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(diagnostics);
    }
    // Whatever is missing here has left an error above.
    let (Some(hacf), Some(proto), Some(pair), Some(groups), Some(keys)) =
        (hacf, proto, pair, groups, keys)
    else {
        return Err(diagnostics);
    };
    let arbiter_line = hacf.arbiter.as_ref().map(|at| at.line);
    let watchdog_line = hacf.watchdog.as_ref().map(|at| at.line);
    let alert_line = hacf.alert.as_ref().map(|at| at.line);
    let dongle = third_voter::dongle_settings(&hacf);
    let on_guest = third_voter::guest_refusal(&hacf, &timing).map(|(line, message)| Diagnostic {
        severity: Severity::Error,
        file: hacf_path,
        line: Some(line),
        message,
    });
    let guard_by_watchdog = third_voter::guard_by_watchdog(&hacf, &timing);
    let (media_lines, mut media): (_, Vec<_>) =
        hacf.media.into_iter().map(|at| (at.line, at.medium)).unzip();
    media.iter_mut().for_each(|medium| ppp::seen_by(proto.me, medium));
    let settings = Settings {
        node: pair.me,
        peer: pair.peer,
        me: proto.me,
        proto,
        media,
        groups,
        signing_key: keys.signing_key,
        keys: keys.keys,
        guard_by_watchdog,
        carrier_hints: hacf.carrier_hints,
        dongle,
        alert: hacf.alert.map(|at| at.value),
        watchdog: hacf.watchdog.map(|at| at.value),
        logfile: hacf.logfile,
        debugfile: hacf.debugfile,
    };
    Ok(Loaded {
        settings,
        diagnostics,
        media_lines,
        arbiter_line,
        watchdog_line,
        alert_line,
        on_guest,
    })
}

fn keep(read: Result<String, Diagnostic>, report: &mut Report) -> Option<String> {
    read.map_err(|fault| report.push(fault.severity, fault.line, fault.message)).ok()
}

/// Whether `ip` is this node's own. A link-local address is so only on the line's own interface.
fn is_local(interfaces: &[Interface], name: &str, ip: IpAddr) -> bool {
    interfaces
        .iter()
        .filter(|interface| !super::address::is_link_local(ip) || interface.name == name)
        .any(|interface| interface.addresses.iter().any(|&(own, _)| own == ip))
}

fn two_nodes(nodes: &[At<String>], report: &mut Report) -> Option<[At<String>; 2]> {
    match nodes {
        [one, other] => return Some([one.clone(), other.clone()]),
        [_, _, third, ..] => report.error(
            third.line,
            format!(
                "node: {} nodes named, {} the third; a cluster has exactly two",
                nodes.len(),
                third.value
            ),
        ),
        [only] => report.error(
            only.line,
            format!("node: only {} is named; a cluster has exactly two nodes", only.value),
        ),
        [] => report.error(
            None,
            "no node is named; expected two lines `node NAME`, each NAME what `uname -n` prints there",
        ),
    }
    None
}

fn choose(
    [one, other]: &[At<String>; 2],
    identity: Identity<'_>,
    report: &mut Report,
) -> Option<Pair> {
    let name = identity.asked.unwrap_or(identity.uname);
    for (me, peer) in [(one, other), (other, one)] {
        if me.value.eq_ignore_ascii_case(name) {
            return Some(Pair { me: me.value.clone(), peer: peer.value.clone() });
        }
    }
    let uname = identity.uname;
    let who = match identity.asked {
        Some(asked) => format!("--node says {asked:?} and `uname -n` says {uname:?}"),
        None => format!("`uname -n` says {uname:?}"),
    };
    report.error(
        one.line,
        format!(
            "node: this machine is neither {} nor {}: {who}; correct the `node` lines, or say which \
             of the two this is with --node",
            one.value, other.value
        ),
    );
    None
}

/// The state machine's configuration. Where the files have errors it is a stand-in that lets the rules
/// between the lines be checked all the same.
fn assemble(
    hacf: &HaCf,
    timing: Timing,
    arbiter: Option<ArbiterConfig>,
    pair: Option<&Pair>,
    groups: &[GroupLine],
) -> Config {
    let names = match pair {
        Some(pair) => [pair.me.as_str(), pair.peer.as_str()],
        None => ["", ""],
    };
    let me = match pair {
        Some(pair) if pair.me.to_ascii_lowercase() > pair.peer.to_ascii_lowercase() => Voter::B,
        _ => Voter::A,
    };
    Config {
        me,
        timing,
        links: hacf
            .media
            .iter()
            .map(|at| link_kind(&at.medium))
            .take(hb_proto::config::MAX_LINKS)
            .collect(),
        groups: groups
            .iter()
            .take(hb_proto::config::MAX_GROUPS)
            .map(|group| GroupConfig {
                home: if group.node.eq_ignore_ascii_case(names[0]) { me } else { me.peer() },
                resources: group
                    .resources
                    .iter()
                    .take(hb_proto::config::MAX_RESOURCES)
                    .map(resource_kind)
                    .collect(),
            })
            .collect(),
        auto_failback: hacf.auto_failback,
        arbiter,
        patience: Patience::default(),
        digests: Digests {
            haresources: digest::haresources(groups),
            settings: digest::settings(
                &timing,
                hacf.auto_failback,
                names,
                arbiter.as_ref(),
                third_voter::dongle_settings(hacf).as_ref(),
            ),
        },
    }
}

fn link_kind(medium: &Medium) -> LinkKind {
    match medium {
        Medium::Serial { baud, .. } => LinkKind::Serial { baud: *baud },
        Medium::Broadcast { .. } => LinkKind::Broadcast,
        Medium::Unicast { .. } | Medium::Ppp { .. } => LinkKind::Unicast,
        Medium::Multicast { .. } => LinkKind::Multicast,
    }
}

fn resource_kind(resource: &ResourceLine) -> ResourceKind {
    match resource {
        ResourceLine::Address { .. } => ResourceKind::Address,
        ResourceLine::Script { .. } => ResourceKind::Script,
    }
}

/// Maps what `Config::problems` finds to the lines that it comes from.
fn hold_to_rules(proto: &Config, hacf: &HaCf, report: &mut Report) {
    let problems = proto.problems();
    // A time of zero breaks every rule it takes part in; its own error is the one that helps.
    let zero = problems.iter().any(|problem| matches!(problem, ConfigError::ZeroTime { .. }));
    for problem in &problems {
        let (word, line) = match *problem {
            ConfigError::SerialTooSlow { link, .. } => {
                let Some(at) = hacf.media.get(usize::from(link)) else { continue };
                (written(&at.medium), Some(at.line))
            }
            ConfigError::NoLink => {
                // A medium that can't be read has an error of its own.
                if hacf.media_attempted == 0 {
                    report.error(None, problem.to_string());
                } else if hacf.ignored > 0 {
                    report.error(
                        None,
                        format!("{problem}: every `ucast` line names this node's own address"),
                    );
                }
                continue;
            }
            // The reader of haresources reports its groups; homes and `me` are made from two names.
            ConfigError::EmptyGroup { .. } | ConfigError::NotANode => continue,
            _ if hacf.times.broken => continue,
            // Unless it is given, the lease follows from deadtime, whose own line has been accused.
            ConfigError::ZeroTime { what: "lease" } if hacf.times.lease.is_none() => continue,
            ConfigError::ZeroTime { what } => (what.to_owned(), line_of(&hacf.times, &[what])),
            _ if zero => continue,
            ConfigError::DeadtimeTooShort { .. } => {
                ("deadtime".to_owned(), line_of(&hacf.times, &["deadtime", "keepalive"]))
            }
            ConfigError::WarntimeOutOfRange { .. } => (
                "warntime".to_owned(),
                line_of(&hacf.times, &["warntime", "keepalive", "deadtime"]),
            ),
            ConfigError::InitdeadTooShort { .. } => {
                ("initdead".to_owned(), line_of(&hacf.times, &["initdead", "deadtime"]))
            }
            ConfigError::ArbiterAlone => {
                ("arbiter".to_owned(), hacf.arbiter.as_ref().map(|at| at.line))
            }
            // What the third voter's own reader has told.
            ConfigError::ArbiterLink | ConfigError::NoGuard => continue,
            ConfigError::LeaseTooLong { .. } => {
                ("lease".to_owned(), line_of(&hacf.times, &["lease", "deadtime"]))
            }
        };
        let problem = problem.to_string();
        if problem.starts_with(&word) {
            report.error(line, problem);
        } else {
            report.error(line, format!("{word}: {problem}"));
        }
    }
}

/// The line of the first of these times that ha.cf gives.
fn line_of(times: &GivenTimes, words: &[&str]) -> Option<usize> {
    words.iter().find_map(|&word| {
        let given = match word {
            "keepalive" => &times.keepalive,
            "warntime" => &times.warntime,
            "deadtime" => &times.deadtime,
            "initdead" => &times.initdead,
            "lease" => &times.lease,
            _ => return None,
        };
        given.as_ref().map(|at| at.line)
    })
}
