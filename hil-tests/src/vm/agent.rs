//! The host's end of the hand inside a machine (`hil-tests/guest`): orders, answers, and what it tells.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chronicle::Clock;

/// A guest that may not be up yet is asked this often.
const ASK_AGAIN: Duration = Duration::from_millis(150);

/// What a guest told unasked goes here, with the rig's time: when it was true in the guest.
pub type Sink = Arc<dyn Fn(hb_proto::time::Instant, &Value) + Send + Sync>;

/// What is heard and waited for.
#[derive(Debug, Default)]
struct Heard {
    gone: bool,
    answers: HashMap<u64, Value>,
    /// Rig time minus the guest's, in microseconds: the least that was seen, so without the way here.
    offset: Option<i64>,
}

/// A program's end, inside a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// As shells count.
    pub code: i64,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// The connection to one life of a machine.
pub struct Agent {
    to: Mutex<Box<dyn Write + Send>>,
    heard: Arc<(Mutex<Heard>, Condvar)>,
    next: AtomicU64,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").finish_non_exhaustive()
    }
}

impl Agent {
    /// Takes the connection that QEMU makes to `listener`, and listens on a thread.
    ///
    /// # Errors
    /// QEMU makes none within `patience`.
    pub fn accept(
        listener: &UnixListener,
        clock: Clock,
        sink: Sink,
        patience: Duration,
    ) -> Result<Self, String> {
        let told = |error: std::io::Error| error.to_string();
        listener.set_nonblocking(true).map_err(told)?;
        let deadline = Instant::now() + patience;
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                Err(_) => return Err("QEMU didn't connect the guest's port".into()),
            }
        };
        stream.set_nonblocking(false).map_err(told)?;
        let from = stream.try_clone().map_err(told)?;
        Self::over(stream, from, clock, sink).map_err(told)
    }

    /// Over whatever carries its lines, and listens on a thread.
    ///
    /// # Errors
    /// No thread could be had.
    pub fn over(
        to: impl Write + Send + 'static,
        from: impl Read + Send + 'static,
        clock: Clock,
        sink: Sink,
    ) -> std::io::Result<Self> {
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let its = heard.clone();
        std::thread::Builder::new()
            .name("agent".into())
            .spawn(move || listen(BufReader::new(from), clock, &its, &sink))?;
        Ok(Self { to: Mutex::new(Box::new(to)), heard, next: AtomicU64::new(1) })
    }

    /// Whether the other end is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        lock(&self.heard.0).gone
    }

    /// Waits until the guest is up.
    ///
    /// # Errors
    /// It isn't within `patience`.
    pub fn wait_until_up(&self, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        loop {
            // What comes before the guest has opened its port is lost.
            let Err(why) = self.order(json!({"do": "ping"}), ASK_AGAIN) else { return Ok(()) };
            if Instant::now() >= deadline || lock(&self.heard.0).gone {
                return Err(format!(
                    "the guest isn't up after {} s ({why}); its console tells more",
                    patience.as_secs()
                ));
            }
        }
    }

    /// The guest's clock stood still: what it says of times is measured anew.
    pub fn thawed(&self) {
        lock(&self.heard.0).offset = None;
    }

    /// Gives an order, and waits for the answer.
    ///
    /// # Errors
    /// The guest's own words, or that it doesn't answer within `patience`.
    pub fn order(&self, mut order: Value, patience: Duration) -> Result<Value, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        order["id"] = json!(id);
        let what = order["do"].as_str().unwrap_or_default().to_owned();
        {
            let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(to, "{order}")
                .and_then(|()| to.flush())
                .map_err(|error| format!("{what}: the guest is gone: {error}"))?;
        }
        let answer = self.wait(patience, |heard| heard.answers.remove(&id));
        let answer = answer.ok_or_else(|| {
            format!("{what}: the guest is gone, or gave no answer in {} ms", patience.as_millis())
        })?;
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    }

    /// Runs a program in the guest.
    ///
    /// # Errors
    /// It can't be started, or doesn't end within `patience`.
    pub fn run(&self, argv: &[&str], patience: Duration) -> Result<Ran, String> {
        let answer = self.order(json!({"do": "run", "argv": argv}), patience)?;
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Ok(Ran { code: answer["code"].as_i64().unwrap_or(-1), out: text("out"), err: text("err") })
    }

    fn wait<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut(&mut Heard) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut heard = lock(&self.heard.0);
        loop {
            if let Some(found) = look(&mut heard) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if heard.gone || left.is_zero() {
                return None;
            }
            let waited = self.heard.1.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(from: impl BufRead, clock: Clock, heard: &(Mutex<Heard>, Condvar), sink: &Sink) {
    for line in from.lines().map_while(Result::ok) {
        let arrived = clock.now();
        let Ok(object) = serde_json::from_str::<Value>(&line) else { continue };
        let mut state = lock(&heard.0);
        let at = state.true_time(arrived, object["up"].as_i64());
        if let Some(id) = object["re"].as_u64() {
            state.answers.insert(id, object);
        } else {
            drop(state);
            sink(at, &object);
        }
        heard.1.notify_all();
    }
    lock(&heard.0).gone = true;
    heard.1.notify_all();
}

impl Heard {
    /// When it was said, by the rig's clock: never later than it arrived.
    fn true_time(
        &mut self,
        arrived: hb_proto::time::Instant,
        up: Option<i64>,
    ) -> hb_proto::time::Instant {
        let Some(up) = up else { return arrived };
        let arrived = arrived.micros().cast_signed();
        let seen = arrived - up;
        let offset = self.offset.map_or(seen, |offset| offset.min(seen));
        self.offset = Some(offset);
        hb_proto::time::Instant::from_micros(u64::try_from(up + offset).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hb_proto::time::Instant as At;

    #[test]
    fn the_quickest_message_tells_how_far_the_clocks_are_apart() {
        let mut heard = Heard::default();
        let at = |micros| At::from_micros(micros);
        assert_eq!(heard.true_time(at(5_030_000), Some(30_000)), at(5_030_000));
        // 10 ms quicker than the first.
        assert_eq!(heard.true_time(at(5_120_000), Some(130_000)), at(5_120_000));
        // 25 ms late.
        assert_eq!(heard.true_time(at(5_215_000), Some(200_000)), at(5_190_000));
        assert_eq!(heard.true_time(at(7), None), at(7));
    }
}
