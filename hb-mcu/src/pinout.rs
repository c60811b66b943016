//! Which pin is for what. `hb dongle pinout` prints it; the boards' programs, whose registers want numbers and bits, are
//! held against it when they are compiled ([`are`]), and a test holds the book's table and drawing against it.

use hb_proto::wire::service::Board;

/// A pin of a board.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin {
    /// Its port, as the board's maker writes it: `GP`, `PC`.
    pub port: &'static str,
    /// Its number in that port.
    pub number: u32,
    /// Where it is on the board.
    pub place: &'static str,
}

/// The pins of a board; of two the first is A's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pinout {
    /// Serial lines, from the board.
    pub tx: [Pin; 2],
    /// Serial lines, to the board.
    pub rx: [Pin; 2],
    /// Reset outputs: high pulls a node's line.
    pub reset: [Pin; 2],
    /// Levels of the reset lines.
    pub line: [Pin; 2],
    /// The nodes' signs of life.
    pub sense: [Pin; 2],
    /// The nodes' power feeds.
    pub feed: [Pin; 2],
    /// LEDs: alive, A, B, alarm.
    pub lamps: [Pin; 4],
    /// The button that erases keys, low when pressed.
    pub button: Pin,
}

/// Whether these are the pins of `port` with these numbers: for a board's program, to be asserted when it is compiled.
#[must_use]
pub const fn are(pins: &[Pin], port: &str, numbers: &[u32]) -> bool {
    let (mut at, mut same) = (0, pins.len() == numbers.len());
    while same && at < pins.len() {
        same = pins[at].number == numbers[at] && is(pins[at].port, port);
        at += 1;
    }
    same
}

/// `==` of texts is not for constants.
const fn is(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let (mut at, mut same) = (0, one.len() == other.len());
    while same && at < one.len() {
        same = one[at] == other[at];
        at += 1;
    }
    same
}

const fn gp(number: u32, place: &'static str) -> Pin {
    Pin { port: "GP", number, place }
}

/// Raspberry Pi Pico (data sheet, section 2.1: pinout).
pub const PICO: Pinout = Pinout {
    tx: [gp(0, "pin 1"), gp(8, "pin 11")],
    rx: [gp(1, "pin 2"), gp(9, "pin 12")],
    reset: [gp(2, "pin 4"), gp(3, "pin 5")],
    line: [gp(4, "pin 6"), gp(5, "pin 7")],
    sense: [gp(6, "pin 9"), gp(7, "pin 10")],
    feed: [gp(10, "pin 14"), gp(11, "pin 15")],
    lamps: [gp(25, "its own LED"), gp(18, "pin 24"), gp(19, "pin 25"), gp(20, "pin 26")],
    button: gp(22, "pin 29"),
};

const fn on(port: &'static str, number: u32, place: &'static str) -> Pin {
    Pin { port, number, place }
}

/// ST's Nucleo-L476RG (UM1724: ST morpho connectors CN7 and CN10).
pub const NUCLEO_L476RG: Pinout = Pinout {
    tx: [on("PA", 9, "CN10-21"), on("PC", 10, "CN7-1")],
    rx: [on("PA", 10, "CN10-33"), on("PC", 11, "CN7-2")],
    reset: [on("PC", 6, "CN10-4"), on("PC", 8, "CN10-2")],
    line: [on("PB", 4, "CN10-27"), on("PB", 5, "CN10-29")],
    sense: [on("PB", 13, "CN10-30"), on("PB", 14, "CN10-28")],
    feed: [on("PC", 2, "CN7-35"), on("PC", 3, "CN7-37")],
    lamps: [
        on("PA", 5, "its own LED"),
        on("PB", 8, "CN10-3"),
        on("PB", 9, "CN10-5"),
        on("PB", 10, "CN10-25"),
    ],
    button: on("PC", 13, "its own button"),
};

/// Stellaris' LM3S6965 evaluation board, as QEMU emulates it: nothing is soldered to it.
pub const LM3S6965EVB: Pinout = Pinout {
    tx: [on("PA", 1, "UART0"), on("PD", 3, "UART1")],
    rx: [on("PA", 0, "UART0"), on("PD", 2, "UART1")],
    reset: [on("PE", 0, "port E"), on("PE", 1, "port E")],
    line: [on("PE", 2, "port E"), on("PE", 3, "port E")],
    sense: [on("PC", 4, "port C"), on("PC", 5, "port C")],
    feed: [on("PC", 6, "port C"), on("PC", 7, "port C")],
    lamps: [
        on("PF", 0, "its own LED"),
        on("PF", 2, "port F"),
        on("PF", 3, "port F"),
        on("PB", 0, "port B"),
    ],
    button: on("PF", 1, "its own button"),
};

/// The pins of a board; `None` for one that has none, or is not known here.
#[must_use]
pub const fn of(board: Board) -> Option<&'static Pinout> {
    match board {
        Board::Rp2040Pico => Some(&PICO),
        Board::NucleoL476rg => Some(&NUCLEO_L476RG),
        Board::Lm3s6965evb => Some(&LM3S6965EVB),
        Board::Host | Board::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_told_apart_by_port_and_number() {
        assert!(are(&PICO.reset, "GP", &[2, 3]) && are(&NUCLEO_L476RG.reset, "PC", &[6, 8]));
        assert!(!are(&PICO.reset, "GP", &[2, 4]) && !are(&PICO.reset, "PG", &[2, 3]));
        assert!(!are(&PICO.reset, "GP", &[2]) && !are(&PICO.reset, "G", &[2, 3]));
    }

    #[test]
    fn no_pin_has_two_purposes() {
        for board in [Board::Rp2040Pico, Board::NucleoL476rg, Board::Lm3s6965evb] {
            let Pinout { tx, rx, reset, line, sense, feed, lamps, button } =
                of(board).expect("known");
            let pins: std::vec::Vec<Pin> = [*tx, *rx, *reset, *line, *sense, *feed]
                .concat()
                .into_iter()
                .chain(*lamps)
                .chain([*button])
                .collect();
            for (at, pin) in pins.iter().enumerate() {
                for other in &pins[..at] {
                    assert!((pin.port, pin.number) != (other.port, other.number), "{pin:?} twice");
                    let many = pin.place.starts_with("port") || pin.place.starts_with("UART");
                    assert!(many || pin.place != other.place, "{pin:?} and {other:?}");
                }
            }
        }
    }
}
