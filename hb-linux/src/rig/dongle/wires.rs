//! What leads from the dongle to the machines, and what its process says and hears.

use std::io::Write as _;
use std::time::Instant;

use super::super::node::Node;
use super::super::outlet::Cause;
use super::{EVENTS, Pulled, ResetWire, State};

impl State {
    pub(super) fn note(&mut self, text: String) {
        if self.events.len() < EVENTS {
            self.events.push((Instant::now(), text));
        }
    }

    /// Tells its inputs' levels, where they changed.
    pub(super) fn levels(&mut self) {
        for node in Node::BOTH {
            let machine = self.end_of(node);
            let line = machine.is_some_and(|machine| !self.outlets[machine.index()].is_pulled());
            let alive = self.outlets[node.index()].is_alive() && !self.half_cut[node.index()];
            let inputs = [("line", line), ("sense", alive), ("feed", self.is_fed(node))];
            for (which, (word, level)) in inputs.into_iter().enumerate() {
                if self.told[which][node.index()].replace(level) != Some(level) {
                    self.say(&format!("{word} {} {}", node.index(), u8::from(level)));
                }
            }
        }
    }

    pub(super) fn say(&mut self, line: &str) {
        if let Some(running) = &mut self.running {
            // It ended: what it would have been told, its next life is.
            let _ = writeln!(running.input, "{line}");
        }
    }

    /// The machine whose reset header an output is wired to.
    fn end_of(&self, output: Node) -> Option<Node> {
        match self.wired[output.index()] {
            ResetWire::Sound => Some(output),
            ResetWire::Broken => None,
            ResetWire::Swapped => Some(output.other()),
        }
    }

    pub(super) fn set_output(&mut self, output: Node, high: bool) {
        let index = output.index();
        if std::mem::replace(&mut self.high[index], high) == high {
            return;
        }
        if high {
            let machine = self.end_of(output);
            self.pulls[index] = machine;
            let hit =
                machine.filter(|machine| self.outlets[machine.index()].pull_reset(Cause::Dongle));
            self.pulled.push(Pulled { at: Instant::now(), output, hit });
            self.note(format!("pulls the reset output of {output:?}: {hit:?} is reset"));
        } else if let Some(machine) = self.pulls[index].take() {
            self.outlets[machine.index()].release_reset();
            self.note(format!("releases the reset output of {output:?}"));
        }
        self.levels();
    }

    pub(super) fn heard(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let node = |number: &str| if number == "0" { Node::One } else { Node::Two };
        match words.as_slice() {
            ["fed"] => self.fed_at = Instant::now(),
            ["chip"] => {
                if let Some(running) = &mut self.running {
                    running.is_chip = true;
                }
            }
            ["broken", ..] => self.broken.push(format!("the dongle's emulator: {line}")),
            ["reset", number, level] => self.set_output(node(number), *level == "1"),
            ["tested", number, how @ ..] => {
                self.note(line.to_owned());
                self.tested = Some((node(number).index(), how.join(" ")));
            }
            _ => self.note(line.to_owned()),
        }
    }
}
