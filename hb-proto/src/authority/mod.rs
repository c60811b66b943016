//! Who may run which group: promises between voters (protocol.md §2, R1–R8).
//!
//! A promise is a lease seen from its giver. Nothing here judges who is alive: deadtime and link health
//! only trigger asking; safety is promises alone.
//!
//! *Lemma 1.* Whenever X counts v's promise, v has one outstanding to X that ends later in true time:
//! X counts from before it sent the frame, v binds itself from after it received it, and `full` exceeds
//! `lease` by the clocks' drift and by guard. *Lemma 2.* v has at most one outstanding (R1). Were two
//! nodes authorised at once, both would have promised nothing (R2), so neither counts the other's promise
//! and both count the arbiter's: against Lemma 2.

#[cfg(feature = "explore")]
pub mod explore;
mod ledger;
mod promises;
mod request;
mod voice;

pub use ledger::{Ledger, MAX_SENT, Terms};
pub use promises::{FrameName, Promisee, Promises};
pub use request::{Part, Request, Stance};
pub use voice::{Processed, Sender, Voice};
