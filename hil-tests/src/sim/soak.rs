//! A soak: very many seeds of several kinds, on all processors, told in one report.
//!
//! Seeds are run in parts. What a part came to is a line of the journal, so that a soak that was ended goes on
//! where it was; a part is run by one thread, and what it comes to follows from its seeds alone.

mod journal;
mod report;

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::fingerprints;
use super::kind::Kind;
use super::rng::spread;
use super::run::{Verdict, run};
use super::total::Total;
use crate::bench::machine::commit;
use journal::Journal;

/// Seeds of one part: a few seconds of a processor.
pub const PART: u64 = 250;

/// How often it is said how far it has come.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Kinds of plans in a soak, and how many of ten seeds are of each.
pub const SHARES: [(Kind, u64); 3] = [(Kind::Soup, 5), (Kind::Swaps, 1), (Kind::Guide, 4)];

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Soak {
    pub first: u64,
    pub seeds: u64,
    /// Seeds of one part, [`PART`] but for tests.
    pub part: u64,
    pub arbiter: bool,
    pub journal: PathBuf,
    pub workers: usize,
}

/// The kind of a seed's plan: it follows from the seed, as the plan does.
#[must_use]
pub fn kind_of(seed: u64) -> Kind {
    let mut at = seed % 10;
    for (kind, share) in SHARES {
        if at < share {
            return kind;
        }
        at -= share;
    }
    Kind::Soup
}

/// A run that failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failed {
    /// What brings it back.
    pub origin: String,
    pub verdict: String,
}

/// What the seeds of one kind in a part came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OfKind {
    pub total: Total,
    /// Time of a processor, µs.
    pub cpu_us: u64,
}

/// What a part came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Part {
    pub first: u64,
    pub seeds: u64,
    /// In the order of [`SHARES`].
    pub kinds: [OfKind; SHARES.len()],
    /// All runs' fingerprints, added up.
    pub fingerprint: u64,
    pub failed: Vec<Failed>,
}

impl Part {
    fn run(first: u64, seeds: u64, arbiter: bool) -> Self {
        let mut part = Self { first, seeds, ..Self::default() };
        for seed in first..first + seeds {
            let kind = kind_of(seed);
            let at = SHARES.iter().position(|(share, _)| *share == kind).unwrap_or(0);
            let began = processor_us();
            let plans = if arbiter { kind.plans_with_arbiter(seed) } else { kind.plans(seed) };
            for plan in plans {
                let outcome = run(&plan, false);
                part.kinds[at].total.add(&outcome);
                part.fingerprint = part.fingerprint.wrapping_add(spread(outcome.hash ^ seed));
                if outcome.verdict != Verdict::Good {
                    let (origin, verdict) =
                        (plan.origin.to_string(), format!("{:?}", outcome.verdict));
                    part.failed.push(Failed { origin, verdict });
                }
            }
            part.kinds[at].cpu_us += processor_us() - began;
        }
        part
    }

    /// Another part's figures besides.
    fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.fingerprint = self.fingerprint.wrapping_add(other.fingerprint);
        self.failed.extend(other.failed.iter().cloned());
        for (sum, of) in self.kinds.iter_mut().zip(&other.kinds) {
            sum.total.merge(&of.total);
            sum.cpu_us += of.cpu_us;
        }
    }

    fn all(&self) -> OfKind {
        let mut all = OfKind::default();
        for of in &self.kinds {
            all.total.merge(&of.total);
            all.cpu_us += of.cpu_us;
        }
        all
    }
}

/// What this thread has had of the processor, µs.
fn processor_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000
}

impl Soak {
    /// Runs what the journal doesn't have yet; the report of all of it, and the worst exit code.
    ///
    /// # Errors
    /// A journal that can't be read or written, or is of other seeds or another program.
    pub fn run(&self) -> Result<(String, u8), String> {
        let program = Program::here();
        let journal = Journal::open(&self.journal, self, &program)?;
        let done = journal.parts.iter().map(|part| part.seeds).sum::<u64>();
        if done > 0 {
            eprintln!("{done} of {} seeds are in {} already", self.seeds, self.journal.display());
        }
        let missing: Vec<u64> = (self.first..self.first + self.seeds)
            .step_by(self.part as usize)
            .filter(|first| journal.parts.iter().all(|part| part.first != *first))
            .collect();
        let (next, journal) = (AtomicU64::new(0), Mutex::new(journal));
        let progress = Mutex::new(Progress { began: Instant::now(), told: Instant::now(), done });
        std::thread::scope(|scope| {
            let work = || self.work(&missing, &next, &journal, &progress);
            let threads: Vec<_> = (0..self.workers).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(ended) => ended,
                Err(_) => Err("a worker of the soak panicked".to_owned()),
            })
        })?;
        let journal = journal.into_inner().map_err(|_| "a worker of the soak panicked")?;
        let mut sum = Part::default();
        let mut parts = journal.parts;
        parts.sort_by_key(|part| part.first);
        parts.iter().for_each(|part| sum.add(part));
        let worst = sum.all().total.worst;
        Ok((report::text(self, &program, &sum), worst))
    }

    fn work(
        &self,
        missing: &[u64],
        next: &AtomicU64,
        journal: &Mutex<Journal>,
        progress: &Mutex<Progress>,
    ) -> Result<(), String> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed) as usize;
            let Some(&first) = missing.get(at) else { return Ok(()) };
            let seeds = self.part.min(self.first + self.seeds - first);
            let part = Part::run(first, seeds, self.arbiter);
            for Failed { origin, verdict } in &part.failed {
                eprintln!("FAILED {origin}: {verdict}");
            }
            let failed = {
                let mut journal = journal.lock().map_err(|_| "another worker panicked")?;
                journal.keep(part)?;
                journal.parts.iter().map(|part| part.failed.len()).sum::<usize>()
            };
            progress.lock().map_err(|_| "another worker panicked")?.step(seeds, self, failed);
        }
    }
}

struct Progress {
    began: Instant,
    told: Instant,
    done: u64,
}

impl Progress {
    fn step(&mut self, seeds: u64, soak: &Soak, failed: usize) {
        self.done += seeds;
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            eprintln!(
                "{} of {} seeds after {} s, {failed} failed",
                self.done,
                soak.seeds,
                self.began.elapsed().as_secs()
            );
        }
    }
}

/// What ran: two journals of one program can be added up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Program {
    commit: String,
    /// What the known runs come out as: the behaviour, whatever the commit is called.
    known: String,
    mutable: bool,
}

impl Program {
    fn here() -> Self {
        let known = fingerprints::compared().into_iter().map(|(line, _)| line);
        let known = known.fold(0_u64, |sum, line| {
            line.bytes().fold(sum, |sum, byte| spread(sum ^ u64::from(byte)))
        });
        Self {
            commit: commit(),
            known: format!("{known:016x}"),
            mutable: cfg!(feature = "mutants"),
        }
    }
}

/// What a soak could not read or write.
fn told(path: &std::path::Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soak(name: &str, seeds: u64) -> Soak {
        let name = format!("hil-tests-soak-{}-{name}", std::process::id());
        let journal = std::env::temp_dir().join(name).join("journal");
        Soak { first: 1, seeds, part: 5, arbiter: true, journal, workers: 2 }
    }

    fn remove(soak: &Soak) {
        let directory = soak.journal.parent().expect("made here");
        std::fs::remove_dir_all(directory).expect("made here");
    }

    #[test]
    fn shares_are_of_ten() {
        assert_eq!(SHARES.iter().map(|(_, share)| share).sum::<u64>(), 10);
        let of = |kind| (40..50).filter(|&seed| kind_of(seed) == kind).count() as u64;
        assert!(SHARES.into_iter().all(|(kind, share)| of(kind) == share));
    }

    /// The lines of a report that say what follows from the seeds, not how long it took.
    fn of_seeds(report: &str) -> Vec<String> {
        let timed = |line: &&str| {
            !line.contains("CPU")
                && !line.starts_with("| all")
                && SHARES.iter().all(|(kind, _)| !line.starts_with(&format!("| {kind} ")))
        };
        report.lines().filter(timed).map(str::to_owned).collect()
    }

    /// Whatever threads did which part, and whether it was ended in between.
    #[test]
    fn the_same_seeds_are_the_same_report_also_when_resumed() {
        let (whole, resumed) = (soak("whole", 12), soak("resumed", 12));
        let (first, worst) = whole.run().expect("it runs");
        assert_eq!(worst, 0, "{first}");
        assert!(first.contains("12 seeds"), "{first}");
        let alone = Soak { workers: 1, ..resumed.clone() };
        alone.run().expect("it runs");
        // Ended after the first part, in the middle of writing the second.
        let text = std::fs::read_to_string(&resumed.journal).expect("written");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "a head and three parts");
        let half = &lines[2][..lines[2].len() / 2];
        std::fs::write(&resumed.journal, format!("{}\n{}\n{half}", lines[0], lines[1]))
            .expect("writable");
        let (again, _) = resumed.run().expect("it goes on");
        assert_eq!(of_seeds(&again), of_seeds(&first));
        // All is there: nothing is run any more.
        let (third, _) = resumed.run().expect("it is whole");
        assert_eq!(third, again);
        remove(&whole);
        remove(&resumed);
    }

    #[test]
    fn another_soaks_journal_is_refused() {
        let first = soak("refused", 1);
        first.run().expect("it runs");
        let other = Soak { first: 7, ..first.clone() };
        let said = other.run().expect_err("refused");
        assert!(said.contains("seeds 1 to 1 ") && said.contains("seeds 7 to 7 "), "{said}");
        std::fs::write(&first.journal, "{\"what\": 1}\n").expect("writable");
        let said = first.run().expect_err("refused");
        assert!(said.contains(":1: ") && said.contains("remove it"), "{said}");
        remove(&first);
    }
}
