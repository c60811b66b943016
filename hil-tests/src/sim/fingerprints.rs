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
    (false, Kind::Guide, 2, 0, 0xf7bc_aeaa_7a0d_82dd),
    (false, Kind::Swaps, 7, 0, 0xffb1_a943_e3d5_4907),
    (false, Kind::Singles, 1, 60, 0x5e36_062b_f278_4f81),
    (false, Kind::Pairs, 1, 3000, 0x7d09_5a93_ed8e_29aa),
    (true, Kind::Soup, 1, 0, 0x55a7_a772_7662_dc0e),
    (true, Kind::Soup, 43, 0, 0xeeb4_0923_6cea_a0b1),
    (true, Kind::Soup, 1007, 0, 0xbf6c_110b_9019_4f62),
    (true, Kind::Guide, 2, 0, 0xb69e_9d11_d476_cba1),
    (true, Kind::Swaps, 7, 0, 0x1f8a_678b_0a7b_b1b9),
    (true, Kind::Singles, 1, 60, 0x6631_cae5_09d7_c6c8),
    (true, Kind::Pairs, 1, 1500, 0xb483_2614_6947_4cb2),
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
        crate::say!("{line}{}", if *same { "" } else { " // not as known" });
    }
    compared.iter().all(|(_, same)| *same)
}
