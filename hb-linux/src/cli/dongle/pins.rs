//! Which pin is for what, on the boards that there is a program for (hb-mcu/boards, each board's `parts.rs`).

use hb_proto::wire::service::Board;

/// Name, place on the board, purpose.
type Pin = (&'static str, &'static str, &'static str);

/// Raspberry Pi Pico (datasheet, §2.1: pinout). Logic is 3.3 V.
const PICO: [Pin; 16] = [
    ("GP0", "pin 1", "to A: UART0 TX, through a level shifter"),
    ("GP1", "pin 2", "from A: UART0 RX"),
    ("GP8", "pin 11", "to B: UART1 TX, through a level shifter"),
    ("GP9", "pin 12", "from B: UART1 RX"),
    ("GP2", "pin 4", "A's reset line, high pulls it (through a transistor or an optocoupler)"),
    ("GP3", "pin 5", "B's reset line"),
    ("GP4", "pin 6", "level of A's reset line: high by A's own pull-up"),
    ("GP5", "pin 7", "level of B's reset line"),
    ("GP6", "pin 9", "A's sign of life, high while it has power"),
    ("GP7", "pin 10", "B's sign of life"),
    ("GP10", "pin 14", "A feeds the dongle: high"),
    ("GP11", "pin 15", "B feeds the dongle: high"),
    ("GP18", "pin 24", "LED of A"),
    ("GP19", "pin 25", "LED of B"),
    ("GP20", "pin 26", "LED alarm"),
    ("GP22", "pin 29", "button that erases the keys while power comes, to ground"),
];

/// Stellaris' evaluation board, as QEMU emulates it.
const LM3S6965EVB: [Pin; 14] = [
    ("UART0", "PA0, PA1", "A"),
    ("UART1", "PD2, PD3", "B"),
    ("PE0", "port E", "A's reset line, high pulls it"),
    ("PE1", "port E", "B's reset line"),
    ("PE2", "port E", "level of A's reset line"),
    ("PE3", "port E", "level of B's reset line"),
    ("PC4", "port C", "A's sign of life"),
    ("PC5", "port C", "B's sign of life"),
    ("PC6", "port C", "A feeds the dongle"),
    ("PC7", "port C", "B feeds the dongle"),
    ("PF2", "port F", "LED of A"),
    ("PF3", "port F", "LED of B"),
    ("PB0", "port B", "LED alarm"),
    ("PF1", "port F", "button that erases the keys while power comes"),
];

/// The table of a board; `None` where there are no pins, or none are known here.
#[must_use]
pub const fn of(board: Board) -> Option<&'static [Pin]> {
    match board {
        Board::Rp2040Pico => Some(&PICO),
        Board::Lm3s6965evb => Some(&LM3S6965EVB),
        Board::NucleoL476rg | Board::Host | Board::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pin_has_two_purposes() {
        for board in [Board::Rp2040Pico, Board::Lm3s6965evb] {
            let pins = of(board).expect("known");
            for (at, (name, place, _)) in pins.iter().enumerate() {
                let others = &pins[..at];
                assert!(others.iter().all(|(other, ..)| other != name), "{name} twice");
                assert!(
                    place.starts_with("port") || others.iter().all(|(_, other, _)| other != place),
                    "{place} twice"
                );
            }
        }
    }
}
