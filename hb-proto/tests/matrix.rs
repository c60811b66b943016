//! The transition matrices above the enums are what `may_become` allows, pair by pair; so are their
//! copies in docs/protocol.md, once that exists.

use std::fs;
use std::path::{Path, PathBuf};

use hb_proto::group::Phase;
use hb_proto::link::LinkState;
use hb_proto::peer::PeerState;

/// Stands above each copy in docs/protocol.md, with the name of the table.
const MARKER: &str = "<!-- matrix: ";
/// A cell of a transition that there isn't.
const NEVER: &str = "–";

/// A table of Markdown: column heads, and rows with their heads.
#[derive(Debug)]
struct Table {
    columns: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    /// The first table in `text`.
    fn first(text: &str, place: &str) -> Self {
        let lines = text.lines().map(|line| line.trim_start().trim_start_matches("///").trim());
        let mut lines = lines.skip_while(|line| !line.starts_with('|')).map_while(|line| {
            let inner = line.strip_prefix('|')?.strip_suffix('|')?;
            Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>())
        });
        let head = lines.next().unwrap_or_else(|| panic!("{place}: there is no table"));
        let rule = lines.next().unwrap_or_else(|| panic!("{place}: a table has more than a head"));
        assert!(rule.iter().all(|cell| cell.starts_with("---")), "{place}: {rule:?}");
        let columns = head[1..].to_vec();
        let rows: Vec<_> = lines.map(|row| (row[0].clone(), row[1..].to_vec())).collect();
        for (name, cells) in &rows {
            assert_eq!(cells.len(), columns.len(), "{place}: row {name}");
        }
        Self { columns, rows }
    }

    /// The cell; nothing where the table leaves out the column or the row.
    fn cell(&self, from: &str, to: &str) -> Option<&str> {
        let column = self.columns.iter().position(|name| name == to)?;
        let (_, cells) = self.rows.iter().find(|(name, _)| name == from)?;
        Some(&cells[column])
    }

    fn allows(&self, from: &str, to: &str) -> bool {
        self.cell(from, to).is_some_and(|cell| cell != NEVER)
    }

    /// Holds the table against the code for every pair; names that are no state are a mistake.
    fn compare<S: Copy>(&self, place: &str, states: &[(&str, &[S])], may: impl Fn(S, S) -> bool) {
        let known = |name: &String| states.iter().any(|(state, _)| state == name);
        let heads = self.columns.iter().chain(self.rows.iter().map(|(name, _)| name));
        let strange: Vec<_> = heads.filter(|name| !known(name)).collect();
        assert!(strange.is_empty(), "{place}: no such state: {strange:?}");
        for &(from, ones) in states {
            for &(to, others) in states {
                let pairs = ones.iter().flat_map(|&one| others.iter().map(move |&o| (one, o)));
                let mut allowed = pairs.map(|(one, other)| may(one, other));
                // Resources are numbered inside a phase: some number may move on, or none may.
                let code = allowed.any(|one| one);
                assert_eq!(self.allows(from, to), code, "{place}: {from} to {to}");
            }
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The doc comment above `item`, in whichever of these files it stands.
fn doc_comment(files: &[&str], item: &str) -> (String, String) {
    for file in files {
        let path = root().join(file);
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let Some(at) = text.find(item) else { continue };
        let lines: Vec<_> = text[..at].lines().collect();
        let docs =
            lines.iter().rev().take_while(|line| line.starts_with("///") || line.starts_with("#["));
        let count = docs.count();
        return (lines[lines.len() - count..].join("\n"), (*file).to_owned());
    }
    panic!("{item} is in none of {files:?}");
}

/// Runs `check` on the table in the source, and on its copy in docs/protocol.md if that is there.
fn each_copy(name: &str, files: &[&str], item: &str, check: impl Fn(&Table, &str)) {
    let (text, file) = doc_comment(files, item);
    check(&Table::first(&text, &file), &file);
    let docs = "docs/protocol.md";
    let Ok(text) = fs::read_to_string(root().join(docs)) else { return };
    let marker = format!("{MARKER}{name} -->");
    let (_, after) = text.split_once(&marker).unwrap_or_else(|| {
        panic!("{docs}: `{marker}` and the table of {file} under it are missing")
    });
    assert!(after.trim_start().starts_with('|'), "{docs}: a table follows `{marker}`");
    check(&Table::first(after, docs), docs);
}

#[test]
fn peer_states() {
    use PeerState::{Alive, Dead, Late, Left, Unknown};
    each_copy("peer", &["hb-proto/src/peer.rs"], "pub enum PeerState", |table, place| {
        let states = [Unknown, Alive, Late, Dead, Left].map(|state| (state.name(), [state]));
        let states = states.each_ref().map(|(name, state)| (*name, &state[..]));
        table.compare(place, &states, PeerState::may_become);
    });
}

#[test]
fn phases_of_a_group() {
    use Phase::{Running, Starting, Stopped, Stopping};
    let files = ["hb-proto/src/group.rs", "hb-proto/src/group/mod.rs"];
    each_copy("group", &files, "pub enum Phase", |table, place| {
        let states: [(&str, &[Phase]); 4] = [
            (Stopped.name(), &[Stopped]),
            (Starting(0).name(), &[Starting(0), Starting(1), Starting(u8::MAX)]),
            (Running.name(), &[Running]),
            (Stopping(0).name(), &[Stopping(0), Stopping(1), Stopping(u8::MAX)]),
        ];
        table.compare(place, &states, Phase::may_become);
    });
}

/// A link's state follows from what was heard, so its table has no transitions; that each cell is what
/// is judged, hb-proto's own unit test shows.
#[test]
fn link_states() {
    each_copy("link", &["hb-proto/src/link.rs"], "pub enum LinkState", |table, place| {
        let cells: Vec<_> = table.rows.iter().flat_map(|(_, cells)| cells).collect();
        let names = [LinkState::Up, LinkState::OneWay, LinkState::OneWay, LinkState::Down];
        assert_eq!(cells, names.map(LinkState::name), "{place}");
    });
}

#[test]
fn a_table_that_is_wrong_is_seen() {
    let (text, _) = doc_comment(&["hb-proto/src/peer.rs"], "pub enum PeerState");
    for (good, bad) in [
        ("| dead | a frame | – |", "| dead | a frame | a frame |"),
        ("| unknown | a frame |", "| unknown | – |"),
    ] {
        let wrong = text.replace(good, bad);
        assert_ne!(wrong, text, "{good} stands there");
        let states = [
            PeerState::Unknown,
            PeerState::Alive,
            PeerState::Late,
            PeerState::Dead,
            PeerState::Left,
        ]
        .map(|state| (state.name(), [state]));
        let found = std::panic::catch_unwind(|| {
            let states = states.each_ref().map(|(name, state)| (*name, &state[..]));
            Table::first(&wrong, "").compare("wrong", &states, PeerState::may_become);
        });
        assert!(found.is_err(), "{bad}");
    }
}
