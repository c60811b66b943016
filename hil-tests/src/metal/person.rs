//! What no program can do to real hardware is asked of the person beside it.

use std::io::{self, BufRead, Write};

/// Somebody who can be asked to do something with their hands.
pub trait Person {
    /// Asks; true when it was done, false when they can't or won't.
    fn please(&mut self, do_this: &str) -> bool;
}

/// Whoever sits at the terminal.
#[derive(Debug)]
pub struct AtTerminal;

impl Person for AtTerminal {
    fn please(&mut self, do_this: &str) -> bool {
        let mut out = io::stderr().lock();
        let _ = write!(out, "\n  >> {do_this}, then press Enter (s, Enter: skip this story) ");
        let _ = out.flush();
        let mut answer = String::new();
        // An end of input is nobody.
        matches!(io::stdin().lock().read_line(&mut answer), Ok(1..)) && answer.trim() != "s"
    }
}

/// Nobody is there: whatever takes hands is skipped.
#[derive(Debug)]
pub struct Nobody;

impl Person for Nobody {
    fn please(&mut self, _do_this: &str) -> bool {
        false
    }
}
