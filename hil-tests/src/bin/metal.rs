//! `cargo xtask rig metal`: finds the cables, writes a rig.toml, tells the stories on real ports.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use hb_linux::media::LOCK_DIR;
use hb_linux::serial::ports::{self, Holder, Places, Port};
use hb_linux::serial::{BAUDS, verdict};
use hil_tests::inside::programs;
use hil_tests::metal::config::{self, Config};
use hil_tests::metal::detect::{self, Cable, Found};
use hil_tests::metal::one_host::OneHost;
use hil_tests::metal::person::{AtTerminal, Nobody, Person};
use hil_tests::metal::two_hosts::TwoHosts;
use hil_tests::netns::host::prefer_this_session;
use hil_tests::scenario::rig::Rig;
use hil_tests::scenario::runner;
use hil_tests::scenario::stories::{self, Story};
use hil_tests::scenario::telling::{self, SKIPPED};
use hil_tests::vm::image;

/// The stories on real serial ports. What a program can't do is asked of you.
#[derive(Parser)]
#[command(name = "cargo xtask rig metal", max_term_width = 100)]
struct Cli {
    /// What the rig is made of
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT)]
    config: PathBuf,
    /// Test what is wired to what, and write FILE; an existing one is left alone
    #[arg(long)]
    detect: bool,
    /// With --detect: only these ports; all free ones otherwise
    #[arg(long, value_name = "DEVICE", requires = "detect")]
    port: Vec<PathBuf>,
    /// With --detect: at these speeds only
    #[arg(long, value_name = "BAUD,…", value_delimiter = ',', requires = "detect")]
    speeds: Vec<u32>,
    /// Nobody is there to be asked: stories that take hands are skipped
    #[arg(long)]
    unattended: bool,
    /// Tell one story in this process, inside the rig's namespaces
    #[arg(long, hide = true, value_name = "STORY")]
    tell: Option<String>,
    /// Stories whose names contain one of these; all otherwise
    stories: Vec<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.detect {
        return finish(detected(&cli));
    }
    let config = match config::read(&cli.config) {
        Ok(config) => config,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            return ExitCode::from(2);
        }
    };
    match &cli.tell {
        Some(name) => tell(name, &config, cli.unattended),
        None => finish(run(&cli, &config)),
    }
}

fn finish(outcome: Result<bool, String>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

/// Whether at least one cable is sound and stands in the new file.
fn detected(cli: &Cli) -> Result<bool, String> {
    if cli.config.exists() {
        return Err(format!(
            "{}: exists, and is left alone; name another with --config, or remove it",
            cli.config.display()
        ));
    }
    let all = ports::list(&Places::default()).map_err(|e| format!("/sys/class/tty: {e}"))?;
    print!("{}", ports::picture(&all));
    let chosen = if cli.port.is_empty() { free(&all) } else { cli.port.clone() };
    if chosen.len() < 2 {
        return Err(
            "a line takes two free ports; plug adapters in, or name ports with --port".into()
        );
    }
    println!("\ntesting {} ports against each other …", chosen.len());
    let speeds = if cli.speeds.is_empty() { &BAUDS[..] } else { &cli.speeds };
    let found = detect::detect(&chosen, speeds, Path::new(LOCK_DIR))?;
    show(&found);
    let sound: Vec<_> =
        found.cables.iter().filter(|cable| cable.verdict.is_good()).map(remark).collect();
    if sound.is_empty() {
        println!("\nno sound cable: nothing to write");
        return Ok(false);
    }
    let mut file = std::fs::File::create_new(&cli.config)
        .map_err(|error| format!("{}: {error}", cli.config.display()))?;
    file.write_all(config::text(&sound).as_bytes())
        .map_err(|error| format!("{}: {error}", cli.config.display()))?;
    println!("\nwrote {}", cli.config.display());
    Ok(true)
}

/// By the name that stays, where udev made one. Held ports and the kernel's console are left alone.
fn free(all: &[Port]) -> Vec<PathBuf> {
    let is_free = |port: &&Port| {
        for holder in &port.holders {
            println!("{} is left out: in use by {holder}", port.device.display());
        }
        !port.holders.iter().any(|holder| holder.excludes() || *holder == Holder::Console)
    };
    let name = |port: &Port| port.by_path.clone().unwrap_or_else(|| port.device.clone());
    all.iter().filter(is_free).map(name).collect()
}

fn remark(cable: &Cable) -> ([PathBuf; 2], String) {
    let mut words = cable.report.speeds.iter().map(verdict::speed_line).collect::<Vec<_>>();
    words.extend(cable.report.wiring.map(|wiring| format!("cable: {wiring}")));
    (cable.ports.clone(), words.join("\n"))
}

fn show(found: &Found) {
    for cable in &found.cables {
        let [a, b] = &cable.ports;
        println!("\n{}\n  is wired to\n{}", a.display(), b.display());
        for speed in &cable.report.speeds {
            println!("  {}", verdict::speed_line(speed));
        }
        if let Some(wiring) = cable.report.wiring {
            println!("  cable: {wiring}");
        }
        println!("  {}", cable.verdict);
    }
    for (port, verdict) in &found.others {
        println!("\n{}\n  {verdict}", port.display());
    }
}

/// Every chosen story in a process of its own, one after the other: there is one set of ports.
fn run(cli: &Cli, config: &Config) -> Result<bool, String> {
    let words = &cli.stories;
    let wanted =
        |story: &&Story| words.is_empty() || words.iter().any(|word| story.name.contains(word));
    let chosen: Vec<_> = stories::ALL.iter().chain(stories::DONGLE).filter(wanted).collect();
    if chosen.is_empty() {
        return Err(format!("no story's name contains {}", words.join(" or ")));
    }
    let (mut passed, mut failed, mut skips) = (0, Vec::new(), Vec::new());
    for story in chosen {
        print!("story metal::{} ... ", story.name);
        let _ = std::io::stdout().flush();
        let (code, text) = in_rig(cli, config, story)?;
        if code == Some(0) {
            passed += 1;
            println!("ok");
        } else if code == Some(i32::from(SKIPPED)) {
            println!("skipped");
            skips.push(text.trim().to_owned());
        } else {
            println!("FAILED\n{text}");
            failed.push(story.name);
        }
    }
    skips.iter().for_each(|skip| println!("SKIP: {skip}"));
    failed.iter().for_each(|name| println!("FAILED: {name}"));
    println!("\n{passed} passed, {} failed, {} skipped", failed.len(), skips.len());
    Ok(failed.is_empty())
}

/// stdin and stderr stay the person's; what the story says is kept.
fn in_rig(cli: &Cli, config: &Config, story: &Story) -> Result<(Option<i32>, String), String> {
    let hb = &programs().hb;
    let myself = std::env::current_exe().map_err(|error| error.to_string())?;
    // Two hosts are where they are; two daemons on this one get namespaces.
    let mut command = if config.hosts.is_some() {
        Command::new(myself)
    } else {
        let mut command = Command::new(hb);
        command.arg("rig-enter").arg(myself);
        command
    };
    command.arg("--config").arg(&cli.config);
    command.args(["--tell", story.name]);
    if cli.unattended {
        command.arg("--unattended");
    }
    let directory = hb.parent().unwrap_or(Path::new("."));
    let output = command
        .env("HB_RIG_PROGRAMS", directory)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", hb.display()))?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn tell(name: &str, config: &Config, unattended: bool) -> ExitCode {
    let Some(story) = stories::named(name) else {
        println!("no story is called {name}");
        return ExitCode::FAILURE;
    };
    prefer_this_session();
    let person: Box<dyn Person> = if unattended { Box::new(Nobody) } else { Box::new(AtTerminal) };
    let target = programs().hb.parent().and_then(Path::parent).unwrap_or(Path::new("target"));
    let mut rig: Box<dyn Rig> = if config.hosts.is_some() {
        let programs = target.join(image::TARGET).join("release");
        Box::new(TwoHosts::new(config.clone(), &programs, person))
    } else {
        Box::new(OneHost::new(programs().clone(), config.lines.clone(), person))
    };
    let evidence = target.join("rig-evidence/metal").join(name);
    telling::end(runner::tell(story, rig.as_mut(), &evidence))
}
