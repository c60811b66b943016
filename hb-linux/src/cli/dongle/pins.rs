//! Which pin is for what, as a person reads it; which it is stands in [`hb_mcu::pinout`].

use hb_mcu::pinout::{self, Pin, Pinout};
use hb_proto::wire::service::Board;

/// A pin's name, its place on the board, its purpose.
pub type Row = (String, &'static str, &'static str);

/// Boards, by the names that they are asked for by.
pub const BOARDS: [(&str, Board); 3] = [
    ("pico", Board::Rp2040Pico),
    ("nucleo-l476rg", Board::NucleoL476rg),
    ("lm3s6965evb", Board::Lm3s6965evb),
];

/// The table of a board; `None` where there are no pins, or none are known here.
#[must_use]
pub fn of(board: Board) -> Option<Vec<Row>> {
    let Pinout { tx, rx, reset, line, sense, feed, lamps, button } = *pinout::of(board)?;
    let row = |pin: Pin, purpose| (format!("{}{}", pin.port, pin.number), pin.place, purpose);
    let both = |[a, b]: [Pin; 2], of_a, of_b| [row(a, of_a), row(b, of_b)];
    let [alive, of_a, of_b, alarm] = lamps;
    Some(
        [
            both(tx, "to A, through a level shifter", "to B, through a level shifter"),
            both(rx, "from A, through a level shifter", "from B, through a level shifter"),
            both(
                reset,
                "A's reset line, high pulls it (through a transistor or an optocoupler)",
                "B's reset line",
            ),
            both(
                line,
                "level of A's reset line: high by A's own pull-up",
                "level of B's reset line",
            ),
            both(sense, "A's sign of life, high while it has power", "B's sign of life"),
            both(feed, "A feeds the dongle: high", "B feeds the dongle: high"),
            [row(alive, "LED alive"), row(of_a, "LED of A")],
            [row(of_b, "LED of B"), row(alarm, "LED alarm")],
        ]
        .into_iter()
        .flatten()
        .chain([row(button, "button that erases the keys while power comes, to ground")])
        .collect(),
    )
}
