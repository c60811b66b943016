//! What leads to one node beside its port: the reset output and the inputs, and what they prove (R12).

use embedded_hal::digital::{InputPin, OutputPin};
use hb_proto::time::{Duration, Instant};

/// How long a reset output pulls unless settings say otherwise. Boards debounce their reset button for some tens
/// of milliseconds.
pub const PULSE: Duration = Duration::from_millis(200);
/// A pull-up has raised its line again after this long.
pub const RISE: Duration = Duration::from_millis(20);
/// A sense input that is low for so long has fallen; a shorter dip was noise.
pub const SENSE_SETTLES: Duration = Duration::from_millis(5);

/// The pins for one node. `O` and `I` are a HAL's type-erased pins, or a pin type of the board's own.
#[derive(Debug)]
pub struct Wires<O, I> {
    /// High pulls the node's reset line.
    pub reset: O,
    /// The level of that line: high by the node's own pull-up alone. With it the line is supervised.
    pub line: Option<I>,
    /// High while the node has power or says that it lives: falls when it is reset.
    pub sense: Option<I>,
    /// High while the node feeds the dongle.
    pub feed: Option<I>,
}

/// What the wires of one node have to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Felt {
    /// A pulse is over; whether the line's own levels prove that a board went down.
    Pulsed {
        /// As [`hb_proto::arbiter::Arbiter::handle_pulsed`] wants it.
        evidence: bool,
    },
    /// The sense input fell.
    SenseFell,
}

/// A pulse under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pulse {
    None,
    /// The line is pulled until then. `sound`: it was high before, and is low.
    Pulled {
        until: Instant,
        sound: bool,
    },
    /// It rises again until then.
    Rising {
        until: Instant,
        sound: bool,
    },
}

/// The wires of one node, in use.
#[derive(Debug)]
pub(crate) struct Harness<O, I> {
    wires: Wires<O, I>,
    pulse: Pulse,
    /// Whether the sense input is high, debounced; nothing is known until it was high once.
    alive: Option<bool>,
    told_alive: Option<bool>,
    low_since: Option<Instant>,
    pub(crate) feeds: Option<bool>,
    /// The output could not be released: only a reset of the chip does it.
    pub(crate) stuck: bool,
}

impl<O: OutputPin, I: InputPin> Harness<O, I> {
    /// Releases the output before anything else (R12: nothing pulses at power-up or reset).
    pub(crate) fn new(mut wires: Wires<O, I>) -> Self {
        let stuck = wires.reset.set_low().is_err();
        let (alive, told_alive, low_since) = (None, None, None);
        Self { wires, pulse: Pulse::None, alive, told_alive, low_since, feeds: None, stuck }
    }

    /// Pulls the reset line for so long. One that is pulled already is not pulled longer: a line's test and a
    /// fence can meet, and then one pulse is for both.
    pub(crate) fn pull(&mut self, now: Instant, pulse_ms: u16) {
        if self.pulse != Pulse::None {
            return;
        }
        let pulse = Duration::from_millis(pulse_ms.into());
        let high_before = is_high(self.wires.line.as_mut()) == Some(true);
        // An output that can't be set is no pulse, and so no evidence.
        let pulled = self.wires.reset.set_high().is_ok();
        self.pulse = Pulse::Pulled { until: now + pulse, sound: pulled && high_before };
    }

    /// Looks at the inputs, and ends a pulse whose time has come.
    pub(crate) fn feel(&mut self, now: Instant) -> [Option<Felt>; 2] {
        [self.sense(now), self.tend_pulse(now)]
    }

    fn tend_pulse(&mut self, now: Instant) -> Option<Felt> {
        match self.pulse {
            Pulse::None => None,
            Pulse::Pulled { until, sound } => {
                if now < until {
                    return None;
                }
                let low_during = is_high(self.wires.line.as_mut()) == Some(false);
                self.stuck = self.wires.reset.set_low().is_err();
                self.pulse = Pulse::Rising { until: now + RISE, sound: sound && low_during };
                None
            }
            Pulse::Rising { until, sound } => {
                if now < until {
                    return None;
                }
                self.pulse = Pulse::None;
                let high_after = is_high(self.wires.line.as_mut()) == Some(true);
                Some(Felt::Pulsed { evidence: sound && high_after })
            }
        }
    }

    fn sense(&mut self, now: Instant) -> Option<Felt> {
        if is_high(self.wires.sense.as_mut())? {
            (self.alive, self.low_since) = (Some(true), None);
            return None;
        }
        let since = *self.low_since.get_or_insert(now);
        if self.alive != Some(true) || now.since(since) < SENSE_SETTLES {
            return None;
        }
        self.alive = Some(false);
        Some(Felt::SenseFell)
    }

    /// Whether the node feeds the dongle, if that changed.
    pub(crate) fn feed_changed(&mut self) -> Option<bool> {
        let feeds = is_high(self.wires.feed.as_mut())?;
        (self.feeds.replace(feeds) != Some(feeds)).then_some(feeds)
    }

    /// Whether the node's sign of life is there, if that changed.
    pub(crate) fn carrier_changed(&mut self) -> Option<bool> {
        let alive = self.alive?;
        (self.told_alive.replace(alive) != Some(alive)).then_some(alive)
    }

    /// Nothing is pulled.
    pub(crate) const fn at_rest(&self) -> bool {
        matches!(self.pulse, Pulse::None) && !self.stuck
    }

    /// The level of the reset line; `None` when nothing is wired.
    pub(crate) fn line_high(&mut self) -> Option<bool> {
        is_high(self.wires.line.as_mut())
    }

    /// The level of the sense input; `None` when nothing is wired.
    pub(crate) fn sense_high(&mut self) -> Option<bool> {
        is_high(self.wires.sense.as_mut())
    }

    /// When to look again at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        let pulse = match self.pulse {
            Pulse::None => None,
            Pulse::Pulled { until, .. } | Pulse::Rising { until, .. } => Some(until),
        };
        let falling =
            self.low_since.filter(|_| self.alive == Some(true)).map(|since| since + SENSE_SETTLES);
        pulse.into_iter().chain(falling).min()
    }
}

/// `None` without such a pin, or when it can't be read.
fn is_high<I: InputPin>(pin: Option<&mut I>) -> Option<bool> {
    pin?.is_high().ok()
}
