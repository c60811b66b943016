//! A soak's journal: a line that says what is run, then one for each part that is done.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Part, Program, Soak, told};

/// The first line: whose journal it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    first: u64,
    seeds: u64,
    part: u64,
    arbiter: bool,
    program: Program,
}

impl Head {
    fn name(&self) -> String {
        let Self { first, seeds, part, arbiter, program } = self;
        let Program { commit, known, .. } = program;
        let with = if *arbiter { "with" } else { "without" };
        let last = first + seeds - 1;
        format!(
            "seeds {first} to {last} in parts of {part} {with} an arbiter, commit {commit}, known runs {known}"
        )
    }
}

pub(super) struct Journal {
    file: File,
    path: std::path::PathBuf,
    pub(super) parts: Vec<Part>,
}

impl Journal {
    /// The journal of this soak: a new one, or what is done of it already. A last line that was not written
    /// whole is dropped, and its part run again.
    pub(super) fn open(path: &Path, soak: &Soak, program: &Program) -> Result<Self, String> {
        let head = Head {
            first: soak.first,
            seeds: soak.seeds,
            part: soak.part,
            arbiter: soak.arbiter,
            program: program.clone(),
        };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(|error| told(directory, &error))?;
        }
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(told(path, &error)),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut lines = whole.lines().enumerate();
        if let Some((_, line)) = lines.next() {
            let theirs: Head = parsed(path, 0, line)?;
            if theirs != head {
                return Err(format!(
                    "{}: this is the journal of another soak ({}); this one is {}: remove it, or name another with --journal",
                    path.display(),
                    theirs.name(),
                    head.name()
                ));
            }
        }
        let parts = lines.map(|(at, line)| parsed(path, at, line)).collect::<Result<_, _>>()?;
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|error| told(path, &error))?;
        file.set_len(whole.len() as u64).map_err(|error| told(path, &error))?;
        if whole.is_empty() {
            write(&mut file, path, &head)?;
        }
        Ok(Self { file, path: path.to_owned(), parts })
    }

    pub(super) fn keep(&mut self, part: Part) -> Result<(), String> {
        write(&mut self.file, &self.path, &part)?;
        self.parts.push(part);
        Ok(())
    }
}

fn parsed<'line, T: Deserialize<'line>>(
    path: &Path,
    at: usize,
    line: &'line str,
) -> Result<T, String> {
    serde_json::from_str(line).map_err(|error| {
        let path = path.display();
        format!("{path}:{}: {error}: this is no line of a soak's journal: remove it", at + 1)
    })
}

/// One line, in one write: what is there is whole, or the last.
fn write(file: &mut File, path: &Path, what: &impl Serialize) -> Result<(), String> {
    let mut line = serde_json::to_vec(what).map_err(|error| error.to_string())?;
    line.push(b'\n');
    file.write_all(&line).map_err(|error| told(path, &error))
}
