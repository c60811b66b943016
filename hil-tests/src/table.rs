//! The failure table of docs/protocol.md §1 with real daemons: two machines, the dongle between them, every
//! single failure and every ordered pair of failures.
//!
//! A case begins with a pair that is well: A serves, both hear each other on every link, both votes count. Then
//! the first failure strikes, and its outcome is awaited; then the second; then everything is mended, and A must
//! serve again. Verdicts are the client's: who answered (by hardware address), when nobody did, whether two
//! machines had the address at once. What must come out, [`wreck`] reckons from what is left: somebody serves
//! if a node is left that reaches one of the other two voters both ways, and nobody does otherwise.
//!
//! It is played on the namespace rig, and on virtual machines ([`Stage`]).

mod case;
mod faults;
mod report;
mod run;
mod wreck;

pub use run::{Stage, main, on_namespaces};
