//! `hb demo`: the guide's test, played on two complete machines inside this one.
//!
//! Verdicts come from the client's own timestamps and from the hardware address that answered;
//! what the daemons say of themselves is only shown, but for the budget, which is their promise.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::bench::{Bench, Options as BenchOptions};
use super::machine::Programs;
use super::{Doing, RigError, host};

mod acts;
mod report;
mod setup;
mod view;

pub use setup::install;

/// How the demo is made to fail, to show that it can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// The standby's daemon is stopped (SIGSTOP) before the active machine loses power: nobody
    /// takes over.
    Takeover,
}

impl Sabotage {
    /// `takeover`.
    ///
    /// # Errors
    /// Another word; the text says what is expected.
    pub fn parse(word: &str) -> Result<Self, String> {
        match word {
            "takeover" => Ok(Self::Takeover),
            other => Err(format!("--sabotage {other}: expected takeover")),
        }
    }
}

/// What `hb demo` was told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Make a step fail.
    pub sabotage: Option<Sabotage>,
    /// Plain text lines even on a terminal.
    pub plain: bool,
    /// What to start; this program and the daemon beside it when None.
    pub programs: Option<Programs>,
}

/// A shell's code for a program that ended by SIGINT.
const INTERRUPTED: u8 = 130;

/// Plays the guide's test. Call it before the process has a second thread. Exit code 0: all as
/// the guide says; 1: not; 2: it could not be played; 130: interrupted.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    match play(options) {
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
    let bench = Bench::new(&BenchOptions::of_the_guide(programs.clone()))?;
    setup::install(&bench, &programs)?;
    let screen = view::Screen::new(options.plain);
    let mut play = acts::Play::new(bench, &programs, screen, interrupted);
    let outcome = play.all(options.sabotage);
    play.end();
    match outcome {
        Ok(steps) => {
            print!("{}", report::table(&steps));
            Ok(Some(report::all_well(&steps)))
        }
        Err(acts::Stopped::Interrupted) => Ok(None),
        Err(acts::Stopped::Failed(error)) => Err(error),
    }
}
