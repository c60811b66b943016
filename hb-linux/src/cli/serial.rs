//! `hb serial`: ports, the guide's hello test, a guided test of a line.

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{fail, print};
use crate::serial::BAUDS;
use crate::serial::end::{self, Settings};
use crate::serial::ports::{self, Holder, Places};
use crate::serial::report::Report;
use crate::serial::tty::{Line, Wire, present_baud};
use crate::serial::verdict::{self, Expected, Verdict};

#[derive(Args)]
pub struct Serial {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The serial ports of this machine: what they are, their stable names, who has them
    Ports {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Send a line of text, or what comes on stdin: the guide's `echo hello >/dev/ttyS0`
    Send {
        #[command(flatten)]
        port: OnePort,
        /// The text; without it stdin is sent as it is
        text: Option<String>,
    },
    /// Show what arrives, until Ctrl-C: the guide's `cat </dev/ttyS0`
    Listen {
        #[command(flatten)]
        port: OnePort,
        /// End after so many seconds; exit 1 if nothing came
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
        /// End after the first line
        #[arg(long)]
        once: bool,
    },
    /// Test the line behind a port. Run it at both ends, or let --peer do that. Exit 0: sound, 1: not
    Test(Test),
}

#[derive(Args)]
struct OnePort {
    /// /dev/ttyS0, /dev/serial/by-path/…
    device: PathBuf,
    /// Speed, bit/s; without it the port keeps what it is set to, as cat and echo do
    #[arg(long)]
    baud: Option<u32>,
}

#[derive(Args)]
struct Test {
    /// The port at this end
    device: PathBuf,
    /// The other end: a port of this machine (/dev/…), a port of another one, tested over ssh
    /// ([USER@]HOST:/dev/…), or only the name that must be heard (`uname -n` there)
    #[arg(long, value_name = "PEER")]
    peer: Option<String>,
    /// Another port of this machine that listens meanwhile: finds swapped cables. Repeat it for more
    #[arg(long, value_name = "DEVICE")]
    also: Vec<PathBuf>,
    /// The speed that both ends meet at
    #[arg(long, default_value_t = 19_200)]
    baud: u32,
    /// Only these speeds for the bit error rate; 0: none
    #[arg(long, value_name = "BAUD,…", value_delimiter = ',')]
    speeds: Vec<u32>,
    /// How long to look for the other end, seconds [default: 30; 8 where --peer starts it]
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Verdict and findings of both ends as JSON
    #[arg(long)]
    json: bool,
    /// This end's findings alone as JSON, for the machine that asked over ssh
    #[arg(long, hide = true)]
    report: bool,
}

/// What `hb serial test --json` prints.
#[derive(Serialize)]
struct Whole<'a> {
    verdict: &'a Verdict,
    ours: &'a Report,
    theirs: Option<&'a Report>,
}

/// How the other end is reached.
enum Peer {
    Here(PathBuf),
    There { host: String, device: String },
    Named(String),
    Anybody,
}

pub fn main(args: &Serial) -> ExitCode {
    match &args.what {
        What::Ports { json } => list(*json),
        What::Send { port, text } => send(port, text.as_deref()),
        What::Listen { port, seconds, once } => listen(port, *seconds, *once),
        What::Test(test) => guided(test),
    }
}

fn list(json: bool) -> ExitCode {
    let ports = match ports::list(&Places::default()) {
        Ok(ports) => ports,
        Err(error) => return fail(&format!("can't list serial ports: /sys/class/tty: {error}")),
    };
    if json {
        return match serde_json::to_string_pretty(&ports) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => fail(&error),
        };
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("hb: only root sees every program that has a port, and which UARTs are there");
    }
    print(&ports::picture(&ports))
}

/// Opens a port that nobody has; says who has it otherwise, heartbeatd's state included.
fn open(device: &Path, baud: u32) -> Result<Line, String> {
    let places = Places::default();
    let holders = ports::holders(&places, device);
    if let Some(holder) = holders.iter().find(|holder| holder.excludes()) {
        return Err(format!(
            "{} is in use by {holder}; it is left alone\n    {}",
            device.display(),
            holder.advice()
        ));
    }
    if holders.contains(&Holder::Console) {
        eprintln!(
            "hb: {} is the kernel's console: its messages will be in between\n    {}",
            device.display(),
            Holder::Console.advice()
        );
    }
    Line::open(device, baud, &places.locks)
        .map_err(|failure| format!("{}: {failure}", device.display()))
}

fn open_as_it_is(port: &OnePort) -> Result<(Line, u32), String> {
    let device = &port.device;
    // Opening a port that somebody has would touch its modem lines: asked for first, in `open`.
    let busy = ports::holders(&Places::default(), device).iter().any(Holder::excludes);
    let baud = match port.baud {
        Some(baud) => baud,
        None if busy => 0,
        None => present_baud(device).map_err(|error| format!("{}: {error}", device.display()))?,
    };
    let line = open(device, baud)?;
    eprintln!("hb: {} at {baud} baud, 8N1; --baud sets another speed", device.display());
    Ok((line, baud))
}

fn send(port: &OnePort, text: Option<&str>) -> ExitCode {
    let (mut line, baud) = match open_as_it_is(port) {
        Ok(opened) => opened,
        Err(problem) => return fail(&problem),
    };
    let sent = match text {
        Some(text) => send_all(&mut line, baud, format!("{text}\n").as_bytes()),
        None => send_stdin(&mut line, baud),
    };
    match sent {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{}: {error}", port.device.display())),
    }
}

fn send_stdin(line: &mut Line, baud: u32) -> io::Result<()> {
    let mut buffer = [0; 256];
    loop {
        match io::stdin().lock().read(&mut buffer)? {
            0 => return Ok(()),
            count => send_all(line, baud, &buffer[..count])?,
        }
    }
}

/// Returns when the bytes must have left.
fn send_all(line: &mut Line, baud: u32, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(64) {
        let mut rest = piece;
        let patience = Instant::now() + Duration::from_secs(10);
        while !rest.is_empty() {
            let taken = line.write(rest)?;
            rest = &rest[taken..];
            if taken == 0 && Instant::now() > patience {
                return Err(io::Error::other("the port took nothing for 10 s"));
            }
            if taken == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        line.drain(piece.len(), baud)?;
    }
    Ok(())
}

fn listen(port: &OnePort, seconds: Option<u64>, once: bool) -> ExitCode {
    let (mut line, _) = match open_as_it_is(port) {
        Ok(opened) => opened,
        Err(problem) => return fail(&problem),
    };
    let began = Instant::now();
    let mut buffer = [0; 256];
    let mut heard = false;
    while seconds.is_none_or(|seconds| began.elapsed() < Duration::from_secs(seconds)) {
        let bytes = match line.read(&mut buffer, Duration::from_millis(200)) {
            Ok(count) => &buffer[..count],
            Err(error) => return fail(&format!("{}: {error}", port.device.display())),
        };
        heard |= !bytes.is_empty();
        let shown = if io::stdout().is_terminal() { harmless(bytes) } else { bytes.to_vec() };
        let mut out = io::stdout().lock();
        if out.write_all(&shown).and_then(|()| out.flush()).is_err() {
            return ExitCode::SUCCESS;
        }
        if once && bytes.contains(&b'\n') {
            return ExitCode::SUCCESS;
        }
    }
    if heard { ExitCode::SUCCESS } else { fail(&"nothing came") }
}

/// A noisy line must not command the terminal.
fn harmless(bytes: &[u8]) -> Vec<u8> {
    let shown = |byte: &u8| match byte {
        b'\r' => Vec::new(),
        b'\n' | b'\t' | b' '..=b'~' => vec![*byte],
        byte => format!("\\x{byte:02x}").into_bytes(),
    };
    bytes.iter().flat_map(shown).collect()
}

fn guided(test: &Test) -> ExitCode {
    let peer = peer_of(test.peer.as_deref());
    let started = matches!(peer, Peer::Here(_) | Peer::There { .. });
    let wait = test.wait.unwrap_or(if started { 8 } else { 30 });
    let settings = |device: &Path| Settings {
        id: id(),
        node: node(),
        device: device.display().to_string(),
        baud: test.baud,
        patience: Duration::from_secs(wait),
        speeds: speeds(&test.speeds),
    };
    let ours = settings(&test.device);
    let outcome = open_all(test).and_then(|(line, also)| match &peer {
        Peer::Here(device) => here(test, line, also, &ours, &settings(device)),
        Peer::There { host, device } => there(test, line, also, &ours, host, device),
        Peer::Named(_) | Peer::Anybody => Ok((run(line, also, &ours, test), None)),
    });
    let (ours, theirs) = match outcome {
        Ok(reports) => reports,
        Err(problem) => return fail(&problem),
    };
    let mut expected = Expected::default();
    match peer {
        Peer::Named(node) => expected.node = Some(node),
        Peer::There { device, .. } => expected.device = Some(device),
        Peer::Here(_) | Peer::Anybody => {}
    }
    finish(test, &ours, theirs.as_ref(), &expected)
}

fn finish(test: &Test, ours: &Report, theirs: Option<&Report>, expected: &Expected) -> ExitCode {
    let verdict = verdict::judge(ours, theirs, expected);
    let json = if test.report {
        Some(serde_json::to_string(ours))
    } else if test.json {
        Some(serde_json::to_string_pretty(&Whole { verdict: &verdict, ours, theirs }))
    } else {
        None
    };
    let printed = match json {
        Some(Ok(text)) => print(&format!("{text}\n")),
        Some(Err(error)) => return fail(&error),
        None => print(&picture(ours, &verdict)),
    };
    if test.report || verdict.is_good() { printed } else { ExitCode::FAILURE }
}

/// The findings for a person, the verdict last.
fn picture(ours: &Report, verdict: &Verdict) -> String {
    let mut text = String::new();
    for speed in &ours.speeds {
        text.push_str(&format!("{}\n", verdict::speed_line(speed)));
    }
    if let Some(wiring) = ours.wiring {
        text.push_str(&format!("  cable: {wiring}\n"));
    }
    if let Some(ms) = ours.round_trip_ms {
        let advice =
            if ms > 40 { "; an adapter's latency timer? see `hb serial ports`" } else { "" };
        text.push_str(&format!(
            "  there and back takes {ms} ms more than the bytes themselves{advice}\n"
        ));
    }
    text.push_str(&format!("{verdict}\n"));
    text
}

type Lines = Vec<(String, Box<dyn Wire>)>;

fn open_all(test: &Test) -> Result<(Line, Lines), String> {
    let line = open(&test.device, test.baud)?;
    let mut also: Lines = Vec::new();
    for device in &test.also {
        also.push((device.display().to_string(), Box::new(open(device, test.baud)?)));
    }
    Ok((line, also))
}

fn run(mut line: Line, mut also: Lines, settings: &Settings, test: &Test) -> Report {
    let quiet = test.json || test.report;
    let mut tell = |words: &str| {
        if !quiet {
            eprintln!("{words}");
        }
    };
    end::run(&mut line, &mut also, settings, &mut tell)
}

/// Both ends on this machine.
fn here(
    test: &Test,
    line: Line,
    also: Lines,
    ours: &Settings,
    theirs: &Settings,
) -> Result<(Report, Option<Report>), String> {
    let mut other = open(Path::new(&theirs.device), test.baud)?;
    let theirs = theirs.clone();
    let far = std::thread::Builder::new()
        .name("other end".into())
        .spawn(move || end::run(&mut other, &mut [], &theirs, &mut |_| ()))
        .map_err(|error| error.to_string())?;
    let ours = run(line, also, ours, test);
    let theirs = far.join().map_err(|_| "the other end's test panicked".to_owned())?;
    Ok((ours, Some(theirs)))
}

/// The other end on another machine, started there over ssh.
fn there(
    test: &Test,
    line: Line,
    also: Lines,
    ours: &Settings,
    host: &str,
    device: &str,
) -> Result<(Report, Option<Report>), String> {
    let mut command = Command::new("ssh");
    command.args(["-o", "BatchMode=yes", "--", host, "hb", "serial", "test", "--report"]);
    command.args(["--baud", &test.baud.to_string()]);
    command.args(["--wait", &ours.patience.as_secs().to_string()]);
    if !test.speeds.is_empty() {
        let speeds: Vec<_> = test.speeds.iter().map(u32::to_string).collect();
        command.args(["--speeds", &speeds.join(",")]);
    }
    let far = command
        .arg(device)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("can't run ssh: {error}"))?;
    let ours = run(line, also, ours, test);
    let output = far.wait_with_output().map_err(|error| format!("ssh {host}: {error}"))?;
    if !output.status.success() {
        return Err(format!("ssh {host} hb serial test {device}: {}", output.status));
    }
    let theirs = serde_json::from_slice(&output.stdout).map_err(|error| {
        format!("ssh {host} hb serial test {device}: not a report ({error}); is hb the same version there?")
    })?;
    Ok((ours, Some(theirs)))
}

fn peer_of(word: Option<&str>) -> Peer {
    match word {
        None => Peer::Anybody,
        Some(device) if device.starts_with('/') => Peer::Here(device.into()),
        Some(word) => match word.split_once(":/") {
            Some((host, device)) => {
                Peer::There { host: host.to_owned(), device: format!("/{device}") }
            }
            None => Peer::Named(word.to_owned()),
        },
    }
}

fn speeds(wanted: &[u32]) -> Vec<u32> {
    match wanted {
        [] => BAUDS.to_vec(),
        [0] => Vec::new(),
        wanted => wanted.to_vec(),
    }
}

fn node() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// At random, so that two runs on twin machines differ.
fn id() -> u32 {
    let mut bytes = [0; 4];
    // Before the kernel has randomness enough the clock will do: it only has to differ.
    let flags = rustix::rand::GetRandomFlags::NONBLOCK;
    if rustix::rand::getrandom(&mut bytes, flags).is_err() {
        let pid = std::process::id();
        let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
        return text.bytes().fold(pid, |id, byte| id.wrapping_mul(31).wrapping_add(byte.into()));
    }
    u32::from_ne_bytes(bytes)
}
