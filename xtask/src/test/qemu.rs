//! QEMU for the rig of virtual machines and for the dongle's board: installed where that takes nothing away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::output::capture;
use super::prerequisites::{NoDaemons, in_path, is_root};

/// What of QEMU a stage runs.
#[derive(Clone, Copy, Debug)]
pub struct Qemu {
    program: &'static str,
    package: &'static str,
    found: &'static OnceLock<Result<bool, String>>,
}

/// The guests of the rig of virtual machines.
pub const GUESTS: Qemu = {
    static FOUND: OnceLock<Result<bool, String>> = OnceLock::new();
    Qemu { program: "qemu-system-x86_64", package: "qemu-system-x86", found: &FOUND }
};
/// The board that runs the dongle's firmware.
pub const BOARD: Qemu = {
    static FOUND: OnceLock<Result<bool, String>> = OnceLock::new();
    Qemu { program: "qemu-system-arm", package: "qemu-system-arm", found: &FOUND }
};

impl Qemu {
    /// Its Debian package.
    pub const fn package(self) -> &'static str {
        self.package
    }

    /// Looks for it, and installs it when this is root; once in a run. True: it was installed now.
    ///
    /// # Errors
    /// Why there is none, and the command that brings it.
    pub fn have(self) -> Result<bool, String> {
        self.found.get_or_init(|| self.find()).clone()
    }

    fn find(self) -> Result<bool, String> {
        let Self { program, package, .. } = self;
        if in_path(program) {
            return Ok(false);
        }
        let how = format!("to have it:  apt-get install --no-install-recommends {package}");
        if !is_root() || !in_path("apt-get") {
            return Err(format!(
                "no {program} here; {how} (as root, or what your distribution calls it)"
            ));
        }
        let _guard = NoDaemons::establish()?;
        let _ = apt(&[], &["update"]);
        let plain = install(&[], package);
        if plain.is_ok() {
            return Ok(true);
        }
        // A machine may have another part of QEMU from backports (qemu-utils, say), which the release's own version
        // would take away: the same backports then have what fits. Its lists are kept apart from the machine's.
        let backports = with_backports().and_then(|options| {
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            apt(&options, &["update"])?;
            install(&options, package)
        });
        match (plain, backports) {
            (_, Ok(())) => Ok(true),
            (Err(plain), Err(backports)) => Err(format!(
                "no {program} here, and apt can't install it ({plain}; {backports}); {how}"
            )),
            (Ok(()), Err(_)) => Ok(true),
        }
    }
}

/// Installs it, unless something would be removed for it.
fn install(options: &[&str], package: &str) -> Result<(), String> {
    let what = ["install", "--yes", "--no-install-recommends", package];
    let plan = apt(options, &[&["--simulate"], &what[..]].concat())?;
    if let Some(removed) = removed(&plan) {
        return Err(format!("it would remove {removed}"));
    }
    apt(options, &what).map(drop)
}

/// What a simulated installation would take away: its lines begin with `Remv`.
fn removed(plan: &str) -> Option<&str> {
    plan.lines().find_map(|line| line.strip_prefix("Remv ")?.split(' ').next())
}

fn apt(options: &[&str], words: &[&str]) -> Result<String, String> {
    let mut command = Command::new("apt-get");
    command.args(options).args(words).env("DEBIAN_FRONTEND", "noninteractive");
    match capture(&mut command) {
        Ok((status, text)) if status.success() => Ok(text),
        Ok((_, text)) => {
            let said = text.lines().find(|line| line.starts_with("E: "));
            Err(said.or(text.lines().next_back()).unwrap_or("apt said nothing").to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Options of apt-get for the machine's own sources and Debian's backports beside them, in a directory of ours.
fn with_backports() -> Result<Vec<String>, String> {
    let told = |error: std::io::Error| error.to_string();
    let release = fs::read_to_string("/etc/os-release").map_err(told)?;
    let field = |name: &str| {
        release.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_matches('"').to_owned()))
    };
    let codename = field("VERSION_CODENAME=").filter(|_| field("ID=").as_deref() == Some("debian"));
    let codename = codename.ok_or("this is no Debian with a name: it has no backports")?;
    let directory = std::env::temp_dir().join(format!("heartbeat-apt.{}", std::process::id()));
    let (parts, lists) = (directory.join("sources.list.d"), directory.join("lists"));
    for made in [&parts, &lists.join("partial")] {
        fs::create_dir_all(made).map_err(told)?;
    }
    copy_sources(&parts)?;
    let text = format!(
        "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: {codename}-backports\nComponents: main\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    );
    fs::write(parts.join("heartbeat-backports.sources"), text).map_err(told)?;
    Ok(vec![
        "-o".into(),
        format!("Dir::Etc::SourceParts={}", parts.display()),
        "-o".into(),
        format!("Dir::State::Lists={}", lists.display()),
        "-t".into(),
        format!("{codename}-backports"),
    ])
}

fn copy_sources(to: &Path) -> Result<(), String> {
    let listing = fs::read_dir("/etc/apt/sources.list.d").map_err(|error| error.to_string())?;
    let is_source = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "list" || extension == "sources")
    };
    for path in listing.flatten().map(|entry| entry.path()).filter(is_source) {
        let name = path.file_name().unwrap_or_default();
        fs::copy(&path, to.join(name)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn what_would_be_removed_is_seen() {
        let plan =
            "Reading package lists...\nRemv qemu-utils [1:10.0.2]\nInst qemu-system-x86 (1:7.2)\n";
        assert_eq!(removed(plan), Some("qemu-utils"));
        assert_eq!(removed("Inst qemu-system-x86 (1:10.0.2)\n"), None);
    }
}
