//! Lemma 1 of docs/protocol.md §7, after every turn: whenever a node counts a voter's promise for a group,
//! that voter has one outstanding to it which ends guard later at least. All clocks are the same one here.
//!
//! A voter that is off has promised nothing in this life; its next one begins bound (R8) and is judged again.

use hb_proto::authority::{Promisee, Promises};
use hb_proto::id::{GroupId, Voter};
use hb_proto::time::Duration;

use super::{A, B, GUARD, Trio};

pub fn hold(trio: &mut Trio) {
    let mut judged = 0;
    for user in [A, B] {
        let Some(node) = &trio.machines[user].node else { continue };
        let me = node.config().me;
        let guard = node.config().timing.guard;
        for group in (0..node.config().groups.len() as u8).map(GroupId) {
            for giver in [me.peer(), Voter::Arbiter] {
                let counted = node.promises(group).counted_until(giver);
                if counted <= trio.now {
                    continue;
                }
                let Some(given) = promises_of(trio, giver, group) else { continue };
                judged += 1;
                let to = given.promised_to(trio.now);
                // In the middle of a change, a spare that has no hello of this node's can't know its longer
                // guard (decision 10, known limits). It knows of the shortest.
                let spare = giver == Voter::Arbiter && trio.guard_changes;
                let guard = if spare { guard.min(GUARD) } else { guard };
                let bound = matches!(to, Some(Promisee::Unknown)) || to == Some(Promisee::To(me));
                let ends = given.promise_ends();
                assert!(
                    bound && ends >= Some(counted + guard),
                    "{}: lemma 1 at {:?}: {me:?} counts {giver:?} for {group:?} until {counted:?}, with \
                     guard {guard}; {giver:?} has promised to {to:?} until {ends:?}",
                    trio.name,
                    trio.now
                );
            }
        }
    }
    trio.judged += judged;
}

/// What the giver has promised. None if it is off, or is an arbiter that knows no terms yet, or has heard nobody
/// since it was put back: it promises nothing, and what it is bound to begins at its first contact.
fn promises_of(trio: &Trio, giver: Voter, group: GroupId) -> Option<Promises<()>> {
    let machine = match giver {
        Voter::A => &trio.machines[A],
        Voter::B => &trio.machines[B],
        Voter::Arbiter => {
            let ledger = trio.dongle.arbiter.as_ref()?.ledger();
            let newest =
                [Voter::A, Voter::B].iter().filter_map(|&of| ledger.voice(of)).map(|v| v.at);
            let put_back_at = trio.dongle.put_back_at;
            let heard = put_back_at.is_none() || newest.max() > put_back_at;
            let judged = heard && ledger.terms().lease > Duration::ZERO;
            return judged.then(|| ledger.promises(group).given());
        }
    };
    machine.node.as_ref().map(|node| node.promises(group).given())
}
