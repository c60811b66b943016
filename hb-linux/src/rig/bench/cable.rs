//! A null-modem line between the two machines: one line, or two halves with the dongle between them.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::line::{Line, Side};
use super::Node;

/// What can be wrong with one half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// The cable between the machine and the dongle is cut, modem lines included.
    Cut,
    /// The dongle hears nothing of this port.
    Deaf,
    /// The dongle sends nothing by this port.
    Mute,
}

/// All that is wrong with one half: each of it ends by itself.
#[derive(Clone, Copy, Default, Debug)]
pub struct Wrong {
    /// This half alone.
    cut: bool,
    /// The line as a whole.
    line_cut: bool,
    /// What the machine sends.
    way_cut: bool,
    deaf: bool,
    mute: bool,
}

/// See the module.
#[derive(Debug)]
pub enum Cable {
    Straight(Arc<Line>),
    /// Machine One's half, machine Two's half; the machine's end of each is side A.
    ThroughDongle([Arc<Line>; 2], Mutex<[Wrong; 2]>),
}

impl Cable {
    pub fn new(dongle: bool) -> io::Result<Self> {
        let line = || Line::new().map(Arc::new);
        if dongle {
            Ok(Self::ThroughDongle([line()?, line()?], Mutex::default()))
        } else {
            Ok(Self::Straight(line()?))
        }
    }

    pub fn halves(&self) -> Option<&[Arc<Line>; 2]> {
        match self {
            Self::Straight(_) => None,
            Self::ThroughDongle(halves, _) => Some(halves),
        }
    }

    /// The line and the side that a machine's port is at.
    pub fn end(&self, node: Node) -> (&Arc<Line>, Side) {
        match self {
            Self::Straight(line) => (line, node.side()),
            Self::ThroughDongle(halves, _) => (&halves[node.index()], Side::A),
        }
    }

    /// The line and the side from which a machine receives.
    pub fn source(&self, node: Node) -> (&Arc<Line>, Side) {
        match self {
            Self::Straight(line) => (line, node.other().side()),
            Self::ThroughDongle(halves, _) => (&halves[node.index()], Side::B),
        }
    }

    pub fn cut(&self, cut: bool) {
        for node in Node::BOTH {
            match self {
                Self::Straight(line) => line.cut(node.side(), cut),
                Self::ThroughDongle(..) => self.wrong(node, |wrong| wrong.line_cut = cut),
            }
        }
    }

    pub fn cut_way(&self, from: Node, cut: bool) {
        match self {
            Self::Straight(line) => line.cut(from.side(), cut),
            Self::ThroughDongle(..) => self.wrong(from, |wrong| wrong.way_cut = cut),
        }
    }

    pub fn half(&self, node: Node, what: Half, on: bool) {
        self.wrong(node, |wrong| match what {
            Half::Cut => wrong.cut = on,
            Half::Deaf => wrong.deaf = on,
            Half::Mute => wrong.mute = on,
        });
    }

    /// Whether no wire leads from the machine to the dongle.
    pub fn is_cut(&self, node: Node) -> bool {
        match self {
            Self::Straight(_) => false,
            Self::ThroughDongle(_, wrong) => {
                let wrong = lock(wrong)[node.index()];
                wrong.cut || wrong.line_cut
            }
        }
    }

    fn wrong(&self, node: Node, change: impl FnOnce(&mut Wrong)) {
        let Self::ThroughDongle(halves, wrong) = self else { return };
        let wrong = {
            let mut wrong = lock(wrong);
            change(&mut wrong[node.index()]);
            wrong[node.index()]
        };
        let half = &halves[node.index()];
        let both = wrong.cut || wrong.line_cut;
        half.cut(Side::A, both || wrong.way_cut || wrong.deaf);
        half.cut(Side::B, both || wrong.mute);
    }
}

fn lock(wrong: &Mutex<[Wrong; 2]>) -> MutexGuard<'_, [Wrong; 2]> {
    wrong.lock().unwrap_or_else(PoisonError::into_inner)
}
