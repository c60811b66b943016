//! The snapshot that the observe socket writes and `hb status --json` prints.
//!
//! Its shape is an interface: fields are added, never renamed or removed; readers skip what they
//! don't know. Figures that nobody has measured yet are `null`, never zero.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Everything that a node knows about its cluster at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// heartbeatd's version.
    pub version: String,
    /// This node's name, as ha.cf writes it.
    pub node: String,
    /// What this node is doing.
    pub state: NodeState,
    /// The other node.
    pub peer: Peer,
    /// In the order of ha.cf.
    pub links: Vec<Link>,
    /// In the order of haresources.
    pub groups: Vec<Group>,
    /// The dongle on the null-modem line; null when ha.cf names none.
    pub arbiter: Option<Arbiter>,
    /// Null when ha.cf names none.
    pub watchdog: Option<Watchdog>,
    /// Null until a group has moved in this life of the daemon.
    pub last_failover: Option<Failover>,
    /// Of this node's own event loop.
    pub stalls: Stalls,
    /// Fingerprints of the files; a daemon that is older than this `hb` may not tell them.
    #[serde(default)]
    pub configuration: Option<Configuration>,
    /// The dongle beside its votes; null when ha.cf names no arbiter.
    #[serde(default)]
    pub dongle: Option<Dongle>,
    /// The keys of authkeys, in its order, and who still needs them.
    #[serde(default)]
    pub keys: Vec<KeyUse>,
}

/// A key of authkeys, by its number: never the key itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyUse {
    /// Its number.
    pub id: u8,
    /// A voter that signs with it, or that was not heard yet and may; null when it can go (R14).
    pub needed_by: Option<String>,
}

/// What both nodes' files must agree on, as the running daemons read them at their start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Configuration {
    /// The groups: nothing is started or moved while they differ.
    pub haresources: Digest,
    /// ha.cf's times, policy and nodes: a difference is told, no more.
    pub settings: Digest,
}

/// One part's fingerprints, 16 hexadecimal digits each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Digest {
    /// This node's.
    pub ours: String,
    /// The peer's; null until it told.
    pub peers: Option<String>,
}

impl Digest {
    /// Of both nodes.
    #[must_use]
    pub fn new(ours: u64, peers: Option<u64>) -> Self {
        Self { ours: Self::text(ours), peers: peers.map(Self::text) }
    }

    /// As it is written.
    #[must_use]
    pub fn text(digest: u64) -> String {
        format!("{digest:016x}")
    }

    /// Whether both are the same; `None` until the peer told.
    #[must_use]
    pub fn agrees(&self) -> Option<bool> {
        self.peers.as_ref().map(|peers| *peers == self.ours)
    }
}

/// What a node is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// Not decided yet: clean start, or waiting for initdead.
    Starting,
    /// Runs at least one group.
    Active,
    /// Runs none, and could.
    Standby,
    /// Releases its groups in order to exit.
    Leaving,
}

/// The other node as this one sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Its name, as ha.cf writes it.
    pub name: String,
    /// Liveness, by the links.
    pub state: PeerState,
    /// Milliseconds since its newest frame on any link; null if it was never heard.
    pub last_heard_ms: Option<u64>,
}

/// Liveness of the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// Never heard in this life of the daemon.
    Unknown,
    /// Heard within warntime.
    Alive,
    /// Silent for warntime.
    Late,
    /// Silent for deadtime.
    Dead,
    /// Said goodbye.
    Left,
}

/// One heartbeat medium.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Link {
    /// The device or interface, as ha.cf writes it.
    pub name: String,
    /// What carries it.
    pub kind: LinkKind,
    /// Health in both directions.
    pub state: LinkState,
    /// Round trip of an echo, less the peer's holding time (protocol.md §5).
    pub rtt_us: RoundTrip,
    /// Mean deviation of the arrivals from keepalive, in microseconds.
    pub jitter_us: Option<u64>,
    /// The longest time between two frames that arrived, in milliseconds.
    pub longest_gap_ms: Option<u64>,
    /// Share of the peer's frames that didn't arrive by this link, 0 to 1.
    pub loss: Option<f64>,
    /// Frames handed to the kernel.
    pub sent: u64,
    /// Valid frames of the peer, repeats by other links included.
    pub received: u64,
    /// Frames thrown away, by reason; reasons that never occurred are absent.
    pub rejected: BTreeMap<Cow<'static, str>, u64>,
}

/// What carries a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// A null-modem line.
    Serial,
    /// UDP broadcast.
    Bcast,
    /// UDP to one address.
    Ucast,
    /// UDP multicast.
    Mcast,
    /// UDP through a PPP link over a serial line.
    PppUdp,
}

/// Health of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// Both nodes hear each other on it.
    Up,
    /// This node hears nothing on it.
    Down,
    /// This node hears the peer, and the peer says that it doesn't hear this node.
    OneWay,
}

/// Quantiles of the round trip, in microseconds; null until measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RoundTrip {
    /// Median.
    pub p50: Option<u64>,
    /// 99th percentile.
    pub p99: Option<u64>,
}

/// One resource group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Group {
    /// Its first resource, as haresources writes it.
    pub name: String,
    /// The node that haresources puts it on.
    pub preferred: String,
    /// The node that runs it as far as this one knows; null for nobody.
    pub holder: Option<String>,
    /// What this node's part in it is doing.
    pub state: GroupState,
    /// On whose word it may run here; null without an arbiter.
    #[serde(default)]
    pub authority: Option<Authority>,
    /// What keeps this node from it; null when nothing does, and without an arbiter.
    #[serde(default)]
    pub obstacle: Option<Obstacle>,
    /// Who has promised it to whom, by the giver: a node's name, or `arbiter`. Empty without an arbiter.
    #[serde(default)]
    pub votes: BTreeMap<String, Vote>,
}

/// The dongle, as this node knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Arbiter {
    /// Whether it is there.
    pub state: ArbiterState,
    /// Its number; null until its first hello.
    pub id: Option<u32>,
    /// Its life.
    pub boot: Option<u32>,
    /// Seconds since that life began.
    pub uptime_s: Option<u32>,
    /// For each node, the milliseconds since the arbiter heard it; null for one that it doesn't hear.
    pub hears: BTreeMap<String, Option<u64>>,
    /// For each group the node that it is promised to, `unknown`, or null for nobody.
    pub promises: BTreeMap<String, Option<String>>,
    /// Milliseconds since this node heard it.
    #[serde(default)]
    pub last_heard_ms: Option<u64>,
    /// Whether it is heard on its own line, not just by the peer's relay.
    #[serde(default)]
    pub direct: bool,
    /// Both nodes announce the same one; until then a split is possible (R2).
    #[serde(default)]
    pub agreed: bool,
    /// The nodes that feed it with power.
    #[serde(default)]
    pub power_from: Vec<String>,
    /// The reset line to each node, where ha.cf says that they are wired; null while it isn't heard.
    #[serde(default)]
    pub reset_lines: BTreeMap<String, Option<ResetLine>>,
    /// What became of the last reset pulse for each node: `sent`, `confirmed`, or null for none.
    #[serde(default)]
    pub fences: BTreeMap<String, Option<String>>,
}

/// The dongle as it answers on this node's line, apart from its votes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dongle {
    /// What is wrong with it or with how it is plugged in, a sentence each.
    pub problems: Vec<String>,
    /// Version of its program; null while nothing answers.
    pub firmware: Option<String>,
    /// The port that this node is plugged into: 1 is for the node whose name comes first.
    pub port: Option<u8>,
    /// Number of the key that it signs with; null also while it has none.
    pub signing_key: Option<u8>,
}

/// The arbiter's reset line to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetLine {
    /// Not proved by a test: never pulled.
    Untested,
    /// Proved by a test.
    Tested,
    /// A pulse hit the other machine: never pulled until tested anew.
    Miswired,
}

/// A promise to keep off a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// The node that it is given to, or `unknown` where its giver has lost its memory.
    pub to: String,
    /// Until it ends if it is not renewed; null where this node can't know, or where it has no end.
    pub ends_in_ms: Option<u64>,
}

/// Whether the arbiter is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArbiterState {
    /// Not heard since heartbeatd started.
    Absent,
    /// Heard within deadtime.
    Present,
    /// Silent for deadtime.
    Lost,
}

/// A voter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Voter {
    /// The other node.
    Peer,
    /// The dongle.
    Arbiter,
    /// An operator, in place of the peer (R14).
    Human,
}

/// On whose word a group may run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authority {
    /// Whose votes count now.
    pub from: Vec<Voter>,
    /// Until the last of the promises ends if nothing more is heard; null without one.
    pub expires_in_ms: Option<u64>,
}

/// What keeps this node from a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Obstacle {
    /// In plain words.
    pub what: String,
    /// Until it goes by itself; null when it doesn't.
    pub ends_in_ms: Option<u64>,
}

/// What a node does with a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupState {
    /// Runs none of it.
    Stopped,
    /// Start scripts are at work.
    Starting,
    /// Runs all of it.
    Running,
    /// Stop scripts are at work.
    Stopping,
    /// A start failed, or a stop couldn't be confirmed.
    Failed,
}

/// The watchdog that ha.cf names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Watchdog {
    /// Device file.
    pub device: String,
    /// Timeout that the driver reads back, in seconds; null while it isn't open.
    pub timeout_s: Option<u32>,
    /// Open, so that silence of the daemon resets the machine.
    pub armed: bool,
}

/// The newest move of a group to this node, against what was promised.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failover {
    /// Why the group moved.
    pub cause: Cause,
    /// From the peer's last frame to the judgement; null when nothing had to be detected.
    pub detection_ms: Option<u64>,
    /// From the judgement, or the command, until the group runs and is announced.
    pub takeover_ms: Option<u64>,
    /// What the configuration promises for both together (protocol.md §3); null for causes without one.
    pub budget_ms: Option<u64>,
}

/// Why a group moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Deadtime ran out.
    PeerDead,
    /// The peer left in order.
    PeerLeft,
    /// The peer gave it up by command.
    Standby,
    /// This node took it by command.
    Takeover,
    /// auto_failback brought it home.
    Failback,
}

/// Times that this node's event loop was late by more than 2 × keepalive (protocol.md §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stalls {
    /// In this life of the daemon.
    pub count: u64,
    /// Null when there was none.
    pub longest_ms: Option<u64>,
}

/// The word of the JSON for each variant: one list for machine and person.
macro_rules! word {
    ($($of:ident { $($variant:ident => $word:literal),+ $(,)? })+) => {$(
        impl fmt::Display for $of {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }

        #[cfg(test)]
        impl $of {
            const WORDS: &[(Self, &str)] = &[$((Self::$variant, $word)),+];
        }
    )+};
}

word! {
    NodeState { Starting => "starting", Active => "active", Standby => "standby", Leaving => "leaving" }
    PeerState { Unknown => "unknown", Alive => "alive", Late => "late", Dead => "dead", Left => "left" }
    LinkKind { Serial => "serial", Bcast => "bcast", Ucast => "ucast", Mcast => "mcast", PppUdp => "ppp-udp" }
    LinkState { Up => "up", Down => "down", OneWay => "one-way" }
    ArbiterState { Absent => "absent", Present => "present", Lost => "lost" }
    ResetLine { Untested => "untested", Tested => "tested", Miswired => "miswired" }
    Voter { Peer => "peer", Arbiter => "arbiter", Human => "human" }
    GroupState {
        Stopped => "stopped", Starting => "starting", Running => "running",
        Stopping => "stopping", Failed => "failed",
    }
    Cause {
        PeerDead => "peer-dead", PeerLeft => "peer-left", Standby => "standby",
        Takeover => "takeover", Failback => "failback",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written out by hand from the interface's description, so that a renamed field is noticed.
    const LITERAL: &str = r#"{"version":"0.1.0","node":"linuxha1","state":"active","peer":{"name":"linuxha2","state":"late","last_heard_ms":310},"links":[{"name":"/dev/ttyS0","kind":"serial","state":"one-way","rtt_us":{"p50":17200,"p99":19100},"jitter_us":240,"longest_gap_ms":104,"loss":0.25,"sent":10,"received":9,"rejected":{"tag":2}},{"name":"eth1","kind":"bcast","state":"down","rtt_us":{"p50":null,"p99":null},"jitter_us":null,"longest_gap_ms":null,"loss":null,"sent":10,"received":0,"rejected":{}}],"groups":[{"name":"192.168.85.3","preferred":"linuxha1","holder":null,"state":"failed","authority":{"from":["peer","arbiter"],"expires_in_ms":380},"obstacle":null,"votes":{"arbiter":{"to":"linuxha1","ends_in_ms":380}}}],"arbiter":{"state":"present","id":7,"boot":3,"uptime_s":86400,"hears":{"linuxha1":20,"linuxha2":null},"promises":{"192.168.85.3":"linuxha1"},"last_heard_ms":30,"direct":true,"agreed":true,"power_from":["linuxha1"],"reset_lines":{"linuxha1":"tested","linuxha2":null},"fences":{"linuxha1":null,"linuxha2":"sent"}},"watchdog":{"device":"/dev/watchdog","timeout_s":10,"armed":true},"last_failover":{"cause":"peer-dead","detection_ms":512,"takeover_ms":61,"budget_ms":1100},"stalls":{"count":1,"longest_ms":230},"configuration":{"haresources":{"ours":"00000000000000ab","peers":null},"settings":{"ours":"0123456789abcdef","peers":"0123456789abcdef"}},"dongle":{"problems":["it has no key"],"firmware":"0.1.0","port":1,"signing_key":null},"keys":[{"id":1,"needed_by":null},{"id":2,"needed_by":"linuxha1"}]}"#;

    #[test]
    fn json_is_what_the_interface_says_both_ways() {
        let snapshot: Snapshot = serde_json::from_str(LITERAL).unwrap();
        assert_eq!(snapshot.links[0].rejected["tag"], 2);
        assert_eq!(serde_json::to_string(&snapshot).unwrap(), LITERAL);
    }

    #[test]
    fn digests_agree_only_when_both_are_known_and_the_same() {
        assert_eq!(Digest::new(0xAB, None).agrees(), None);
        assert_eq!(Digest::new(0xAB, Some(0xAB)).agrees(), Some(true));
        assert_eq!(Digest::new(0xAB, Some(0xAC)).agrees(), Some(false));
        assert_eq!(Digest::new(0xAB, None).ours, "00000000000000ab");
    }

    #[test]
    fn a_newer_daemons_fields_are_skipped() {
        for (old, new) in [
            ("{\"version\"", "{\"moon\":{\"phase\":3},\"version\""),
            ("\"direct\":true", "\"direct\":true,\"battery\":\"full\""),
        ] {
            let newer = LITERAL.replacen(old, new, 1);
            assert_ne!(newer, LITERAL);
            assert!(serde_json::from_str::<Snapshot>(&newer).is_ok(), "{new}");
        }
    }

    #[test]
    fn words_for_people_are_the_words_of_the_json() {
        fn same<T: Serialize + fmt::Display>(words: &[(T, &str)]) {
            for (value, word) in words {
                assert_eq!(serde_json::to_value(value).unwrap(), *word);
                assert_eq!(value.to_string(), *word);
            }
        }
        same(NodeState::WORDS);
        same(PeerState::WORDS);
        same(LinkKind::WORDS);
        same(LinkState::WORDS);
        same(ArbiterState::WORDS);
        same(Voter::WORDS);
        same(ResetLine::WORDS);
        same(GroupState::WORDS);
        same(Cause::WORDS);
    }
}
