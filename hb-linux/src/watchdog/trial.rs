//! A watchdog put to the test: armed, then left unfed, until the machine is reset.
//!
//! What was expected is stored and synced before the device is opened, since nothing is stored after the
//! reset. A second file, written ten times a second while the machine goes on, says how far it came.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Closed, Watchdog};

/// Of the expectation, in the state directory.
const RECORD: &str = "watchdog_test.json";
/// Milliseconds that the machine was still up after the last feeding, in the state directory.
const ALIVE: &str = "watchdog_test.alive";
/// How often that is written: what the result is exact to.
const MARK_EVERY: Duration = Duration::from_millis(100);
/// Beyond twice the time-out (the kernel may feed once by itself, watchdog-api.rst) it has failed.
const BEYOND: Duration = Duration::from_secs(5);
/// The kernel's own number of this boot (random(4)); another one after every reset.
const KERNEL_BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// What is tested, and how that went as far as it could be stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The device.
    pub device: PathBuf,
    /// The driver's name for itself; empty until it was opened.
    pub identity: String,
    /// Time-out in seconds: as asked for, then as the driver read it back.
    pub timeout_s: u32,
    /// Wall time of the last feeding, seconds since 1970.
    pub fed_at: i64,
    /// The kernel's number of the boot in which it was tested.
    pub kernel_boot: String,
    /// How it ended, if this machine lived to see it.
    pub survived: Option<Survived>,
}

/// A test that did not end in a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Survived {
    /// It should have been reset and was not.
    NotBitten,
    /// Somebody ended the test.
    Interrupted,
    /// The device could not be had.
    NotOpened,
}

/// What is known of the last test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was reset, so many milliseconds after the last feeding at least, and before another 100 ms or so
    /// were over; `None` if not even the first mark was stored.
    Reset {
        /// Of the last mark.
        after_ms: Option<u64>,
    },
    /// The machine is the same as then.
    Survived(Survived),
    /// The machine was not reset since, and the test was not ended: it is under way, or was killed.
    UnderWay,
}

/// Where tests are stored.
#[derive(Clone, Debug)]
pub struct Store {
    state_dir: PathBuf,
    kernel_boot: PathBuf,
}

impl Store {
    /// In `state_dir`, for this kernel.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.into(), kernel_boot: KERNEL_BOOT.into() }
    }

    /// The last test and how it ended; `None` if there was none.
    ///
    /// # Errors
    /// The record can't be read, or is none.
    pub fn last(&self) -> io::Result<Option<(Trial, Outcome)>> {
        let text = match fs::read_to_string(self.state_dir.join(RECORD)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let trial: Trial = serde_json::from_str(&text)?;
        let outcome = if let Some(survived) = trial.survived {
            Outcome::Survived(survived)
        } else if trial.kernel_boot == self.kernel_boot()? {
            Outcome::UnderWay
        } else {
            let mark = fs::read_to_string(self.state_dir.join(ALIVE)).ok();
            Outcome::Reset { after_ms: mark.and_then(|mark| mark.trim().parse().ok()) }
        };
        Ok(Some((trial, outcome)))
    }

    fn kernel_boot(&self) -> io::Result<String> {
        Ok(fs::read_to_string(&self.kernel_boot)?.trim().to_owned())
    }

    /// A power cut after this returns finds the record whole.
    fn put(&self, trial: &Trial) -> io::Result<()> {
        let (path, new) = (self.state_dir.join(RECORD), self.state_dir.join("watchdog_test.new"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(trial)?)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.state_dir)?.sync_all()
    }

    /// Stores what is expected, before anything is armed.
    ///
    /// # Errors
    /// It could not be stored: then there would be no result.
    pub fn expect(&self, device: &Path, timeout_s: u32, now: i64) -> io::Result<Trial> {
        fs::create_dir_all(&self.state_dir)?;
        let trial = Trial {
            device: device.into(),
            identity: String::new(),
            timeout_s,
            fed_at: now,
            kernel_boot: self.kernel_boot()?,
            survived: None,
        };
        match fs::remove_file(self.state_dir.join(ALIVE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.put(&trial)?,
        }
        Ok(trial)
    }

    /// Stores that the machine was not reset.
    ///
    /// # Errors
    /// It could not be stored.
    pub fn survived(&self, trial: &mut Trial, how: Survived) -> io::Result<()> {
        trial.survived = Some(how);
        self.put(trial)
    }

    /// Feeds `watchdog` for the last time and waits for the reset. Returns only if none came: then the
    /// watchdog was told to disarm. `wall` is the time in seconds since 1970.
    ///
    /// # Errors
    /// The files can't be written, or the driver refuses to be fed; the watchdog is left armed then.
    pub fn starve(
        &self,
        trial: &mut Trial,
        mut watchdog: Box<dyn Watchdog>,
        wall: i64,
        stopped: &dyn Fn() -> bool,
    ) -> io::Result<(Survived, Closed)> {
        trial.identity = watchdog.identity().to_owned();
        trial.timeout_s = watchdog.timeout_s();
        trial.fed_at = wall;
        let marks = File::create(self.state_dir.join(ALIVE))?;
        self.put(trial)?;
        watchdog.feed()?;
        let fed = Instant::now();
        let hopeless = Duration::from_secs(u64::from(trial.timeout_s)) * 2 + BEYOND;
        let survived = loop {
            let alive = fed.elapsed();
            // As wide as ever, so that a mark replaces the one before it.
            marks.write_all_at(format!("{:>10}\n", alive.as_millis()).as_bytes(), 0)?;
            marks.sync_data()?;
            if stopped() {
                break Survived::Interrupted;
            }
            if alive >= hopeless {
                break Survived::NotBitten;
            }
            std::thread::sleep(MARK_EVERY);
        };
        let closed = watchdog.close_orderly()?;
        self.survived(trial, survived)?;
        Ok((survived, closed))
    }
}

/// The result as a person reads it.
pub struct InWords<'a>(pub &'a Trial, pub &'a Outcome);

impl InWords<'_> {
    /// Whether the watchdog did what it is there for.
    #[must_use]
    pub fn is_proof(&self) -> bool {
        matches!(self.1, Outcome::Reset { after_ms: Some(ms) } if !self.is_early(*ms))
    }

    /// A reset long before the time-out was something else's. Drivers count in whole seconds and some boards
    /// in coarser steps: a second is allowed.
    fn is_early(&self, after_ms: u64) -> bool {
        after_ms + 1000 < u64::from(self.0.timeout_s) * 1000
    }

    fn is_late(&self, after_ms: u64) -> bool {
        after_ms > u64::from(self.0.timeout_s) * 1000 + 1000
    }
}

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(trial, outcome) = self;
        let device = trial.device.display();
        let name = if trial.identity.is_empty() { "not opened" } else { &trial.identity };
        write!(f, "{device} ({name}), time-out {} s: ", trial.timeout_s)?;
        match outcome {
            Outcome::Reset { after_ms: Some(ms) } => {
                let seconds = format!("{}.{} s", ms / 1000, ms % 1000 / 100);
                if self.is_early(*ms) {
                    write!(
                        f,
                        "this machine was reset only {seconds} after the last feeding, before the time-out was \
                         over: something else did that. Repeat the test"
                    )
                } else if self.is_late(*ms) {
                    write!(
                        f,
                        "it bit, {seconds} after the last feeding: later than it says of itself, and guard goes by \
                         what it says (ha.cf)"
                    )
                } else {
                    write!(f, "it bit, {seconds} after the last feeding")
                }
            }
            Outcome::Reset { after_ms: None } => f.write_str(
                "this machine was reset before the test had begun to count: no proof. Repeat the test",
            ),
            Outcome::Survived(Survived::NotBitten) => f.write_str(
                "it did NOT reset this machine. Don't rely on it: another driver, another device, or another \
                 machine",
            ),
            Outcome::Survived(Survived::Interrupted) => {
                f.write_str("the test was interrupted: no proof. Repeat it")
            }
            Outcome::Survived(Survived::NotOpened) => {
                f.write_str("it could not be opened, nothing was tested")
            }
            Outcome::UnderWay => f.write_str(
                "this machine has not been reset since the test began: it is under way, or its process was killed, \
                 and then the watchdog resets this machine",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::Recording;

    /// A state directory and a fake number of the kernel's boot.
    fn store(name: &str) -> Store {
        let state_dir =
            std::env::temp_dir().join(format!("hb-trial-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&state_dir);
        fs::create_dir_all(&state_dir).unwrap();
        let kernel_boot = state_dir.join("kernel_boot");
        fs::write(&kernel_boot, "first\n").unwrap();
        Store { state_dir, kernel_boot }
    }

    impl Drop for Store {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.state_dir);
        }
    }

    fn reboot(store: &Store) {
        fs::write(&store.kernel_boot, "second\n").unwrap();
    }

    fn words(store: &Store) -> (bool, String) {
        let (trial, outcome) = store.last().unwrap().expect("there was a test");
        let words = InWords(&trial, &outcome);
        (words.is_proof(), words.to_string())
    }

    #[test]
    fn without_a_test_there_is_no_result() {
        assert_eq!(store("none").last().unwrap(), None);
    }

    /// The recording watchdog is a fake that resets nothing: the boot's number and the mark are changed as a
    /// reset leaves them.
    #[test]
    fn after_a_reset_the_result_says_when() {
        for (mark, proof, said) in [
            (Some("     10000\n"), true, "it bit, 10.0 s after"),
            (Some("      9300\n"), true, "it bit, 9.3 s after"),
            (Some("     14200\n"), true, "later than it says of itself"),
            (Some("      3100\n"), false, "something else did that"),
            (None, false, "no proof"),
        ] {
            let store = store("reset");
            store.expect(Path::new("/dev/watchdog"), 10, 1_000_000).unwrap();
            if let Some(mark) = mark {
                fs::write(store.state_dir.join(ALIVE), mark).unwrap();
            }
            assert_eq!(store.last().unwrap().unwrap().1, Outcome::UnderWay);
            reboot(&store);
            let (is_proof, text) = words(&store);
            assert!(is_proof == proof && text.contains(said), "{mark:?}: {text}");
        }
    }

    #[test]
    fn a_watchdog_that_does_not_bite_is_disarmed_and_told() {
        let store = store("lame");
        let mut trial = store.expect(Path::new("/dev/watchdog"), 10, 5).unwrap();
        let (fake, view) = Recording::new(0, false);
        let (survived, closed) =
            store.starve(&mut trial, Box::new(fake), 6, &|| view.now().fed != 1).unwrap();
        assert_eq!((survived, closed), (Survived::NotBitten, Closed::Disarmed));
        assert!(!view.now().will_reset() && view.now().fed == 1, "fed once, then disarmed");
        reboot(&store);
        let (proof, text) = words(&store);
        assert!(!proof && text.contains("did NOT reset"), "a later boot changes nothing: {text}");
        let mark = fs::read_to_string(store.state_dir.join(ALIVE)).unwrap();
        assert!(mark.trim().parse::<u64>().unwrap() >= 5000, "marks were written: {mark:?}");
    }

    #[test]
    fn an_interrupted_test_proves_nothing() {
        let store = store("interrupted");
        let mut trial = store.expect(Path::new("/dev/watchdog"), 10, 5).unwrap();
        let (fake, _view) = Recording::new(60, false);
        let ended = store.starve(&mut trial, Box::new(fake), 6, &|| true).unwrap();
        assert_eq!(ended.0, Survived::Interrupted);
        let (proof, text) = words(&store);
        assert!(!proof && text.contains("interrupted") && text.contains("60 s"), "{text}");
    }

    #[test]
    fn a_damaged_record_is_an_error_and_no_result() {
        let store = store("damaged");
        fs::write(store.state_dir.join(RECORD), "{\"device\":").unwrap();
        assert!(store.last().is_err());
    }
}
