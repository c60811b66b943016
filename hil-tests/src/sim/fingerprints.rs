//! Known runs by their fingerprints: the same seed is the same run, byte for byte, in every build
//! profile and on every machine.
//!
//! A fingerprint takes in every byte sent, every turn, every event and every change of a resource. So a
//! change of hb-proto's behaviour or of the simulator changes it, on purpose or not: look at why, then
//! put in what `cargo xtask sim --fingerprints` prints.

use super::kind::{Kind, Origin};
use super::run::run;

/// A run and what it must come out as.
pub const KNOWN: [(Kind, u64, usize, u64); 6] = [
    (Kind::Soup, 1, 0, 0xd609_be41_9cc7_ea4a),
    (Kind::Soup, 43, 0, 0xf928_109c_ed69_c384),
    (Kind::Soup, 1007, 0, 0xf2ce_6280_4659_6bf3),
    (Kind::Swaps, 7, 0, 0xcdb3_1043_5d95_8f9c),
    (Kind::Singles, 1, 60, 0x251b_5d56_bb5a_7a60),
    (Kind::Pairs, 1, 3000, 0x3067_980d_3710_8d05),
];

/// Each known run's line of [`KNOWN`] as it must be now, and whether that is what it is.
#[must_use]
pub fn compared() -> Vec<(String, bool)> {
    let now = |(kind, seed, case, known): (Kind, u64, usize, u64)| {
        let plan = Origin { kind, arbiter: false, seed, case }.plan();
        let hash = plan.map_or(0, |plan| run(&plan, false).hash);
        let [a, b, c, d] = [48, 32, 16, 0].map(|shift| hash >> shift & 0xFFFF);
        let hash_text = format!("0x{a:04x}_{b:04x}_{c:04x}_{d:04x}");
        (format!("    (Kind::{kind:?}, {seed}, {case}, {hash_text}),"), hash == known)
    };
    KNOWN.into_iter().map(now).collect()
}

/// Prints them; whether all are as known.
#[must_use]
pub fn print() -> bool {
    let compared = compared();
    for (line, same) in &compared {
        println!("{line}{}", if *same { "" } else { " // not as known" });
    }
    compared.iter().all(|(_, same)| *same)
}
