//! A node's end of a line, and a node that says what it is told to.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
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

/// What came in.
struct Heard {
    deframer: Deframer,
    frames: Frames,
    damaged: usize,
}

/// One end of a line. A thread of its own reads it all the time: after some 280 bytes that nobody takes, each of
/// them a packet of its own to the kernel, QEMU's UART waits, and all of QEMU with it.
pub struct Line {
    stream: UnixStream,
    heard: Arc<Mutex<Heard>>,
    /// What answers are signed with.
    keys: KeyRing,
}

impl Line {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self::with_keys(stream, keys())
    }

    /// An end of a line whose answers are signed with other keys than the tests'.
    ///
    /// # Panics
    /// Without another descriptor.
    #[must_use]
    pub fn with_keys(stream: UnixStream, keys: KeyRing) -> Self {
        let deframer = Deframer::new();
        let heard = Arc::new(Mutex::new(Heard { deframer, frames: Vec::new(), damaged: 0 }));
        let (own, into) = (stream.try_clone().expect("a descriptor"), heard.clone());
        // Ends with QEMU, which closes the other end.
        std::thread::spawn(move || read_all(own, &into));
        Self { stream, heard, keys }
    }

    /// Both ends of a plain wire.
    ///
    /// # Panics
    /// Without descriptors for two sockets.
    #[must_use]
    pub fn pair() -> [Self; 2] {
        let (one, other) = UnixStream::pair().expect("two descriptors");
        let mut ends = [Self::new(one), Self::new(other)];
        // A delimiter, as a node's first: who listens then knows where a frame begins.
        ends.iter_mut().for_each(|end| end.send_bytes(&[0]));
        ends
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("the reader doesn't panic")
    }

    /// Frames that were damaged.
    #[must_use]
    pub fn damaged(&self) -> usize {
        self.heard().damaged
    }

    /// All frames since the last call.
    pub fn frames(&mut self) -> Frames {
        std::mem::take(&mut self.heard().frames)
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("QEMU listens");
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
                if let Ok((answer, _)) = service::open_answer(&frame, Some(&self.keys))
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
    #[track_caller]
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

fn read_all(mut stream: UnixStream, into: &Mutex<Heard>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        let now = Instant::now();
        let Ok(mut heard) = into.lock() else { return };
        let Heard { deframer, frames, damaged } = &mut *heard;
        for &byte in &bytes[..count] {
            match deframer.push(byte) {
                Some(Ok(frame)) => frames.push((now, frame.to_vec())),
                Some(Err(_)) => *damaged += 1,
                None => {}
            }
        }
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

/// Gives a blank dongle the tests' key, as `hb dongle provision` does; it then begins a life with it.
#[track_caller]
pub fn provision(line: &mut Line) {
    let secret = heapless::Vec::from_slice(SECRET).expect("room");
    provision_with(line, &Ask::SetKey { key: 1, signs: true, crc: false, number: 7, secret });
}

/// Gives a blank dongle its first key.
///
/// # Panics
/// It takes none.
#[track_caller]
pub fn provision_with(line: &mut Line, first: &Ask) {
    for _ in 0..5 {
        let identity = line.identify();
        if identity.signing.is_some() {
            // It took it, and the answer came late.
            return;
        }
        std::thread::sleep(Duration::from_millis(300));
        match line.ask(identity.challenge, first, None) {
            Some(Answer::Done { .. }) => return,
            Some(other) => panic!("{other:?}"),
            None => std::thread::sleep(Duration::from_millis(300)),
        }
    }
    panic!("it takes no key");
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
