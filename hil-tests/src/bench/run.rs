//! The measurements in their order. One that fails is told, and the others go on.

use hb_linux::rig::RigError;
use hb_linux::rig::bench::Bench;
use hb_linux::rig::machine::Programs;

use super::machine::StallRecorder;
use super::peers::Packages;
use super::peers::heartbeat::{self, Heartbeat};
use super::peers::keepalived::{self, Keepalived};
use super::report::{Figure, Of, Results};
use super::stack::{DEFAULT, FASTEST, GUIDE, Ours, Pair, Stack, Timing};
use super::{Options, beside, dongle, failover, idle, load, splits};

/// 10/40 ms kills living peers of heartbeat 3.0.6; the fastest that it bears is this.
const HEARTBEAT_FASTEST: Timing = Timing {
    name: "heartbeat-fastest",
    label: "10 / 100 ms",
    keepalive_ms: 10,
    deadtime_ms: 100,
    baud: 115_200,
};
/// Its serial frames take 208 bytes: more than 100 ms at 19200 baud.
const HEARTBEAT_DEFAULT: Timing = Timing { baud: 115_200, ..DEFAULT };

/// By which settings each is measured.
const FAILOVERS: [Timing; 3] = [FASTEST, DEFAULT, GUIDE];
const IDLE: [Timing; 2] = [FASTEST, DEFAULT];
const LOADS: [Timing; 2] = [DEFAULT, FASTEST];
/// What stands beside the dongle's figures.
const BESIDE_DONGLE: [Timing; 3] = [DEFAULT, FASTEST, dongle::CLASSIC];
const HEARTBEATS: [Timing; 3] = [HEARTBEAT_FASTEST, HEARTBEAT_DEFAULT, GUIDE];

/// Every measurement's name, as `--only` chooses from them.
fn names(options: &Options) -> Vec<String> {
    let of = |prefix: &'static str, timings: &'static [Timing]| {
        timings.iter().map(move |timing| format!("{prefix}-{}", timing.name))
    };
    let of_trios = |prefix: &'static str, trios: &'static [dongle::Trio]| {
        trios.iter().map(move |trio| format!("{prefix}-{}", trio.timing.name))
    };
    let loaded = options.load_minutes() > 0.0;
    let mut names: Vec<String>;
    if options.dongle {
        names = of("ours", &BESIDE_DONGLE).chain(of_trios("dongle", &dongle::TRIOS)).collect();
        names.push("stopped-owner".to_owned());
        names.extend(of_trios("load-dongle", &dongle::LOADS).filter(|_| loaded));
    } else {
        names = of("ours", &FAILOVERS).chain(of("idle", &IDLE)).collect();
        names.extend(["stopped-owner", "split"].map(str::to_owned));
        names.extend(of("load", &LOADS).filter(|_| loaded));
    }
    if options.peers {
        names.extend(of("keepalived", &FAILOVERS).chain(of("heartbeat-3", &HEARTBEATS)));
    }
    names
}

/// A word of `--only` that chooses nothing is a slip of the pen, and a run of nothing is no result.
///
/// # Errors
/// The word, and what there is.
pub fn check_only(options: &Options) -> Result<(), String> {
    let names = names(options);
    let chooses = |word: &&String| names.iter().any(|name| name.contains(word.as_str()));
    let Some(word) = options.only.iter().find(|word| !chooses(word)) else { return Ok(()) };
    let peers = if options.peers { "" } else { "; more with --peers" };
    Err(format!("--only: read {word:?}, expected a part of one of {}{peers}", names.join(", ")))
}

/// The peers' packages, or why there are none.
#[derive(Debug)]
pub struct Peers {
    heartbeat: Result<Packages, String>,
    keepalived: Result<Packages, String>,
}

impl Peers {
    /// Downloads and unpacks them; before the rig's namespaces, which have no way out.
    #[must_use]
    pub fn fetch() -> Self {
        Self {
            heartbeat: Packages::fetch(&heartbeat::PACKAGES),
            keepalived: Packages::fetch(&keepalived::PACKAGES),
        }
    }
}

/// One run of the benchmark.
#[derive(Debug)]
pub struct Run<'a> {
    /// What to do.
    pub options: &'a Options,
    /// What a rig starts.
    pub programs: Programs,
    /// Runs all the time.
    pub stalls: StallRecorder,
    /// So far.
    pub results: Results,
}

impl Run<'_> {
    /// A measurement, if it is wanted.
    fn part(&mut self, name: &str, measure: impl FnOnce(&mut Self) -> Result<(), RigError>) {
        assert!(names(self.options).iter().any(|one| one == name), "{name} can't be chosen");
        if !self.options.wants(name) {
            return;
        }
        eprintln!("{name}");
        if let Err(error) = measure(self) {
            self.results.fail(name, error.to_string());
        }
        // An hour's work is not lost with what comes after it.
        let out = self.options.out();
        if let Err(error) = self.results.write(out) {
            eprintln!("writing into {}: {error}", out.display());
        }
    }

    fn with_ours(
        &mut self,
        timing: Timing,
        third: bool,
        measure: impl FnOnce(&mut Self, &mut Pair) -> Result<(), RigError>,
    ) -> Result<(), RigError> {
        let ours = Ours::new(timing);
        let programs = self.programs.clone();
        let mut pair = Pair::start(&programs, Box::new(ours), |bench| ours.install(bench, third))?;
        measure(self, &mut pair)
    }

    fn add_all(&mut self, figures: impl IntoIterator<Item = Figure>) {
        for figure in figures {
            self.results.add(figure);
        }
    }

    /// Outages of the classic mode.
    fn classic(&mut self, timing: Timing) {
        let runs = self.options.runs();
        self.part(&format!("ours-{}", timing.name), |run| {
            run.with_ours(timing, true, |run, pair| {
                let figures = failover::power(pair, &run.stalls, runs)?;
                run.add_all(figures.map(|figure| failover::promised(figure, timing)));
                let figure = failover::handover(pair, &run.stalls, runs)?;
                run.results.add(failover::promised(figure, timing));
                Ok(())
            })
        });
    }

    /// The classic mode when its owner's daemon stops.
    fn stopped_owner(&mut self) {
        self.part("stopped-owner", |run| {
            run.with_ours(DEFAULT, true, |run, pair| {
                let figures = splits::stopped_owner(pair, &run.stalls)?;
                run.add_all(figures);
                Ok(())
            })
        });
    }

    /// With a dongle, and what stands beside it.
    pub fn trios(&mut self) {
        let (runs, minutes) = (self.options.runs(), self.options.load_minutes());
        BESIDE_DONGLE.into_iter().for_each(|timing| self.classic(timing));
        for trio in dongle::TRIOS {
            self.part(&format!("dongle-{}", trio.timing.name), |run| {
                let mut pair = trio.start(&run.programs)?;
                let figures = dongle::failovers(&mut pair, &run.stalls, runs)?;
                run.add_all(figures);
                Ok(())
            });
        }
        self.stopped_owner();
        for trio in dongle::LOADS.into_iter().filter(|_| minutes > 0.0) {
            self.part(&format!("load-dongle-{}", trio.timing.name), |run| {
                let pair = trio.start(&run.programs)?;
                dongle::under_load(&pair, &run.stalls, minutes, &mut run.results)
            });
        }
    }

    /// Everything about the classic mode.
    pub fn ours(&mut self) {
        let window = self.options.window();
        FAILOVERS.into_iter().for_each(|timing| self.classic(timing));
        for timing in IDLE {
            self.part(&format!("idle-{}", timing.name), |run| {
                run.with_ours(timing, true, |run, pair| {
                    idle::pair(pair, &run.stalls, window, true, &mut run.results)?;
                    if timing == FASTEST {
                        beside::bare_loop(pair, &run.stalls, window, &mut run.results)?;
                    }
                    Ok(())
                })
            });
        }
        self.stopped_owner();
        self.part("split", |run| {
            run.with_ours(DEFAULT, false, |run, pair| {
                let figures = splits::split(pair, &run.stalls)?;
                run.add_all(figures);
                Ok(())
            })
        });
        let minutes = self.options.load_minutes();
        for timing in LOADS {
            if minutes > 0.0 {
                self.part(&format!("load-{}", timing.name), |run| {
                    run.with_ours(timing, true, |run, pair| {
                        load::run(pair, &run.stalls, minutes, &mut run.results)
                    })
                });
            }
        }
    }

    /// Everything about the peers.
    pub fn peers(&mut self, peers: &Peers) {
        match &peers.keepalived {
            Err(reason) => self.results.skip("keepalived", reason.clone()),
            Ok(packages) => {
                self.results.conditions.peers.push(packages.version.clone());
                for timing in FAILOVERS {
                    let stack = Keepalived::new(packages.clone(), timing);
                    let name = format!("keepalived-{}", timing.name);
                    self.peer(&name, Box::new(stack), timing == FASTEST, |_| Ok(()));
                }
            }
        }
        match &peers.heartbeat {
            Err(reason) => self.results.skip("heartbeat-3", reason.clone()),
            Ok(packages) => {
                self.results.conditions.peers.push(packages.version.clone());
                for timing in HEARTBEATS {
                    let stack = Heartbeat::new(packages.clone(), timing);
                    let files = Heartbeat::new(packages.clone(), timing);
                    let name = format!("heartbeat-3-{}", timing.name);
                    let idle = timing == HEARTBEAT_FASTEST;
                    self.peer(&name, Box::new(stack), idle, |bench| files.install(bench));
                }
                self.beside_heartbeat();
                if self.options.wants("heartbeat-3-fastest") {
                    self.results.skip(
                    "heartbeat-3 at 10 / 40 ms",
                    "takes living peers for dead at these times; measured at 10 / 100 ms instead",
                );
                }
            }
        }
    }

    /// The CPU of both at the same keepalive on the same media, when both were measured.
    fn beside_heartbeat(&mut self) {
        for part in ["idle CPU, active", "idle CPU, standby"] {
            let of = |settings: &str, ours: bool| {
                self.results.figures.iter().find(|figure| {
                    let here = figure.stack == "heartbeat (this one)";
                    let peer = figure.stack.starts_with("heartbeat") && !here;
                    let wanted = if ours { here } else { peer };
                    figure.what == part && figure.settings == settings && wanted
                })
            };
            let (Some(ours), Some(theirs)) =
                (of(FASTEST.label, true), of(HEARTBEAT_FASTEST.label, false))
            else {
                continue;
            };
            let ratio = ours.median() / theirs.median();
            let words = format!(
                "{:.3} % of a core beside {:.3} %, all processes of a node, keepalive 10 ms",
                ours.median(),
                theirs.median()
            );
            let what = format!("{part}: to heartbeat 3's");
            let figure = Figure::new(&what, &ours.stack, FASTEST.label, "").value(ratio);
            self.results.add(figure.at_most(1.0, Of::Maximum).remark(words));
        }
    }

    fn peer(
        &mut self,
        name: &str,
        stack: Box<dyn Stack>,
        idle: bool,
        install: impl FnOnce(&Bench) -> Result<(), RigError>,
    ) {
        let (runs, window) = (self.options.runs(), self.options.window());
        self.part(name, |run| {
            let programs = run.programs.clone();
            let mut pair = Pair::start(&programs, stack, install)?;
            if idle {
                idle::pair(&pair, &run.stalls, window, false, &mut run.results)?;
            }
            let figures = failover::power(&mut pair, &run.stalls, runs)?;
            run.add_all(figures);
            let figure = failover::handover(&mut pair, &run.stalls, runs)?;
            run.results.add(figure);
            Ok(())
        });
    }
}
