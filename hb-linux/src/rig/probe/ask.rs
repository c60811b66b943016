//! The client's thread: opens connections, reads answers, captures frames. Never blocks.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::super::switch::ETH_P_ALL;
use super::frames::{self, Said};
use super::record::{Answer, Outcome, Record, Sighting};
use super::{ASK_EVERY, Capture, GIVE_UP, WHO_HAS_EVERY, lock};

/// More can't be under way: each ends after [`GIVE_UP`].
const UNDER_WAY: usize = (GIVE_UP.as_millis() / ASK_EVERY.as_millis()) as usize + 8;
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\nHost: 192.168.85.3\r\n\r\n";

/// A question that has no answer yet.
struct Question {
    socket: Socket,
    port: u16,
    sent: Instant,
    asked: bool,
    mac: Option<super::Mac>,
}

/// Asks until `end`, each `every`.
pub fn run(
    own: Ipv4Addr,
    service: Ipv4Addr,
    every: Duration,
    capture: &Capture,
    record: &Mutex<Record>,
    end: &AtomicBool,
) {
    let address = SockAddr::from(SocketAddrV4::new(service, 80));
    let who_has = frames::who_has(capture.mac, own, service);
    let mut questions: Vec<Question> = Vec::with_capacity(UNDER_WAY);
    let (mut next, mut next_who_has) = (Instant::now(), Instant::now());
    while !end.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now >= next {
            next = (next + every).max(now);
            if questions.len() < UNDER_WAY {
                match open(&address, now) {
                    Ok(question) => questions.push(question),
                    Err(_) => note(record, now, now, Outcome::Failed, None),
                }
            }
        }
        if now >= next_who_has {
            next_who_has = now + WHO_HAS_EVERY;
            // Without a carrier nobody could answer either.
            let _ = capture.socket.send(capture.index, ETH_P_ALL, &who_has);
        }
        wait(capture, &questions, next.saturating_duration_since(Instant::now()));
        look(capture, service, &mut questions, record);
        questions.retain_mut(|question| {
            let Some(outcome) = advance(question, Instant::now()) else { return true };
            let done = Instant::now();
            note(record, question.sent, done, outcome, question.mac);
            false
        });
    }
}

fn note(
    record: &Mutex<Record>,
    sent: Instant,
    done: Instant,
    outcome: Outcome,
    mac: Option<super::Mac>,
) {
    lock(record).answers.push(Answer { sent, done, outcome, mac });
}

fn open(address: &SockAddr, sent: Instant) -> std::io::Result<Question> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Closed by a reset: no TIME_WAIT uses the ports up.
    socket.set_linger(Some(Duration::ZERO))?;
    match socket.connect(address) {
        Err(error)
            if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            return Err(error);
        }
        _ => {}
    }
    let port = socket.local_addr()?.as_socket_ipv4().map_or(0, |address| address.port());
    Ok(Question { socket, port, sent, asked: false, mac: None })
}

fn wait(capture: &Capture, questions: &[Question], timeout: Duration) {
    let mut fds = Vec::with_capacity(questions.len() + 1);
    fds.push(PollFd::new(&capture.socket, PollFlags::IN));
    fds.extend(questions.iter().map(|question| {
        PollFd::new(&question.socket, if question.asked { PollFlags::IN } else { PollFlags::OUT })
    }));
    let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
    // EINTR only makes the turn come early.
    let _ = poll(&mut fds, Some(&timeout));
}

/// Captured frames tell who answers which question.
fn look(capture: &Capture, service: Ipv4Addr, questions: &mut [Question], record: &Mutex<Record>) {
    let mut frame = [0; 2048];
    while let Ok(length) = capture.socket.receive(&mut frame) {
        let Some(said) = frames::read(&frame[..length], capture.mac, service) else { continue };
        let mac = match said {
            Said::Claim(mac) => mac,
            Said::Segment { mac, port } => {
                for question in questions.iter_mut().filter(|question| question.port == port) {
                    question.mac = Some(mac);
                }
                mac
            }
        };
        lock(record).saw(Sighting { at: Instant::now(), mac });
    }
}

/// None while there is nothing to say yet.
fn advance(question: &mut Question, now: Instant) -> Option<Outcome> {
    if now - question.sent >= GIVE_UP {
        return Some(Outcome::Timeout);
    }
    if !question.asked {
        match question.socket.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Some(failure(&error)),
        }
        match (&question.socket).write(REQUEST) {
            Ok(_) => question.asked = true,
            // Not connected yet.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
            {
                return None;
            }
            Err(error) => return Some(failure(&error)),
        }
    }
    // The answer's frame was captured before its socket became readable; if it came after the
    // last look, the next turn has both.
    question.mac?;
    let mut answer = [0; 256];
    match (&question.socket).read(&mut answer) {
        Ok(count) => {
            let good = answer[..count].starts_with(b"HTTP/1.0 200");
            Some(if good { Outcome::Answered } else { Outcome::Failed })
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => Some(failure(&error)),
    }
}

fn failure(error: &std::io::Error) -> Outcome {
    match error.kind() {
        ErrorKind::ConnectionRefused => Outcome::Refused,
        _ => Outcome::Failed,
    }
}
