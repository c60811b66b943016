//! Where the daemon's `tracing` events go: to the helper, and before there is one to stderr.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

use jiff::tz::TimeZone;
use rustix::net::{SendFlags, send};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

use super::{Level, MAX_TEXT, format_line, wall_time};
use crate::resources::{ToHelper, encode};

/// Target that lifts `tracing::error!` to CRIT, a level that tracing doesn't have:
/// `tracing::error!(target: log::CRIT, "…")`.
pub const CRIT: &str = "crit";

/// Room for a text of [`MAX_TEXT`] and the rest of its message.
const MAX_PACKET: usize = MAX_TEXT + 32;

/// A `tracing` subscriber that neither blocks nor allocates once it is diverted to the helper.
///
/// An event becomes its message, then ` name=value` for each other field. Spans are ignored. A line
/// that the helper's socket has no room for is dropped and counted.
#[derive(Clone, Debug)]
pub struct Sink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    debug: bool,
    /// Uncontended in a daemon of one thread; a second thread that came at the same moment would
    /// lose its line rather than wait.
    helper: Mutex<Option<OwnedFd>>,
    dropped: AtomicU32,
}

impl Sink {
    /// Lines go to stderr until [`Sink::divert`]. Without `debug`, debug events cost nothing.
    #[must_use]
    pub fn new(debug: bool) -> Self {
        let shared = Shared { debug, helper: Mutex::new(None), dropped: AtomicU32::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// Makes this the process's subscriber, for all of its life.
    ///
    /// # Errors
    /// There is one already.
    pub fn install(&self) -> Result<(), tracing::subscriber::SetGlobalDefaultError> {
        tracing::subscriber::set_global_default(self.clone())
    }

    /// From now on lines go to the helper at the other end of `socket`; `None`: back to stderr.
    pub fn divert(&self, socket: Option<OwnedFd>) {
        *self.shared.helper.lock().unwrap_or_else(PoisonError::into_inner) = socket;
    }

    /// Lines lost on the way to the helper since the last call.
    #[must_use]
    pub fn take_dropped(&self) -> u32 {
        self.shared.dropped.swap(0, Ordering::Relaxed)
    }

    fn deliver(&self, level: Level, text: &str) {
        let delivered = match self.shared.helper.try_lock() {
            Ok(guard) => match &*guard {
                Some(socket) => send_line(socket, level, text),
                None => write_stderr(level, text),
            },
            Err(TryLockError::Poisoned(_) | TryLockError::WouldBlock) => false,
        };
        if !delivered {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn send_line(socket: &impl AsFd, level: Level, text: &str) -> bool {
    let mut packet = [0; MAX_PACKET];
    let Ok(bytes) = encode(&ToHelper::Log { level, at: wall_time(), text }, &mut packet) else {
        return false;
    };
    send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
}

/// For the time before the helper exists, and for the operator's tools: this one may allocate.
fn write_stderr(level: Level, text: &str) -> bool {
    if level == Level::Debug {
        return true;
    }
    let mut line = String::new();
    format_line(&mut line, &TimeZone::system(), wall_time(), level, text);
    io::stderr().write_all(line.as_bytes()).is_ok()
}

impl Subscriber for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Crates that we use trace their own affairs at the lower levels: only warnings of theirs.
        let ours =
            ["hb", "heartbeatd", CRIT].iter().any(|prefix| metadata.target().starts_with(prefix));
        let most = match (ours, self.shared.debug) {
            (true, true) => tracing::Level::DEBUG,
            (true, false) => tracing::Level::INFO,
            (false, _) => tracing::Level::WARN,
        };
        metadata.is_event() && *metadata.level() <= most
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        use tracing::level_filters::LevelFilter;
        Some(if self.shared.debug { LevelFilter::DEBUG } else { LevelFilter::INFO })
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.deliver(level_of(event.metadata()), text.finish());
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn level_of(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR if metadata.target() == CRIT => Level::Crit,
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG | tracing::Level::TRACE => Level::Debug,
    }
}

/// An event's text under construction; what doesn't fit is cut off.
#[derive(Default)]
struct Text {
    text: heapless::String<MAX_TEXT>,
    cut: bool,
}

impl Text {
    const ELLIPSIS: char = '…';

    fn finish(&mut self) -> &str {
        if self.cut {
            while self.text.len() + Self::ELLIPSIS.len_utf8() > MAX_TEXT {
                self.text.pop();
            }
            // There is room now.
            let _ = self.text.push(Self::ELLIPSIS);
        }
        &self.text
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.cut {
            return Ok(());
        }
        let room = MAX_TEXT - self.text.len();
        let mut fits = part.len().min(room);
        while !part.is_char_boundary(fits) {
            fits -= 1;
        }
        self.cut = fits < part.len();
        self.text.push_str(&part[..fits]).map_err(|_| fmt::Error)
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Text's writer never fails; a value's own Debug may, and then shows what it wrote.
        let _ = if field.name() == "message" {
            write!(self, "{value:?}")
        } else {
            write!(self, " {}={value:?}", field.name())
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = if field.name() == "message" {
            self.write_str(value)
        } else {
            write!(self, " {}={value}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::decode;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    fn lines_of(socket: &OwnedFd) -> Vec<(Level, String)> {
        let mut lines = Vec::new();
        let mut buffer = [0; MAX_PACKET];
        while let Ok((n, _)) = recv(socket, &mut buffer, RecvFlags::DONTWAIT)
            && n > 0
        {
            match decode(&buffer[..n]) {
                Ok(ToHelper::Log { level, text, .. }) => lines.push((level, text.to_owned())),
                other => panic!("{other:?}"),
            }
        }
        lines
    }

    fn said(debug: bool, speak: impl FnOnce()) -> Vec<(Level, String)> {
        let (ours, theirs) = pair();
        let sink = Sink::new(debug);
        sink.divert(Some(ours));
        tracing::subscriber::with_default(sink, speak);
        lines_of(&theirs)
    }

    #[test]
    fn events_become_messages_with_the_guides_levels() {
        let lines = said(true, || {
            tracing::info!("heartbeat starting.");
            tracing::warn!(link = "eth1", lost = 3, "Late heartbeat");
            tracing::error!("broken");
            tracing::error!(target: CRIT, "addresses dropped");
            tracing::debug!("detail");
        });
        let expected = [
            (Level::Info, "heartbeat starting."),
            (Level::Warn, "Late heartbeat link=eth1 lost=3"),
            (Level::Error, "broken"),
            (Level::Crit, "addresses dropped"),
            (Level::Debug, "detail"),
        ];
        assert_eq!(lines, expected.map(|(level, text)| (level, text.to_owned())));
    }

    #[test]
    fn debug_events_need_debug_and_foreign_crates_get_warnings_only() {
        let lines = said(false, || {
            tracing::debug!("detail");
            tracing::info!(target: "some_crate", "chatter");
            tracing::warn!(target: "some_crate", "worth knowing");
        });
        assert_eq!(lines, [(Level::Warn, "worth knowing".to_owned())]);
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let lines = said(false, || tracing::info!("{}", "ä".repeat(MAX_TEXT)));
        let text = &lines[0].1;
        assert!(text.len() <= MAX_TEXT && text.len() > MAX_TEXT - 4, "{}", text.len());
        assert!(text.ends_with("ä…"));
    }

    #[test]
    fn a_full_socket_costs_lines_not_time() {
        let (ours, theirs) = pair();
        let sink = Sink::new(false);
        sink.divert(Some(ours));
        let started = std::time::Instant::now();
        tracing::subscriber::with_default(sink.clone(), || {
            for n in 0..10_000 {
                tracing::info!(n, "flood");
            }
        });
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
        let delivered = lines_of(&theirs).len();
        let dropped = sink.take_dropped() as usize;
        assert!(delivered > 50 && dropped > 0, "{delivered} {dropped}");
        assert_eq!(delivered + dropped, 10_000);
        assert_eq!(sink.take_dropped(), 0);
    }
}
