//! Known runs by their fingerprints: the same seed is the same run, byte for byte, in every build
//! profile and on every machine.
//!
//! A fingerprint takes in every byte sent, every turn, every event and every change of a resource. So a
//! change of hb-proto's behaviour or of the simulator changes it, on purpose or not: look at why, then
//! put in what `cargo xtask sim --fingerprints` prints.

use super::kind::{Kind, Origin};
use super::run::run;

/// A run and what it must come out as. The second half has a third voter.
pub const KNOWN: [(bool, Kind, u64, usize, u64); 14] = [
    (false, Kind::Soup, 1, 0, 0xd609_be41_9cc7_ea4a),
    (false, Kind::Soup, 43, 0, 0xf928_109c_ed69_c384),
    (false, Kind::Soup, 1007, 0, 0xf2ce_6280_4659_6bf3),
    (false, Kind::Guide, 2, 0, 0xfe13_cbac_0b56_671c),
    (false, Kind::Swaps, 7, 0, 0xcdb3_1043_5d95_8f9c),
    (false, Kind::Singles, 1, 60, 0x251b_5d56_bb5a_7a60),
    (false, Kind::Pairs, 1, 3000, 0x3067_980d_3710_8d05),
    (true, Kind::Soup, 1, 0, 0x55a7_a772_7662_dc0e),
    (true, Kind::Soup, 43, 0, 0x0f92_3297_02ae_5020),
    (true, Kind::Soup, 1007, 0, 0xbf6c_110b_9019_4f62),
    (true, Kind::Guide, 2, 0, 0x52d4_e4c9_d00e_81ea),
    (true, Kind::Swaps, 7, 0, 0x58a0_b899_64a2_05e7),
    (true, Kind::Singles, 1, 60, 0x6631_cae5_09d7_c6c8),
    (true, Kind::Pairs, 1, 1500, 0xa5c0_e11c_21f2_509e),
];

/// Each known run's line of [`KNOWN`] as it must be now, and whether that is what it is.
#[must_use]
pub fn compared() -> Vec<(String, bool)> {
    let now = |(arbiter, kind, seed, case, known): (bool, Kind, u64, usize, u64)| {
        let plan = Origin { kind, arbiter, seed, case }.plan();
        let hash = plan.map_or(0, |plan| run(&plan, false).hash);
        let [a, b, c, d] = [48, 32, 16, 0].map(|shift| hash >> shift & 0xFFFF);
        let hash_text = format!("0x{a:04x}_{b:04x}_{c:04x}_{d:04x}");
        (format!("    ({arbiter}, Kind::{kind:?}, {seed}, {case}, {hash_text}),"), hash == known)
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
