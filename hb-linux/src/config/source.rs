//! Files into lines, lines into words.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::diagnostic::{Diagnostic, Severity, quoted};

/// Far more than any real file; keeps a wrong path (a disk image, /dev/zero) from filling the memory.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Privacy {
    Public,
    /// Refused when group or others have any right to it.
    OwnerOnly,
}

/// The text of `path`, or the one reason why there is none.
///
/// `hint` says what to do when the file is missing.
pub(super) fn read(path: &Path, privacy: Privacy, hint: &str) -> Result<String, Diagnostic> {
    let fault = |line: Option<usize>, message: String| Diagnostic {
        severity: Severity::Error,
        file: path.to_owned(),
        line,
        message,
    };
    let unreadable = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => fault(None, format!("the file is missing: {hint}")),
        _ => fault(None, format!("can't be read: {error}")),
    };
    // Looked at before it is opened: opening a FIFO would wait for a writer.
    if !fs::metadata(path).map_err(|e| unreadable(&e))?.is_file() {
        return Err(fault(None, "is not a regular file".to_owned()));
    }
    let mut file = File::open(path).map_err(|e| unreadable(&e))?;
    let mode = file.metadata().map_err(|e| unreadable(&e))?.permissions().mode() & 0o7777;
    if privacy == Privacy::OwnerOnly && mode & 0o077 != 0 {
        return Err(fault(
            None,
            format!(
                "its mode is {mode:04o}, so others than its owner can read or change the cluster's \
                 keys; expected 0600: run `chmod 600 {}`, and if strangers could read it, make \
                 new keys",
                path.display()
            ),
        ));
    }
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(fault(None, format!("is larger than {MAX_FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let end = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..end].iter().filter(|&&byte| byte == b'\n').count();
        fault(Some(line), "holds bytes that are not UTF-8 text; type the line again".to_owned())
    })
}

/// The line without its comment: everything from `#` on, as the classic cut it.
pub(super) fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

/// The words of a line of ha.cf: blanks and commas separate.
pub(super) fn words(line: &str) -> Vec<&str> {
    without_comment(line)
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
        .collect()
}

/// Whether the kernel could have a network interface of this name: dev_valid_name() of
/// net/core/dev.c (1 to 15 bytes, not `.` or `..`, no `/`, no `:`, no white space).
pub(super) fn is_interface_name(name: &str) -> bool {
    (1..16).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.chars().any(|c| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control())
}

/// The only value of a directive that takes one.
pub(super) fn one<'a>(values: &[&'a str], expected: &str) -> Result<&'a str, String> {
    match values {
        [value] => Ok(value),
        [] => Err(format!("no value, expected {expected}")),
        [first, ..] => Err(format!(
            "read {} values, {} first; expected {expected}",
            values.len(),
            quoted(first)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_by_blanks_and_commas_up_to_the_comment() {
        assert_eq!(
            words(" node linuxha1,linuxha2\tx # y\r"),
            ["node", "linuxha1", "linuxha2", "x"]
        );
        assert!(words("# only").is_empty());
    }

    #[test]
    fn interface_names_are_the_kernels() {
        for good in ["eth0", "enp0s31f6", "a", "fifteen-letters"] {
            assert!(is_interface_name(good), "{good}");
        }
        for bad in ["", ".", "..", "eth0:0", "a/b", "a b", "sixteen-letters-"] {
            assert!(!is_interface_name(bad), "{bad}");
        }
    }
}
