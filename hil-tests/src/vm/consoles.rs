//! What the guests' kernels say: each line of a console with the time at which the rig saw it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::seen::{self, Shared};
use crate::chronicle::Clock;
use crate::netns::observer::Growing;
use crate::scenario::cluster::Machine;
use crate::scenario::rig::{Moment, Source};

/// Consoles are files that QEMU writes; they are looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// With its thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Consoles {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Consoles {
    /// Follows `MACHINE.LIFE.console` of every life in `directory`.
    ///
    /// # Errors
    /// No thread could be had.
    pub fn follow(directory: PathBuf, clock: Clock, seen: Shared) -> std::io::Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let its_end = end.clone();
        let thread = std::thread::Builder::new().name("consoles".into()).spawn(move || {
            let mut known = HashMap::new();
            while !its_end.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK_EVERY);
                look(&directory, clock, &seen, &mut known);
            }
        })?;
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Consoles {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn look(directory: &Path, clock: Clock, seen: &Shared, known: &mut HashMap<PathBuf, Growing>) {
    // Gone with the rig.
    let Ok(listing) = fs::read_dir(directory) else { return };
    for path in listing.flatten().map(|entry| entry.path()) {
        let Some(machine) = whose(&path) else { continue };
        let growing = known.entry(path.clone()).or_insert_with(|| Growing::new(path));
        let at = clock.now();
        for line in growing.lines() {
            let text = line.trim_end().to_owned();
            if !text.is_empty() {
                let moment = Moment { at, source: Source::Console(machine), text };
                seen::lock(seen).chronicle.note_line(moment);
            }
        }
    }
}

fn whose(path: &Path) -> Option<Machine> {
    let name = path.file_name()?.to_str()?.strip_suffix(".console")?;
    let (machine, _life) = name.split_once('.')?;
    Machine::BOTH.into_iter().find(|one| one.name() == machine)
}
