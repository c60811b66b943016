//! Scenarios and rigs.

pub mod bench;
pub mod capture;
pub mod chronicle;
pub mod exhaustive;
pub mod inside;
pub mod metal;
pub mod netns;
pub mod scenario;
pub mod sim;
pub mod table;
pub mod vm;
pub mod wires;

/// As `println!`, for programs that people pipe into head(1): when nobody reads any more, the program ends.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => { $crate::tell(format_args!("{}\n", format_args!($($words)*))) };
}

/// What a shell sees of a program that SIGPIPE ended (signal(7): 13), which Rust's programs ignore.
const NOBODY_READS: i32 = 128 + 13;

/// Writes to stdout. Ends the program when nobody reads any more.
///
/// # Panics
/// stdout can't be written for another reason, as `println!` does.
pub fn tell(words: std::fmt::Arguments<'_>) {
    use std::io::{ErrorKind, Write};

    match std::io::stdout().lock().write_fmt(words) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(NOBODY_READS),
        outcome => outcome.expect("stdout can be written"),
    }
}
