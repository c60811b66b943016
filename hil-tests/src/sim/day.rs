//! How fast this is: a simulated day of a quiet pair, timed and kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hb_proto::config::LinkKind;
use serde::Serialize;

use super::fault::{Fault, Planned};
use super::knobs::{Knobs, timing};
use super::world::World;
use crate::bench::machine::Conditions;

/// One core may take so long for a day, s.
pub const LIMIT_S: f64 = 30.0;

const DAY_US: u64 = 86_400_000_000;

/// What is written to `docs/validation/runs/DATE-sim.json`.
#[derive(Debug, Serialize)]
struct Record {
    conditions: Conditions,
    what: &'static str,
    took_s: f64,
    limit_s: f64,
    frames: u64,
    bytes: u64,
    tag_checks: u64,
    turns: u64,
    fingerprint: String,
}

/// Two nodes, 100 ms, three media, 24 hours.
fn quiet_day() -> World {
    let knobs = Knobs {
        timing: timing(100, 300, 500, 10_000),
        links: vec![LinkKind::Serial { baud: 19200 }, LinkKind::Broadcast, LinkKind::Unicast],
        drift_ppm: [20, -20],
        ..Knobs::plain()
    };
    let on = |who| Planned { at: 0, fault: Fault::PowerOn(who) };
    let mut world = World::new(1, knobs, vec![on(0), on(1)], false);
    world.run_until(DAY_US);
    world
}

/// Simulates the day, says how long that took, writes it down; whether it was quick enough and quiet, and
/// is written.
pub fn bench() -> bool {
    let start = Instant::now();
    let world = quiet_day();
    let took_s = start.elapsed().as_secs_f64();
    let c = world.counts;
    let record = Record {
        conditions: Conditions {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Conditions::here(Path::new("hb"), "cargo xtask bench sim")
        },
        what: "a simulated day of two nodes at 100 ms on three media",
        took_s,
        limit_s: LIMIT_S,
        frames: c.frames_sent,
        bytes: c.bytes_sent,
        tag_checks: c.frames_handed,
        turns: c.turns,
        fingerprint: format!("{:016x}", world.trace.hash()),
    };
    crate::say!(
        "{}: {took_s:.1} s ({:.0} times real time; limit {LIMIT_S:.0} s)",
        record.what,
        86_400.0 / took_s
    );
    crate::say!(
        "  {} frames, {} bytes sent, {} tag checks, {} turns, fingerprint {}",
        c.frames_sent,
        c.bytes_sent,
        c.frames_handed,
        c.turns,
        record.fingerprint
    );
    let written = write(&record);
    match &written {
        Ok(path) => crate::say!("  written to {}", path.display()),
        Err(problem) => crate::say!("  FAILED to write it down: {problem}"),
    }
    if let Some(violation) = &world.checks.violation {
        crate::say!("  FAILED: {}", violation.text);
    }
    if took_s > LIMIT_S {
        crate::say!("  FAILED: longer than {LIMIT_S:.0} s");
    }
    world.checks.violation.is_none() && took_s <= LIMIT_S && written.is_ok()
}

/// The file; or what the file system answered, with the path.
fn write(record: &Record) -> Result<PathBuf, String> {
    let directory = Path::new("docs/validation/runs");
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let day = record.conditions.date.get(..10).unwrap_or("undated");
    let path = directory.join(format!("{day}-sim.json"));
    let text = serde_json::to_string_pretty(record).map_err(|error| error.to_string())?;
    fs::write(&path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}
