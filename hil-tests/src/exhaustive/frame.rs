//! Frames under way: read from the bytes that a party polled, written as bytes again where they arrive.
//!
//! In between they are values, so that their numbers can be kept small. What only people read (uptime,
//! round trips, figures of silence) is left out: it never ends to change.

use hb_proto::authority::FrameName;
use hb_proto::authority::explore::Renumber;
use hb_proto::id::{BootId, LinkId, Voter};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::arbiter::{self, ArbiterMessage, ArbiterStatus};
use hb_proto::wire::message::{self, Echo, Header, Message, Status};

/// What a frame says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Body {
    Node(Message),
    Arbiter(ArbiterMessage),
}

/// One frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Frame {
    pub sender: Voter,
    link: LinkId,
    pub boot: BootId,
    seq: u32,
    pub body: Body,
}

/// CRC-32 for a tag: this is about rules, not about strangers, and a tenth of the time.
pub fn keys() -> KeyRing {
    let key = Key::crc(1).expect("id in range");
    KeyRing::new(std::iter::once(key).collect(), 1).expect("listed")
}

impl Frame {
    /// Reads what a party of this very model wrote.
    pub fn read(bytes: &[u8], keys: &KeyRing) -> Self {
        let opened = message::open(bytes, keys).expect("own frames are genuine");
        let Header { sender, link, boot, seq } = opened.header;
        let body = if sender == Voter::Arbiter {
            let mut message = opened.arbiter_message().expect("own frames are understood");
            let status = status_of(&mut message);
            status.uptime_s = 0;
            status.nodes.iter_mut().for_each(|node| node.silent_10ms = 0);
            Body::Arbiter(message)
        } else {
            let mut message = opened.message().expect("own frames are understood");
            if let Message::Hello(hello) = &mut message {
                hello.echo = None;
            }
            Body::Node(message)
        };
        Self { sender, link, boot, seq, body }
    }

    /// Its bytes; how many.
    pub fn write(&self, keys: &KeyRing, bytes: &mut [u8; MAX_FRAME]) -> usize {
        let Self { sender, link, boot, seq, body } = *self;
        let header = Header { sender, link, boot, seq };
        match &body {
            Body::Node(message) => message::encode(&header, message, keys, bytes),
            Body::Arbiter(message) => arbiter::encode(&header, message, keys, bytes),
        }
    }

    /// The same with its number, and those that it echoes, renumbered. `lives` are the lives of each voter
    /// that an echo may name.
    pub fn renumbered(
        mut self,
        number: &Renumber<'_>,
        lives: [u8; Voter::COUNT],
        newest: u32,
    ) -> Self {
        self.seq = number(self.sender, FrameName { boot: self.boot, seq: self.seq });
        let sender = self.sender;
        let echoes = match &mut self.body {
            Body::Node(Message::Status(status)) => &mut status.echoes,
            Body::Node(Message::Hello(hello)) => &mut hello.status.echoes,
            Body::Arbiter(message) => &mut status_of(message).echoes,
        };
        for of in Voter::ALL.into_iter().filter(|&of| of != sender) {
            let echo = &mut echoes[Status::echo_slot(sender, of)];
            *echo = echo.map(|echo| renumbered_echo(echo, of, number, lives[of.index()], newest));
        }
        self
    }
}

fn status_of(message: &mut ArbiterMessage) -> &mut ArbiterStatus {
    match message {
        ArbiterMessage::Status(status) => status,
        ArbiterMessage::Hello(hello) => &mut hello.status,
    }
}

/// An echo tells its frame only to who knows what to look for: here that is a few dozen.
fn renumbered_echo(echo: Echo, of: Voter, number: &Renumber<'_>, lives: u8, newest: u32) -> Echo {
    for boot in (1..=u32::from(lives)).filter_map(BootId::new) {
        for seq in 1..=newest + 1 {
            if echo.names(boot, seq) {
                return Echo::of(boot, number(of, FrameName { boot, seq }));
            }
        }
    }
    unreachable!("every echo names a frame of this model")
}
