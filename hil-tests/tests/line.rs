//! The null-modem line's model keeps what it promises.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hb_linux::rig::line::{Line, Port, RECEIVE_BUFFER, Side};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// A program that has a port open, raw, at a speed.
fn open(device: &Path, baud: u32) -> File {
    let flags = rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(device)
        .unwrap();
    let mut termios = tcgetattr(&file).unwrap();
    termios.make_raw();
    termios.set_speed(baud).unwrap();
    tcsetattr(&file, OptionalActions::Now, &termios).unwrap();
    file
}

/// All bytes that come within `patience`, and when the last of them did.
fn read(file: &mut File, want: usize, patience: Duration) -> (Vec<u8>, Instant) {
    let deadline = Instant::now() + patience;
    let (mut bytes, mut last) = (Vec::new(), Instant::now());
    while bytes.len() < want && Instant::now() < deadline {
        let mut fds = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 })).unwrap();
        let mut chunk = [0; 4096];
        if let Ok(count @ 1..) = file.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..count]);
            last = Instant::now();
        }
    }
    (bytes, last)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A line with both machines on, and their devices.
fn line() -> (Line, PathBuf, PathBuf) {
    let line = Line::new().unwrap();
    let (a, b) = (Port::new().unwrap(), Port::new().unwrap());
    let devices = (a.device().to_owned(), b.device().to_owned());
    line.attach(Side::A, a);
    line.attach(Side::B, b);
    (line, devices.0, devices.1)
}

/// A line whose both ends a program has open.
fn opened(speed_a: u32, speed_b: u32) -> (Line, File, File) {
    let (line, a, b) = line();
    let files = (open(&a, speed_a), open(&b, speed_b));
    until("both ports are seen open", || line.is_open(Side::A) && line.is_open(Side::B));
    (line, files.0, files.1)
}

const FRAME: [u8; 32] = *b"a status frame, thirty-two bytes";

/// What this host adds to a frame for which it has time: two wake-ups, of the line's thread and of the
/// reader.
const LATE: Duration = Duration::from_millis(3);
/// For so many frames it has no time at all before the line is to blame.
const FRAMES: usize = 100;

#[test]
fn a_frame_takes_its_time() {
    for (baud, expected_us) in [(19200_u32, 16_667_u64), (9600, 33_333), (115_200, 2_778)] {
        let (_line, mut a, mut b) = opened(baud, baud);
        let expected = Duration::from_micros(expected_us);
        // The shortest of several: a busy host only makes a frame later.
        let mut fastest = Duration::MAX;
        for frame in 0..FRAMES {
            let sent = Instant::now();
            a.write_all(&FRAME).unwrap();
            let (bytes, last) = read(&mut b, FRAME.len(), Duration::from_secs(2));
            assert_eq!(bytes, FRAME, "{baud} baud");
            fastest = fastest.min(last - sent);
            if frame >= 4 && fastest < expected + LATE {
                break;
            }
        }
        assert!(fastest >= expected, "{baud} baud: {fastest:?} is faster than the wire");
        assert!(fastest < expected + LATE, "{baud} baud: {fastest:?} is slower than the wire");
    }
}

#[test]
fn both_ways_at_once_do_not_slow_each_other() {
    let (_line, mut a, mut b) = opened(19200, 19200);
    let fastest = (0..5)
        .map(|_| {
            let sent = Instant::now();
            a.write_all(&FRAME).unwrap();
            b.write_all(&FRAME).unwrap();
            assert_eq!(read(&mut b, 32, Duration::from_secs(2)).0, FRAME);
            assert_eq!(read(&mut a, 32, Duration::from_secs(2)).0, FRAME);
            sent.elapsed()
        })
        .min()
        .unwrap();
    // One after the other they would take 33 ms.
    assert!(fastest < Duration::from_millis(30), "{fastest:?}");
}

#[test]
fn different_speeds_garble() {
    let (line, mut a, mut b) = opened(19200, 9600);
    a.write_all(&FRAME).unwrap();
    let (bytes, _) = read(&mut b, 32, Duration::from_millis(300));
    assert!(!bytes.is_empty(), "a UART at the wrong speed sees garbage, not silence");
    assert!(!bytes.windows(4).any(|part| FRAME.windows(4).any(|whole| whole == part)));
    assert_eq!(line.carried(Side::A).garbled, 32);
}

#[test]
fn power_loss_loses_what_is_under_way() {
    let (line, mut a, mut b) = opened(1200, 1200);
    // 100 bytes take 833 ms at 1200 baud; the power goes after about 30 of them.
    a.write_all(&[0x55; 100]).unwrap();
    std::thread::sleep(Duration::from_millis(250));
    line.detach(Side::A);
    drop(a);
    let (bytes, _) = read(&mut b, 100, Duration::from_millis(900));
    assert!((10..60).contains(&bytes.len()), "{} bytes came", bytes.len());
}

#[test]
fn a_machine_without_power_hears_nothing_of_before() {
    let (line, mut a, b) = opened(19200, 19200);
    line.detach(Side::B);
    drop(b);
    a.write_all(&FRAME).unwrap();
    until("the sender's UART is drained", || line.carried(Side::A).lost == 32);
    let port = Port::new().unwrap();
    let device = port.device().to_owned();
    line.attach(Side::B, port);
    let mut b = open(&device, 19200);
    assert_eq!(read(&mut b, 1, Duration::from_millis(100)).0, b"");
    until("the port is seen open", || line.is_open(Side::B));
    a.write_all(b"now").unwrap();
    assert_eq!(read(&mut b, 3, Duration::from_secs(1)).0, b"now");
}

#[test]
fn a_closed_port_loses_bytes_and_takes_new_ones_when_it_is_opened_again() {
    let (line, a, b) = line();
    let mut a = open(&a, 19200);
    let first = open(&b, 19200);
    until("the port is seen open", || line.is_open(Side::B));
    drop(first);
    until("the port is seen closed", || !line.is_open(Side::B));
    a.write_all(&FRAME).unwrap();
    until("all is lost", || line.carried(Side::A).overrun == 32);
    let mut b = open(&b, 19200);
    until("the port is seen open again", || line.is_open(Side::B));
    a.write_all(b"fresh").unwrap();
    assert_eq!(read(&mut b, 5, Duration::from_secs(1)).0, b"fresh");
}

#[test]
fn a_reader_that_sleeps_finds_a_bounded_past() {
    let (line, mut a, mut b) = opened(460_800, 460_800);
    let sent = 3 * RECEIVE_BUFFER;
    let flood = vec![0x55; sent];
    let mut written = 0;
    until("the flood is written", || {
        written += a.write(&flood[written..]).unwrap_or(0);
        written == sent
    });
    until("the flood is carried", || {
        let carried = line.carried(Side::A);
        carried.delivered + carried.overrun == sent as u64
    });
    let (bytes, _) = read(&mut b, sent, Duration::from_millis(200));
    // On a busy host the kernel is late to move bytes to where they are counted; a bare pty would
    // have kept nearly all of the flood.
    assert!(bytes.len() < 2 * RECEIVE_BUFFER, "{} stale bytes", bytes.len());
    assert!(bytes.len() > RECEIVE_BUFFER / 2, "{} bytes", bytes.len());
}

#[test]
fn a_cut_is_one_way_and_heals() {
    let (line, mut a, mut b) = opened(19200, 19200);
    line.cut(Side::A, true);
    a.write_all(&FRAME).unwrap();
    b.write_all(&FRAME).unwrap();
    assert_eq!(read(&mut a, 32, Duration::from_secs(1)).0, FRAME, "the other way is whole");
    assert_eq!(read(&mut b, 1, Duration::from_millis(100)).0, b"");
    line.cut(Side::A, false);
    a.write_all(b"healed").unwrap();
    assert_eq!(read(&mut b, 6, Duration::from_secs(1)).0, b"healed");
}
