//! Files that grow, told line by line.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify;
use serde_json::json;

use super::Host;

/// On the machine's disk: everything here is told.
const DIRECTORY: &str = "/var/log";
/// Its names that are worth it.
const FILES: [&str; 3] = ["ha-log", "heartbeatd.out", "rec"];

/// Tells of every line from now on. The disk must be there already; what is on it was told by an
/// earlier life of the machine.
///
/// # Errors
/// What the kernel answered.
pub fn follow(host: &Host) -> Result<(), String> {
    let told = |error: rustix::io::Errno| format!("following {DIRECTORY}: {error}");
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(told)?;
    let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
    inotify::add_watch(&watch, DIRECTORY, events).map_err(told)?;
    let mut known: HashMap<&'static str, Growing> = HashMap::new();
    for name in FILES {
        let at = std::fs::metadata(Path::new(DIRECTORY).join(name)).map_or(0, |file| file.len());
        known.insert(name, Growing { at, begun: Vec::new() });
    }
    let host = host.clone();
    std::thread::spawn(move || {
        if let Err(error) = run(&host, &watch, known) {
            host.tell(json!({"broken": format!("following {DIRECTORY}: {error}")}));
        }
    });
    Ok(())
}

fn run(
    host: &Host,
    watch: &OwnedFd,
    mut known: HashMap<&'static str, Growing>,
) -> rustix::io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    loop {
        let event = reader.next()?;
        let name = event.file_name().and_then(|name| name.to_str().ok());
        let Some(name) = FILES.into_iter().find(|file| Some(*file) == name) else { continue };
        for line in known.entry(name).or_default().lines(&Path::new(DIRECTORY).join(name)) {
            host.tell(json!({"file": name, "line": line}));
        }
    }
}

/// Read from where it was left.
#[derive(Default)]
struct Growing {
    at: u64,
    /// A line whose end hasn't been written.
    begun: Vec<u8>,
}

impl Growing {
    fn lines(&mut self, path: &Path) -> Vec<String> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|mut file| {
            if file.metadata()?.len() < self.at {
                // Somebody began it anew.
                self.at = 0;
            }
            file.seek(SeekFrom::Start(self.at))?;
            file.read_to_end(&mut bytes)
        });
        self.at += read.unwrap_or(0) as u64;
        self.begun.extend(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        lines
    }
}
