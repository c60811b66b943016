//! What the book says of times and commands is what the programs compute and accept.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use hb_linux::config::{Medium, Settings};
use hb_proto::config::{Config, Digests, LinkKind, STATUS_SERIAL_BYTES};
use hb_proto::id::{BootId, LinkId, Voter};
use hb_proto::time::Duration;
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::{self, Echo, Header, Hello, Message, Status};
use hb_proto::wire::{MAX_FRAME, cobs};

const HARESOURCES: &str = "192.168.85.3 httpd smb";

fn book(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text of timing.md from the heading that begins so to the next of any rank.
fn section(head: &str) -> String {
    let text = book("docs/timing.md");
    let (_, after) = text.split_once(head).unwrap_or_else(|| panic!("timing.md has no {head:?}"));
    after.split("\n#").next().unwrap_or_default().to_owned()
}

/// The second cell of the row whose first begins so.
fn row(section: &str, head: &str) -> String {
    let line =
        section.lines().find(|line| line.strip_prefix("| ").is_some_and(|l| l.starts_with(head)));
    let line = line.unwrap_or_else(|| panic!("no row {head:?} in\n{section}"));
    line.split(" | ").nth(1).expect("a second cell").trim_end_matches(" |").to_owned()
}

/// Whether `part` stands in `text` and isn't the end of a longer number.
fn says(text: &str, part: &str) -> bool {
    text.match_indices(part).any(|(at, _)| {
        !text[..at].ends_with(|c: char| c.is_ascii_digit() || c == '.')
            && !text[at + part.len()..].starts_with(|c: char| c.is_ascii_digit())
    })
}

#[track_caller]
fn expect(text: &str, any_of: &[String]) {
    assert!(any_of.iter().any(|part| says(text, part)), "{any_of:?} expected in: {text}");
}

/// Rounded as people do, without a fraction of zero.
fn number(value: f64, digits: i32) -> String {
    let scale = 10_f64.powi(digits);
    ((value * scale + 1e-6).round() / scale).to_string()
}

/// A time in both of the units that the book uses.
fn either(time: Duration) -> [String; 2] {
    let micros = time.micros() as f64;
    [number(micros / 1e6, 3) + " s", number(micros / 1e3, 3) + " ms"]
}

fn line_ms(bytes: usize, baud: u32) -> f64 {
    LinkKind::Serial { baud }.time_on_line(bytes).micros() as f64 / 1e3
}

/// The configuration that a section shows, or the defaults if it shows none.
fn config(section: &str, name: &str) -> (Config, u32) {
    let block = section.split("```").nth(1).map(|block| block.trim_start_matches("text"));
    let times = block.unwrap_or("serial /dev/ttyS0\n");
    let dir = std::env::temp_dir().join(format!("hb-documented-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a temporary directory");
    let files = [
        ("ha.cf", format!("node linuxha1 linuxha2\n{times}")),
        ("haresources", format!("linuxha1 {HARESOURCES}\nlinuxha1 192.168.85.4\n")),
        ("authkeys", "auth 1\n1 sha256 a-secret-that-is-long-enough\n".to_owned()),
    ];
    for (name, text) in files {
        fs::write(dir.join(name), text).expect("own directory");
    }
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(dir.join("authkeys"), private).expect("own file");
    let loaded = Settings::load(&dir, Some("linuxha1"), &[]);
    fs::remove_dir_all(&dir).expect("own directory");
    let settings = loaded.expect("what the book shows loads").settings;
    let baud = settings.media.iter().find_map(|medium| match medium {
        Medium::Serial { baud, .. } => Some(*baud),
        _ => None,
    });
    (settings.proto, baud.expect("a serial line"))
}

/// Bytes of a hello with these times on a serial line, from the real encoder.
fn hello_bytes(config: &Config) -> usize {
    let ms = |time: Duration| u32::try_from(time.millis()).expect("within a day");
    let boot = BootId::new(1).expect("a life");
    let status = Status { echoes: [Some(Echo::of(boot, 1)), None], ..Status::default() };
    let settings = message::Settings {
        keepalive_ms: ms(config.timing.keepalive),
        deadtime_ms: ms(config.timing.deadtime),
        lease_ms: ms(config.timing.lease),
        guard_ms: ms(config.timing.guard),
        ..message::Settings::new(Digests { haresources: 1, settings: 1 })
    };
    let hello = Hello {
        status,
        settings,
        declines: 0,
        failed: 0,
        wants: 0,
        knows: None,
        echo: None,
        for_arbiter: None,
    };
    let header = Header { sender: Voter::A, link: LinkId(0), boot, seq: 1 };
    let keys: Option<KeyRing> =
        KeyRing::new([Key::hmac(1, b"a secret")].into_iter().flatten().collect(), 1);
    let mut frame = [0; MAX_FRAME];
    let keys: KeyRing = keys.expect("listed");
    cobs::encoded_len(message::encode(&header, &Message::Hello(hello), &keys, &mut frame))
}

#[test]
fn the_three_worked_examples_of_timing_are_computed() {
    for (head, name) in [
        ("### 1. The guide's", "guide"),
        ("### 2. The defaults", "defaults"),
        ("### 3. The fastest", "fastest"),
    ] {
        let section = section(head);
        let (config, baud) = config(&section, name);
        let timing = &config.timing;
        let keepalive = timing.keepalive.micros() as f64 / 1e3;

        let title = section.lines().next().unwrap_or_default();
        assert!(title.contains(&format!("{baud} baud")), "{head}{title}");
        for (time, rows) in [
            (timing.warntime, ["warntime, not given", "warntime, initdead"]),
            (timing.initdead, ["initdead, not given", "warntime, initdead"]),
        ] {
            let known = rows.iter().find(|head| section.contains(&format!("| {head}")));
            expect(&row(&section, known.expect("a row")), &either(time));
        }

        let (needed, allowed) = config.serial_load(LinkId(0), baud);
        let status = row(&section, "a status on the line");
        let ms = number(line_ms(STATUS_SERIAL_BYTES, baud), 1);
        expect(&status, &[format!("{ms} ms of each {} ms", number(keepalive, 0))]);
        let share = needed.micros() as f64 / timing.keepalive.micros() as f64 * 100.0;
        expect(&status, &[number(share, 1) + " %", number(share, 0) + " %"]);
        expect(&status, &either(allowed).map(|time| format!("allowed {time}")));

        let bytes = hello_bytes(&config);
        let ms = number(line_ms(bytes, baud), 1);
        expect(&row(&section, "a hello"), &[format!("{bytes} bytes, {ms} ms")]);

        let lease = row(&section, "lease");
        assert!(either(timing.lease).iter().any(|time| lease.starts_with(time)), "{lease}");
        expect(&lease, &either(timing.full()).map(|time| format!("for its giver {time}")));

        let least = timing.deadtime.saturating_sub(timing.keepalive);
        let detection = [least, timing.deadtime].map(|time| time.micros() as f64);
        let [s, ms] = [1e6, 1e3].map(|unit| detection.map(|at| number(at / unit, 3)).join(" to "));
        expect(&row(&section, "detection"), &[s + " s", ms + " ms"]);

        for (group, head) in
            [(0, format!("budget for `{HARESOURCES}`")), (1, "budget for an address".to_owned())]
        {
            if section.contains(&format!("| {head} ")) {
                let total = config.budget(group).expect("configured").total();
                expect(&row(&section, &head), &either(total).map(|time| format!("= {time}")));
            }
        }
    }
    let (defaults, baud) = config("", "seconds");
    let statuses = 9.0 * line_ms(STATUS_SERIAL_BYTES, baud);
    let sum = statuses + line_ms(hello_bytes(&defaults), baud);
    let text = row(&section("### 2. The defaults"), "a hello");
    expect(
        &text,
        &[format!("= {} ms of each second: {} %", number(sum, 1), number(sum / 10.0, 1))],
    );
}

#[test]
fn the_sums_of_an_arbiter_are_computed() {
    let text = section("## With an arbiter");
    let cells = |head: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("| {head}")));
        let line = line.unwrap_or_else(|| panic!("no row {head:?}"));
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        [cells[1].to_owned(), cells[2].to_owned()]
    };
    let arbiter = "baud 115200\nserial /dev/ttyS0\nbcast eth1\nwatchdog /dev/watchdog\narbiter serial /dev/ttyS0";
    for (at, options) in ["", "\nfence dongle"].into_iter().enumerate() {
        let (config, _) = config(&format!("```{arbiter}{options}\n```"), "arbiter");
        let total = config.budget(1).expect("an address").total();
        expect(&cells("budget for an address")[at], &either(total).map(|time| format!("= {time}")));
        if at == 0 {
            let [guard, full] = [config.timing.guard, config.timing.full()];
            expect(&cells("guard")[0], &either(guard).map(|time| format!("= {time}")));
            expect(&cells("a promise binds")[0], &either(full).map(|time| format!("= {time}")));
        }
        for baud in [19_200, 38_400, 115_200] {
            let (needed, _) = config.serial_load(LinkId(0), baud);
            expect(&text, &[number(needed.micros() as f64 / 1e3, 1) + " ms"]);
        }
    }
}

#[test]
fn the_table_of_serial_lines_is_computed() {
    let section = section("## A serial line");
    let rows: Vec<Vec<&str>> = section
        .lines()
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>())
        .filter(|cells| cells[0].parse::<u32>().is_ok())
        .collect();
    assert_eq!(rows.len(), 6, "a row for each speed");
    let (mut config, _) = config("", "speeds");
    let hello = hello_bytes(&config);
    assert!(section.contains(&format!("a hello of {hello} bytes")), "{section}");
    for cells in rows {
        let baud: u32 = cells[0].parse().expect("a speed");
        let ms = |bytes| number(line_ms(bytes, baud), 1) + " ms";
        assert_eq!(cells[1], ms(STATUS_SERIAL_BYTES), "{baud}");
        assert_eq!(cells[2], ms(hello), "{baud}");
        // The shortest that the rule itself allows, in whole milliseconds as ha.cf has them.
        let shortest = (1..).find(|&keepalive| {
            config.timing.keepalive = Duration::from_millis(keepalive);
            let (needed, allowed) = config.serial_load(LinkId(0), baud);
            needed <= allowed
        });
        assert_eq!(cells[3], format!("{} ms", shortest.expect("some")), "{baud}");
    }
}

/// Every `hb COMMAND --flag` that the book shows in code is one that `hb` knows.
#[test]
fn every_command_of_hb_in_the_book_exists() {
    let run = |command: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_hb")).args(command).output().expect("hb runs");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let commands = run(&["--help"]);
    let mut seen = 0;
    let pages = [
        "README.md",
        "docs/get-started.md",
        "docs/operations.md",
        "docs/ha.cf.md",
        "docs/concepts.md",
    ];
    let pages = pages.iter().chain(&["docs/timing.md", "docs/threat-model.md", "docs/testing.md"]);
    for page in pages.chain(&["docs/resource-scripts.md", "docs/protocol.md"]) {
        let text = book(page);
        for line in text.lines() {
            let code = line.split('`').skip(1).step_by(2);
            for said in code.chain([line.trim_start_matches("sudo ")]) {
                let said = said.trim_start_matches("sudo ");
                let Some(rest) = said.strip_prefix("hb ") else { continue };
                let mut words = rest.split_whitespace();
                let Some(command) = words.next().filter(|word| word.is_ascii()) else { continue };
                seen += 1;
                let known =
                    commands.lines().any(|l| l.trim_start().split(' ').next() == Some(command));
                assert!(known, "{page}: hb has no command {command:?}: {line}");
                let mut help = run(&[command, "--help"]);
                if help.contains("\nCommands:") {
                    let sub = words.next().unwrap_or_default();
                    let subs: Vec<_> = sub.split('|').collect();
                    let is_one =
                        |sub: &&str| help.lines().any(|l| l.starts_with(&format!("  {sub} ")));
                    assert!(subs.iter().all(is_one), "{page}: hb {command} has no {sub:?}: {line}");
                    let each = subs.iter().map(|sub| run(&[command, sub, "--help"]));
                    help = each.collect::<Vec<_>>().concat();
                }
                for flag in words.filter(|word| word.starts_with("--")) {
                    let flag = flag.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                    let flag = flag.split('=').next().unwrap_or(flag);
                    assert!(help.contains(flag), "{page}: hb {command} has no {flag}: {line}");
                }
            }
        }
    }
    assert!(seen > 30, "only {seen} commands were found: how the book shows them has changed");
}
