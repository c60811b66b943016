//! ha.cf, haresources and authkeys: any text in one of them, the other two as they should be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::LazyLock;

use hb_linux::config::{AddressSpec, Settings, Severity};

const FILES: [(&str, &str); 3] = [
    ("ha.cf", "node linuxha1 linuxha2\nserial /dev/ttyS0\nbcast eth1\nkeepalive 100ms\n"),
    ("haresources", "linuxha1 192.168.85.3 httpd\n"),
    ("authkeys", "auth 1\n1 sha256 S3CRET-S3CRET-S3CRET\n"),
];

/// Any bytes as ha.cf.
pub fn hacf(data: &[u8]) {
    load(0, data);
}

/// Any bytes as haresources.
pub fn haresources(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok((spec, _)) = AddressSpec::parse(text.trim())
    {
        let (again, _) = AddressSpec::parse(&spec.to_string()).expect("own text");
        assert_eq!(again, spec, "an address has one meaning");
    }
    load(1, data);
}

/// Any bytes as authkeys; what they hold is a secret.
pub fn authkeys(data: &[u8]) {
    load(2, data);
}

fn load(which: usize, data: &[u8]) {
    let dir = scratch(which);
    fs::write(dir.join(FILES[which].0), data).expect("own directory");
    let diagnostics = match Settings::load(&dir, Some("linuxha1"), &[]) {
        Ok(loaded) => {
            let proto = &loaded.settings.proto;
            assert_eq!(proto.check(), Ok(()), "what loads obeys the rules");
            assert_eq!(loaded.settings.media.len(), proto.links.len());
            assert_eq!(loaded.settings.groups.len(), proto.groups.len());
            assert!(
                loaded.settings.keys.iter().any(|key| key.id == loaded.settings.signing_key),
                "the key that signs is listed"
            );
            loaded.diagnostics
        }
        Err(diagnostics) => {
            assert!(diagnostics.iter().any(|found| found.severity == Severity::Error));
            diagnostics
        }
    };
    let lines = data.split_inclusive(|&byte| byte == b'\n').count();
    let known = FILES.map(|(_, text)| text.lines().count());
    for found in diagnostics {
        let shown = found.to_string();
        assert!(!shown.contains(|c: char| c.is_control()), "a log line stays one: {shown:?}");
        let at = FILES.iter().position(|(name, _)| found.file.ends_with(name)).expect("ours");
        let last = if at == which { lines } else { known[at] };
        assert!(found.line.is_none_or(|line| (1..=last).contains(&line)), "{shown}");
    }
}

/// One directory a thread and use, in memory where there is such a place. It holds the three files.
pub fn scratch(which: usize) -> PathBuf {
    static BASE: LazyLock<PathBuf> = LazyLock::new(|| {
        let memory = PathBuf::from("/dev/shm");
        if memory.is_dir() { memory } else { std::env::temp_dir() }
    });
    thread_local! {
        static READY: [std::cell::OnceCell<Scratch>; 4] = const {
            [const { std::cell::OnceCell::new() }; 4]
        };
    }
    READY.with(|ready| ready[which].get_or_init(|| Scratch::new(&BASE, which)).0.clone())
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(base: &std::path::Path, which: usize) -> Self {
        let thread = format!("{:?}", std::thread::current().id());
        let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
        let dir = base.join(format!("hb-fuzz-{}-{thread}-{which}", std::process::id()));
        fs::create_dir_all(&dir).expect("a writable directory");
        for (name, text) in FILES {
            fs::write(dir.join(name), text).expect("own directory");
        }
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(dir.join("authkeys"), private).expect("own file");
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
