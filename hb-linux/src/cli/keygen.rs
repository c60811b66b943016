//! `hb keygen`: authkeys with a key that nobody has to think up.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

/// 256 bits: as long as HMAC-SHA-256's output, more adds nothing (RFC 2104 §3).
const KEY_BYTES: usize = 32;

pub fn keygen(config_dir: &Path, to_stdout: bool) -> ExitCode {
    let text = match fresh() {
        Ok(text) => text,
        Err(error) => return super::fail(&format!("the kernel gave no random bytes: {error}")),
    };
    if to_stdout {
        return super::print(&text);
    }
    let path = config_dir.join("authkeys");
    // 0600 from the start: heartbeatd refuses a key that others could read.
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    match written {
        Ok(()) => super::print(&format!(
            "wrote {path} (mode 0600). Both nodes need the same key:\n    \
             scp -p {path} root@OTHERNODE:{path}\n",
            path = path.display()
        )),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => super::fail(&format!(
            "{} exists and is not overwritten: a new key on one node only would part the pair; \
             move it away first",
            path.display()
        )),
        Err(error) => super::fail(&format!("{}: {error}", path.display())),
    }
}

fn fresh() -> io::Result<String> {
    let mut key = [0; KEY_BYTES];
    // Up to 256 bytes come complete or not at all (getrandom(2)).
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
    let mut text = String::from("# heartbeat's key: the same file on both nodes, mode 0600\n");
    text.push_str("auth 1\n1 sha256 ");
    for byte in key {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_and_differ() {
        let (a, b) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(a, b);
        let secret = a.lines().last().unwrap().strip_prefix("1 sha256 ").unwrap();
        assert_eq!(secret.len(), 2 * KEY_BYTES);
        assert!(secret.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
