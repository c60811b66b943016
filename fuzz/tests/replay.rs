//! Every target on stable: the committed seeds, and pseudo-random inputs that are the same each time.
//!
//! `HB_FUZZ_INPUTS` multiplies the random inputs; `HB_FUZZ_SEED` gives other ones.

use std::fs;
use std::path::Path;

use hb_fuzz::{TARGETS, Target};

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")),
        Err(_) => default,
    }
}

/// Knuth's MMIX generator; its upper bits are good enough to choose by.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A new input: a seed changed in a few places, or noise.
fn input(random: &mut Lcg, seeds: &[Vec<u8>]) -> Vec<u8> {
    let noise = random.next() as usize % 600;
    if seeds.is_empty() || random.next().is_multiple_of(4) {
        return random.bytes(noise);
    }
    let mut data = seeds[random.next() as usize % seeds.len()].clone();
    for _ in 0..=random.next() % 8 {
        let at = random.next() as usize % (data.len() + 1);
        match random.next() % 4 {
            0 => data.truncate(at),
            1 => data.insert(at, random.next() as u8),
            _ if at < data.len() => data[at] = random.next() as u8,
            _ => data.extend(random.bytes(16)),
        }
    }
    data
}

fn replay(name: &str) {
    let (_, target, runs): Target =
        *TARGETS.iter().find(|(known, ..)| *known == name).expect("a target");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut paths: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no seeds", dir.display());
    let seeds: Vec<_> = paths.iter().map(|path| fs::read(path).expect("readable")).collect();
    for (path, seed) in paths.iter().zip(&seeds) {
        println!("{}", path.display());
        target(seed);
    }
    let base = number("HB_FUZZ_SEED", 1999);
    for run in 0..u64::from(runs) * number("HB_FUZZ_INPUTS", 1) {
        let mut random = Lcg(base.wrapping_mul(1_000_003).wrapping_add(run));
        random.next();
        let data = input(&mut random, &seeds);
        let told = Told { name, run, data: &data };
        target(&data);
        std::mem::forget(told);
    }
}

/// Says which input it was when the target panics, and keeps it.
struct Told<'a> {
    name: &'a str,
    run: u64,
    data: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let path = std::env::temp_dir().join(format!("hb-fuzz-{}-{}", self.name, self.run));
        let kept = fs::write(&path, self.data);
        println!("input {} of {}: {} ({kept:?})", self.run, self.name, path.display());
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        #[test]
        fn no_target_is_left_out() {
            let here = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|(name, ..)| name), here);
        }
    };
}

replays!(deframer decoder node arbiter trio hacf haresources authkeys sockets server);
