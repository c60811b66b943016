//! What the book says of the house itself: chores that exist, links that lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::test::stages;
use crate::{Cli, Place, fuzz};

/// Every page, with its path from the root.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Place::here().root;
    let mut pages = Vec::new();
    let mut directories = vec![root.join("docs")];
    let mut paths: Vec<_> =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name)).to_vec();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("docs") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    for path in paths {
        let text = fs::read_to_string(&path).expect("a page");
        pages.push((path, text));
    }
    pages
}

/// Words of the command, up to what ends it in a text: a backtick, a comment, two blanks.
fn words(command: &str) -> Vec<&str> {
    let end = ["`", "  ", " #", "…", "\""].iter().filter_map(|end| command.find(end)).min();
    command[..end.unwrap_or(command.len())].split_whitespace().collect()
}

#[test]
fn every_chore_in_the_book_exists() {
    let cli = Cli::command();
    let mut seen = 0;
    for (page, text) in pages() {
        for (_, after) in
            text.match_indices("cargo xtask ").map(|(at, it)| (at, &text[at + it.len()..]))
        {
            let line = after.lines().next().unwrap_or_default();
            let words = words(line);
            let Some((&chore, rest)) = words.split_first() else { continue };
            seen += 1;
            let at = format!("{}: cargo xtask {line}", page.display());
            assert!(cli.find_subcommand(chore).is_some(), "no chore {chore:?}: {at}");
            let plain: Vec<_> = rest
                .iter()
                .map(|word| word.trim_matches('\''))
                .filter(|word| !word.starts_with("--"))
                .collect();
            match chore {
                "test" => {
                    let known =
                        |name: &&str| stages::ALL.iter().any(|(stage, _)| stage.starts_with(name));
                    // A stage's name may have blanks: then all its words stand in quotes.
                    let whole = plain.join(" ");
                    let each = plain.iter().all(known);
                    assert!(plain.is_empty() || each || known(&&*whole), "no such stage: {at}");
                }
                "fuzz" => {
                    let names = plain.iter().filter(|word| word.parse::<u64>().is_err());
                    let strange: Vec<_> =
                        names.filter(|name| !fuzz::TARGETS.contains(name)).collect();
                    assert!(strange.is_empty(), "no such target: {at}");
                }
                _ => {}
            }
        }
    }
    assert!(seen > 15, "only {seen} were found: how the book shows them has changed");
}

#[test]
fn every_link_inside_the_book_leads_somewhere() {
    let mut seen = 0;
    for (page, text) in pages() {
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let to = if path.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap_or(Path::new("")).join(path)
            };
            assert!(to.exists(), "{}: ({target}) leads nowhere", page.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&to).expect("a page");
                let known = text.lines().filter(|line| line.starts_with('#')).map(anchor_of);
                assert!(
                    known.into_iter().any(|known| known == anchor),
                    "{}: ({target}): no such heading",
                    page.display()
                );
            }
        }
    }
    assert!(seen > 20, "only {seen} links were found");
}

/// A heading's anchor as GitHub makes it: lower case, blanks to hyphens, punctuation dropped.
fn anchor_of(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The table of targets in fuzzing.md, with what the long run reached, leaves none out.
#[test]
fn every_fuzz_target_stands_in_its_chapter() {
    let page = Place::here().root.join("docs/testing/fuzzing.md");
    let text = fs::read_to_string(page).expect("the chapter");
    for target in fuzz::TARGETS {
        let rows = text.lines().filter(|line| {
            line.starts_with('|')
                && line.split('|').nth(1).is_some_and(|c| c.contains(&format!("`{target}`")))
        });
        assert_eq!(rows.count(), 2, "{target}: what it is fed, and what the long run reached");
    }
}
