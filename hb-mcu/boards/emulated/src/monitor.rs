//! QEMU's two control sockets.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// Connects to a socket that QEMU is about to make.
pub(crate) fn connect(path: &Path) -> UnixStream {
    let started = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(error) if started.elapsed() > PATIENCE => {
                panic!("QEMU made no socket {}: {error}", path.display())
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// The machine protocol (docs/interop/qmp-spec).
pub(crate) struct Monitor {
    reader: BufReader<UnixStream>,
    events: VecDeque<String>,
}

impl Monitor {
    pub(crate) fn new(path: &Path) -> Self {
        let stream = connect(path);
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has time-outs");
        let mut monitor = Self { reader: BufReader::new(stream), events: VecDeque::new() };
        monitor.line();
        monitor.command("qmp_capabilities", &json!({}));
        monitor
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("QEMU answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("QEMU said {line:?}: {error}"))
    }

    pub(crate) fn command(&mut self, name: &str, arguments: &Value) -> Value {
        let text = json!({ "execute": name, "arguments": arguments }).to_string();
        self.reader.get_mut().write_all(text.as_bytes()).expect("QEMU listens");
        loop {
            let mut answer = self.line();
            if let Some(event) = answer["event"].as_str() {
                self.events.push_back(event.to_owned());
            } else if answer.get("return").is_some() {
                return answer["return"].take();
            } else {
                panic!("QEMU refuses {name}: {answer}");
            }
        }
    }

    /// Events that came so far.
    pub(crate) fn events(&mut self) -> Vec<String> {
        self.command("query-status", &json!({}));
        self.events.drain(..).collect()
    }
}

/// The test protocol: sets input pins, and tells every change of intercepted outputs.
pub(crate) struct Qtest {
    reader: BufReader<UnixStream>,
    partial: String,
    /// Pin and level.
    pub(crate) changes: VecDeque<(Instant, u8, bool)>,
}

impl Qtest {
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a socket has time-outs");
        Self { reader: BufReader::new(stream), partial: String::new(), changes: VecDeque::new() }
    }

    /// Takes what came, for up to a millisecond; the first line that is no change of a pin.
    fn listen(&mut self) -> Option<String> {
        loop {
            match self.reader.read_line(&mut self.partial) {
                Ok(0) => return None,
                Ok(_) => {
                    let line = std::mem::take(&mut self.partial);
                    match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                        ["IRQ", level, pin] => {
                            let pin = pin.parse().expect("qtest numbers pins");
                            self.changes.push_back((Instant::now(), pin, *level == "raise"));
                        }
                        _ => return Some(line),
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return None;
                }
                Err(error) => panic!("QEMU's qtest socket: {error}"),
            }
        }
    }

    pub(crate) fn pump(&mut self) {
        let said = self.listen();
        assert!(said.is_none(), "nobody asked: {said:?}");
    }

    pub(crate) fn command(&mut self, line: &str) -> String {
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes()).expect("QEMU listens");
        let started = Instant::now();
        loop {
            if let Some(answer) = self.listen() {
                assert!(answer.starts_with("OK"), "{line}: {answer}");
                return answer;
            }
            assert!(started.elapsed() < PATIENCE, "{line}: no answer");
        }
    }
}
