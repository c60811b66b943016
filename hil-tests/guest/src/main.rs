//! The rig's hand inside a virtual machine: does what the host says over a virtio port, and tells
//! what happens there: addresses that come and go, lines that files grow by, how the daemon ended.
//!
//! With `-` instead of a port it talks over its standard input and output, which ssh(1) carries: it ends with them, and the
//! daemon with it. `HIL_HEARTBEATD` names another program than /usr/sbin/heartbeatd.
//!
//! One JSON object a line, each way. An order has an `id` and a `do`; its answer has the same number as
//! `re`. Everything from here has `up`, the machine's CLOCK_MONOTONIC in microseconds: the host makes true time of
//! it, and a frozen machine's clock stands still.
//!
//! | do | with | answer |
//! |---|---|---|
//! | `ping` | | |
//! | `run` | `argv` | `code` (128 + signal when killed), `out`, `err` |
//! | `daemon` | `word`: start, kill, stop, continue, terminate | |
//! | `follow` | | from here on, files' new lines are told |
//! | `observe` | | `text`: what the daemon's observe socket said |
//! | `write` | `path`, `text`, `mode` | |
//! | `read` | `path` | `text` |
//!
//! An answer that has `error` says why nothing was done.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hb_linux::control::client;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

mod addresses;
mod files;

/// The daemon's own directories, as `make install` and its defaults have them.
const RUN_DIR: &str = "/run/heartbeat";
/// The daemon's words that are not in its log.
const WORDS: &str = "/var/log/heartbeatd.out";
/// With nobody at the port's other end a read returns at once (virtio_console).
const AGAIN: Duration = Duration::from_millis(20);

/// The port, towards the host: one line at a time.
#[derive(Clone)]
pub struct Host(Arc<Mutex<dyn Write + Send>>);

impl Host {
    /// Sends an object, with the time.
    pub fn tell(&self, mut object: Value) {
        let now = clock_gettime(ClockId::Monotonic);
        object["up"] = json!(now.tv_sec * 1_000_000 + now.tv_nsec / 1000);
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The host is gone when this fails, and this machine with it.
        let _ = port.write_all(format!("{object}\n").as_bytes()).and_then(|()| port.flush());
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port] = arguments.as_slice() else {
        eprintln!("hil-guest: for the rig only: hil-guest PORT, or -");
        return ExitCode::from(2);
    };
    if port == "-" {
        let host = Host(Arc::new(Mutex::new(std::io::stdout())));
        addresses::follow(&host);
        serve(std::io::stdin().lock(), &host, true);
        return ExitCode::SUCCESS;
    }
    let opened =
        File::open(port).and_then(|from| Ok((from, File::options().write(true).open(port)?)));
    let (from, to) = match opened {
        Ok(both) => both,
        // A virtio port can be opened once (virtio_console answers EBUSY).
        Err(_) => match File::options()
            .read(true)
            .write(true)
            .open(port)
            .and_then(|one| Ok((one.try_clone()?, one)))
        {
            Ok(both) => both,
            Err(error) => {
                eprintln!("hil-guest: {port}: {error}");
                return ExitCode::FAILURE;
            }
        },
    };
    let host = Host(Arc::new(Mutex::new(to)));
    addresses::follow(&host);
    serve(BufReader::new(from), &host, false);
    ExitCode::SUCCESS
}

/// Never ends, the machine does; unless `ends`: with its input, and the daemon with it.
fn serve(mut from: impl BufRead, host: &Host, ends: bool) {
    let daemon: Daemon = Arc::default();
    let mut line = String::new();
    loop {
        match from.read_line(&mut line) {
            Ok(1..) if line.ends_with('\n') => {}
            Ok(0) if ends => break,
            // A line in parts, or nobody there.
            _ => {
                std::thread::sleep(AGAIN);
                continue;
            }
        }
        let order: Value = serde_json::from_str(&line).unwrap_or_default();
        line.clear();
        let (host, daemon) = (host.clone(), daemon.clone());
        // Each on its own: a program that hangs keeps nobody else waiting.
        std::thread::spawn(move || {
            let mut answer = match obey(&order, &host, &daemon) {
                Ok(answer) => answer,
                Err(reason) => json!({"error": reason}),
            };
            answer["re"] = order["id"].clone();
            host.tell(answer);
        });
    }
    let running = *daemon.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pid) = running {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The daemon's process, while it runs.
type Daemon = Arc<Mutex<Option<Pid>>>;

fn obey(order: &Value, host: &Host, daemon: &Daemon) -> Result<Value, String> {
    let text =
        |name: &str| order[name].as_str().ok_or_else(|| format!("an order without `{name}`"));
    match text("do")? {
        "run" => run(order),
        "daemon" => signal(text("word")?, host, daemon).map(|()| json!({})),
        "observe" => {
            let text =
                client::observe_text(Path::new(RUN_DIR)).map_err(|error| error.to_string())?;
            Ok(json!({"text": text}))
        }
        "ping" => Ok(json!({})),
        "follow" => files::follow(host).map(|()| json!({})),
        "write" => {
            let (path, mode) = (text("path")?, order["mode"].as_u64().unwrap_or(0o644));
            let mode = fs::Permissions::from_mode(u32::try_from(mode).unwrap_or(0o644));
            fs::write(path, text("text")?)
                .and_then(|()| fs::set_permissions(path, mode))
                .map_err(|error| format!("{path}: {error}"))?;
            Ok(json!({}))
        }
        "read" => {
            let path = text("path")?;
            let bytes = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
            Ok(json!({"text": String::from_utf8_lossy(&bytes)}))
        }
        other => Err(format!("{other}: no such order")),
    }
}

fn run(order: &Value) -> Result<Value, String> {
    let words = order["argv"].as_array().ok_or("an order without `argv`")?;
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let (program, arguments) = words.split_first().ok_or("an empty `argv`")?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    Ok(json!({"code": code(output.status), "out": out, "err": err}))
}

/// As shells count.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn signal(word: &str, host: &Host, daemon: &Daemon) -> Result<(), String> {
    let mut running = daemon.lock().unwrap_or_else(PoisonError::into_inner);
    let signal = match (word, *running) {
        ("start", Some(_)) => return Err("heartbeatd is running already".into()),
        ("start", None) => {
            *running = Some(start(host, daemon)?);
            return Ok(());
        }
        ("kill", _) => Signal::KILL,
        ("stop", _) => Signal::STOP,
        ("continue", _) => Signal::CONT,
        ("terminate", _) => Signal::TERM,
        _ => return Err(format!("{word}: expected start, kill, stop, continue or terminate")),
    };
    let pid = running.ok_or_else(|| format!("{word}: heartbeatd is not running"))?;
    kill_process(pid, signal).map_err(|error| format!("{word}: {error}"))
}

/// Starts it as a service manager does, and waits for its end on a thread.
fn start(host: &Host, daemon: &Daemon) -> Result<Pid, String> {
    let told = |error: std::io::Error| error.to_string();
    let words = File::options().create(true).append(true).open(WORDS).map_err(told)?;
    let errors = words.try_clone().map_err(told)?;
    let program = std::env::var_os("HIL_HEARTBEATD").unwrap_or("/usr/sbin/heartbeatd".into());
    let mut child = Command::new(&program)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(words)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let pid = Pid::from_child(&child);
    let (host, daemon) = (host.clone(), daemon.clone());
    std::thread::spawn(move || {
        let Ok(status) = child.wait() else { return };
        *daemon.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or(0)),
        };
        host.tell(json!({"ended": how}));
    });
    Ok(pid)
}
