//! `hb dongle`: who it is, its keys, its reset lines, what it remembers.

mod line;
mod pins;
mod provision;
mod tell;
mod tests_of_lines;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hb_proto::wire::service::{Answer, Ask};

use super::{ConfigDir, RunDir, commands, fail};
pub(super) use line::{Line, Place};
pub(super) use tell::refused;
pub(super) use tests_of_lines::outcome as pulled_test;

/// What to do with the dongle.
#[derive(Subcommand)]
pub enum DongleTask {
    /// Who it is, its keys, its power, its reset lines, what is wrong. Exit 1: something is
    Status(Where),
    /// Give it this cluster's keys, out of authkeys
    Provision(Where),
    /// Prove the reset line to a node that runs nothing: its machine is reset, and must come back
    Commission(OneNode),
    /// Have a silent node's machine reset
    Fence(OneNode),
    /// What happened to it in its present life
    Trace(Where),
    /// Let it look at itself. Exit 1: something is wrong
    SelfTest(Where),
    /// Which pin is for what
    Pinout(Pinout),
}

/// Where the files and sockets are.
#[derive(Args)]
pub struct Where {
    /// This node's name in ha.cf; without it, `uname -n`
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Directory of what must outlive a reset
    #[arg(long, value_name = "DIR", default_value = "/var/lib/heartbeat")]
    state_dir: PathBuf,
    #[command(flatten)]
    config_dir: ConfigDir,
    #[command(flatten)]
    run_dir: RunDir,
}

/// A node, and consent.
#[derive(Args)]
pub struct OneNode {
    /// The node whose machine is reset: the other one
    #[arg(value_name = "NODE")]
    target: String,
    /// Yes: reset that machine, now
    #[arg(long)]
    confirm: bool,
    #[command(flatten)]
    at: Where,
}

/// Options of `hb dongle pinout`.
#[derive(Args)]
pub struct Pinout {
    /// `pico`, `nucleo-l476rg` or `lm3s6965evb`; without it, the board of the dongle that is plugged in
    board: Option<String>,
    #[command(flatten)]
    at: Where,
}

impl Where {
    fn open(&self) -> Result<Line, String> {
        Line::open(&Place {
            config_dir: &self.config_dir.config_dir,
            run_dir: &self.run_dir.run_dir,
            node: self.node.as_deref(),
        })
    }
}

/// Runs one of them.
pub fn main(task: &DongleTask) -> ExitCode {
    let outcome = match task {
        DongleTask::Status(at) => {
            at.open().and_then(|mut line| tell::status(&mut line, &at.state_dir))
        }
        DongleTask::Provision(at) => at.open().and_then(|mut line| provision::provision(&mut line)),
        DongleTask::Commission(node) => consented(node, "commission").and_then(|()| {
            tests_of_lines::commission(&mut node.at.open()?, &node.target, &node.at.state_dir)
        }),
        DongleTask::Fence(node) => consented(node, "fence").and_then(|()| {
            let run_dir = &node.at.run_dir.run_dir;
            commands::fence(run_dir, &node.target).map_err(|_| String::new())
        }),
        DongleTask::Trace(at) => at.open().and_then(|mut line| tell::trace(&mut line)),
        DongleTask::SelfTest(at) => at.open().and_then(|mut line| self_test(&mut line)),
        DongleTask::Pinout(args) => pinout(args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The command has told by itself.
        Err(reason) if reason.is_empty() => ExitCode::FAILURE,
        Err(reason) => fail(&reason),
    }
}

fn consented(node: &OneNode, command: &str) -> Result<(), String> {
    if node.confirm {
        return Ok(());
    }
    let target = &node.target;
    Err(format!(
        "this resets the machine of {target}, as its reset button would. If that is what you want:\n    \
         hb dongle {command} {target} --confirm"
    ))
}

fn self_test(line: &mut Line) -> Result<bool, String> {
    match line.ask(&Ask::SelfTest)? {
        Answer::SelfTest(found) => Ok(tell::self_test(&found, &line.names())),
        Answer::Refused { why, .. } => Err(refused(why)),
        other => Err(format!("the dongle answered something else: {other:?}")),
    }
}

fn pinout(args: &Pinout) -> Result<bool, String> {
    let board = match args.board.as_deref() {
        Some(asked) => {
            let found = pins::BOARDS.into_iter().find(|(name, _)| *name == asked);
            let known = pins::BOARDS.map(|(name, _)| name).join(", ");
            found.ok_or_else(|| format!("read board {asked:?}, expected one of {known}"))?.1
        }
        None => args.at.open()?.identify(false)?.board,
    };
    tell::pinout(board)
}
