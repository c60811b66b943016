//! `hb serial test` over the rig's line model: each thing that can be wrong with a line is made, and must be
//! told apart from the others. Ptys stand for ports, so there are no modem lines here.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hb_linux::rig::faults::Noise;
use hb_linux::rig::line::{Line, Port, Side};
use hb_linux::serial::end::{self, Settings};
use hb_linux::serial::modem::Wiring;
use hb_linux::serial::report::{Others, Report};
use hb_linux::serial::tty::{self, Wire};
use hb_linux::serial::verdict::{Expected, Matter, Verdict, judge};

const BAUD: u32 = 19_200;

/// A null-modem line with nothing open at its ends.
fn line() -> (Line, [PathBuf; 2]) {
    let line = Line::new().expect("a line");
    let ports = [Port::new().expect("a pty"), Port::new().expect("a pty")];
    let devices = [ports[0].device().to_owned(), ports[1].device().to_owned()];
    let [a, b] = ports;
    line.attach(Side::A, a);
    line.attach(Side::B, b);
    (line, devices)
}

fn open(device: &Path, baud: u32) -> tty::Line {
    let locks = std::env::temp_dir();
    tty::Line::open(device, baud, &locks).unwrap_or_else(|error| panic!("{device:?}: {error}"))
}

fn settings(node: &str, id: u32, device: &Path, baud: u32) -> Settings {
    Settings {
        id,
        node: node.into(),
        device: device.display().to_string(),
        baud,
        patience: Duration::from_secs(6),
        speeds: Vec::new(),
    }
}

/// A thread is kept waiting for so long on a host that is starved (docs/testing.md).
const STARVED: Duration = Duration::from_millis(100);
/// A test that fails while the host was starved is told again so often.
const AGAIN: usize = 2;

/// The longest time that a thread which naps for 1 ms was kept waiting, from its start until it is asked.
struct Naps {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Naps {
    fn watch() -> Self {
        const NAP: Duration = Duration::from_millis(1);
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !ended.load(Ordering::Relaxed) {
                let before = Instant::now();
                std::thread::sleep(NAP);
                longest = longest.max(before.elapsed().saturating_sub(NAP));
            }
            longest
        });
        Self { end, thread }
    }

    fn longest(self) -> Duration {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only naps")
    }
}

/// The two ends are threads of this host that hold a line model to real time: what a starved host explains is told
/// again, and listed.
fn steady(name: &str, test: impl Fn()) {
    for _ in 0..AGAIN {
        let naps = Naps::watch();
        let outcome = catch_unwind(AssertUnwindSafe(&test));
        let longest = naps.longest();
        let Err(panic) = outcome else { return };
        if longest < STARVED {
            resume_unwind(panic);
        }
        println!("TOLD TWICE: {name}: failed while the host kept a thread waiting for {longest:?}");
    }
    test();
}

/// One end in a thread of its own.
fn far(device: &Path, settings: Settings, baud: u32) -> JoinHandle<Report> {
    let mut wire = open(device, baud);
    std::thread::spawn(move || end::run(&mut wire, &mut [], &settings, &mut |_| ()))
}

fn near(device: &Path, settings: &Settings, baud: u32) -> Report {
    end::run(&mut open(device, baud), &mut [], settings, &mut |_| ())
}

/// Both ends of one line, at speeds whose blocks fit into a port's buffer: a busy host delays them, and
/// loses none. Node A has the greater id and leads.
fn both(devices: &[PathBuf; 2], speeds: &[u32]) -> (Report, Report) {
    let speeds = speeds.to_vec();
    let b = Settings { speeds: speeds.clone(), ..settings("linuxha2", 1, &devices[1], BAUD) };
    let a = Settings { speeds, ..settings("linuxha1", 2, &devices[0], BAUD) };
    let far = far(&devices[1], b, BAUD);
    let near = near(&devices[0], &a, BAUD);
    (near, far.join().expect("the far end returns"))
}

fn nobody_expected(ours: &Report, theirs: Option<&Report>) -> Verdict {
    judge(ours, theirs, &Expected::default())
}

#[test]
fn a_sound_line_is_clean_at_each_speed_and_both_ends_say_so() {
    steady("a_sound_line_is_clean_at_each_speed_and_both_ends_say_so", || {
        let (_line, devices) = line();
        let (near, far) = both(&devices, &[9_600, 38_400]);
        for (ours, theirs) in [(&near, &far), (&far, &near)] {
            assert_eq!(nobody_expected(ours, Some(theirs)).matter, Matter::Sound, "{ours:#?}");
            let bauds: Vec<_> = ours.speeds.iter().map(|speed| speed.baud).collect();
            assert_eq!(bauds, [9_600, 38_400]);
            for speed in &ours.speeds {
                assert!(speed.back.is_clean(), "{speed:?}");
                assert!(speed.out.is_some_and(|out| out.is_clean()), "{speed:?}");
            }
            assert_eq!(ours.wiring, Some(Wiring::NoLines), "ptys have no modem lines");
        }
        assert_eq!(near.speeds[0].out, Some(far.speeds[0].back));
    });
}

#[test]
fn a_noisy_line_has_its_bit_error_rate_and_one_direction_is_not_blamed_for_the_other() {
    steady(
        "a_noisy_line_has_its_bit_error_rate_and_one_direction_is_not_blamed_for_the_other",
        || {
            let (line, devices) = line();
            let meet = both(&devices, &[]);
            assert_eq!(nobody_expected(&meet.0, None).matter, Matter::Sound);
            let noise = Noise { seed: 3, flip: 0.004, ..Noise::default() };
            line.noise(Side::A, Some(noise));
            let (near, _far) = both(&devices, &[38_400]);
            let speed = &near.speeds[0];
            let out = speed.out.expect("told");
            let rate = out.bit_error_rate().expect("some arrived");
            assert!((1e-4..2e-3).contains(&rate), "0.004 of bytes, 5e-4 of bits: {out:?}");
            assert!(speed.back.is_clean(), "{:?}", speed.back);
            assert_eq!(nobody_expected(&near, None).matter, Matter::Errors);
        },
    );
}

#[test]
fn a_cut_line_is_dead() {
    let (line, devices) = line();
    line.cut(Side::A, true);
    line.cut(Side::B, true);
    let (near, far) = both(&devices, &[]);
    assert_eq!(nobody_expected(&near, Some(&far)).matter, Matter::Dead);
    assert_eq!(nobody_expected(&far, None).matter, Matter::Dead);
}

#[test]
fn a_line_with_one_wire_broken_is_one_way_at_both_ends() {
    steady("a_line_with_one_wire_broken_is_one_way_at_both_ends", || {
        let (line, devices) = line();
        line.cut(Side::A, true);
        let (near, far) = both(&devices, &[]);
        let deaf = nobody_expected(&near, Some(&far));
        assert_eq!(deaf.matter, Matter::OneWay, "{near:#?}");
        let said = nobody_expected(&far, Some(&near));
        assert_eq!(said.matter, Matter::OneWay, "what A sends is lost, and B hears nothing");
        assert!(said.text.contains("this end hears nothing"), "{}", said.text);
        assert_eq!(nobody_expected(&near, None).matter, Matter::OneWay, "it needs no report of B");
        assert_eq!(nobody_expected(&far, None).matter, Matter::Dead, "B can't know alone");
        assert!(deaf.text.contains("nothing that"), "{}", deaf.text);
    });
}

#[test]
fn different_speeds_are_named_with_both_figures() {
    steady("different_speeds_are_named_with_both_figures", || {
        let (_line, devices) = line();
        let slow = settings("linuxha2", 1, &devices[1], 9_600);
        let far = far(&devices[1], Settings { patience: Duration::from_secs(25), ..slow }, 9_600);
        let fast = settings("linuxha1", 2, &devices[0], BAUD);
        let near = near(&devices[0], &Settings { patience: Duration::from_secs(25), ..fast }, BAUD);
        far.join().expect("the far end returns");
        let verdict = nobody_expected(&near, None);
        assert_eq!(verdict.matter, Matter::WrongBaud, "{near:#?}");
        assert!(
            verdict.text.contains("19200") && verdict.text.contains("9600"),
            "{}",
            verdict.text
        );
    });
}

#[test]
fn swapped_cables_are_found_by_the_other_port_that_listens() {
    steady("swapped_cables_are_found_by_the_other_port_that_listens", || {
        // A's first port leads to B's second one and the other way round.
        let (_first, [a0, b1]) = line();
        let (_second, [a1, _b0]) = line();
        let b = far(&b1, settings("linuxha2", 1, Path::new("/dev/ttyS1"), BAUD), BAUD);
        // What A takes for its first port is a1; its real first port only listens.
        let mut also: Vec<(String, Box<dyn Wire>)> =
            vec![("/dev/ttyS0".into(), Box::new(open(&a0, BAUD)))];
        let mine = settings("linuxha1", 2, Path::new("/dev/ttyS1"), BAUD);
        let near = end::run(&mut open(&a1, BAUD), &mut also, &mine, &mut |_| ());
        let far = b.join().expect("the far end returns");
        let verdict = nobody_expected(&near, Some(&far));
        assert_eq!(verdict.matter, Matter::Swapped, "{near:#?}");
        assert!(verdict.text.contains("/dev/ttyS0"), "{}", verdict.text);
    });
}

#[test]
fn the_right_machine_on_the_wrong_port_is_swapped_and_another_machine_is_the_wrong_peer() {
    steady(
        "the_right_machine_on_the_wrong_port_is_swapped_and_another_machine_is_the_wrong_peer",
        || {
            let (_line, devices) = line();
            let b = far(&devices[1], settings("linuxha2", 1, Path::new("/dev/ttyS1"), BAUD), BAUD);
            let near = near(&devices[0], &settings("linuxha1", 2, &devices[0], BAUD), BAUD);
            b.join().expect("the far end returns");
            let expect = |node: &str, device: Option<&str>| {
                let expected =
                    Expected { node: Some(node.into()), device: device.map(ToOwned::to_owned) };
                judge(&near, None, &expected).matter
            };
            assert_eq!(expect("linuxha2", None), Matter::Sound);
            assert_eq!(expect("linuxha2", Some("/dev/ttyS1")), Matter::Sound);
            assert_eq!(expect("linuxha2", Some("/dev/ttyS0")), Matter::Swapped);
            assert_eq!(expect("linuxha9", None), Matter::WrongPeer);
        },
    );
}

/// Something else than a test at the other end of the line.
struct Stranger {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stranger {
    /// `answers` makes of what arrives what goes back.
    fn at(
        device: &Path,
        baud: u32,
        mut answers: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let mut wire = open(device, baud);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 256];
            while !ended.load(Ordering::Relaxed) {
                let count = wire.read(&mut buffer, Duration::from_millis(20)).unwrap_or(0);
                let mut answer = &answers(&buffer[..count])[..];
                while let (false, Ok(taken)) = (answer.is_empty(), wire.write(answer)) {
                    answer = &answer[taken..];
                }
            }
        });
        Self { end, thread: Some(thread) }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_login_at_the_other_end_is_told_by_its_prompt() {
    steady("a_login_at_the_other_end_is_told_by_its_prompt", || {
        let (_line, devices) = line();
        // As getty(8) does it: it repeats what it gets and asks again after each line.
        let _getty = Stranger::at(&devices[1], BAUD, |bytes| {
            let mut answer = bytes.to_vec();
            if bytes.contains(&b'\r') {
                answer.extend(b"\r\nDebian GNU/Linux 13 linuxha2 ttyS0\r\n\r\nlinuxha2 login: ");
            }
            answer
        });
        let near = near(&devices[0], &settings("linuxha1", 2, &devices[0], BAUD), BAUD);
        let verdict = nobody_expected(&near, None);
        assert_eq!(verdict.matter, Matter::Console, "{near:#?}");
        assert!(verdict.text.contains("login:"), "{}", verdict.text);
    });
}

#[test]
fn an_echo_at_one_speed_is_a_terminal_and_at_every_speed_a_loopback() {
    steady("an_echo_at_one_speed_is_a_terminal_and_at_every_speed_a_loopback", || {
        let (_line, devices) = line();
        let terminal = Stranger::at(&devices[1], BAUD, <[u8]>::to_vec);
        let near_end = || near(&devices[0], &settings("linuxha1", 2, &devices[0], BAUD), BAUD);
        let echoed = near_end();
        assert_eq!(nobody_expected(&echoed, None).matter, Matter::Echo, "{echoed:#?}");
        drop(terminal);
        // A loop-back plug: what one end of a bare pty writes, whatever its speed, comes back.
        let port = Port::new().expect("a pty");
        let device = port.device().to_owned();
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let plug = std::thread::spawn(move || {
            let mut port = port;
            let mut buffer = [0; 256];
            while !ended.load(Ordering::Relaxed) {
                port.refresh(std::time::Instant::now());
                let count = port.take(&mut buffer);
                port.give(&buffer[..count]);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let looped = near(&device, &settings("linuxha1", 2, &device, BAUD), BAUD);
        end.store(true, Ordering::Relaxed);
        plug.join().expect("the plug ends");
        assert_eq!(nobody_expected(&looped, None).matter, Matter::Loopback, "{looped:#?}");
    });
}

#[test]
fn a_heartbeat_at_the_other_end_is_recognised_at_its_own_speed_too() {
    steady("a_heartbeat_at_the_other_end_is_recognised_at_its_own_speed_too", || {
        for (theirs, matter) in [(BAUD, Matter::Heartbeat), (38_400, Matter::WrongBaud)] {
            let (_line, devices) = line();
            // A frame of 32 bytes without a zero under COBS, every 100 ms.
            let mut beat = 0_u32;
            let _daemon = Stranger::at(&devices[1], theirs, move |_| {
                beat += 1;
                let mut frame = vec![33];
                frame.extend((0..32).map(|n| 1 + ((beat * 7 + n * 13) % 255) as u8));
                frame.push(0);
                if beat.is_multiple_of(5) { frame } else { Vec::new() }
            });
            let mine = settings("linuxha1", 2, &devices[0], BAUD);
            let mine = Settings { patience: Duration::from_secs(12), ..mine };
            let near = near(&devices[0], &mine, BAUD);
            let verdict = nobody_expected(&near, None);
            assert_eq!(verdict.matter, matter, "{near:#?}");
            if matter == Matter::WrongBaud {
                assert_eq!(near.elsewhere_in_speed, Some((38_400, Others::Heartbeat)));
            }
        }
    });
}

#[test]
fn an_unplugged_adapter_breaks_the_test_off_with_words() {
    let (line, devices) = line();
    let mine = settings("linuxha1", 2, &devices[0], BAUD);
    let mut wire = open(&devices[0], BAUD);
    let pull = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        line.detach(Side::A);
        line
    });
    let near = end::run(&mut wire, &mut [], &mine, &mut |_| ());
    drop(pull.join());
    assert_eq!(nobody_expected(&near, None).matter, Matter::BrokeOff, "{near:#?}");
}
