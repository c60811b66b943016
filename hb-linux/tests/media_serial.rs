//! Serial media over pseudo-terminals: the far end is the pty's master.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hb_linux::config::Medium;
use hb_linux::media::{Failure, MAX_FRAME, MAX_SERIAL, Port, Receive, Tended, Transmit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    Action, ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex,
};

/// A pty whose slave is known by a stable name, as udev's /dev/serial/by-path does it.
struct Bench {
    dir: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hb-serial-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("lock")).unwrap();
        Self { dir }
    }

    fn device(&self) -> PathBuf {
        self.dir.join("by-path-usb-0")
    }

    fn locks(&self) -> PathBuf {
        self.dir.join("lock")
    }

    fn lock_of(&self, far: &OwnedFd) -> PathBuf {
        let slave = slave_of(far);
        self.locks().join(format!("LCK..{}", slave.file_name().unwrap().to_str().unwrap()))
    }

    /// Plugs an adapter in: a new pty under the stable name.
    fn plug(&self) -> OwnedFd {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let flags = rustix::fs::fcntl_getfl(&master).unwrap();
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK).unwrap();
        let _ = fs::remove_file(self.device());
        std::os::unix::fs::symlink(slave_of(&master), self.device()).unwrap();
        master
    }

    /// Unplugs it: the tty hangs up and its name goes.
    fn unplug(&self, far: OwnedFd) {
        fs::remove_file(self.device()).unwrap();
        drop(far);
    }

    fn open(&self) -> Port {
        let medium = Medium::Serial { device: self.device(), baud: 19200 };
        Port::open_locking_in(&medium, self.locks())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn slave_of(master: &OwnedFd) -> PathBuf {
    PathBuf::from(ptsname(master, Vec::new()).unwrap().into_string().unwrap())
}

/// Root may open a tty that is claimed (TIOCEXCL); others may not.
fn second_opener(path: &Path) -> Option<OwnedFd> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty()).ok()
}

fn opened(port: Port) -> Port {
    assert_eq!(port.failure(), None, "{}", port.failure().unwrap());
    port
}

/// Readable or hung up.
fn wakes(fd: impl AsFd, millis: i64) -> bool {
    let limit = Timespec { tv_sec: 0, tv_nsec: millis * 1_000_000 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap() > 0
}

/// Reads from the far end until it has `n` bytes.
fn far_reads(far: &OwnedFd, n: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < n {
        assert!(wakes(far, 900), "the far end got {} of {n} bytes", got.len());
        let mut buf = [0; 4096];
        let more = rustix::io::read(far, &mut buf).unwrap();
        got.extend_from_slice(&buf[..more]);
    }
    got
}

#[test]
fn bytes_pass_unchanged_both_ways() {
    let bench = Bench::new("bytes");
    let far = bench.plug();
    let mut port = opened(bench.open());
    assert_eq!(
        port.description(),
        format!("Starting serial heartbeat on tty {}", bench.device().display())
    );
    // Every byte value: XON, XOFF, ^C, CR, NL and 0xff are what a line discipline would touch.
    let all: Vec<u8> = (0..=255).collect();
    for part in all.chunks(MAX_FRAME) {
        assert_eq!(port.transmit(part), Transmit::Sent);
        assert_eq!(far_reads(&far, part.len()), part);
    }
    assert_eq!(port.receive(&mut [0; MAX_FRAME]), Receive::Empty, "no echo");
    rustix::io::write(&far, &all).unwrap();
    let (mut got, mut buf) = (Vec::new(), [0; MAX_FRAME]);
    while got.len() < 256 {
        assert!(wakes(port.fd().unwrap(), 900));
        match port.receive(&mut buf) {
            Receive::Received(n) => got.extend_from_slice(&buf[..n]),
            other => panic!("{other:?} after {} bytes", got.len()),
        }
    }
    assert_eq!(got, all);
    assert_eq!(port.receive(&mut buf), Receive::Empty);
}

#[test]
fn the_line_is_raw_8n1_without_flow_control_at_its_speed() {
    let bench = Bench::new("raw");
    let _far = bench.plug();
    let port = opened(bench.open());
    let line = rustix::termios::tcgetattr(port.fd().unwrap()).unwrap();
    assert_eq!((line.input_speed(), line.output_speed()), (19200, 19200));
    assert_eq!(line.control_modes & ControlModes::CSIZE, ControlModes::CS8);
    for unwanted in [ControlModes::PARENB, ControlModes::CSTOPB, ControlModes::CRTSCTS] {
        assert!(!line.control_modes.contains(unwanted), "{unwanted:?}");
    }
    assert!(line.control_modes.contains(ControlModes::CLOCAL | ControlModes::CREAD));
    assert!(!line.input_modes.intersects(InputModes::IXON | InputModes::IXOFF | InputModes::ICRNL));
    assert!(!line.output_modes.contains(OutputModes::OPOST));
    for cooked in [LocalModes::ICANON, LocalModes::ECHO, LocalModes::ISIG, LocalModes::IEXTEN] {
        assert!(!line.local_modes.contains(cooked), "{cooked:?}");
    }
    assert_eq!(line.special_codes[SpecialCodeIndex::VMIN], 1);
    let flags = rustix::fs::fcntl_getfl(port.fd().unwrap()).unwrap();
    assert!(flags.contains(OFlags::NONBLOCK));
}

#[test]
fn stale_input_is_thrown_away_at_opening() {
    let bench = Bench::new("stale");
    let far = bench.plug();
    let earlier = second_opener(&bench.device()).unwrap();
    let mut cooked = rustix::termios::tcgetattr(&earlier).unwrap();
    cooked.make_raw();
    rustix::termios::tcsetattr(&earlier, rustix::termios::OptionalActions::Now, &cooked).unwrap();
    rustix::io::write(&far, b"left over").unwrap();
    assert!(wakes(&earlier, 900));
    let mut port = opened(bench.open());
    assert_eq!(port.receive(&mut [0; MAX_FRAME]), Receive::Empty);
    rustix::io::write(&far, b"fresh").unwrap();
    assert!(wakes(port.fd().unwrap(), 900));
    assert_eq!(port.receive(&mut [0; MAX_FRAME]), Receive::Received(5));
}

#[test]
fn an_unplugged_adapter_is_lost_and_comes_back_under_another_name() {
    let bench = Bench::new("unplug");
    let far = bench.plug();
    let mut port = opened(bench.open());
    let first_lock = bench.lock_of(&far);
    assert!(first_lock.exists());
    // Something else takes the old pty's number meanwhile, so that the new one gets another.
    let number_taken = slave_of(&far);
    bench.unplug(far);
    assert!(wakes(port.fd().unwrap(), 900), "a hang-up wakes the reader");
    assert_eq!(port.receive(&mut [0; MAX_FRAME]), Receive::Lost(Errno::IO));
    assert_eq!(port.failure(), Some(&Failure::Lost(Errno::IO)));
    assert!(port.fd().is_none());
    assert_eq!(port.tend(), Some(Tended::StillLost));
    assert_eq!(port.failure(), Some(&Failure::NoDevice));

    let filler = bench.plug();
    let far = bench.plug();
    assert_ne!(slave_of(&far), number_taken);
    assert_eq!(port.tend(), Some(Tended::Reopened));
    assert_eq!((port.tend(), port.counters().lost), (None, 1));
    assert!(!first_lock.exists(), "the lock follows the device");
    assert!(bench.lock_of(&far).exists());
    assert_eq!(port.transmit(b"again"), Transmit::Sent);
    assert_eq!(far_reads(&far, 5), b"again");
    drop(filler);
}

#[test]
fn sending_into_a_hung_up_line_loses_it() {
    let bench = Bench::new("hangup");
    let far = bench.plug();
    let mut port = opened(bench.open());
    bench.unplug(far);
    assert_eq!(port.transmit(&[1; 32]), Transmit::Lost(Errno::IO));
    assert_eq!(port.transmit(&[1; 32]), Transmit::Lost(Errno::NODEV));
    assert_eq!(port.counters().lost, 1, "lost once");
}

/// Nobody reads the far end: the line fills up, and is busy from then on; each frame that was taken
/// arrives whole and in order, none that was refused arrives at all.
#[test]
fn a_busy_line_takes_whole_frames_or_none() {
    let bench = Bench::new("busy");
    let far = bench.plug();
    let mut port = opened(bench.open());
    let mut taken = Vec::new();
    let mut busy = 0;
    let mut got = Vec::new();
    for round in 0..4000_u32 {
        let mut frame = [0_u8; 97];
        frame[..4].copy_from_slice(&round.to_be_bytes());
        let before = Instant::now();
        match port.transmit(&frame) {
            Transmit::Sent => taken.extend_from_slice(&frame),
            Transmit::Busy => busy += 1,
            Transmit::Lost(errno) => panic!("{errno}"),
        }
        assert!(before.elapsed() < Duration::from_millis(200), "transmit blocked");
        // The far end wakes up now and then and takes an odd number of bytes.
        if round % 500 == 499 {
            let mut buf = [0; 1001];
            let n = rustix::io::read(&far, &mut buf).unwrap();
            got.extend_from_slice(&buf[..n]);
        }
    }
    assert!(busy > 0, "the line never got full");
    assert_eq!(port.counters().busy, busy);
    // Drain; a last transmit pushes the rest out.
    while wakes(&far, 50) {
        let mut buf = [0; 4096];
        let n = rustix::io::read(&far, &mut buf).unwrap();
        got.extend_from_slice(&buf[..n]);
    }
    let last = [0xee; 97];
    while port.transmit(&last) == Transmit::Busy {}
    taken.extend_from_slice(&last);
    while got.len() < taken.len() {
        got.extend(far_reads(&far, 1));
    }
    assert!(got == taken, "the far end's bytes differ from the frames that were taken");
}

#[test]
fn a_stopped_line_is_busy_and_goes_on_when_released() {
    let bench = Bench::new("stopped");
    let far = bench.plug();
    let other = second_opener(&bench.device()).unwrap();
    let mut port = opened(bench.open());
    rustix::termios::tcflow(&other, Action::OOff).unwrap();
    assert_eq!(port.transmit(&[1; 32]), Transmit::Busy);
    rustix::termios::tcflow(&other, Action::OOn).unwrap();
    assert_eq!(port.transmit(&[2; 32]), Transmit::Sent);
    assert_eq!(far_reads(&far, 32), [2; 32], "the refused frame is forgotten");
}

#[test]
fn the_longest_frame_fits() {
    let bench = Bench::new("longest");
    let far = bench.plug();
    let mut port = opened(bench.open());
    assert_eq!(port.transmit(&[3; MAX_SERIAL]), Transmit::Sent);
    assert_eq!(far_reads(&far, MAX_SERIAL), [3; MAX_SERIAL]);
}

#[test]
fn a_line_of_another_program_is_left_alone() {
    let bench = Bench::new("foreign");
    let far = bench.plug();
    fs::write(bench.lock_of(&far), "         1\n").unwrap();
    let mut port = bench.open();
    let said = port.failure().expect("process 1 has the lock").to_string();
    assert!(said.contains("process 1") && said.contains("LCK.."), "{said}");
    fs::remove_file(bench.lock_of(&far)).unwrap();
    assert_eq!(port.tend(), Some(Tended::Reopened));
    drop(port);
    assert!(!bench.lock_of(&far).exists(), "removed at the end");
}

/// A second port of this process on the same device: the lock file can't tell, flock does.
#[test]
fn two_ports_never_share_a_line() {
    let bench = Bench::new("two");
    let _far = bench.plug();
    let _first = opened(bench.open());
    let second = bench.open();
    assert_eq!(second.failure(), Some(&Failure::InUse));
}

#[test]
fn what_is_no_tty_is_refused() {
    let bench = Bench::new("notty");
    for target in ["/dev/null", "/etc/hostname", "/tmp"] {
        let _ = fs::remove_file(bench.device());
        std::os::unix::fs::symlink(target, bench.device()).unwrap();
        assert_eq!(bench.open().failure(), Some(&Failure::NotATty), "{target}");
    }
}
