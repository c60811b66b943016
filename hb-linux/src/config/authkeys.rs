//! authkeys: who may speak on the heartbeat media.
//!
//! No message of this file repeats a word of the file except a key's number: any other word may be a
//! secret that stands in the wrong place.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::diagnostic::{Diagnostic, Report, Severity};
use super::source::{self, Privacy};
use super::{AuthKey, Method};

/// The largest key number; it travels in four bits (the classic's code allows 0 to 15, too).
const MAX_ID: u8 = 15;

/// Characters below which a secret is weak: 16 of the usual 64 signs are 96 bits.
const WEAK_BELOW: usize = 16;

/// Never shows the secret.
impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthKey")
            .field("id", &self.id)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// What authkeys says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AuthKeys {
    /// Number of the key that signs; one of `keys`.
    pub signing_key: u8,
    /// Every key that is accepted.
    pub keys: Vec<AuthKey>,
}

impl AuthKeys {
    /// Reads CONFIG_DIR/authkeys alone, while heartbeatd runs: the keys, if they can be used, and what there is
    /// to say about them.
    #[must_use]
    pub fn read(config_dir: &Path) -> (Option<Self>, Vec<Diagnostic>) {
        let path = config_dir.join("authkeys");
        let mut report = Report::new(&path);
        let keys = load(&path, &mut report);
        let remarks = report.into_diagnostics();
        let usable = remarks.iter().all(|remark| remark.severity < Severity::Error);
        (keys.filter(|_| usable), remarks)
    }
}

/// What it returns is usable when `report` got no error.
pub(super) fn load(path: &Path, report: &mut Report) -> Option<AuthKeys> {
    let hint = "make one with `hb keygen`, the same on both nodes, mode 0600";
    match source::read(path, Privacy::OwnerOnly, hint) {
        Ok(text) => Some(parse(&text, report)),
        Err(fault) => {
            report.push(fault.severity, fault.line, fault.message);
            None
        }
    }
}

/// A key and the line it comes from.
struct KeyLine {
    key: AuthKey,
    line: usize,
}

/// Reads the text; what it returns is usable when `report` got no error.
pub(super) fn parse(text: &str, report: &mut Report) -> AuthKeys {
    let mut auth: Option<(u8, usize)> = None;
    let mut keys: Vec<KeyLine> = Vec::new();
    let mut renamed: Option<usize> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["auth", rest @ ..] => match (auth, parse_auth(rest)) {
                (Some((_, first)), _) => report.error(
                    number,
                    format!("`auth` stands in line {first} already; one key signs, keep one line"),
                ),
                (None, Ok(id)) => auth = Some((id, number)),
                (None, Err(message)) => report.error(number, message),
            },
            [id, rest @ ..] => match parse_key(id, rest) {
                Ok(key) => {
                    if let Some(first) = keys.iter().find(|known| known.key.id == key.id) {
                        report.error(
                            number,
                            format!(
                                "key {} stands in line {} already; give this one another number",
                                key.id, first.line
                            ),
                        );
                        continue;
                    }
                    if matches!(rest.first(), Some(&("md5" | "sha1"))) {
                        renamed.get_or_insert(number);
                    }
                    keys.push(KeyLine { key, line: number });
                }
                Err(message) => report.error(number, message),
            },
        }
    }
    if let Some(line) = renamed {
        report.note(
            line,
            "md5 and sha1 are accepted words; whatever the word, the secret keys HMAC-SHA-256",
        );
    }
    judge_strength(&keys, report);
    let signing_key = signing(auth, &keys, text, report);
    AuthKeys { signing_key, keys: keys.into_iter().map(|known| known.key).collect() }
}

fn parse_id(word: &str) -> Option<u8> {
    let digits = (1..=2).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|&id| digits && id <= MAX_ID)
}

fn parse_auth(rest: &[&str]) -> Result<u8, String> {
    match rest {
        [id] => parse_id(id),
        [id, comment, ..] if comment.starts_with('#') => parse_id(id),
        _ => None,
    }
    .ok_or_else(|| {
        format!("`auth` takes one key number, 0 to {MAX_ID}; expected a line such as `auth 1`")
    })
}

fn parse_key(id: &str, rest: &[&str]) -> Result<AuthKey, String> {
    let id = parse_id(id).ok_or_else(|| {
        format!(
            "a line begins with `auth` or with a key number, 0 to {MAX_ID}; expected a form such as \
             `1 sha256 SECRET` (the line isn't repeated here, it may hold a secret)"
        )
    })?;
    let (&word, rest) = rest.split_first().ok_or_else(|| {
        format!("key {id}: nothing follows the number; expected `{id} sha256 SECRET`")
    })?;
    let method = match word {
        "crc" => Method::Crc,
        "sha256" | "sha1" | "md5" => Method::Hmac,
        _ => {
            return Err(format!(
                "key {id}: the word behind the number is no method; expected sha256 (or sha1, md5, \
                 crc), then the secret (the word isn't repeated here, it may be a secret)"
            ));
        }
    };
    let secret = match (method, rest) {
        (Method::Crc, []) => "",
        (Method::Crc, [comment, ..]) if comment.starts_with('#') => "",
        (Method::Crc, _) => {
            return Err(format!(
                "key {id}: crc takes no secret; remove the word behind it, or write `{id} sha256 \
                 SECRET` if it was meant to keep strangers out"
            ));
        }
        (Method::Hmac, [secret]) => secret,
        (Method::Hmac, [secret, comment, ..]) if comment.starts_with('#') => secret,
        (Method::Hmac, []) => {
            return Err(format!("key {id}: the secret is missing; `hb keygen` makes a strong one"));
        }
        (Method::Hmac, [_, extra @ ..]) => {
            return Err(format!(
                "key {id}: {} words too many behind the secret, which is one word without blanks",
                extra.len()
            ));
        }
    };
    Ok(AuthKey { id, method, secret: secret.as_bytes().to_vec() })
}

fn judge_strength(keys: &[KeyLine], report: &mut Report) {
    for KeyLine { key, line } in keys {
        match key.method {
            // Any listed key is accepted, so one crc line undoes the others.
            Method::Crc => report.warning(
                *line,
                format!(
                    "key {}: crc is insecure: it finds damage, but anybody who reaches a heartbeat \
                     medium can speak as a node; `hb keygen` makes a sha256 key",
                    key.id
                ),
            ),
            Method::Hmac if key.secret.len() < WEAK_BELOW => report.warning(
                *line,
                format!(
                    "key {}: the secret has fewer than {WEAK_BELOW} characters and could be guessed \
                     from one recorded frame; `hb keygen` makes a strong one",
                    key.id
                ),
            ),
            Method::Hmac => {}
        }
    }
}

/// The number of the key that signs.
fn signing(auth: Option<(u8, usize)>, keys: &[KeyLine], text: &str, report: &mut Report) -> u8 {
    let Some((id, line)) = auth else {
        // A line `auth …` that can't be read has been reported where it stands.
        if !text.lines().any(|line| line.split_whitespace().next() == Some("auth")) {
            report.error(
                None,
                "no line `auth N` says which key signs; expected one, such as `auth 1`",
            );
        }
        return 0;
    };
    if !keys.iter().any(|known| known.key.id == id) {
        let known: Vec<String> = keys.iter().map(|known| known.key.id.to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        report
            .error(line, format!("`auth {id}`: there is no usable key {id}; usable keys: {known}"));
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (AuthKeys, Vec<Diagnostic>) {
        let mut report = Report::new(Path::new("authkeys"));
        let keys = parse(text, &mut report);
        (keys, report.into_diagnostics())
    }

    #[test]
    fn several_keys_one_signs() {
        let (keys, found) = read(
            "# keys\nauth 2\n1 sha1 an-old-and-long-secret\n2 sha256 a-new-and-long-secret # ours\n15 crc\n",
        );
        assert_eq!(keys.signing_key, 2);
        let ids: Vec<_> = keys.keys.iter().map(|key| (key.id, key.method)).collect();
        assert_eq!(ids, [(1, Method::Hmac), (2, Method::Hmac), (15, Method::Crc)]);
        assert_eq!(keys.keys[1].secret, b"a-new-and-long-secret");
        let severities: Vec<_> = found.iter().map(|d| (d.line, d.severity)).collect();
        assert_eq!(severities, [(Some(3), Severity::Note), (Some(5), Severity::Warning)]);
    }

    #[test]
    fn md5_and_sha1_are_noted_once() {
        let (_, found) = read(
            "auth 1\n1 md5 sixteen-and-more-1\n2 sha1 sixteen-and-more-2\n3 md5 sixteen-and-more-3\n",
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].line, Some(2));
    }

    /// Each wrong line is an error at its line, and no message or Debug shows the secret.
    #[test]
    fn wrong_lines_never_show_the_secret() {
        for (wrong, expected) in [
            ("1 S3CRET", "no method"),
            ("S3CRET", "begins with"),
            ("16 sha256 S3CRET", "0 to 15"),
            ("+1 sha256 S3CRET", "0 to 15"),
            ("1 sha512 S3CRET", "no method"),
            ("1 crc S3CRET", "takes no secret"),
            ("1 sha256 S3CRET S3CRET", "1 words too many"),
            ("1 sha256", "missing"),
            ("1", "nothing follows"),
            ("auth S3CRET", "one key number"),
            ("auth", "one key number"),
            ("auth 1 2", "one key number"),
        ] {
            let (_, found) = read(&format!("auth 2\n2 sha256 good-and-long-secret\n{wrong}\n"));
            let (_, alone) = read(&format!("{wrong}\n"));
            let expected = if wrong.starts_with("auth") { "already" } else { expected };
            let hit = found.iter().any(|d| {
                d.severity == Severity::Error && d.line == Some(3) && d.message.contains(expected)
            });
            assert!(hit, "{wrong}: {found:?}");
            for diagnostic in found.iter().chain(&alone) {
                assert!(!diagnostic.to_string().contains("S3CRET"), "{diagnostic}");
            }
        }
        let (keys, _) = read("auth 1\n1 sha256 S3CRET-S3CRET-S3CRET\n");
        assert!(!format!("{keys:?}").contains("S3CRET"));
    }

    #[test]
    fn what_is_missing_or_doubled_is_an_error() {
        for (text, line, expected) in [
            ("", None, "no line `auth N`"),
            ("auth\n", Some(1), "one key number"),
            ("auth 1\n", Some(1), "usable keys: none"),
            ("auth 3\n1 crc\n2 crc\n", Some(1), "usable keys: 1, 2"),
            ("auth 1\n1 crc\n1 crc\n", Some(3), "line 2 already"),
            ("auth 1\n1 crc\nauth 1\n", Some(3), "line 1 already"),
        ] {
            let (_, found) = read(text);
            let errors: Vec<_> = found.iter().filter(|d| d.severity == Severity::Error).collect();
            assert_eq!(errors.len(), 1, "{text:?}: {errors:?}");
            assert_eq!(errors[0].line, line, "{text:?}");
            assert!(errors[0].message.contains(expected), "{}", errors[0]);
        }
    }
}
