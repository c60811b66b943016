//! Is a resource held? Read from what its script's `status` prints, as the classics do.

use super::message::Outcome;

/// How much of a status output is looked at, in bytes.
pub const STATUS_BYTES: usize = 4096;

/// Judges one `status`.
///
/// The output decides, not the exit code, because scripts of this contract's age return 0 either
/// way: "not running" in any case means not held; else "running", "Running" or "OK" means held;
/// any other output means not held. A script that prints nothing is taken by its exit code (LSB Core
/// 5.0, chapter 22.2: 0 running, 1–3 not; 7 is OCF's "not running"); another code, or an end by a
/// signal, tells nothing: `None`.
#[must_use]
pub fn judge(output: &[u8], outcome: Outcome) -> Option<bool> {
    let output = &output[..output.len().min(STATUS_BYTES)];
    let code = match outcome {
        Outcome::Exit(code) => code,
        Outcome::Signal(_) | Outcome::SpawnFailed(_) | Outcome::Aborted | Outcome::Stuck => {
            return None;
        }
    };
    if output.iter().all(u8::is_ascii_whitespace) {
        return match code {
            0 => Some(true),
            1..=3 | 7 => Some(false),
            _ => None,
        };
    }
    let says = |word: &[u8]| output.windows(word.len()).any(|part| part == word);
    let not_running = output.windows(11).any(|part| part.eq_ignore_ascii_case(b"not running"));
    Some(!not_running && (says(b"running") || says(b"Running") || says(b"OK")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_decides_and_the_exit_code_only_when_there_is_none() {
        let table: [(&str, u8, Option<bool>); 19] = [
            ("httpd (pid 4711) is running...\n", 0, Some(true)),
            ("Running\n", 0, Some(true)),
            ("OK\n", 0, Some(true)),
            ("running\n", 1, Some(true)),
            ("running\n", 3, Some(true)),
            ("not running\n", 0, Some(false)),
            ("apache2 is not running.\n", 0, Some(false)),
            ("NOT Running\n", 0, Some(false)),
            ("OK: smbd Not Running\n", 0, Some(false)),
            ("httpd is stopped\n", 0, Some(false)),
            ("Active: inactive (dead)\n", 0, Some(false)),
            ("RUNNING\n", 0, Some(false)),
            ("ok\n", 0, Some(false)),
            ("", 0, Some(true)),
            (" \n", 3, Some(false)),
            ("", 1, Some(false)),
            ("", 7, Some(false)),
            ("", 4, None),
            ("", 127, None),
        ];
        for (output, code, held) in table {
            assert_eq!(judge(output.as_bytes(), Outcome::Exit(code)), held, "{output:?} {code}");
        }
        assert_eq!(judge(b"running", Outcome::Signal(9)), None);
        assert_eq!(judge(b"running", Outcome::Aborted), None);
    }

    #[test]
    fn only_the_beginning_counts() {
        let mut output = vec![b'x'; STATUS_BYTES];
        output.extend_from_slice(b"running");
        assert_eq!(judge(&output, Outcome::Exit(0)), Some(false));
    }
}
