//! What stories ask about afterwards: deeds, events and announcements, by true time. Random runs keep none.

use hb_proto::action::Verb;
use hb_proto::event::Event;

use super::fault::Who;
use super::machine::What;
use super::queue::At;
use super::world::World;

/// What became of a resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Did {
    /// A script's start began.
    BeganStart,
    /// A script's stop began.
    BeganStop,
    /// The machine has it from here on.
    Got,
    /// It hasn't any more.
    Lost,
    /// A start ended without it.
    FailedToStart,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub deeds: Vec<(At, Who, What, Did)>,
    pub events: Vec<(At, Who, Event)>,
    pub announced: Vec<(At, Who, usize)>,
    /// Who has each group's address: A, B, in this order.
    pub addresses: Vec<(At, usize, [bool; 2])>,
}

impl World {
    pub(super) fn note_deed(&mut self, who: Who, what: What, did: Did) {
        let now = self.now;
        if let Some(record) = &mut self.record {
            record.deeds.push((now, who, what, did));
        }
    }

    /// Scripts that have just begun.
    pub(super) fn note_begun(&mut self, who: Who) {
        for (what, verb) in std::mem::take(&mut self.machines[who].begun) {
            match verb {
                Verb::Start => self.note_deed(who, what, Did::BeganStart),
                Verb::Stop => self.note_deed(who, what, Did::BeganStop),
                Verb::Status => {}
            }
        }
    }

    pub(super) fn note_held(&mut self, who: Who, group: usize, before: u16, held: u16) {
        if self.record.is_none() {
            return;
        }
        for resource in 0..16 {
            let (was, is) = (before >> resource & 1 == 1, held >> resource & 1 == 1);
            if was != is {
                let what = What { group: group as u8, resource };
                self.note_deed(who, what, if is { Did::Got } else { Did::Lost });
            }
        }
        self.note_addresses(group);
    }

    /// What a client's switch could know: who would answer.
    pub(super) fn note_addresses(&mut self, group: usize) {
        let now = self.now;
        let have =
            [0, 1].map(|who: Who| self.has_address(who, group) && self.machines[who].is_running());
        if let Some(record) = &mut self.record {
            record.addresses.push((now, group, have));
        }
    }

    pub(super) fn record_event(&mut self, who: Who, event: Event) {
        let now = self.now;
        if let Some(record) = &mut self.record {
            record.events.push((now, who, event));
        }
    }

    pub(super) fn announces(&mut self, who: Who, group: usize) {
        let now = self.now;
        if let Some(record) = &mut self.record {
            record.announced.push((now, who, group));
        }
    }
}
