//! `hb`: what an operator types, also under the classics' names.
//!
//! Called as `hb_standby` or `hb_takeover` it is that command, called as `IPaddr` it is the resource
//! script (resource.d/IPaddr is a link to it), called as `fence_heartbeat_dongle` a fence agent.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::control::DEFAULT_RUN_DIR;
use crate::control::client::{self, ClientError};

mod commands;
mod compare;
mod dongle;
mod elsewhere;
mod fence_agent;
mod figures;
mod serial;
mod table;
mod view;
mod votes;
mod watchdog;

/// LSB's exit code for "program is not running", which `hb status` shares with init scripts.
const NOT_RUNNING: u8 = 3;

#[derive(Parser)]
#[command(name = "hb", version, about = "Look at heartbeat and command it", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Who is active, the peer, the links, the groups. Exit 0: running, 3: not running
    Status(Status),
    /// Give this node's groups to the peer
    Standby(Move),
    /// Take the groups from the peer
    Takeover(Takeover),
    /// Read authkeys again; ha.cf and haresources take effect at a restart
    Reload(RunDir),
    /// Release everything in order and stop heartbeatd; the peer takes over at once
    Stop(RunDir),
    /// Check ha.cf, haresources and authkeys. Exit 0: clean, 1: warnings, 2: errors
    Check(Check),
    /// Make authkeys with a fresh key
    Keygen(Keygen),
    /// The third voter: who it is, its keys, its reset lines
    #[command(subcommand)]
    Dongle(dongle::DongleTask),
    /// Serial ports: list them, say hello, test the line behind one
    Serial(serial::Serial),
    /// Look at this machine's watchdogs; prove that one resets it
    #[command(subcommand)]
    Watchdog(watchdog::WatchdogTask),
    /// Play the guide's test with two complete nodes on this machine
    #[command(disable_help_flag = true)]
    Demo(Rest),
    #[command(hide = true, disable_help_flag = true)]
    RigInit(Rest),
    #[command(hide = true, disable_help_flag = true)]
    RigEnter(Rest),
    #[command(hide = true, disable_help_flag = true)]
    RigRun(Rest),
    #[command(hide = true, disable_help_flag = true)]
    RigWeb(Rest),
    #[command(hide = true, disable_help_flag = true)]
    RigDongle(Rest),
}

#[derive(Args)]
struct RunDir {
    /// Directory of heartbeatd's sockets
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    run_dir: PathBuf,
}

#[derive(Args)]
struct ConfigDir {
    /// Directory of ha.cf, haresources and authkeys
    #[arg(long, value_name = "DIR", default_value = "/etc/ha.d")]
    config_dir: PathBuf,
}

#[derive(Args)]
struct Status {
    /// The snapshot as heartbeatd writes it, one line of JSON
    #[arg(long)]
    json: bool,
    /// Draw it anew every second
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Colours
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    color: Colour,
    #[command(flatten)]
    run_dir: RunDir,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

#[derive(Args)]
struct Move {
    /// A group, named by its first resource as in haresources; or `all` (as without it), `local` (this
    /// node's own), `foreign` or `failback` (the peer's own)
    group: Option<String>,
    #[command(flatten)]
    run_dir: RunDir,
}

#[derive(Args)]
struct Takeover {
    #[command(flatten)]
    groups: Move,
    /// With an arbiter: your word, in place of the peer's vote, that the peer's machine is off. Go and
    /// look first: if it runs, both serve
    #[arg(long, conflicts_with = "group")]
    peer_is_off: bool,
}

#[derive(Args)]
struct Check {
    /// Check as this node; without it `uname -n` says which one this is
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Compare with what heartbeatd runs on here, and with the peer's files as it tells of them
    #[arg(long)]
    peer: bool,
    #[command(flatten)]
    config_dir: ConfigDir,
    #[command(flatten)]
    run_dir: RunDir,
}

#[derive(Args)]
struct Keygen {
    /// Print it; without this CONFIG_DIR/authkeys is written, and never overwritten
    #[arg(long)]
    stdout: bool,
    #[command(flatten)]
    config_dir: ConfigDir,
}

/// Arguments that another module reads.
#[derive(Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs one command line, program name included, and says how the process shall exit.
///
/// 0 is done, 1 a failure that stderr explains, 2 wrong usage, 3 heartbeatd isn't running;
/// `check` has codes of its own.
#[must_use]
pub fn main(mut args: Vec<OsString>) -> ExitCode {
    let called = args.first().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
    match called {
        Some("IPaddr") => return elsewhere::ipaddr(&args[1..]),
        Some("fence_heartbeat_dongle") => {
            let words = args[1..].iter().map(|arg| arg.to_string_lossy().into_owned());
            return fence_agent::main(&words.collect::<Vec<_>>());
        }
        Some("hb_standby") => args.splice(..1, ["hb".into(), "standby".into()]).for_each(drop),
        Some("hb_takeover") => args.splice(..1, ["hb".into(), "takeover".into()]).for_each(drop),
        _ => {}
    }
    match Cli::parse_from(args).command {
        Task::Status(args) => status(&args),
        Task::Standby(args) => commands::standby(&args.run_dir.run_dir, args.group.as_deref()),
        Task::Takeover(Takeover { groups, peer_is_off: true }) => {
            commands::takeover_peer_is_off(&groups.run_dir.run_dir)
        }
        Task::Takeover(Takeover { groups, .. }) => {
            commands::takeover(&groups.run_dir.run_dir, groups.group.as_deref())
        }
        Task::Reload(args) => commands::reload(&args.run_dir),
        Task::Stop(args) => commands::stop(&args.run_dir),
        Task::Check(args) => {
            let run_dir = &args.run_dir.run_dir;
            elsewhere::check(&args.config_dir.config_dir, args.node.as_deref(), run_dir, args.peer)
        }
        Task::Keygen(args) => elsewhere::keygen(&args.config_dir.config_dir, args.stdout),
        Task::Dongle(task) => dongle::main(&task),
        Task::Serial(args) => serial::main(&args),
        Task::Watchdog(task) => watchdog::main(&task),
        Task::Demo(rest) => elsewhere::demo(&rest.args),
        Task::RigInit(rest) => elsewhere::rig_init(&rest.args),
        Task::RigEnter(rest) => elsewhere::rig_enter(&rest.args),
        Task::RigRun(rest) => elsewhere::rig_run(&rest.args),
        Task::RigWeb(rest) => elsewhere::rig_web(&rest.args),
        Task::RigDongle(rest) => elsewhere::rig_dongle(&rest.args),
    }
}

fn status(args: &Status) -> ExitCode {
    let run_dir = &args.run_dir.run_dir;
    if args.json {
        return match client::observe_text(run_dir) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => unreached(&error),
        };
    }
    let colour = match args.color {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    if args.watch {
        return watch(run_dir, colour);
    }
    match client::observe(run_dir) {
        Ok(snapshot) => print(&view::picture(&snapshot, colour)),
        Err(error) => unreached(&error),
    }
}

/// Until Ctrl-C, or until nobody reads any more.
fn watch(run_dir: &Path, colour: bool) -> ExitCode {
    // Cursor home, then erase what follows (ECMA-48): no flicker, unlike erasing first.
    let clear = if io::stdout().is_terminal() { "\x1b[H\x1b[J" } else { "" };
    loop {
        let picture = match client::observe(run_dir) {
            Ok(snapshot) => view::picture(&snapshot, colour),
            Err(error) => format!("{error}\n"),
        };
        let mut out = io::stdout().lock();
        if writeln!(out, "{clear}{picture}").and_then(|()| out.flush()).is_err() {
            return ExitCode::SUCCESS;
        }
        drop(out);
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Writes to stdout; a reader that left early (`hb status | head -1`) is no failure.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(&error),
        _ => ExitCode::SUCCESS,
    }
}

/// Says what went wrong.
fn fail(error: &dyn fmt::Display) -> ExitCode {
    eprintln!("hb: {error}");
    ExitCode::FAILURE
}

/// Says what went wrong between `hb` and heartbeatd and, where there is something to do, what.
fn unreached(error: &ClientError) -> ExitCode {
    let exit = fail(error);
    if !matches!(error, ClientError::NotRunning { .. }) {
        return exit;
    }
    eprintln!("    start it:  systemctl start heartbeat");
    eprintln!("    if it does not stay up:  /var/log/ha-log says why; `hb check` checks the files");
    ExitCode::from(NOT_RUNNING)
}
