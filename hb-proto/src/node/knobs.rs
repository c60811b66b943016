//! What only tests may do to a node: no release build contains it.

use super::Node;
use crate::mutant::Mutant;
use crate::wire::message::Versions;

impl Node {
    /// For a test that wants to see who notices. Call before the first frame.
    pub fn break_rule(&mut self, rule: Option<Mutant>) {
        self.d.ledger.break_rule(rule);
        self.d.clean |= self.d.ledger.is_broken(Mutant::R9Unclean);
    }

    /// For a test of what happens when there are more versions of the wire.
    pub const fn understand(&mut self, versions: Versions) {
        self.versions = versions;
    }

    /// For a test that can't wait 13 years: the next frame is numbered after `seq`.
    pub const fn skip_to(&mut self, seq: u32) {
        self.d.ledger.skip_to(seq);
    }
}
