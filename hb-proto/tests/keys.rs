//! R14: keys change in a running pair, one step at a time on one node after the other, and nothing stops.

mod pair;
mod trio;

use hb_proto::id::Voter;
use hb_proto::node::KeysRefused;
use hb_proto::peer::PeerState;
use hb_proto::wire::auth::{Key, KeyRing};
use pair::{A, B, Pair, ms};

fn key(id: u8, secret: &[u8]) -> Key {
    Key::hmac(id, secret).expect("id in range")
}

/// What [`pair::keys`] has.
fn old() -> Key {
    key(1, b"a secret")
}

fn new() -> Key {
    key(2, b"another secret")
}

fn ring(keys: &[Key], signing: u8) -> KeyRing {
    KeyRing::new(keys.iter().cloned().collect(), signing).expect("it is listed")
}

/// The three rounds of docs/operations.md.
fn rounds() -> [KeyRing; 3] {
    [ring(&[old(), new()], 1), ring(&[old(), new()], 2), ring(&[new()], 2)]
}

#[test]
fn a_key_is_changed_in_three_rounds_and_nobody_notices() {
    let mut pair = Pair::started();
    let orders = pair.orders.len();
    for round in rounds() {
        for who in [A, B] {
            pair.node(who).request_keys(round.clone()).expect("a step");
            pair.run(ms(2000));
            for who in [A, B] {
                assert_eq!(pair.node(who).peer().state(), PeerState::Alive);
                assert_eq!(pair.serves(who), who == A);
            }
        }
    }
    assert_eq!(pair.node(A).key_user(1), None);
    assert_eq!(pair.double, ms(0));
    assert_eq!(pair.orders.len(), orders, "nothing was started or stopped");
}

/// Each of these would leave the node without a link, and the pair in a split.
#[test]
fn a_step_too_far_is_refused_and_the_old_keys_stay() {
    let mut pair = Pair::started();
    let a = pair.node(A);
    let in_use = Err(KeysRefused::InUse { id: 1, by: Voter::B });
    assert_eq!(a.request_keys(ring(&[old(), new()], 2)), Err(KeysRefused::SignsAtOnce { id: 2 }));
    assert_eq!(a.request_keys(ring(&[new()], 2)), Err(KeysRefused::SignsAtOnce { id: 2 }));
    let other = key(1, b"not the secret");
    assert_eq!(a.request_keys(ring(&[other], 1)), Err(KeysRefused::SignsAtOnce { id: 1 }));
    let [first, second, third] = rounds();
    a.request_keys(first).expect("a step");
    a.request_keys(second)
        .expect("B may not know it yet: the second round is begun when the first is over");
    assert_eq!(a.request_keys(third.clone()), in_use, "B signs with it");
    let other = key(1, b"not the secret");
    assert_eq!(a.request_keys(ring(&[other, new()], 2)), in_use, "another of its number is not it");
    assert_eq!(a.key_user(1), Some(Voter::B));
    let _ = a.request_keys(ring(&[old(), new()], 1));
    pair.run(ms(3000));
    assert_eq!(pair.node(B).peer().state(), PeerState::Alive);
    assert!(pair.serves(A) && !pair.serves(B));
}

/// Who was not heard may sign with anything.
#[test]
fn of_a_peer_that_was_never_heard_no_key_is_taken_away() {
    let mut pair = Pair::new();
    pair.start(A);
    pair.run(ms(1000));
    let [first, second, third] = rounds();
    pair.node(A).request_keys(first).expect("a step");
    pair.node(A).request_keys(second).expect("a step");
    let refused = Err(KeysRefused::InUse { id: 1, by: Voter::B });
    assert_eq!(pair.node(A).request_keys(third), refused);
}

/// With an arbiter its signature counts as well.
#[test]
fn a_key_that_the_arbiter_signs_with_stays() {
    let mut trio = trio::Trio::started();
    let signing = trio::keys();
    let with_new = |signer| {
        let keys = signing.keys().iter().cloned().chain([key(9, b"nine")]);
        KeyRing::new(keys.collect(), signer).expect("listed")
    };
    for signer in [signing.signing_id(), 9] {
        for who in [trio::A, trio::B] {
            trio.node(who).request_keys(with_new(signer)).expect("a step");
            trio.run(ms(1000));
        }
    }
    let refused = Err(KeysRefused::InUse { id: signing.signing_id(), by: Voter::Arbiter });
    assert_eq!(trio.node(trio::A).request_keys(ring(&[key(9, b"nine")], 9)), refused);
}
