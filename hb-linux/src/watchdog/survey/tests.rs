//! Against a fake /sys and /proc: directories of plain files, with the attributes that
//! Documentation/ABI/testing/sysfs-class-watchdog lists and in the kernel's own spelling.

use std::os::unix::fs::symlink;

use super::*;

/// A fake root directory.
struct FakeRoot(PathBuf);

impl FakeRoot {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hb-survey-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("sys/class/watchdog")).unwrap();
        fs::create_dir_all(path.join("proc")).unwrap();
        Self(path)
    }

    fn watchdog(self, number: u32, attributes: &[(&str, &str)]) -> Self {
        let directory = self.0.join(format!("sys/class/watchdog/watchdog{number}"));
        fs::create_dir_all(&directory).unwrap();
        for (name, value) in attributes {
            fs::write(directory.join(name), format!("{value}\n")).unwrap();
        }
        self
    }

    fn process(self, pid: u32, name: &str, opened: &[&str]) -> Self {
        let directory = self.0.join(format!("proc/{pid}"));
        fs::create_dir_all(directory.join("fd")).unwrap();
        fs::write(directory.join("comm"), format!("{name}\n")).unwrap();
        for (number, path) in opened.iter().enumerate() {
            symlink(path, directory.join(format!("fd/{number}"))).unwrap();
        }
        self
    }

    fn survey(&self) -> Vec<Seen> {
        survey(&self.0).unwrap()
    }
}

impl Drop for FakeRoot {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const SOFTDOG: [(&str, &str); 9] = [
    ("identity", "Software Watchdog"),
    ("state", "inactive"),
    ("timeout", "60"),
    ("min_timeout", "1"),
    ("max_timeout", "65535"),
    ("options", "0x8180"),
    ("bootstatus", "0"),
    ("nowayout", "0"),
    ("status", "0x0"),
];

#[test]
fn an_idle_softdog_is_told_line_by_line() {
    let root = FakeRoot::new("softdog").watchdog(0, &SOFTDOG).process(1, "init", &["/dev/null"]);
    let [softdog] = &root.survey()[..] else { panic!("one watchdog") };
    assert_eq!(
        softdog.to_string(),
        "  device      /dev/watchdog0, which is /dev/watchdog\n  \
         identity    Software Watchdog\n  \
         state       not armed\n  \
         time-out    60 s (the driver takes 1 to 65535 s)\n  \
         pretimeout  none\n  \
         flags       settimeout magicclose keepaliveping\n  \
         nowayout    no: an orderly stop disarms it\n  \
         bootstatus  this driver doesn't record what reset the machine\n  \
         held by     nobody\n"
    );
}

#[test]
fn a_kernel_without_attributes_is_told_as_such() {
    let root = FakeRoot::new("bare").watchdog(0, &[("dev", "10:130")]);
    let [bare] = &root.survey()[..] else { panic!("one watchdog") };
    assert!(!bare.has_attributes());
    let text = bare.to_string();
    assert_eq!(text.matches(UNKNOWN).count(), 7, "{text}");
}

#[test]
fn who_holds_it_is_found_by_either_name_of_its_device() {
    let root = FakeRoot::new("held")
        .watchdog(
            1,
            &[
                ("identity", "i6300ESB timer"),
                ("state", "active"),
                ("timeleft", "7"),
                ("timeout", "10"),
            ],
        )
        .watchdog(0, &SOFTDOG)
        .process(7, "systemd", &["/dev/null", "/dev/watchdog", "socket:[5]"])
        .process(90, "heartbeatd", &["/dev/watchdog1", "/dev/watchdog1"]);
    let [first, second] = &root.survey()[..] else { panic!("two watchdogs") };
    assert_eq!((first.number, first.held_by().as_str()), (0, "systemd (process 7)"));
    assert_eq!(second.held_by(), "heartbeatd (process 90)");
    assert!(second.to_string().contains("10 s, 7 s left"), "{second}");
}

#[test]
fn bootstatus_counts_only_where_the_driver_records_it() {
    for (options, bootstatus, told) in [
        ("0x81a0", "32", Some(true)),
        ("0x81a0", "0", Some(false)),
        ("0x8180", "0", None),
        ("0x8180", "32", Some(true)),
        ("0x8180", "8", None),
    ] {
        let attributes = [("options", options), ("bootstatus", bootstatus)];
        let root = FakeRoot::new("bootstatus").watchdog(0, &attributes);
        assert_eq!(root.survey()[0].reset_the_machine(), told, "{options} {bootstatus}");
    }
}

#[test]
fn no_class_at_all_is_no_watchdog() {
    let root = FakeRoot::new("none");
    assert_eq!(root.survey(), []);
    fs::remove_dir_all(root.0.join("sys")).unwrap();
    assert_eq!(root.survey(), []);
}
