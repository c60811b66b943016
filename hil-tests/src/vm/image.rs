//! What the guests boot: Debian's kernel, and an initramfs of our own.
//!
//! Everything is kept below `target/rig-vm`: the packages as they came, the kernel unpacked, and the
//! initramfs under a name that follows from its contents. No package is installed for it: a kernel that
//! apt installs would want to become the host's.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::Archive;
use super::modules;
use crate::scenario::cluster::Machine;

/// Debian's name for "the newest kernel for amd64": it depends on the kernel itself.
const KERNEL: &str = "linux-image-amd64";
/// Packages whose programs the guests run.
const PROGRAMS: [&str; 1] = ["busybox-static"];
/// Programs of the host that the guests have too, with the libraries that they need: the story that uses one
/// is skipped where the host hasn't got it.
pub const BORROWED: [&str; 2] = ["/usr/sbin/tc", "/usr/sbin/pppd"];
/// Process 1, and what it does first.
const INIT: &str = include_str!("init.sh");
const INITTAB: &str = include_str!("inittab");
/// Of Rust's targets, the one whose programs need nothing of a guest.
pub const TARGET: &str = "x86_64-unknown-linux-musl";
/// What is built for it.
const BINARIES: [(&str, &str); 3] =
    [("heartbeatd", "usr/sbin/heartbeatd"), ("hb", "usr/bin/hb"), ("hil-guest", "bin/hil-guest")];

/// Files that QEMU boots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// The kernel, unpacked: an ELF file with a PVH entry, 3.5 s faster under TCG than unpacking itself.
    pub kernel: PathBuf,
    /// The initramfs, uncompressed for the same reason.
    pub initramfs: PathBuf,
    /// The kernel's version, such as `6.1.0-56-amd64`.
    pub version: String,
    /// Of all that is in them.
    pub key: String,
    /// Where all of this lies.
    pub directory: PathBuf,
    /// Where what is built for [`TARGET`] lies.
    pub programs: PathBuf,
}

impl Image {
    /// A machine that has booted and is nobody yet, if [`super::snapshot::make`] could write one.
    #[must_use]
    pub fn snapshot(&self, machine: Machine) -> Option<PathBuf> {
        Some(super::snapshot::path(self, machine)).filter(|path| path.exists())
    }
}

/// Makes what isn't there yet. `binaries` has the programs, built for [`TARGET`]; `directory` is
/// `target/rig-vm`.
///
/// # Errors
/// What couldn't be had, with the command that brings it.
pub fn make(directory: &Path, binaries: &Path) -> Result<Image, String> {
    let packages = directory.join("packages");
    let kernel_root = packages.join("kernel");
    if !kernel_root.join("boot").is_dir() {
        let name = kernel_package()?;
        unpack(&packages, &name, &kernel_root)?;
    }
    for name in PROGRAMS {
        let root = packages.join(name);
        if !root.is_dir() {
            unpack(&packages, name, &root)?;
        }
    }
    let version = kernel_version(&kernel_root)?;
    let kernel = directory.join(format!("vmlinux-{version}"));
    if !kernel.exists() {
        extract(&kernel_root.join(format!("boot/vmlinuz-{version}")), &kernel)?;
    }
    let archive = initramfs(&packages, &version, binaries)?;
    let mut hasher = DefaultHasher::new();
    (&archive, &version).hash(&mut hasher);
    let key = format!("{:016x}", hasher.finish());
    let initramfs = directory.join(format!("initramfs-{key}"));
    if !initramfs.exists() {
        write_whole(&initramfs, &archive)?;
    }
    let (directory, programs) = (directory.to_owned(), binaries.to_owned());
    Ok(Image { kernel, initramfs, version, key, directory, programs })
}

/// A file that another run may be making too is there whole, or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let begun = path.with_extension(format!("{}.part", std::process::id()));
    fs::write(&begun, bytes)
        .and_then(|()| fs::rename(&begun, path))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}: {}", output.status, said.trim()))
}

/// What the newest kernel is called. The lists of a fresh container are empty.
fn kernel_package() -> Result<String, String> {
    newest_kernel().or_else(|_| {
        output(Command::new("apt-get").arg("update"))?;
        newest_kernel()
    })
}

fn newest_kernel() -> Result<String, String> {
    let depends = output(Command::new("apt-cache").args(["depends", KERNEL]))?;
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.filter(|name| name.starts_with("linux-image-")).map(str::to_owned).next().ok_or_else(|| {
        format!(
            "apt knows no {KERNEL}; expected Debian's packages. Run `apt-get update` on Debian, or put a \
             kernel package's boot/ and lib/ into target/rig-vm/packages/kernel"
        )
    })
}

/// Downloads a package without installing it, and unpacks it into `root`.
///
/// # Errors
/// What apt or dpkg said.
pub fn unpack(packages: &Path, name: &str, root: &Path) -> Result<(), String> {
    fs::create_dir_all(packages).map_err(|error| format!("{}: {error}", packages.display()))?;
    output(Command::new("apt-get").args(["download", name]).current_dir(packages))
        .map_err(|why| format!("{why}\n`apt-get update` may be what is missing"))?;
    let is_it = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(&format!("{name}_")) && file.ends_with(".deb")
    };
    let listing = fs::read_dir(packages).map_err(|error| error.to_string())?;
    let found = listing.flatten().map(|entry| entry.path()).find(is_it);
    let package = found.ok_or_else(|| format!("apt-get download {name} left no package"))?;
    let begun = root.with_extension(format!("{}.part", std::process::id()));
    output(Command::new("dpkg").arg("-x").arg(&package).arg(&begun))?;
    fs::rename(&begun, root).map_err(|error| format!("{}: {error}", root.display()))
}

fn kernel_version(root: &Path) -> Result<String, String> {
    let boot = root.join("boot");
    let listing = fs::read_dir(&boot).map_err(|error| format!("{}: {error}", boot.display()))?;
    let names = listing.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let version = names.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned)).next();
    version.ok_or_else(|| format!("{}: no vmlinuz-VERSION in it", boot.display()))
}

/// The ELF file in a bzImage: Debian compresses it with xz.
fn extract(bzimage: &Path, to: &Path) -> Result<(), String> {
    const XZ: &[u8] = b"\xfd7zXZ\0";
    let bytes = fs::read(bzimage).map_err(|error| format!("{}: {error}", bzimage.display()))?;
    let Some(at) = bytes.windows(XZ.len()).position(|part| part == XZ) else {
        return Err(format!("{}: nothing in it is compressed with xz", bzimage.display()));
    };
    let tail = to.with_extension("xz");
    write_whole(&tail, &bytes[at..])?;
    // What follows the compressed kernel in the file is not xz's affair.
    let file = fs::File::open(&tail).map_err(|error| format!("{}: {error}", tail.display()))?;
    let elf = Command::new("xz").args(["-dc", "--single-stream"]).stdin(file).output();
    let elf = elf.map_err(|error| format!("xz: {error}; it is in Debian's xz-utils"))?.stdout;
    let _ = fs::remove_file(&tail);
    if !elf.starts_with(b"\x7fELF") {
        return Err(format!("{}: what xz finds in it is no ELF file", bzimage.display()));
    }
    write_whole(to, &elf)
}

/// A program of the host, under its own name, and all that ldd(1) says it loads.
fn borrow(archive: &mut Archive, program: &Path) -> Result<(), String> {
    // Debian's tc lies in /sbin, which is the same directory where /usr is merged.
    let Ok(found) = fs::canonicalize(program) else { return Ok(()) };
    let mut files = vec![program.to_owned()];
    let listed = output(Command::new("ldd").arg(&found))?;
    // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, and the loader without an arrow.
    let paths = listed.lines().filter_map(|line| {
        line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from)
    });
    files.extend(paths);
    for file in files {
        let bytes = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let inside = file.strip_prefix("/").unwrap_or(&file).to_string_lossy().into_owned();
        archive.file_once(&inside, 0o755, &bytes);
    }
    Ok(())
}

fn initramfs(packages: &Path, version: &str, binaries: &Path) -> Result<Vec<u8>, String> {
    let mut archive = Archive::default();
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    for directory in
        ["dev", "proc", "sys", "run", "tmp", "root", "disk", "var/log", "var/lib/heartbeat"]
    {
        archive.directory(directory);
    }
    for (name, path) in BINARIES {
        archive.file(path, 0o755, &read(&binaries.join(name))?);
    }
    archive.file("bin/busybox", 0o755, &read(&packages.join("busybox-static/bin/busybox"))?);
    archive.file("etc/rc", 0o755, INIT.as_bytes());
    archive.file("etc/inittab", 0o644, INITTAB.as_bytes());
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", 0o644, b"root:x:0:\nhaclient:x:60:\n");
    for (link, target) in [
        ("init", "bin/busybox"),
        ("sbin/init", "../bin/busybox"),
        ("bin/sh", "busybox"),
        ("var/run", "/run"),
    ] {
        archive.link(link, target);
    }
    for name in ["hb_standby", "hb_takeover"] {
        archive.link(&format!("usr/bin/{name}"), "hb");
    }
    for program in BORROWED {
        borrow(&mut archive, Path::new(program))?;
    }
    let root = packages.join("kernel/lib/modules").join(version);
    let modules = modules::collect(&root)?;
    let base = format!("lib/modules/{version}");
    for module in modules.values() {
        archive.file(&format!("{base}/{}", module.path), 0o644, &read(&root.join(&module.path))?);
    }
    archive.file(&format!("{base}/modules.dep"), 0o644, modules::dependencies(&modules).as_bytes());
    Ok(archive.finish())
}
