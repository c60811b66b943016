//! The pins that the book and its drawing name are those of the programs (`hb_mcu::pinout`).

use std::fs;
use std::path::Path;

use hb_mcu::pinout::{self, Pin, Pinout};

fn book(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hardware/dongle").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of the row whose first begins so: one for each board.
fn cells(text: &str, head: &str) -> Vec<String> {
    let line =
        text.lines().find(|line| line.strip_prefix("| ").is_some_and(|l| l.starts_with(head)));
    let line = line.unwrap_or_else(|| panic!("no row {head:?}"));
    line.trim_matches('|').split('|').skip(1).map(|cell| cell.trim().to_owned()).collect()
}

/// As the book writes several: `PA5, PB8`; a port without a letter once, `GP25, 18`.
fn written(pins: &[Pin]) -> [String; 2] {
    let name = |pin: &Pin| format!("{}{}", pin.port, pin.number);
    let all: Vec<_> = pins.iter().map(name).collect();
    let short: Vec<_> = pins[1..].iter().map(|pin| pin.number.to_string()).collect();
    [all.join(", "), [&[name(&pins[0])], &short[..]].concat().join(", ")]
}

#[test]
fn the_table_of_pins_is_the_programs() {
    let text = book("README.md");
    let boards = [pinout::PICO, pinout::NUCLEO_L476RG, pinout::LM3S6965EVB];
    type Part = (&'static str, fn(&Pinout) -> Vec<Pin>);
    let parts: [Part; 8] = [
        ("TX ", |of| of.tx.to_vec()),
        ("RX ", |of| of.rx.to_vec()),
        ("reset output", |of| of.reset.to_vec()),
        ("reset line, in", |of| of.line.to_vec()),
        ("sense", |of| of.sense.to_vec()),
        ("power feed, in", |of| of.feed.to_vec()),
        ("LEDs alive", |of| of.lamps.to_vec()),
        ("button, to ground", |of| vec![of.button]),
    ];
    for (head, pins) in parts {
        let cells = cells(&text, head);
        assert_eq!(cells.len(), boards.len(), "{head}: {cells:?}");
        for (cell, board) in cells.iter().zip(&boards) {
            let expected = written(&pins(board));
            assert!(expected.contains(cell), "{head}: {cell:?}, expected {expected:?}");
        }
    }
}

/// The drawing is the Pico's.
#[test]
fn the_drawing_has_every_pin_of_the_pico() {
    let drawing = book("wiring.svg");
    let Pinout { tx, rx, reset, line, sense, feed, lamps, button } = pinout::PICO;
    let pairs = [tx, rx, reset, line, sense, feed].concat();
    for pin in pairs.iter().chain(&lamps).chain([&button]) {
        let name = format!("{}{}", pin.port, pin.number);
        let whole = |(at, _): (usize, &str)| {
            !drawing[at + name.len()..].starts_with(|next: char| next.is_ascii_digit())
        };
        assert!(drawing.match_indices(&name).any(whole), "{name} is not drawn");
    }
}
