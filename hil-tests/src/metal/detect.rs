//! What is wired to what: every port speaks and listens at once, and who hears whom is a cable.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hb_linux::serial::end::{self, Settings};
use hb_linux::serial::report::Report;
use hb_linux::serial::tty::Line;
use hb_linux::serial::verdict::{self, Expected, Verdict};

/// Every port speaks for this long at least: each must have heard the others by then.
const HAILING: Duration = Duration::from_secs(6);
/// The speed at which they meet.
const BAUD: u32 = 19_200;

/// A cable between two ports of this machine.
#[derive(Clone, PartialEq, Debug)]
pub struct Cable {
    /// Its ports, as they were named.
    pub ports: [PathBuf; 2],
    /// What the test of it came to, at each speed.
    pub verdict: Verdict,
    /// The findings at the first port.
    pub report: Report,
}

/// What was found at all ports.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Found {
    /// Sound and unsound cables.
    pub cables: Vec<Cable>,
    /// Ports that no cable of this machine leads to, and what was heard there.
    pub others: Vec<(PathBuf, Verdict)>,
}

/// Tests every port against every other one. Locks lie in `locks`.
///
/// # Errors
/// A port can't be opened; in words.
pub fn detect(ports: &[PathBuf], speeds: &[u32], locks: &Path) -> Result<Found, String> {
    let reports = all_at_once(ports, &[], locks)?;
    let mut found = Found::default();
    let mut paired = vec![false; ports.len()];
    for (number, report) in reports.iter().enumerate() {
        if paired[number] {
            continue;
        }
        let heard = |id: u32| reports.iter().position(|other| other.id == id);
        let hears = report.peers.iter().find_map(|peer| heard(peer.id));
        let heard_by =
            reports.iter().position(|other| other.peers.iter().any(|peer| peer.id == report.id));
        match hears.or(heard_by) {
            Some(other) => {
                paired[number] = true;
                paired[other] = true;
                let pair = [ports[number].clone(), ports[other].clone()];
                let both =
                    hears.is_some() && reports[other].peers.iter().any(|p| p.id == report.id);
                found.cables.push(if both {
                    measured(pair, speeds, locks)?
                } else {
                    let theirs = &reports[other];
                    let verdict = verdict::judge(report, Some(theirs), &Expected::default());
                    Cable { ports: pair, verdict, report: report.clone() }
                });
            }
            None => {
                let verdict = verdict::judge(report, None, &Expected::default());
                found.others.push((ports[number].clone(), verdict));
            }
        }
    }
    Ok(found)
}

/// The bit error rate of a cable whose ends hear each other.
fn measured(ports: [PathBuf; 2], speeds: &[u32], locks: &Path) -> Result<Cable, String> {
    let [ours, theirs] = <[Report; 2]>::try_from(all_at_once(&ports, speeds, locks)?)
        .map_err(|_| "two ports, but not two reports".to_owned())?;
    let verdict = verdict::judge(&ours, Some(&theirs), &Expected::default());
    Ok(Cable { ports, verdict, report: ours })
}

/// A test at each of these ports, all in one time.
fn all_at_once(ports: &[PathBuf], speeds: &[u32], locks: &Path) -> Result<Vec<Report>, String> {
    let opened = ports.iter().map(|port| {
        Line::open(port, BAUD, locks).map_err(|failure| format!("{}: {failure}", port.display()))
    });
    let lines = opened.collect::<Result<Vec<_>, _>>()?;
    let pid = std::process::id();
    let threads: Vec<_> = lines
        .into_iter()
        .zip(ports)
        .enumerate()
        .map(|(number, (mut line, port))| {
            let settings = Settings {
                // Other runs on other machines must differ; ports of this run must.
                id: pid.wrapping_mul(2_654_435_761).wrapping_add(number as u32),
                node: "here".into(),
                device: port.display().to_string(),
                baud: BAUD,
                patience: HAILING,
                speeds: speeds.to_vec(),
            };
            std::thread::spawn(move || end::run(&mut line, &mut [], &settings, &mut |_| ()))
        })
        .collect();
    let ended = threads.into_iter().map(std::thread::JoinHandle::join);
    ended.map(|report| report.map_err(|_| "a port's test panicked".to_owned())).collect()
}
