//! How a cable is wired, by the lines beside the data: which of a port's inputs (CTS, DSR, DCD) follow
//! which outputs (DTR, RTS), its own or the other end's.
//!
//! The full null modem joins RTS to the other end's CTS and DTR to its DSR and DCD
//! (docs/hardware/null-modem.md). `/proc/tty/driver/serial` shows the same lines: with both ends open
//! `RTS|CTS|DTR|DSR|CD`, with only this end open `RTS|DTR`, with only the other one `CTS|DSR|CD`.
//!
//! Pseudo-terminals have no such lines, and QEMU's UARTs keep theirs up whatever the other end does: what
//! is proved of this module rests on recorded patterns, the tests below.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a port drives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outputs {
    /// Data terminal ready.
    pub dtr: bool,
    /// Request to send.
    pub rts: bool,
}

/// What a port sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inputs {
    /// Clear to send.
    pub cts: bool,
    /// Data set ready.
    pub dsr: bool,
    /// Data carrier detect.
    pub dcd: bool,
}

/// What was seen at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// This end's outputs.
    pub ours: Outputs,
    /// The other end's, where it told them.
    pub theirs: Option<Outputs>,
    /// This end's inputs.
    pub seen: Inputs,
}

/// What the samples show. Whether data pass is another question, but for [`Wiring::of`]'s last step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wiring {
    /// The other end's RTS is our CTS, its DTR our DSR and DCD.
    NullModem,
    /// The same without DCD.
    NullModemWithoutDcd,
    /// Some of the lines cross, not all: a wire is broken, or never was there.
    PartOfNullModem,
    /// Each plug has its own outputs bridged to its own inputs; only the data cross.
    BridgedPlugs,
    /// Our own outputs come back, the data too: a loop-back plug.
    Loopback,
    /// Only the data cross.
    ThreeWires,
    /// Inputs stay up whatever both ends do: a modem at the end of a straight cable, or a port whose lines
    /// are not real.
    HeldUp,
    /// Nothing follows anything, and no data pass.
    Nothing,
    /// The port has no modem lines: a pseudo-terminal.
    NoLines,
}

/// What the data did meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data {
    /// The other end was heard.
    Cross,
    /// Our own bytes came back.
    ComeBack,
    /// Nothing came.
    None,
}

impl Wiring {
    /// Reads the samples, together with what the data did.
    #[must_use]
    pub fn of(samples: &[Sample], data: Data) -> Self {
        if samples.is_empty() {
            return Self::NoLines;
        }
        let own = |output: fn(&Outputs) -> bool| move |s: &Sample| Some(output(&s.ours));
        let far = |output: fn(&Outputs) -> bool| move |s: &Sample| s.theirs.as_ref().map(output);
        let rts = |outputs: &Outputs| outputs.rts;
        let dtr = |outputs: &Outputs| outputs.dtr;
        let [cts, dsr, dcd]: [fn(&Inputs) -> bool; 3] =
            [|seen| seen.cts, |seen| seen.dsr, |seen| seen.dcd];
        if follows(samples, cts, own(rts)) || follows(samples, dsr, own(dtr)) {
            return if data == Data::ComeBack { Self::Loopback } else { Self::BridgedPlugs };
        }
        let crossed = [
            follows(samples, cts, far(rts)),
            follows(samples, dsr, far(dtr)),
            follows(samples, dcd, far(dtr)),
        ];
        match crossed {
            [true, true, true] => return Self::NullModem,
            [true, true, false] => return Self::NullModemWithoutDcd,
            [false, false, false] => {}
            _ => return Self::PartOfNullModem,
        }
        if samples.iter().all(|sample| sample.seen.cts && sample.seen.dsr) {
            return Self::HeldUp;
        }
        if data == Data::Cross { Self::ThreeWires } else { Self::Nothing }
    }
}

/// Whether the input was as the output each time that the output is known; it must have been seen at both
/// levels.
fn follows(
    samples: &[Sample],
    input: fn(&Inputs) -> bool,
    output: impl Fn(&Sample) -> Option<bool>,
) -> bool {
    let pairs = || samples.iter().filter_map(|s| Some((input(&s.seen), output(s)?)));
    let both = [true, false].iter().all(|level| pairs().any(|(_, out)| out == *level));
    both && pairs().all(|(seen, out)| seen == out)
}

impl fmt::Display for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NullModem => {
                "a full null modem: RTS crosses to CTS, DTR to DSR and DCD"
            }
            Self::NullModemWithoutDcd => "a null modem without DCD: RTS crosses to CTS, DTR to DSR",
            Self::PartOfNullModem => {
                "part of a null modem: some modem lines cross and some don't; a wire may be broken"
            }
            Self::BridgedPlugs => "each plug is bridged in itself; only the data wires cross",
            Self::Loopback => "a loop-back plug: this port hears itself",
            Self::ThreeWires => "three wires: the data cross, no modem line does",
            Self::HeldUp => {
                "modem lines stay up whatever both ends do: a modem, or a port whose lines are not real"
            }
            Self::Nothing => {
                "no modem line follows anything: no cable, a straight cable, or the other end is closed"
            }
            Self::NoLines => "this port has no modem lines",
        })
    }
}

#[cfg(test)]
mod tests {
    //! Recorded patterns: each is what a cable of that kind lets a port see, by its wiring diagram in
    //! docs/hardware/null-modem.md. No UART took part.

    use super::*;

    const LEVELS: [Outputs; 4] = [
        Outputs { dtr: true, rts: true },
        Outputs { dtr: false, rts: true },
        Outputs { dtr: true, rts: false },
        Outputs { dtr: false, rts: false },
    ];

    /// Both ends step through their levels, each at its own pace; `wires` is the cable.
    fn record(wires: impl Fn(Outputs, Outputs) -> Inputs) -> Vec<Sample> {
        let steps = (0..16).map(|n| (LEVELS[n % 4], LEVELS[(n / 4) % 4]));
        steps
            .map(|(ours, theirs)| Sample { ours, theirs: Some(theirs), seen: wires(ours, theirs) })
            .collect()
    }

    fn seen(cts: bool, dsr: bool, dcd: bool) -> Inputs {
        Inputs { cts, dsr, dcd }
    }

    #[test]
    fn each_kind_of_cable_has_its_pattern() {
        let full = record(|_, far| seen(far.rts, far.dtr, far.dtr));
        let without_dcd = record(|_, far| seen(far.rts, far.dtr, false));
        let broken_cts = record(|_, far| seen(false, far.dtr, far.dtr));
        let bridged = record(|own, _| seen(own.rts, own.dtr, own.dtr));
        let three = record(|_, _| seen(false, false, false));
        let held = record(|_, _| seen(true, true, true));
        let cases = [
            (&full, Data::Cross, Wiring::NullModem),
            (&without_dcd, Data::Cross, Wiring::NullModemWithoutDcd),
            (&broken_cts, Data::Cross, Wiring::PartOfNullModem),
            (&bridged, Data::Cross, Wiring::BridgedPlugs),
            (&bridged, Data::ComeBack, Wiring::Loopback),
            (&three, Data::Cross, Wiring::ThreeWires),
            (&three, Data::None, Wiring::Nothing),
            (&held, Data::Cross, Wiring::HeldUp),
            (&Vec::new(), Data::Cross, Wiring::NoLines),
        ];
        for (samples, data, wiring) in cases {
            assert_eq!(Wiring::of(samples, data), wiring, "{data:?}");
        }
    }

    #[test]
    fn a_dead_data_wire_beside_sound_modem_lines_is_still_a_null_modem() {
        let full = record(|_, far| seen(far.rts, far.dtr, far.dtr));
        assert_eq!(Wiring::of(&full, Data::None), Wiring::NullModem);
    }

    #[test]
    fn lines_that_never_moved_prove_nothing() {
        // Both ends held everything up all the time: a null modem would look the same.
        let still: Vec<_> = record(|_, far| seen(far.rts, far.dtr, far.dtr))
            .into_iter()
            .filter(|sample| sample.theirs == Some(LEVELS[0]) && sample.ours == LEVELS[0])
            .collect();
        assert_eq!(Wiring::of(&still, Data::Cross), Wiring::HeldUp);
    }

    #[test]
    fn without_the_other_end_only_our_own_outputs_are_compared() {
        let alone = |wires: fn(Outputs) -> Inputs| -> Vec<_> {
            LEVELS.iter().map(|&ours| Sample { ours, theirs: None, seen: wires(ours) }).collect()
        };
        let loopback = alone(|own| seen(own.rts, own.dtr, own.dtr));
        assert_eq!(Wiring::of(&loopback, Data::ComeBack), Wiring::Loopback);
        let open = alone(|_| seen(false, false, false));
        assert_eq!(Wiring::of(&open, Data::None), Wiring::Nothing);
    }
}
