//! The dongle: one struct that owns the arbiter and the board's parts, and does its duties turn by turn.

mod serve;

use embedded_hal::digital::{InputPin, OutputPin};
use hb_proto::arbiter::{self, Action, Arbiter, Event, Memory, Port as Side};
use hb_proto::id::{BootId, Voter};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::auth::KeyRing;
use hb_proto::wire::message::arbiter::ResetReason;
use hb_proto::wire::service::{Board, Note, Settings, TestState};

use crate::board::{Area, Clock, Parts, Port, Store, Watchdog};
use crate::desk::Desk;
use crate::keys::Keys;
use crate::line::Line;
use crate::line_test::{LineTest, TestRefused};
use crate::record::{LONGEST_RECORD, Record, Retained};
use crate::trace::Trace;
use crate::wires::{Felt, Harness};

/// Chunks of 128 bytes that are read from each port in one turn: at 115200 bit/s the first is what arrives in
/// 11 ms, the second lets a late turn catch up. Whatever a flood sends, the other port has its share.
const CHUNKS: usize = 2;
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
pub struct Dongle<P1, P2, O, I, C, S: Store, W> {
    board: Board,
    arbiter: Arbiter,
    one: Line<P1>,
    two: Line<P2>,
    harness: [Harness<O, I>; 2],
    clock: C,
    store: S,
    watchdog: W,
    /// As the store has it.
    stored: (Record, Retained),
    /// What the arbiter wants stored, while it isn't.
    unsaved: Option<Memory>,
    /// A new life is due, above this one.
    live_above: Option<BootId>,
    test: Option<LineTest>,
    ended_test: Option<(Voter, bool)>,
    desk: Desk,
    settings: Settings,
    trace: Trace,
}

impl<P1, P2, O, I, C, S, W> Dongle<P1, P2, O, I, C, S, W>
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
        config: arbiter::Config,
        keys: KeyRing<N>,
        reset: ResetReason,
        parts: Parts<P1, P2, O, I, C, S, W>,
    ) -> Result<Self, StartError<S::Error>> {
        let Parts { board, one, two, wires, mut clock, mut store, watchdog } = parts;
        let harness = wires.map(Harness::new);
        let mut bytes = [0; LONGEST_RECORD];
        let len = store.read(Area::Flash, &mut bytes).map_err(StartError::Store)?;
        let record = Record::decode(&bytes[..len.min(LONGEST_RECORD)]);
        let len = store.read(Area::Retained, &mut bytes).map_err(StartError::Store)?;
        let retained = Retained::decode(&bytes[..len.min(LONGEST_RECORD)]).unwrap_or_default();
        let boot = record.map_or(BootId::new(1), |record| record.boot.next());
        let boot = boot.ok_or(StartError::NoMoreLives)?;
        let remembered = record.map(|record| Memory { promisees: retained.0, ..record.memory });
        let record = Record { boot, memory: record.map_or_else(Memory::default, |r| r.memory) };
        store.write(Area::Flash, &record.encode()).map_err(StartError::Store)?;
        let settings = Keys::load(&mut store).map_err(StartError::Store)?.settings;
        let now = clock.now();
        let arbiter =
            Arbiter::new(config, keys, boot, remembered, reset, now).map_err(StartError::Config)?;
        let mut trace = Trace::new(now);
        trace.note(now, Note::Began, boot.value());
        let mut dongle = Self {
            board,
            arbiter,
            one: Line::new(one),
            two: Line::new(two),
            harness,
            clock,
            store,
            watchdog,
            stored: (record, retained),
            unsaved: None,
            live_above: None,
            test: None,
            ended_test: None,
            desk: Desk::default(),
            settings,
            trace,
        };
        dongle.keep(settings);
        Ok(dongle)
    }

    /// One turn, as the crate's first page draws it; when the next one is due at the latest. Earlier when
    /// bytes arrive or an input changes.
    pub fn turn(&mut self) -> Instant {
        let mut duties = Duties::default();
        let woke = self.clock.now();
        self.arbiter.handle_wakeup(woke);
        self.listen(&mut duties);
        self.feel(&mut duties);
        let now = self.clock.now();
        self.arbiter.handle_timeout(now);
        duties.done(Duty::Decided);
        self.act(now, &mut duties);
        self.serve(now);
        self.speak(&mut duties);
        self.live_again(&mut duties);
        if duties.all() {
            self.watchdog.feed();
        }
        self.desk.longest_turn = self.desk.longest_turn.max(self.clock.now().since(woke));
        self.due(now)
    }

    /// A life with other keys is due: reset the chip, its reason is [`ResetReason::Software`].
    #[must_use]
    pub fn is_over(&mut self) -> bool {
        let now = self.clock.now();
        self.desk.ends().is_some_and(|at| at <= now)
    }

    /// Reads both ports by turns.
    fn listen(&mut self, duties: &mut Duties) {
        for _ in 0..CHUNKS {
            let (arbiter, desk, clock) = (&mut self.arbiter, &mut self.desk, &mut self.clock);
            let one = hear(&mut self.one, Side::One, arbiter, desk, clock);
            let two = hear(&mut self.two, Side::Two, arbiter, desk, clock);
            if !one && !two {
                break;
            }
        }
        duties.done(Duty::Listened);
    }

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
    fn act(&mut self, now: Instant, duties: &mut Duties) {
        self.save();
        // Nothing is done that follows from what isn't stored: a pulse whose life is forgotten could be given
        // twice (R12). The arbiter keeps it until then.
        while self.unsaved.is_none() {
            let Some(action) = self.arbiter.poll_action(now) else { break };
            match action {
                Action::Store(memory) => {
                    self.unsaved = Some(memory);
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
        if self.unsaved.is_none() {
            duties.done(Duty::Stored);
        }
    }

    /// Stores what is to be stored, each record only if it changed: flash wears.
    fn save(&mut self) {
        let Some(memory) = self.unsaved else { return };
        let boot = self.stored.0.boot;
        // Promises belong to the other record, which is written more often.
        let memory_alone = Memory { promisees: Memory::default().promisees, ..memory };
        let new = (Record { boot, memory: memory_alone }, Retained(memory.promisees));
        if new.1 != self.stored.1 {
            if self.store.write(Area::Retained, &new.1.encode()).is_err() {
                return;
            }
            self.stored.1 = new.1;
        }
        if new.0 != self.stored.0 {
            if self.store.write(Area::Flash, &new.0.encode()).is_err() {
                return;
            }
            self.stored.0 = new.0;
        }
        self.unsaved = None;
    }

    /// Nothing is said while something that it follows from isn't stored.
    fn speak(&mut self, duties: &mut Duties) {
        if self.unsaved.is_some() {
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

    /// R9: a life above one that was heard under this dongle's name. It knows what the former one knew.
    fn live_again(&mut self, duties: &mut Duties) {
        if self.desk.ends().is_some() {
            return;
        }
        match self.live_above {
            None => duties.done(Duty::Lives),
            Some(above) => self.begin_above(above, duties),
        }
    }

    /// A frame of its own: an arbiter on the stack is more than a turn needs otherwise.
    #[inline(never)]
    fn begin_above(&mut self, above: BootId, duties: &mut Duties) {
        let Some(boot) = above.max(self.arbiter.boot()).next() else { return };
        let record = Record { boot, ..self.stored.0 };
        if self.store.write(Area::Flash, &record.encode()).is_err() {
            return;
        }
        self.stored.0 = record;
        let memory = Memory { promisees: self.stored.1.0, ..record.memory };
        let (config, keys) = (self.arbiter.config().clone(), self.arbiter.keys().clone());
        let now = self.clock.now();
        let reset = ResetReason::Software;
        // The configuration was good enough for the first life.
        let Ok(arbiter) = Arbiter::new(config, keys, boot, Some(memory), reset, now) else {
            return;
        };
        (self.arbiter, self.live_above) = (arbiter, None);
        // It has not been told what the pins say.
        self.harness.iter_mut().for_each(Harness::tell_again);
        duties.done(Duty::Lives);
    }

    fn due(&self, now: Instant) -> Instant {
        let sending = self.one.is_sending() || self.two.is_sending();
        let wires = self.harness.iter().filter_map(Harness::due);
        wires
            .chain(sending.then_some(now + PUMP_EVERY))
            .chain(self.unsaved.map(|_| now + STORE_AGAIN))
            .chain(self.live_above.map(|_| now + STORE_AGAIN))
            .chain(self.desk.ends())
            .chain([self.arbiter.poll_timeout()])
            .min()
            .unwrap_or(now)
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
        let test = LineTest::begin(&self.arbiter, now, node)?;
        let harness = self.harness.get_mut(node.index()).ok_or(TestRefused::NotANode)?;
        self.arbiter.handle_commissioned(node, false);
        harness.pull(now, self.settings.pulse_ms);
        self.test = Some(test);
        self.note_test(now, node, TestState::UnderWay);
        Ok(())
    }

    fn tend_test(&mut self, now: Instant) {
        let Some(test) = self.test else { return };
        if let Some(proved) = test.outcome(&self.arbiter, now) {
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
        &self.arbiter
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

/// Reads one chunk and hands its frames in; false when nothing was there.
fn hear<P: Port>(
    line: &mut Line<P>,
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
