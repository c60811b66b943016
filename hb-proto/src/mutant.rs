//! Rules that a test breaks on purpose, to see that somebody notices.
//!
//! Breaking one takes the feature `mutants`, which is refused where debug assertions are off: a release
//! build can't contain it. Without the feature every question is the constant *no*.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` breaks rules on purpose: it has no place in a release build");

/// The enum, and all of it as a list: nobody who breaks every rule in turn can forget one.
macro_rules! mutants {
    ($(#[$on:meta])* pub enum $name:ident { $($(#[$doc:meta])* $rule:ident,)* }) => {
        $(#[$on])*
        pub enum $name { $($(#[$doc])* $rule,)* }

        #[cfg(feature = "mutants")]
        impl $name {
            /// Every one, in the order of the rules.
            pub const ALL: &'static [Self] = &[$(Self::$rule),*];
        }
    };
}

mutants! {
    /// A rule of protocol.md §2, and how it is broken.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    #[cfg_attr(not(feature = "mutants"), allow(dead_code))] // Some are broken where tests begin.
    pub enum Mutant {
        /// A second promise is given while one stands.
        R1Two,
        /// A node runs though it has promised.
        R2Promised,
        /// A node with an arbiter runs because its peer is silent.
        R2Classic,
        /// A node asks though it has promised.
        R3Asks,
        /// A voter gives to a node that doesn't hear it.
        R4Unfresh,
        /// A promise binds its giver without drift and guard.
        R4NoGuard,
        /// An old release, not fresh, counts.
        R5Stale,
        /// A promise is shown though the echoed frame didn't renew it.
        R6Unrenewed,
        /// A promise for an earlier request counts.
        R7Earlier,
        /// A life begins without a promise.
        R8Free,
        /// An arbiter goes on though another one was in its place, or may have been.
        R8Spare,
        /// A node speaks before every group is confirmed stopped.
        R9Unclean,
        /// What lost its authority goes on.
        R10GoesOn,
        /// A node that has stalled counts the silence from before.
        R11Stalled,
        /// A pulse without evidence ends promises.
        R12Unconfirmed,
        /// A node that is heard is pulsed.
        R12Heard,
        /// A life is pulsed again.
        R12Twice,
        /// A node that armed nothing is pulsed.
        R13Unarmed,
        /// A node that has just begun to listen witnesses another one's silence.
        R13Young,
        /// A human's vote outlives the peer's return.
        R14Outlives,
    }
}
