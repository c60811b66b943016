//! Aligned columns, with colour that doesn't count as width.

use std::fmt::{self, Write as _};

/// ECMA-48 colours that terminals of both backgrounds show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paint {
    Plain,
    Good,
    Worry,
    Bad,
    Faint,
}

impl Paint {
    /// `text` in this colour, if colours are wanted.
    pub fn apply(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Good => "32",
            Self::Worry => "33",
            Self::Bad => "1;31",
            Self::Faint => "2",
            Self::Plain => return text.to_owned(),
        };
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// One field of a table.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    paint: Paint,
    right: bool,
}

impl Cell {
    /// A word, to the left.
    pub fn word(text: &dyn fmt::Display, paint: Paint) -> Self {
        Self { text: text.to_string(), paint, right: false }
    }

    /// A figure, to the right; `-` when it is unknown.
    pub fn figure(text: Option<String>) -> Self {
        Self { text: text.unwrap_or_else(|| "-".to_owned()), paint: Paint::Plain, right: true }
    }
}

/// Rows of equal length, two blanks between columns, none at a line's end.
pub fn draw(head: &[&str], rows: &[Vec<Cell>], colour: bool) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].text.chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let heads = head.iter().enumerate().map(|(column, title)| Cell {
        text: (*title).to_owned(),
        paint: Paint::Faint,
        right: rows.first().is_some_and(|row| row[column].right),
    });
    let mut text = String::new();
    for row in [heads.collect()].iter().chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let blanks = " ".repeat(width - cell.text.chars().count());
            let painted = cell.paint.apply(&cell.text, colour);
            let (before, after) = if cell.right { (&*blanks, "") } else { ("", &*blanks) };
            let _ = write!(line, "{before}{painted}{after}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
