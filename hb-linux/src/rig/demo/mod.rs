//! `hb demo`: the guide's test, played on two complete machines inside this one; `hb demo --dongle`: what the
//! third voter is for.
//!
//! Verdicts come from the client's own timestamps and from the hardware address that answered; the
//! budgets are computed from the configuration. What the daemons say of themselves is only shown.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, ValueEnum};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::bench::{Bench, Options as BenchOptions};
use super::machine::Programs;
use super::{Doing, RigError, dongle, host};

mod acts;
mod report;
mod setup;
mod view;

pub use setup::install;

/// How the demo is made to fail, to show that it can.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Sabotage {
    /// The standby's daemon is stopped (SIGSTOP) before the active machine loses power: nobody
    /// takes over.
    Takeover,
    /// With --dongle: ha.cf doesn't name the dongle, so nobody needs its vote, and two nodes without any
    /// link both serve.
    Votes,
}

/// What `hb demo` was told.
#[derive(Clone, PartialEq, Eq, Debug, Default, Parser)]
#[command(name = "hb demo", about = "Play the guide's test on two machines inside this one")]
pub struct Options {
    /// Make it fail, to see that it can
    #[arg(long, value_name = "WHAT")]
    pub sabotage: Option<Sabotage>,
    /// Play with a dongle in the null-modem line: what the third voter is for
    #[arg(long)]
    pub dongle: bool,
    /// Plain text lines even on a terminal
    #[arg(long)]
    pub plain: bool,
    /// What to start; this program and the daemon beside it when None.
    #[arg(skip)]
    pub programs: Option<Programs>,
}

/// A shell's code for a program that ended by SIGINT.
const INTERRUPTED: u8 = 130;

/// `hb demo`: the arguments behind `demo`. Plays the guide's test. Call it before the process has a second thread. Exit code 0: all as
/// the guide says; 1: not; 2: it could not be played; 130: interrupted.
#[must_use]
pub fn main(arguments: &[String]) -> ExitCode {
    let words = std::iter::once("hb demo".to_owned()).chain(arguments.iter().cloned());
    let options = match Options::try_parse_from(words) {
        Ok(options) => options,
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if options.sabotage == Some(Sabotage::Votes) && !options.dongle {
        eprintln!("hb demo: --sabotage votes takes the dongle's vote away: it needs --dongle");
        return ExitCode::from(2);
    }
    match play(&options) {
        Ok(Some(true)) => ExitCode::SUCCESS,
        Ok(Some(false)) => ExitCode::FAILURE,
        Ok(None) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("hb demo: {error}");
            ExitCode::from(2)
        }
    }
}

/// Plays the guide's test and prints its table: whether all went as the guide says, or None when
/// it was interrupted.
///
/// # Errors
/// Namespaces are forbidden, or the rig broke.
pub fn play(options: &Options) -> Result<Option<bool>, RigError> {
    let programs = match &options.programs {
        Some(programs) => programs.clone(),
        None => Programs::of_this_program()?,
    };
    host::enter()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, interrupted.clone())
            .doing(|| "catching Ctrl-C".into())?;
    }
    let mut bench = BenchOptions::of_the_guide(programs.clone());
    if options.dongle {
        bench.dongle = Some(dongle::Build { baud: setup::DONGLE_BAUD, ..dongle::Build::default() });
        bench.watchdog_s = Some(setup::WATCHDOG_S);
    }
    let bench = Bench::new(&bench)?;
    setup::install(&bench, &programs)?;
    if options.dongle {
        setup::install_arbiter(&bench, options.sabotage != Some(Sabotage::Votes))?;
    }
    let screen = view::Screen::new(options.plain);
    let mut play = acts::Play::new(bench, &programs, screen, interrupted)?;
    let acts = if options.dongle { acts::WITH_DONGLE } else { acts::OF_THE_GUIDE };
    let outcome = play.all(acts, options.sabotage);
    play.end();
    match outcome {
        Ok(steps) => {
            let good = if options.dongle { report::WITH_DONGLE } else { report::OF_THE_GUIDE };
            print!("{}", report::table(&steps, good));
            Ok(Some(report::all_well(&steps)))
        }
        Err(acts::Stopped::Interrupted) => Ok(None),
        Err(acts::Stopped::Failed(error)) => Err(error),
    }
}
