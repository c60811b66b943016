//! A node's end of a line, and a node that says what it is told to.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hb_proto::config::Digests;
use hb_proto::id::{BootId, GroupId, LinkId, Voter};
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::arbiter::{ArbiterMessage, ArbiterStatus};
use hb_proto::wire::message::{
    self, Echo, ForArbiter, GroupState, GroupStates, Header, Hello, Message, Settings, Status,
};
use hb_proto::wire::port::Deframer;
use hb_proto::wire::service::{self, Answer, Ask, Challenge, Request};
use hb_proto::wire::{MAX_FRAME, cobs};

/// Of the tests' cluster.
pub const SECRET: &[u8] = b"a secret of the tests";

/// The tests' keys.
#[must_use]
pub fn keys() -> KeyRing {
    KeyRing::new(Key::hmac(1, SECRET).into_iter().collect(), 1).expect("it is listed")
}

/// Frames, with the time at which each was complete.
pub type Frames = Vec<(Instant, Vec<u8>)>;

/// One end of a line.
pub struct Line {
    stream: UnixStream,
    deframer: Deframer,
    frames: Frames,
    /// Frames that were damaged.
    pub damaged: usize,
}

impl Line {
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_nonblocking(true).expect("a socket can");
        Self { stream, deframer: Deframer::new(), frames: Vec::new(), damaged: 0 }
    }

    /// Takes what is there. QEMU stands still when nobody does.
    pub fn listen(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return,
                Ok(count) => {
                    let now = Instant::now();
                    for &byte in &bytes[..count] {
                        match self.deframer.push(byte) {
                            Some(Ok(frame)) => self.frames.push((now, frame.to_vec())),
                            Some(Err(_)) => self.damaged += 1,
                            None => {}
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("the line: {error}"),
            }
        }
    }

    /// All frames since the last call.
    pub fn frames(&mut self) -> Frames {
        self.listen();
        std::mem::take(&mut self.frames)
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, mut bytes: &[u8]) {
        let started = Instant::now();
        while !bytes.is_empty() {
            self.listen();
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(started.elapsed() < Duration::from_secs(20), "the UART takes nothing");
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(error) => panic!("the line: {error}"),
            }
        }
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &[u8]) {
        let mut out = [0; MAX_FRAME + 3];
        let len = cobs::encode(frame, &mut out[1..]).expect("no longer than a frame").len();
        self.send_bytes(&out[..=len]);
    }

    /// The dongle's own frames among those since the last call.
    pub fn said(&mut self) -> Vec<ArbiterStatus> {
        self.frames().iter().filter_map(|(_, frame)| status(frame)).collect()
    }

    /// Asks, and waits for the answer. `None` if there is none in time.
    pub fn ask(
        &mut self,
        challenge: Challenge,
        ask: &Ask,
        keys: Option<&KeyRing>,
    ) -> Option<Answer> {
        let mut buf = [0; MAX_FRAME];
        let request = Request { challenge, ask: ask.clone() };
        let len = service::encode_request(&request, keys, &mut buf);
        self.frames();
        self.send(&buf[..len]);
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_millis(1500) {
            for (_, frame) in self.frames() {
                if let Ok((answer, _)) = service::open_answer(&frame, Some(&self::keys()))
                    && !service::is_request(&frame)
                {
                    return Some(answer);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }

    /// Asks who is there, until somebody answers.
    pub fn identify(&mut self) -> service::Identity {
        for _ in 0..20 {
            match self.ask(Challenge::default(), &Ask::Identify, None) {
                Some(Answer::Identity(identity)) => return identity,
                Some(other) => panic!("{other:?}"),
                None => {}
            }
            // Answers in the clear keep their distance.
            std::thread::sleep(Duration::from_millis(300));
        }
        panic!("nobody answers");
    }
}

pub(crate) fn status(frame: &[u8]) -> Option<ArbiterStatus> {
    let opened = message::open(frame, &keys()).ok()?;
    if opened.header.sender != Voter::Arbiter {
        return None;
    }
    match opened.arbiter_message().ok()? {
        ArbiterMessage::Status(status) => Some(status),
        ArbiterMessage::Hello(hello) => Some(hello.status),
    }
}

/// Gives a blank dongle its first key, as `hb dongle provision` does; it then begins a life with it.
pub fn provision(line: &mut Line) {
    let secret = heapless::Vec::from_slice(SECRET).expect("room");
    let ask = Ask::SetKey { key: 1, signs: true, crc: false, number: 7, secret };
    let identity = line.identify();
    assert_eq!(identity.signing, None, "it has a key already");
    std::thread::sleep(Duration::from_millis(250));
    let answer = line.ask(identity.challenge, &ask, None);
    assert!(matches!(answer, Some(Answer::Done { .. })), "{answer:?}");
}

/// A node as the dongle sees it: a life that sends what it is told to.
pub struct Talker {
    /// Who.
    pub me: Voter,
    /// Its life.
    pub boot: u32,
    seq: u32,
    /// The dongle's newest frame.
    heard: Option<Echo>,
    /// Asks for group 0, runs it, or not.
    pub state: GroupState,
    /// R12.
    pub fence: Option<BootId>,
    /// Hears its peer.
    pub hears_peer: bool,
    keys: KeyRing,
}

impl Talker {
    /// A first life of `me`.
    #[must_use]
    pub fn new(me: Voter) -> Self {
        let state = GroupState::Idle;
        Self {
            me,
            boot: 1,
            seq: 0,
            heard: None,
            state,
            fence: None,
            hears_peer: true,
            keys: keys(),
        }
    }

    /// Takes note of what the dongle said, so as to echo it.
    pub fn hear(&mut self, frames: &Frames) {
        for (_, frame) in frames {
            let Ok(opened) = message::open(frame, &self.keys) else { continue };
            if opened.header.sender == Voter::Arbiter {
                self.heard = Some(Echo::of(opened.header.boot, opened.header.seq));
            }
        }
    }

    fn status(&self) -> Status {
        let mut groups = GroupStates::default();
        groups.set(GroupId(0), self.state);
        let mut echoes = [None; 2];
        echoes[Status::echo_slot(self.me, Voter::Arbiter)] = self.heard;
        Status {
            hears: u8::from(self.hears_peer),
            echoes,
            groups,
            fence: self.fence,
            direct: true,
            hears_arbiter: true,
            ..Status::default()
        }
    }

    /// Its next frame.
    pub fn frame(&mut self, hello: bool) -> Vec<u8> {
        self.seq += 1;
        let boot = BootId::new(self.boot).expect("a number");
        let header = Header { sender: self.me, link: LinkId(0), boot, seq: self.seq };
        let status = self.status();
        let message = if hello { self.hello(status) } else { Message::Status(status) };
        let mut buf = [0; MAX_FRAME];
        let len = message::encode(&header, &message, &self.keys, &mut buf);
        buf[..len].to_vec()
    }

    fn hello(&self, status: Status) -> Message {
        let settings = Settings {
            keepalive_ms: 100,
            deadtime_ms: 500,
            lease_ms: 400,
            guard_ms: 2500,
            arbiter: Some(7),
            ..Settings::new(Digests { haresources: 1, settings: 1 })
        };
        let longest = hb_proto::time::Duration::ZERO;
        let for_arbiter = ForArbiter { homes_b: 0, knows: None, voteless: false, longest };
        Message::Hello(Hello {
            status,
            settings,
            declines: 0,
            failed: 0,
            wants: 0,
            knows: None,
            echo: None,
            for_arbiter: Some(for_arbiter),
        })
    }
}
