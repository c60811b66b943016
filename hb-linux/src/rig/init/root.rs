//! A machine's file system: its own /etc/ha.d, /var, /run, /tmp, /dev and /proc over a view of
//! the host's programs and libraries.
//!
//! Made of symbolic links into the host's tree rather than of an overlay, which not every kernel
//! allows in a user namespace, and which would need the mount points to exist on the host.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
};

use super::super::{Doing, RigError};
use super::Spec;

/// Where a machine sees the host's root.
pub const HOST: &str = "/.host";

/// Top-level names that the machine has of its own.
const OWN: [&str; 8] = ["proc", "sys", "dev", "etc", "run", "var", "tmp", ".host"];
/// Names in /etc that the machine has of its own.
const OWN_ETC: [&str; 3] = ["ha.d", "hostname", "hosts"];
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Builds the root of `spec`'s machine, and moves into it.
pub fn build(spec: &Spec) -> Result<(), RigError> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing(|| "making the machine's mounts private".into())?;
    let root = spec.disk.join("root");
    make(&root)?;
    mount("tmpfs", &root, "tmpfs", MountFlags::empty(), c"mode=0755")
        .doing(|| "mounting the machine's root".into())?;
    for own in OWN {
        make(&root.join(own))?;
    }
    link_all(Path::new("/"), &root, &OWN)?;
    etc(spec, &root.join("etc"))?;
    var(spec, &root)?;
    dev(spec, &root.join("dev"))?;
    rustix::process::chdir(&root).doing(|| "entering the machine's root".into())?;
    rustix::process::pivot_root(".", ".host").doing(|| "pivot_root".into())?;
    rustix::process::chdir("/").doing(|| "entering the machine's root".into())?;
    mount(
        "proc",
        "/proc",
        "proc",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    )
    .doing(|| "mounting the machine's /proc".into())?;
    // sysfs shows the interfaces of the namespace that mounts it. A container may forbid it; the
    // machine then has an empty /sys, never the host's.
    let _ = mount("sysfs", "/sys", "sysfs", MountFlags::RDONLY, None);
    Ok(())
}

fn etc(spec: &Spec, etc: &Path) -> Result<(), RigError> {
    link_all(Path::new("/etc"), etc, &OWN_ETC)?;
    make(&etc.join("ha.d"))?;
    bind(&spec.disk.join("etc"), &etc.join("ha.d"))?;
    write(&etc.join("hostname"), &format!("{}\n", spec.hostname))?;
    let mut hosts = String::from("127.0.0.1 localhost\n");
    for (address, name) in &spec.hosts {
        hosts.push_str(&format!("{address} {name}\n"));
    }
    write(&etc.join("hosts"), &hosts)
}

fn var(spec: &Spec, root: &Path) -> Result<(), RigError> {
    for name in ["var/lib/heartbeat", "var/log", "var/tmp"] {
        make(&root.join(name))?;
    }
    bind(&spec.disk.join("state"), &root.join("var/lib/heartbeat"))?;
    bind(&spec.disk.join("log"), &root.join("var/log"))?;
    bind(&spec.disk.join("run"), &root.join("run"))?;
    make(&root.join("run/lock"))?;
    for (target, name) in [("/run", "var/run"), ("/run/lock", "var/lock")] {
        symlink(target, root.join(name)).doing(|| format!("linking /{name}"))?;
    }
    let everybody = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(root.join("tmp"), everybody).doing(|| "opening /tmp".into())
}

fn dev(spec: &Spec, dev: &Path) -> Result<(), RigError> {
    for name in DEVICES {
        write(&dev.join(name), "")?;
        bind(&Path::new("/dev").join(name), &dev.join(name))?;
    }
    for (name, slave) in &spec.ttys {
        write(&dev.join(name), "")?;
        bind(slave, &dev.join(name))?;
    }
    make(&dev.join("shm"))?;
    make(&dev.join("pts"))?;
    mount_bind_recursive("/dev/pts", dev.join("pts")).doing(|| "showing /dev/pts".into())?;
    for (target, name) in [("/proc/self/fd", "fd"), ("pts/ptmx", "ptmx")] {
        symlink(target, dev.join(name)).doing(|| format!("linking /dev/{name}"))?;
    }
    Ok(())
}

/// Each name in `from` becomes a link to where it will be seen, but for those in `except`.
fn link_all(from: &Path, to: &Path, except: &[&str]) -> Result<(), RigError> {
    let listing = fs::read_dir(from).doing(|| format!("reading {}", from.display()))?;
    for entry in listing {
        let entry = entry.doing(|| format!("reading {}", from.display()))?;
        let name = entry.file_name();
        if except.iter().any(|own| name == *own) {
            continue;
        }
        let target = super::inside(&entry.path());
        symlink(&target, to.join(&name)).doing(|| format!("linking {}", target.display()))?;
    }
    Ok(())
}

fn make(path: &Path) -> Result<(), RigError> {
    fs::create_dir_all(path).doing(|| format!("making {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), RigError> {
    fs::write(path, text).doing(|| format!("writing {}", path.display()))
}

fn bind(from: &Path, to: &Path) -> Result<(), RigError> {
    mount_bind(from, to).doing(|| format!("binding {} to {}", from.display(), to.display()))
}
