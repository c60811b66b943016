//! What a person sees: a live picture on a terminal, lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::Mac;
use super::super::bench::{Bench, Network, Node, SERVICE};
use super::super::probe::{Outcome, Record};

/// Time in one cell of the strip.
pub const CELL: Duration = Duration::from_millis(100);
/// Events shown at once.
const EVENTS: usize = 12;
/// Columns and rows, where the terminal doesn't say.
const SIZE: [usize; 2] = [80, 24];

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BLUE: &str = "\x1b[34m";
const NONE: &str = "";

/// Text in one style; lines are clipped to the terminal's width, which escapes would hide.
type Span = (&'static str, String);

/// Who answered in one cell of the strip.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell {
    /// Nothing ended in this time: the client was not there yet.
    Empty,
    /// Questions ended, none of them well.
    Nobody,
    /// Answered by one machine.
    By(Node),
    /// Answered by both, one after the other.
    Both,
    /// Answered by a hardware address that is no machine's.
    Stranger,
}

impl Cell {
    /// One letter, for text without colours.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Empty => ' ',
            Self::Nobody => '.',
            Self::By(Node::One) => '1',
            Self::By(Node::Two) => '2',
            Self::Both => 'x',
            Self::Stranger => '?',
        }
    }

    fn span(self) -> Span {
        match self {
            Self::Empty => (NONE, " ".into()),
            Self::Nobody => (RED, "·".into()),
            Self::By(node @ Node::One) => (GREEN, shape(node).into()),
            Self::By(node @ Node::Two) => (BLUE, shape(node).into()),
            Self::Both => (YELLOW, "▒".into()),
            Self::Stranger => (RED, "?".into()),
        }
    }
}

/// A machine's sign beside its colour: not everybody sees that, and not every terminal shows it.
const fn shape(node: Node) -> &'static str {
    match node {
        Node::One => "█",
        Node::Two => "▄",
    }
}

/// So many of the newest events fit below what is always shown; the cursor takes the last row.
fn room_for_events(rows: usize, above: usize) -> usize {
    rows.saturating_sub(above + 1).clamp(1, EVENTS)
}

/// Whose hardware address on the public network it is.
#[must_use]
pub fn owner(mac: Mac) -> Option<Node> {
    Node::BOTH.into_iter().find(|node| Network::Public.mac(*node) == mac)
}

/// The client's answers from `from` to `to`, a cell for each 100 ms.
#[must_use]
pub fn strip(record: &Record, from: Instant, to: Instant) -> Vec<Cell> {
    let count = to.saturating_duration_since(from).as_millis() / CELL.as_millis();
    let mut cells = vec![Cell::Empty; usize::try_from(count).unwrap_or(0)];
    for answer in &record.answers {
        // A question that failed shows where it was asked: giving up comes 200 ms later.
        let good = answer.outcome == Outcome::Answered;
        let at = if good { answer.done } else { answer.sent };
        let Some(after) = at.checked_duration_since(from) else { continue };
        let number = usize::try_from(after.as_millis() / CELL.as_millis()).unwrap_or(usize::MAX);
        let Some(cell) = cells.get_mut(number) else { continue };
        if !good {
            if *cell == Cell::Empty {
                *cell = Cell::Nobody;
            }
            continue;
        }
        let by = answer.mac.and_then(owner).map_or(Cell::Stranger, Cell::By);
        *cell = match *cell {
            Cell::Empty | Cell::Nobody => by,
            same if same == by => by,
            _ => Cell::Both,
        };
    }
    cells
}

/// The terminal or the pipe.
#[derive(Debug)]
pub struct Screen {
    live: bool,
    started: Instant,
    events: Vec<Span>,
    drawn: usize,
}

impl Screen {
    /// Live when standard output is a terminal and `plain` isn't asked for.
    #[must_use]
    pub fn new(plain: bool) -> Self {
        let live = !plain && io::stdout().is_terminal();
        if live {
            print!("\x1b[?25l");
        }
        Self { live, started: Instant::now(), events: Vec::new(), drawn: 0 }
    }

    /// Something happened, or is done.
    pub fn event(&mut self, text: &str) {
        self.note(NONE, text);
    }

    /// Something is not as it should be.
    pub fn alarm(&mut self, text: &str) {
        self.note(RED, text);
    }

    fn note(&mut self, style: &'static str, text: &str) {
        let text = format!("{:6.2} s  {text}", self.started.elapsed().as_secs_f64());
        if self.live {
            self.events.push((style, text));
        } else {
            println!("{text}");
            let _ = io::stdout().flush();
        }
    }

    /// The answers of a step, where there is no live picture.
    pub fn step_strip(&self, cells: &[Cell]) {
        if !self.live {
            let letters: String = cells.iter().map(|cell| cell.letter()).collect();
            println!("          answers by, each 100 ms: {letters}");
        }
    }

    /// Draws the picture anew.
    pub fn draw(&mut self, bench: &Bench, statuses: &[Option<Value>; 2], step: &str) {
        if !self.live {
            return;
        }
        let [width, rows] = rustix::termios::tcgetwinsize(io::stdout())
            .ok()
            // A terminal that doesn't know its size says 0.
            .filter(|size| size.ws_col >= 20 && size.ws_row > 0)
            .map_or(SIZE, |size| [size.ws_col.into(), size.ws_row.into()]);
        let now = Instant::now();
        let span = CELL * u32::try_from(width - 4).unwrap_or(u32::MAX);
        let from = now.checked_sub(span).unwrap_or(now);
        let cells = bench.client().map(|client| client.read(|record| strip(record, from, now)));
        let cells = cells.unwrap_or_default();
        let answering = match cells.last() {
            Some(Cell::By(node)) => Some(*node),
            _ => None,
        };
        let mut lines = vec![vec![(BOLD, "hb demo".into()), (NONE, format!("  {step}"))], vec![]];
        for node in Node::BOTH {
            lines.push(machine(bench, node, statuses[node.index()].as_ref(), answering));
            lines.push(links(statuses[node.index()].as_ref()));
        }
        if bench.dongle().is_some() {
            lines.push(dongle(bench, statuses));
        }
        lines.push(vec![]);
        lines.push(vec![
            (NONE, format!("{SERVICE} answered by ")),
            (GREEN, format!("{} {}", shape(Node::One), bench.machine(Node::One).name())),
            (BLUE, format!("  {} {}", shape(Node::Two), bench.machine(Node::Two).name())),
            (RED, "  · nobody".into()),
            (DIM, "  (a cell is 100 ms)".into()),
        ]);
        lines.push(cells.into_iter().map(Cell::span).collect());
        lines.push(vec![]);
        let first = self.events.len().saturating_sub(room_for_events(rows, lines.len()));
        lines.extend(self.events[first..].iter().map(|event| vec![event.clone()]));
        self.show(&lines, width);
    }

    fn show(&mut self, lines: &[Vec<Span>], width: usize) {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}F", self.drawn));
        }
        for line in lines {
            let mut room = width - 1;
            for (style, part) in line {
                let clipped: String = part.chars().take(room).collect();
                room -= clipped.chars().count();
                text.push_str(style);
                text.push_str(&clipped);
                text.push_str(if style.is_empty() { "" } else { "\x1b[0m" });
            }
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        let mut out = io::stdout().lock();
        // A terminal that went away is noticed by SIGHUP.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.live {
            println!("\x1b[?25h");
            let _ = io::stdout().flush();
        }
    }
}

fn machine(
    bench: &Bench,
    node: Node,
    status: Option<&Value>,
    answering: Option<Node>,
) -> Vec<Span> {
    let colour = if node == Node::One { GREEN } else { BLUE };
    let machine = bench.machine(node);
    let mut line = vec![(BOLD, format!("{:<10}", machine.name()))];
    if !machine.is_on() {
        line.push((RED, "power off".into()));
        return line;
    }
    let Some(status) = status else {
        line.push((DIM, "heartbeat says nothing".into()));
        return line;
    };
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    line.push((NONE, format!("{:<9}", word(&status["state"]))));
    let peer = &status["peer"];
    line.push((DIM, format!("sees {} {:<8}", word(&peer["name"]), word(&peer["state"]))));
    if answering == Some(node) {
        line.push((colour, format!("{} {SERVICE}", shape(node))));
    }
    line
}

/// The dongle, as the rig knows it, and its votes as a node that hears it tells them.
fn dongle(bench: &Bench, statuses: &[Option<Value>; 2]) -> Vec<Span> {
    let mut line = vec![(BOLD, format!("{:<10}", "dongle"))];
    let Some(dongle) = bench.dongle().filter(|dongle| dongle.is_on()) else {
        line.push((RED, "pulled out, or without power".into()));
        return line;
    };
    line.push((NONE, format!("{:<9}", "on")));
    let heard = |status: &&Value| status["arbiter"]["state"] == "present";
    let Some(status) = statuses.iter().flatten().find(heard) else {
        line.push((DIM, "no node hears it".into()));
        return line;
    };
    let arbiter = &status["arbiter"];
    line.push((DIM, "votes for ".into()));
    let promises = arbiter["promises"].as_object();
    for to in promises.into_iter().flat_map(|promises| promises.values()) {
        let to = to.as_str().unwrap_or("nobody");
        let node = Node::BOTH.into_iter().find(|node| bench.machine(*node).name() == to);
        let colour = match node {
            Some(Node::One) => GREEN,
            Some(Node::Two) => BLUE,
            None => YELLOW,
        };
        line.push((colour, format!("{to:<9}")));
    }
    let hears = arbiter["hears"].as_object().into_iter().flatten();
    let heard: Vec<_> = hears.filter(|(_, ms)| !ms.is_null()).map(|(node, _)| &**node).collect();
    line.push((DIM, format!(" hears {}", heard.join(", "))));
    let resets = dongle.pulled().len();
    if resets > 0 {
        line.push((YELLOW, format!("  resets so far: {resets}")));
    }
    line
}

fn links(status: Option<&Value>) -> Vec<Span> {
    let mut line = vec![(NONE, " ".repeat(10))];
    let links = status.and_then(|status| status["links"].as_array());
    for link in links.into_iter().flatten() {
        let state = link["state"].as_str().unwrap_or("?");
        let colour = match state {
            "up" => GREEN,
            "one-way" => YELLOW,
            _ => RED,
        };
        line.push((DIM, format!("{} ", link["name"].as_str().unwrap_or("?"))));
        line.push((colour, format!("{state}   ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::super::probe::Answer;
    use super::*;

    /// What is above the events must not scroll out of the terminal.
    #[test]
    fn a_low_terminal_shows_fewer_events() {
        for (rows, events) in [(24, 12), (23, 12), (22, 11), (15, 4), (5, 1)] {
            assert_eq!(room_for_events(rows, 10), events, "{rows} rows");
        }
    }

    #[test]
    fn the_strip_shows_who_answered_and_the_gap() {
        let start = Instant::now();
        let answer = |ms: u64, outcome, node: Node| Answer {
            sent: start + Duration::from_millis(ms - 30),
            done: start + Duration::from_millis(ms),
            outcome,
            mac: Some(Network::Public.mac(node)),
        };
        let record = Record {
            answers: vec![
                answer(150, Outcome::Answered, Node::One),
                answer(250, Outcome::Timeout, Node::One),
                answer(320, Outcome::Refused, Node::Two),
                answer(350, Outcome::Answered, Node::Two),
                answer(410, Outcome::Answered, Node::Two),
                answer(420, Outcome::Answered, Node::One),
            ],
            sightings: vec![],
        };
        let cells = strip(&record, start, start + Duration::from_millis(600));
        let letters: String = cells.into_iter().map(Cell::letter).collect();
        assert_eq!(letters, " 1.2x ");
    }
}
