//! The log files, as the helper process keeps them: appended, re-opened after rotation, and patient
//! with full disks.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Level, format_line, wall_time};

/// How often a file's path is compared with the open file, and a broken one tried again.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Lines kept until the files' names are known.
const MAX_EARLY: usize = 200;

/// One file that lines are appended to.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Option<File>,
    /// When to look at the path again.
    next_check: Instant,
    /// Why lines get lost at present.
    trouble: Option<String>,
    /// Lines lost since the trouble began.
    lost: u32,
    /// The last write ended within its line.
    torn: bool,
}

/// What one attempt to write came to.
#[derive(PartialEq, Eq, Debug)]
pub enum Written {
    /// The line is in the file.
    Yes,
    /// The line is in the file, and so many before it were lost for this reason.
    Again {
        /// Lines lost.
        lost: u32,
        /// What had been wrong.
        trouble: String,
    },
    /// The line is lost, and this is new: why, and what to do.
    Failed(String),
    /// The line is lost as those before it.
    StillFailing,
}

impl LogFile {
    /// Opens nothing yet: the first line does.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            next_check: Instant::now(),
            trouble: None,
            lost: 0,
            torn: false,
        }
    }

    /// Looks at the path again with the next line: after SIGHUP.
    pub fn check_now(&mut self) {
        self.next_check = Instant::now();
    }

    /// Appends `line`, which ends with a line feed.
    pub fn write(&mut self, line: &str) -> Written {
        match self.append(line) {
            Ok(true) => match self.trouble.take() {
                None => Written::Yes,
                Some(trouble) => Written::Again { lost: std::mem::take(&mut self.lost), trouble },
            },
            Ok(false) => {
                self.lost += 1;
                Written::StillFailing
            }
            Err(message) => {
                self.lost += 1;
                let news = self.trouble.as_ref() != Some(&message);
                self.trouble = Some(message.clone());
                if news { Written::Failed(message) } else { Written::StillFailing }
            }
        }
    }

    /// `Ok(false)`: in trouble, and it isn't time to try again.
    fn append(&mut self, line: &str) -> Result<bool, String> {
        let now = Instant::now();
        if now >= self.next_check {
            self.next_check = now + CHECK_EVERY;
            self.reopen_if_moved()?;
        } else if self.trouble.is_some() {
            return Ok(false);
        }
        let Some(file) = &mut self.file else { return Ok(false) };
        if self.torn {
            file.write_all(b"\n").map_err(|error| explain_write(&self.path, &error))?;
            self.torn = false;
        }
        match file.write(line.as_bytes()) {
            Ok(n) if n == line.len() => Ok(true),
            // A disk that fills up takes the beginning of a line (write(2)).
            Ok(n) => {
                self.torn = n > 0;
                Err(explain_write(&self.path, &io::Error::from(io::ErrorKind::StorageFull)))
            }
            Err(error) => Err(explain_write(&self.path, &error)),
        }
    }

    fn reopen_if_moved(&mut self) -> Result<(), String> {
        let there = self.path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
        let open = self.file.as_ref().and_then(|file| file.metadata().ok());
        if there.is_some() && there == open.map(|meta| (meta.dev(), meta.ino())) {
            return Ok(());
        }
        self.file = None;
        self.torn = false;
        // O_NOCTTY and O_NONBLOCK: should the path be a terminal or a FIFO, it must not hold us up.
        let flags = rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK;
        let opened = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(flags.bits().cast_signed())
            .open(&self.path);
        self.file = Some(opened.map_err(|error| self.explain_open(&error))?);
        Ok(())
    }

    fn explain_open(&self, error: &io::Error) -> String {
        let path = self.path.display();
        match self.path.parent() {
            Some(dir) if error.kind() == io::ErrorKind::NotFound && !dir.exists() => format!(
                "can't open log file {path}: its directory {0} doesn't exist; create it (mkdir -p \
                 {0}) or name another file in ha.cf; lines go to stderr alone meanwhile",
                dir.display()
            ),
            _ => format!("can't open log file {path}: {error}; lines go to stderr alone meanwhile"),
        }
    }
}

fn explain_write(path: &Path, error: &io::Error) -> String {
    format!(
        "can't write to log file {}: {error}; lines go to stderr alone meanwhile",
        path.display()
    )
}

/// ha-log, ha-debug and stderr.
#[derive(Debug)]
pub struct Logs {
    zone: TimeZone,
    log: Option<LogFile>,
    debug: Option<LogFile>,
    /// Before [`Logs::open`]: what the files will get.
    early: Option<Vec<(Level, i64, String)>>,
    stderr: bool,
    line: String,
    lost: u32,
}

impl Logs {
    /// Until [`Logs::open`] lines go to stderr and are kept for the files. stderr is left alone when
    /// it is /dev/null: `stderr` says so.
    #[must_use]
    pub fn new(stderr: bool) -> Self {
        Self {
            zone: TimeZone::system(),
            log: None,
            debug: None,
            early: Some(Vec::new()),
            stderr,
            line: String::new(),
            lost: 0,
        }
    }

    /// Names the files; what has been said so far goes to them.
    pub fn open(&mut self, logfile: &Path, debugfile: Option<&Path>) {
        self.log = Some(LogFile::new(logfile));
        self.debug = debugfile.map(LogFile::new);
        for (level, at, text) in self.early.take().unwrap_or_default() {
            self.append_to_files(level, at, &text);
        }
    }

    /// Writes one line of now.
    pub fn say(&mut self, level: Level, text: &str) {
        self.write(level, wall_time(), text);
    }

    /// Writes one line of `at` (seconds since 1970).
    pub fn write(&mut self, level: Level, at: i64, text: &str) {
        if level > Level::Debug {
            self.echo(level, at, text);
        }
        match &mut self.early {
            Some(early) if early.len() < MAX_EARLY => early.push((level, at, text.to_owned())),
            Some(_) => self.lost += 1,
            None => self.append_to_files(level, at, text),
        }
    }

    /// Lines that didn't reach ha-log since the last call.
    #[must_use]
    pub fn take_lost(&mut self) -> u32 {
        std::mem::take(&mut self.lost)
    }

    /// Has a line been lost since [`Logs::take_lost`]?
    #[must_use]
    pub const fn has_lost(&self) -> bool {
        self.lost > 0
    }

    /// After SIGHUP, what log rotation sends.
    pub fn check_now(&mut self) {
        self.log.iter_mut().chain(&mut self.debug).for_each(LogFile::check_now);
    }

    fn append_to_files(&mut self, level: Level, at: i64, text: &str) {
        format_line(&mut self.line, &self.zone, at, level, text);
        let mut news = Vec::new();
        if level > Level::Debug
            && let Some(log) = &mut self.log
        {
            let written = log.write(&self.line);
            self.lost += u32::from(matches!(written, Written::Failed(_) | Written::StillFailing));
            news.push(written);
        }
        if let Some(debug) = &mut self.debug {
            news.push(debug.write(&self.line));
        }
        for written in news {
            match written {
                Written::Yes | Written::StillFailing => {}
                Written::Failed(message) => self.echo(Level::Error, wall_time(), &message),
                Written::Again { lost, trouble } => {
                    let message =
                        format!("{lost} lines are missing before the last one: {trouble}");
                    self.write(Level::Warn, wall_time(), &message);
                }
            }
        }
    }

    fn echo(&mut self, level: Level, at: i64, text: &str) {
        if !self.stderr {
            return;
        }
        format_line(&mut self.line, &self.zone, at, level, text);
        // A terminal that was stopped or a reader that hangs must not hold up the scripts: poll(2)
        // says when a pipe has room for PIPE_BUF bytes, more than a line.
        let stderr = io::stderr();
        let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut ready, Some(&at_once)).is_ok_and(|n| n == 1) {
            // An error: nobody reads this stream any more. The files have the line.
            let _ = stderr.lock().write_all(self.line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A directory that goes with its test.
    struct Dir(PathBuf);

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    impl Dir {
        fn join(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    fn dir(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("hb-log-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    #[test]
    fn lines_are_appended_to_a_file_of_mode_640() {
        let dir = dir("append");
        let path = dir.join("ha-log");
        fs::write(&path, "before\n").unwrap();
        fs::remove_file(&path).unwrap();
        let mut file = LogFile::new(&path);
        assert_eq!(file.write("one\n"), Written::Yes);
        drop(file);
        assert_eq!(LogFile::new(&path).write("two\n"), Written::Yes);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o777 & !0o640, 0);
    }

    #[test]
    fn a_renamed_file_is_left_and_a_new_one_begun() {
        let dir = dir("rotate");
        let path = dir.join("ha-log");
        let mut file = LogFile::new(&path);
        file.write("one\n");
        fs::rename(&path, dir.join("ha-log.1")).unwrap();
        file.check_now();
        file.write("two\n");
        assert_eq!(fs::read_to_string(dir.join("ha-log.1")).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn a_full_disk_is_told_once_and_counted() {
        let mut file = LogFile::new(Path::new("/dev/full"));
        let Written::Failed(message) = file.write("one\n") else { panic!("/dev/full took a line") };
        assert!(message.contains("/dev/full") && message.contains("No space"), "{message}");
        assert_eq!(file.write("two\n"), Written::StillFailing);
        file.check_now();
        assert_eq!(file.write("three\n"), Written::StillFailing);
        assert_eq!(file.lost, 3);
    }

    #[test]
    fn a_missing_directory_is_named_and_the_log_recovers_when_it_appears() {
        let dir = dir("missing");
        let path = dir.join("deeper/ha-log");
        let mut logs = Logs::new(false);
        logs.say(Level::Info, "early");
        logs.open(&path, None);
        logs.say(Level::Info, "lost too");
        assert_eq!(logs.take_lost(), 2);
        let trouble = logs.log.as_ref().unwrap().trouble.clone().unwrap();
        assert!(trouble.contains("mkdir -p") && trouble.contains("deeper"), "{trouble}");
        fs::create_dir(dir.join("deeper")).unwrap();
        logs.check_now();
        logs.say(Level::Info, "back");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].ends_with(" INFO: back"));
        assert!(lines[1].contains(" WARN: 2 lines are missing before the last one: can't open"));
        assert_eq!(logs.take_lost(), 0);
    }

    #[test]
    fn debug_lines_go_to_the_debugfile_alone_and_it_gets_everything() {
        let dir = dir("debug");
        let mut logs = Logs::new(false);
        logs.open(&dir.join("ha-log"), Some(&dir.join("ha-debug")));
        logs.say(Level::Debug, "detail");
        logs.say(Level::Info, "event");
        let log = fs::read_to_string(dir.join("ha-log")).unwrap();
        let debug = fs::read_to_string(dir.join("ha-debug")).unwrap();
        assert!(!log.contains("detail") && log.contains("INFO: event"), "{log}");
        assert!(debug.contains("debug: detail") && debug.contains("INFO: event"), "{debug}");
    }
}
