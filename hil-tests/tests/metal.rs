//! The rig `metal` on one host. The ports are ptys with the rig's line model between them, and the person is
//! a fake: what is proved is the rig, not a UART.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hb_linux::rig::line::{Line, Port, Side};
use hb_linux::serial::verdict::Matter;
use hil_tests::inside::{inside, programs};
use hil_tests::metal::detect::detect;
use hil_tests::metal::one_host::OneHost;
use hil_tests::metal::person::{Nobody, Person};
use hil_tests::scenario::runner::{self, Verdict};
use hil_tests::scenario::stories;

/// A null-modem cable between two ports.
fn cable() -> (Arc<Line>, [PathBuf; 2]) {
    let line = Line::new().expect("a line");
    let [a, b] = [Side::A, Side::B].map(|side| {
        let port = Port::new().expect("a pty");
        let device = port.device().to_owned();
        line.attach(side, port);
        device
    });
    (Arc::new(line), [a, b])
}

#[test]
fn detection_finds_what_is_wired_to_what() {
    let (_first, [a0, b0]) = cable();
    let (_second, [a1, b1]) = cable();
    let (broken, [a2, b2]) = cable();
    broken.cut(Side::A, true);
    let (nowhere, [a3, b3]) = cable();
    nowhere.cut(Side::A, true);
    nowhere.cut(Side::B, true);
    let ports = [&a0, &a1, &a2, &a3, &b1, &b0, &b2, &b3].map(Clone::clone);
    let found = detect(&ports, &[38_400], &std::env::temp_dir()).expect("all can be opened");
    let cables: Vec<_> =
        found.cables.iter().map(|cable| (cable.ports.clone(), cable.verdict.matter)).collect();
    assert_eq!(
        cables,
        [([a0, b0], Matter::Sound), ([a1, b1], Matter::Sound), ([a2, b2], Matter::OneWay),],
        "{found:#?}"
    );
    assert!(found.cables[0].report.speeds[0].back.is_clean(), "{found:#?}");
    let others: Vec<_> = found.others.iter().map(|(port, v)| (port.clone(), v.matter)).collect();
    assert_eq!(others, [(a3, Matter::Dead), (b3, Matter::Dead)]);
}

/// A fake person who does with the line model what hands would do with a cable, or only says so.
struct Hands {
    line: Arc<Line>,
    lazy: bool,
}

impl Person for Hands {
    fn please(&mut self, do_this: &str) -> bool {
        assert!(do_this.contains("null-modem cable of ttyS0"), "{do_this}");
        for side in [Side::A, Side::B] {
            self.line.cut(side, do_this.starts_with("unplug") && !self.lazy);
        }
        true
    }
}

fn told(name: &str, ports: &[[PathBuf; 2]], person: Box<dyn Person>) -> Verdict {
    let story = stories::named(name).expect("there is such a story");
    let mut rig = OneHost::new(programs().clone(), ports.to_vec(), person);
    let evidence = std::env::temp_dir().join(format!("hb-metal-{}-{name}", std::process::id()));
    let verdict = runner::tell(story, &mut rig, Path::new(&evidence));
    let _ = std::fs::remove_dir_all(evidence);
    verdict
}

#[test]
fn stories_are_told_over_ports_of_this_host() {
    inside("stories_are_told_over_ports_of_this_host", || {
        for name in ["power_loss_of_the_holder", "a_wrong_speed_on_one_end_is_named_and_harmless"] {
            let (_line, ports) = cable();
            assert_eq!(told(name, &[ports], Box::new(Nobody)), Verdict::Passed, "{name}");
        }
    });
}

#[test]
fn a_person_unplugs_the_cable_and_one_who_does_not_makes_the_story_fail() {
    inside("a_person_unplugs_the_cable_and_one_who_does_not_makes_the_story_fail", || {
        let name = "each_link_is_cut_and_healed";
        for lazy in [false, true] {
            let (line, ports) = cable();
            let verdict = told(name, &[ports], Box::new(Hands { line, lazy }));
            let as_expected = match &verdict {
                Verdict::Passed => !lazy,
                Verdict::Failed { why, .. } => lazy && why.contains("ttyS0"),
                Verdict::Skipped(_) => false,
            };
            assert!(as_expected, "lazy {lazy}: {verdict:?}");
        }
    });
}

#[test]
fn what_this_rig_lacks_is_skipped_by_name() {
    inside("what_this_rig_lacks_is_skipped_by_name", || {
        let cases = [
            ("each_link_is_cut_and_healed", "needs verb cut: it takes hands"),
            ("noise_on_the_only_line", "needs verb noise: a real line is as noisy as it is"),
            ("one_of_two_serial_lines_dies", "needs verb serial line"),
            ("the_holder_dies_and_is_fenced", "needs verb dongle"),
        ];
        for (name, why) in cases {
            let (_line, ports) = cable();
            match told(name, &[ports], Box::new(Nobody)) {
                Verdict::Skipped(said) => assert!(said.contains(why), "{name}: {said}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    });
}

/// `cargo xtask rig metal`, as xtask becomes it.
fn command(file: &Path, text: &str, words: &[&str]) -> (Option<i32>, String, String) {
    std::fs::write(file, text).expect("writable");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_metal"))
        .arg("--config")
        .arg(file)
        .args(words)
        .env("HB_RIG_PROGRAMS", programs().hb.parent().expect("it lies somewhere"))
        .stdin(std::process::Stdio::null())
        .output()
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_command_tells_stories_lists_skips_and_explains_a_wrong_rig_toml() {
    let (_line, [a, b]) = cable();
    let file = std::env::temp_dir().join(format!("hb-rig-{}.toml", std::process::id()));
    let (code, _, said) = command(&file, "[[line]]\na = \"ttyUSB0\"\nb = \"/dev/x\"\n", &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(".toml:2: a = \"ttyUSB0\": expected an absolute path"), "{said}");

    let lines = format!("[[line]]\na = {a:?}\nb = {b:?}\n");
    let (code, _, said) = command(&file, &format!("{lines}[a]\nssh = \"one\"\n"), &["power"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(".toml:4: one of [a] and [b] alone"), "{said}");

    let (code, _, said) = command(&file, &lines, &["--detect"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("exists, and is left alone"), "{said}");

    let stories = ["--unattended", "a_stopped_standby", "noise_on_the_only_line"];
    let (code, told, said) = command(&file, &lines, &stories);
    std::fs::remove_file(&file).expect("it is ours");
    assert_eq!(code, Some(0), "{told}{said}");
    assert!(told.contains("1 passed, 0 failed, 1 skipped"), "{told}");
    assert!(
        told.contains("SKIP: rig metal: story noise_on_the_only_line: needs verb noise"),
        "{told}"
    );
}
