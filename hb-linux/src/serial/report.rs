//! What one end of a test found: nothing is judged here. As JSON it travels from the other machine.

use serde::{Deserialize, Serialize};

use super::modem::{Sample, Wiring};

/// One end's findings.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Of this run, at random.
    pub id: u32,
    /// `uname -n`.
    pub node: String,
    /// The port, as it was named.
    pub device: String,
    /// The speed that it was tested at first, bit/s.
    pub baud: u32,
    /// Lines that it said.
    pub hailed: u32,
    /// Who was heard, first one first.
    pub peers: Vec<Peer>,
    /// Whether one of them said that it hears this end.
    pub heard_by_peer: bool,
    /// Of its own lines that came back.
    pub echoes: u32,
    /// They come back at another speed, too: no machine at the other end does that.
    pub echoes_at_any_speed: bool,
    /// Bytes that were part of no line of the test's.
    pub other_bytes: u64,
    /// What these look like.
    pub others: Others,
    /// At another speed than its own: which, and who or what.
    pub elsewhere_in_speed: Option<(u32, Others)>,
    /// Heard on other ports that were listened to.
    pub on_other_ports: Vec<(String, Peer)>,
    /// Modem lines.
    pub samples: Vec<Sample>,
    /// What they show.
    pub wiring: Option<Wiring>,
    /// From a line to its answer at the first speed, the shortest, in ms: adapters' latency shows here.
    pub round_trip_ms: Option<u64>,
    /// The bit error rate, speed by speed.
    pub speeds: Vec<Speed>,
    /// The device went away, or something else broke off the test.
    pub broke_off: Option<String>,
}

/// The other end, as it says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Of its run.
    pub id: u32,
    /// `uname -n`.
    pub node: String,
    /// The port, as it was named there.
    pub device: String,
    /// Its first speed.
    pub baud: u32,
}

/// What bytes that aren't the test's own look like.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Others {
    /// There were none, or too few to tell.
    #[default]
    Nothing,
    /// Text: a console, a shell, a login.
    Text {
        /// The last of it.
        sample: String,
        /// It asks for a name or a password.
        login: bool,
    },
    /// Frames as heartbeatd sends them.
    Heartbeat,
    /// The other end's test.
    Test,
    /// Nothing that makes sense.
    Garbage,
}

/// How one speed did, in both directions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Speed {
    /// bit/s.
    pub baud: u32,
    /// Why it could not be tried.
    pub not_tried: Option<String>,
    /// What this end sent and the other one received; None when that was never told.
    pub out: Option<Way>,
    /// What the other end sent and this one received.
    pub back: Way,
}

/// One direction at one speed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Way {
    /// Blocks of 32 bytes that were sent.
    pub sent: u32,
    /// That arrived, damaged ones among them.
    pub arrived: u32,
    /// Wrong bits in these.
    pub bits_wrong: u32,
    /// Bytes that belong to no block.
    pub strays: u32,
}

impl Way {
    /// Bits that were compared.
    #[must_use]
    pub fn bits(&self) -> u64 {
        u64::from(self.arrived) * 8 * super::blocks::BLOCK as u64
    }

    /// Everything arrived as it was sent.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.sent > 0 && self.arrived == self.sent && self.bits_wrong == 0 && self.strays == 0
    }

    /// Share of wrong bits; without any error the most that it may be, with 95 % confidence (the rule
    /// of three: 3 divided by the number of trials). `None` when nothing arrived.
    #[must_use]
    pub fn bit_error_rate(&self) -> Option<f64> {
        let bits = self.bits();
        let errors = if self.bits_wrong == 0 { 3.0 } else { f64::from(self.bits_wrong) };
        (bits > 0).then(|| errors / bits as f64)
    }
}
