//! QEMU's own control channel (QMP): one JSON object a line, answers in order, events in between.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// QEMU answers at once, unless the host lets nobody run.
const PATIENCE: Duration = Duration::from_secs(20);
/// Its socket is there this soon after its start, at worst.
const APPEARS: Duration = Duration::from_secs(20);

/// What QEMU told unasked, with the host's time.
pub type Events = Arc<Mutex<Vec<(Instant, Value)>>>;

/// A connection to one QEMU.
#[derive(Debug)]
pub struct Qmp {
    to: UnixStream,
    answers: mpsc::Receiver<Value>,
    events: Events,
}

impl Qmp {
    /// Connects to the socket that QEMU makes at its start.
    ///
    /// # Errors
    /// It makes none, or what answers isn't QMP.
    pub fn connect(path: &Path) -> Result<Self, String> {
        let deadline = Instant::now() + APPEARS;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= deadline => {
                    return Err(format!("{}: {error}: QEMU didn't start", path.display()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let from = stream.try_clone().map_err(|error| error.to_string())?;
        let (answer, answers) = mpsc::channel();
        let events = Events::default();
        let its_events = events.clone();
        std::thread::Builder::new()
            .name("qmp".into())
            .spawn(move || read(BufReader::new(from), &answer, &its_events))
            .map_err(|error| error.to_string())?;
        let mut qmp = Self { to: stream, answers, events };
        qmp.command("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Gives an order and waits for the answer.
    ///
    /// # Errors
    /// QEMU's own words, or that it is gone.
    pub fn command(&mut self, name: &str, arguments: &Value) -> Result<Value, String> {
        let order = json!({"execute": name, "arguments": arguments});
        writeln!(self.to, "{order}").map_err(|error| format!("QMP {name}: {error}"))?;
        let answer = self.answers.recv_timeout(PATIENCE);
        let answer = answer.map_err(|_| format!("QMP {name}: QEMU is gone or says nothing"))?;
        match answer.get("error") {
            Some(error) => Err(format!("QMP {name}: {}", error["desc"])),
            None => Ok(answer["return"].clone()),
        }
    }

    /// What QEMU told so far: RESET, SHUTDOWN, WATCHDOG, STOP, …
    #[must_use]
    pub fn events(&self) -> Events {
        self.events.clone()
    }
}

fn read(from: impl BufRead, answers: &mpsc::Sender<Value>, events: &Events) {
    for line in from.lines().map_while(Result::ok) {
        let Ok(object) = serde_json::from_str::<Value>(&line) else { continue };
        if object.get("event").is_some() {
            let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
            events.push((Instant::now(), object));
        } else if object.get("QMP").is_none() && answers.send(object).is_err() {
            return;
        }
    }
}
