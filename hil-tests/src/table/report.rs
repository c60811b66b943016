//! The table as text.

use std::fmt::Write;

use super::case::{Gap, Row};

/// A line for each single failure: who serves then, how long nobody did, what the settings allow.
#[must_use]
pub fn singles(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what failed | who serves then | outage, ms | the settings allow, ms | mended, A serves after, ms |\n\
         |---|---|---|---|---|\n",
    );
    for row in rows.iter().filter(|row| row.second.is_none()) {
        let budget = match row.budget_ms {
            Some(0) => "none".to_owned(),
            Some(budget) => budget.to_string(),
            None => "-".to_owned(),
        };
        let verdict = row.wrong.as_ref().map_or(String::new(), |_| " **WRONG**".into());
        let _ = writeln!(
            text,
            "| {}{verdict} | {} | {} | {budget} | {} |",
            row.first, row.holder, row.outage_ms, row.mended_ms
        );
    }
    text
}

/// For each pair, by its first failure: a second failure after which nobody serves, or the longest outages.
#[must_use]
pub fn pairs(rows: &[Row]) -> String {
    let mut text = String::new();
    for gap in [Gap::Settled, Gap::Soon] {
        let of_gap = |row: &&Row| matches!(&row.second, Some((its, _)) if *its == gap);
        let rows: Vec<&Row> = rows.iter().filter(of_gap).collect();
        if rows.is_empty() {
            continue;
        }
        let when = match gap {
            Gap::Settled => {
                "The second failure strikes when the first one's outcome has come about"
            }
            Gap::Soon => "The second failure strikes 250 ms after the first one",
        };
        let nobody = rows.iter().filter(|row| row.holder == "nobody").count();
        let two = rows.iter().filter(|row| row.two_holders.is_some()).count();
        let wrong = rows.iter().filter(|row| row.wrong.is_some()).count();
        let _ = writeln!(
            text,
            "{when}: {} ordered pairs, {} with one holder in the end, {nobody} with none where the rules \
             allow none, {two} with two at any time, {wrong} not as reckoned.\n",
            rows.len(),
            rows.len() - nobody - wrong,
        );
        text.push_str("| first | second | who serves then | outage, ms |\n|---|---|---|---|\n");
        for row in rows {
            let second = row.second.as_ref().map_or("", |(_, name)| name);
            let verdict = row.wrong.as_ref().map_or(String::new(), |_| " **WRONG**".into());
            let _ = writeln!(
                text,
                "| {} | {second}{verdict} | {} | {} |",
                row.first, row.holder, row.outage_ms
            );
        }
        text.push('\n');
    }
    text
}

/// What the rows come to, in one line: how many, how many of them wrong, two holders.
#[must_use]
pub fn summary(rows: &[Row]) -> String {
    let two = rows.iter().filter(|row| row.two_holders.is_some()).count();
    let wrong = rows.iter().filter(|row| row.wrong.is_some()).count();
    let nobody = rows.iter().filter(|row| row.holder == "nobody").count();
    let mut text = format!(
        "{} cases, {wrong} not as the table says, {two} with two holders; nobody served in the end in {nobody} \
         where nobody may",
        rows.len()
    );
    let traced: Vec<_> = rows.iter().filter_map(|row| row.resets).collect();
    if !traced.is_empty() {
        let (pins, own) = traced.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let _ = write!(
            text,
            "; machines were reset {pins} times by a pin of the dongle, each with the write that did it, and {own} times by \
             their own watchdogs"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        let good = Row {
            first: "dongle removed".into(),
            second: None,
            holder: "linuxha1".into(),
            outage_ms: 9,
            budget_ms: Some(0),
            mended_ms: 700,
            resets: None,
            two_holders: None,
            wrong: None,
        };
        let bad = Row {
            second: Some((Gap::Settled, "network cut".into())),
            two_holders: Some(1234),
            wrong: Some("two holders".into()),
            ..good.clone()
        };
        let rows = [good, bad];
        assert!(singles(&rows).contains("| dongle removed | linuxha1 | 9 | none | 700 |"));
        assert!(pairs(&rows).contains("| dongle removed | network cut **WRONG** | linuxha1 | 9 |"));
        assert!(pairs(&rows).contains("1 with two at any time, 1 not as reckoned"));
        let traced = Row { resets: Some((2, 1)), ..rows[0].clone() };
        assert!(summary(&[traced]).ends_with("2 times by a pin of the dongle, each with the write that did it, and 1 times by their own watchdogs"));
        assert!(summary(&rows).starts_with("2 cases, 1 not as the table says, 1 with two holders"));
    }
}
