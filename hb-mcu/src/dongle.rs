//! The dongle: one struct that owns the arbiter and the board's parts, and does its duties turn by turn.

mod serve;

use embedded_hal::digital::{InputPin, OutputPin};
use hb_proto::arbiter::{self, Action, Arbiter, Event, MAX_ARBITER_KEYS, Memory, Port as Side};
use hb_proto::id::{BootId, Voter};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::auth::KeyRing;
use hb_proto::wire::message::arbiter::ResetReason;
use hb_proto::wire::service::{Board, Settings, TestState};

use crate::board::{Area, Clock, Parts, Port, Store, Watchdog};
use crate::desk::Desk;
use crate::keys::Keys;
use crate::line::{CHUNK, Line};
use crate::line_test::{LineTest, TestRefused};
use crate::record::{Bytes, LONGEST_RECORD, Record, Retained};
use crate::room::Room;
use crate::trace::Trace;
use crate::wires::{Felt, Harness};

/// Chunks that are read from each port in one turn, 256 bytes: at 115200 bit/s what arrives in 22 ms, so that a
/// late turn catches up. Whatever a flood sends, the other port has its share.
const CHUNKS: usize = 256 / CHUNK;
/// While bytes wait for a UART: its FIFO of 16 bytes is empty after 1.4 ms at 115200 bit/s.
const PUMP_EVERY: Duration = Duration::from_micros(500);
/// What could not be stored is tried again so soon. The watchdog, unfed meanwhile, has the last word.
const STORE_AGAIN: Duration = Duration::from_millis(50);

/// What a turn has to do before the dongle's own watchdog is fed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// Both ports were read.
    Listened = 1,
    /// Inputs were read, and no output is stuck.
    Felt = 2,
    /// The arbiter decided.
    Decided = 4,
    /// What it must remember is stored.
    Stored = 8,
    /// What it had to say is with the UARTs.
    Spoke = 16,
    /// Its life is the newest that it knows under its name.
    Lives = 32,
}

/// Duties done in one turn.
#[derive(Clone, Copy, Default)]
struct Duties(u8);

impl Duties {
    fn done(&mut self, duty: Duty) {
        self.0 |= duty as u8;
    }

    const fn all(self) -> bool {
        self.0 == 63
    }
}

/// Why a life could not begin. There is nothing to do but to try again after a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError<E> {
    /// The store failed: a life whose number isn't stored must not speak (R9).
    Store(E),
    /// The numbers of lives are used up.
    NoMoreLives,
    /// The arbiter refuses its configuration.
    Config(arbiter::ConfigError),
}

/// Figures of one port, for a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames for which the UART had no room.
    pub overflows: u32,
    /// Times that the UART failed: overruns, framing errors.
    pub failures: u32,
}

/// The dongle. See the crate's first page.
pub struct Dongle<'r, P1, P2, O, I, C, S: Store, W> {
    board: Board,
    arbiter: &'r mut Arbiter,
    one: Line<'r, P1>,
    two: Line<'r, P2>,
    harness: [Harness<O, I>; 2],
    clock: C,
    store: S,
    watchdog: W,
    /// The number of the life under way, or of the one to come once that is stored.
    boot: BootId,
    /// As the store has them.
    stored: Bytes,
    retained: Retained,
    /// What the arbiter remembers is not stored yet as it wants it.
    unsaved: bool,
    /// A new life is due, above this one.
    live_above: Option<BootId>,
    test: Option<LineTest>,
    ended_test: Option<(Voter, bool)>,
    desk: &'r mut Desk,
    settings: Settings,
    trace: &'r mut Trace,
}

impl<'r, P1, P2, O, I, C, S, W> Dongle<'r, P1, P2, O, I, C, S, W>
where
    P1: Port,
    P2: Port,
    O: OutputPin,
    I: InputPin,
    C: Clock,
    S: Store,
    W: Watchdog,
{
    /// Begins a life: outputs released, memory read, the life's number stored.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start<const N: usize>(
        room: &'r mut Room,
        config: arbiter::Config,
        keys: &KeyRing<N>,
        reset: ResetReason,
        mut parts: Parts<P1, P2, O, I, C, S, W>,
    ) -> Result<Self, StartError<S::Error>> {
        let fill = |ring: &mut KeyRing<MAX_ARBITER_KEYS>| {
            keys.narrow_into(ring);
            true
        };
        let (_, settings) = settings_of(&mut parts.store).map_err(StartError::Store)?;
        let next = Self::next_life(&config, &mut parts)?;
        Self::begin(room, (config, settings), fill, (next, reset), parts)
    }

    /// What comes before all else of a life: outputs released, its number stored. A configuration that can't be used
    /// takes none. Done before [`Dongle::begin`], whose room on the stack it would add to.
    fn next_life(
        config: &arbiter::Config,
        parts: &mut Parts<P1, P2, O, I, C, S, W>,
    ) -> Result<NextLife, StartError<S::Error>> {
        for wires in &mut parts.wires {
            // One that can't be released is found to be stuck later.
            let _ = wires.reset.set_low();
        }
        config.check().map_err(StartError::Config)?;
        next_life(&mut parts.store)
    }

    /// The same with the number and the keys that it was given over its lines.
    ///
    /// # Errors
    /// See [`StartError`].
    #[inline(never)]
    pub fn start_stored(
        room: &'r mut Room,
        baud: u32,
        reset: ResetReason,
        mut parts: Parts<P1, P2, O, I, C, S, W>,
    ) -> Result<Self, StartError<S::Error>> {
        let (number, settings) = settings_of(&mut parts.store).map_err(StartError::Store)?;
        let config = arbiter::Config::new(number, baud);
        let next = Self::next_life(&config, &mut parts)?;
        Self::begin_stored(room, (config, settings), (next, reset), parts)
    }

    #[inline(never)]
    fn begin_stored(
        room: &'r mut Room,
        times: (arbiter::Config, Settings),
        life: (NextLife, ResetReason),
        mut parts: Parts<P1, P2, O, I, C, S, W>,
    ) -> Result<Self, StartError<S::Error>> {
        let mut keys = Keys::none();
        keys.load(&mut parts.store).map_err(StartError::Store)?;
        Self::begin(room, times, |ring| keys.fill(ring), life, parts)
    }

    fn begin(
        room: &'r mut Room,
        (mut config, settings): (arbiter::Config, Settings),
        keys: impl FnOnce(&mut KeyRing<MAX_ARBITER_KEYS>) -> bool,
        (next, reset): (NextLife, ResetReason),
        parts: Parts<P1, P2, O, I, C, S, W>,
    ) -> Result<Self, StartError<S::Error>> {
        let Parts { board, one, two, wires, mut clock, store, watchdog } = parts;
        let harness = wires.map(Harness::new);
        let NextLife { boot, stored, retained, remembered } = next;
        config.external_watchdog = watchdog_of(&settings);
        let now = clock.now();
        let Room { arbiter, lines: [room_one, room_two], desk, trace } = room;
        let life = (boot, remembered, reset);
        let arbiter =
            Arbiter::new_in(arbiter, config, keys, life, now).map_err(StartError::Config)?;
        let trace = trace.write(Trace::new(now));
        trace.note_life(boot, reset);
        Ok(Self {
            board,
            arbiter,
            one: Line::new(one, room_one),
            two: Line::new(two, room_two),
            harness,
            clock,
            store,
            watchdog,
            boot,
            stored,
            retained,
            unsaved: false,
            live_above: None,
            test: None,
            ended_test: None,
            desk: desk.write(Desk::new()),
            settings,
            trace,
        })
    }

    /// One turn, as the crate's first page draws it; when the next one is due at the latest. Earlier when
    /// bytes arrive or an input changes.
    #[inline(never)]
    pub fn turn(&mut self) -> Instant {
        let mut duties = Duties::default();
        let woke = self.clock.now();
        self.arbiter.handle_wakeup(woke);
        self.listen(&mut duties);
        self.feel(&mut duties);
        let now = self.clock.now();
        #[cfg(feature = "defmt")]
        self.trace.note_requests(now, self.arbiter);
        self.arbiter.handle_timeout(now);
        duties.done(Duty::Decided);
        self.act(now, &mut duties);
        self.serve(now);
        self.speak(&mut duties);
        self.live_again(now, &mut duties);
        if duties.all() {
            self.watchdog.feed();
        }
        let longest = self.desk.longest_turn.max(self.clock.now().since(woke));
        // A self-test takes longer than what it is asked about.
        let told = core::mem::take(&mut self.desk.told_longest);
        self.desk.longest_turn = if told { Duration::ZERO } else { longest };
        self.due(now)
    }

    /// Another life is due, with other keys or above another one (R9): reset the chip, the reason is
    /// [`ResetReason::Software`].
    #[must_use]
    pub fn is_over(&mut self) -> bool {
        let now = self.clock.now();
        self.desk.ends().is_some_and(|at| at <= now)
    }

    /// Reads both ports by turns.
    fn listen(&mut self, duties: &mut Duties) {
        for _ in 0..CHUNKS {
            let (arbiter, desk, clock) = (&mut *self.arbiter, &mut *self.desk, &mut self.clock);
            let one = hear(&mut self.one, Side::One, arbiter, desk, clock);
            let two = hear(&mut self.two, Side::Two, arbiter, desk, clock);
            if !one && !two {
                break;
            }
        }
        duties.done(Duty::Listened);
    }

    #[inline(never)]
    fn feel(&mut self, duties: &mut Duties) {
        let now = self.clock.now();
        for (harness, node) in self.harness.iter_mut().zip([Voter::A, Voter::B]) {
            if let Some(feeds) = harness.feed_changed() {
                self.arbiter.handle_feed(node, feeds);
            }
            for felt in harness.feel(now).into_iter().flatten() {
                match felt {
                    // Evidence if it follows a pulse (R12).
                    Felt::SenseFell => self.arbiter.handle_sense_fell(now, node),
                    Felt::Pulsed { evidence } => self.arbiter.handle_pulsed(now, node, evidence),
                }
            }
            // In any case a hint.
            if let Some(present) = harness.carrier_changed() {
                self.arbiter.handle_carrier(now, node, present);
            }
        }
        self.tend_test(now);
        if !self.harness.iter().any(|harness| harness.stuck) {
            duties.done(Duty::Felt);
        }
    }

    /// Carries out what the arbiter wants, in its order.
    #[inline(never)]
    fn act(&mut self, now: Instant, duties: &mut Duties) {
        self.save();
        // Nothing is done that follows from what isn't stored: a pulse whose life is forgotten could be given
        // twice (R12). The arbiter keeps it until then.
        while !self.unsaved {
            let Some(action) = self.arbiter.poll_action(now) else { break };
            match action {
                Action::Store(_) => {
                    self.unsaved = true;
                    self.save();
                }
                Action::Pulse { node } => {
                    if let Some(harness) = self.harness.get_mut(node.index()) {
                        harness.pull(now, self.settings.pulse_ms);
                    }
                }
                Action::Restart { above } => self.live_above = Some(above),
            }
        }
        if !self.unsaved {
            duties.done(Duty::Stored);
        }
    }

    /// Stores what is to be stored, each record only if it changed: flash wears.
    fn save(&mut self) {
        if !self.unsaved {
            return;
        }
        // Nothing has changed it since the arbiter said so. Promises belong to the other record, which is written
        // more often.
        let memory = self.arbiter.memory();
        let retained = Retained(memory.promisees);
        if retained != self.retained {
            if self.store.write(Area::Retained, &retained.encode()).is_err() {
                return;
            }
            self.retained = retained;
        }
        let record = Record::bytes_of(self.boot, memory);
        if record != self.stored {
            if self.store.write(Area::Flash, &record).is_err() {
                return;
            }
            self.stored = record;
        }
        self.unsaved = false;
    }

    /// Nothing is said while something that it follows from isn't stored.
    #[inline(never)]
    fn speak(&mut self, duties: &mut Duties) {
        if self.unsaved {
            return;
        }
        let mut frame = [0; MAX_FRAME];
        // R6: sent_at is read before the write; it was, when the frame was made.
        let now = self.clock.now();
        while let Some(transmit) = self.arbiter.poll_transmit(now, &mut frame) {
            let bytes = &frame[..transmit.len];
            match transmit.port {
                Side::One => self.one.send(bytes),
                Side::Two => self.two.send(bytes),
            }
        }
        self.one.pump();
        self.two.pump();
        duties.done(Duty::Spoke);
    }

    /// R9: a life above one that was heard under this dongle's name is due: this one ends once that is stored,
    /// and the next begins above it. It knows what this one knew, and is told anew what the pins say.
    fn live_again(&mut self, now: Instant, duties: &mut Duties) {
        if let Some(above) = self.live_above {
            let boot = above.max(self.arbiter.boot());
            let record = Record::bytes_of(boot, self.arbiter.memory());
            if boot.next().is_none() || self.store.write(Area::Flash, &record).is_err() {
                return;
            }
            (self.boot, self.stored, self.live_above) = (boot, record, None);
            self.desk.end(now);
        }
        if self.desk.ends().is_none() {
            duties.done(Duty::Lives);
        }
    }

    fn due(&self, now: Instant) -> Instant {
        // Loops and no chain of iterators: half their size.
        let mut due = self.arbiter.poll_timeout();
        if self.one.is_sending() || self.two.is_sending() {
            due = due.min(now + PUMP_EVERY);
        }
        if self.unsaved || self.live_above.is_some() {
            due = due.min(now + STORE_AGAIN);
        }
        for harness in &self.harness {
            due = harness.due().map_or(due, |at| due.min(at));
        }
        self.desk.ends().map_or(due, |at| due.min(at))
    }

    /// Tests a node's reset line (R12): pulls it, and sees whose life ends. Until that is known the line
    /// counts as untested; [`Dongle::poll_line_test`] tells the outcome.
    ///
    /// # Errors
    /// Why not now.
    pub fn request_line_test(&mut self, node: Voter) -> Result<(), TestRefused> {
        if self.test.is_some() {
            return Err(TestRefused::UnderWay);
        }
        let now = self.clock.now();
        let test = LineTest::begin(self.arbiter, now, node)?;
        let harness = self.harness.get_mut(node.index()).ok_or(TestRefused::NotANode)?;
        self.arbiter.handle_commissioned(node, false);
        harness.pull(now, self.settings.pulse_ms);
        self.test = Some(test);
        self.note_test(now, node, TestState::UnderWay);
        Ok(())
    }

    fn tend_test(&mut self, now: Instant) {
        let Some(test) = self.test else { return };
        if let Some(proved) = test.outcome(self.arbiter, now) {
            self.arbiter.handle_commissioned(test.node(), proved);
            self.ended_test = Some((test.node(), proved));
            self.test = None;
            let state = if proved { TestState::Proved } else { TestState::Failed };
            self.note_test(now, test.node(), state);
        }
    }

    /// A line test that ended: whose line, and whether it is proved. Once for each test.
    pub fn poll_line_test(&mut self) -> Option<(Voter, bool)> {
        self.ended_test.take()
    }

    /// What a person, or a LED, should be told. Poll until `None` after each turn.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.arbiter.poll_event()?;
        let now = self.clock.now();
        self.trace.note_event(now, &event);
        Some(event)
    }

    /// The arbiter, to look at.
    #[must_use]
    pub const fn arbiter(&self) -> &Arbiter {
        self.arbiter
    }

    /// Figures of a port beside the arbiter's own.
    #[must_use]
    pub const fn counters(&self, port: Side) -> Counters {
        match port {
            Side::One => Counters { overflows: self.one.overflows, failures: self.one.failures },
            Side::Two => Counters { overflows: self.two.overflows, failures: self.two.failures },
        }
    }
}

#[inline(never)] // Keys take room on the stack.
fn settings_of<S: Store>(store: &mut S) -> Result<(u32, Settings), S::Error> {
    let mut keys = Keys::none();
    keys.load(store)?;
    Ok((keys.number(), keys.settings()))
}

/// R13's silence.
fn watchdog_of(settings: &Settings) -> Duration {
    Duration::from_millis(settings.watchdog_ms.into())
}

/// How a life begins: its number is stored by then.
struct NextLife {
    boot: BootId,
    stored: Bytes,
    retained: Retained,
    remembered: Option<Memory>,
}

#[inline(never)]
fn next_life<S: Store>(store: &mut S) -> Result<NextLife, StartError<S::Error>> {
    let mut bytes = [0; LONGEST_RECORD];
    let mut read = |area| {
        let len = store.read(area, &mut bytes).map_err(StartError::Store)?;
        Ok((bytes, len.min(LONGEST_RECORD)))
    };
    let (bytes, len) = read(Area::Flash)?;
    let record = Record::decode(&bytes[..len]);
    let (bytes, len) = read(Area::Retained)?;
    let retained = Retained::decode(&bytes[..len]).unwrap_or_default();
    let boot = record.map_or(BootId::new(1), |record| record.boot.next());
    let boot = boot.ok_or(StartError::NoMoreLives)?;
    let remembered = record.map(|record| Memory { promisees: retained.0, ..record.memory });
    let stored = Record::bytes_of(boot, &remembered.unwrap_or_default());
    store.write(Area::Flash, &stored).map_err(StartError::Store)?;
    Ok(NextLife { boot, stored, retained, remembered })
}

/// Reads one chunk and hands its frames in; false when nothing was there.
fn hear<P: Port>(
    line: &mut Line<'_, P>,
    side: Side,
    arbiter: &mut Arbiter,
    desk: &mut Desk,
    clock: &mut impl Clock,
) -> bool {
    if !line.fill() {
        return false;
    }
    // R6: received_at is read after the read.
    let now = clock.now();
    while let Some(found) = line.next_frame() {
        match found {
            Ok(frame) if desk.takes(side, frame) => {}
            // Why a frame was refused is counted, and told as an event.
            Ok(frame) => drop(arbiter.handle_frame(now, side, frame)),
            Err(_) => arbiter.handle_damage(side),
        }
    }
    true
}
