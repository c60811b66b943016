//! Entering the rig's own namespaces, and saying what to change where they are forbidden.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

use super::{Doing, RigError, links, sys};

/// Moves this process into a network and a mount namespace of its own, as root directly, as an
/// ordinary user through a user namespace in which that user is root.
///
/// Must be called before the process has a second thread: a user namespace is entered by single
/// threads only (unshare(2), EINVAL).
///
/// # Errors
/// [`RigError::Forbidden`] names the setting to change, also when the kernel lets the namespaces
/// be made and refuses the first mount inside (Ubuntu 23.10 and later).
pub fn enter() -> Result<(), RigError> {
    let ours = UnshareFlags::NEWNET | UnshareFlags::NEWNS;
    match sys::unshare(ours) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => enter_as_user(ours)?,
        Err(error) => return Err(forbidden("making a network namespace", &error)),
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| forbidden("the first mount in the new namespace", &error.into()))?;
    links::up("lo").doing(|| "bringing up lo of the rig".into())
}

fn enter_as_user(ours: UnshareFlags) -> Result<(), RigError> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    sys::unshare(UnshareFlags::NEWUSER | ours)
        .map_err(|error| forbidden("making a user namespace", &error))?;
    // user_namespaces(7): an unprivileged process must give up setgroups before it maps its group.
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| forbidden(&format!("writing /proc/self/{file}"), &error))?;
    }
    Ok(())
}

/// A directory that is gone, with all that is in it, when the rig's last process is: a tmpfs that
/// only the rig's mount namespace sees. Only the empty mount point can outlive a killed rig.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Needs [`enter`] first.
    ///
    /// # Errors
    /// The directory can't be made, or the mount is refused.
    pub fn new() -> Result<Self, RigError> {
        let path = std::env::temp_dir().join(format!("hb-rig.{}", std::process::id()));
        fs::create_dir_all(&path).doing(|| format!("making {}", path.display()))?;
        let scratch = Self { path };
        mount("tmpfs", &scratch.path, "tmpfs", MountFlags::NOSUID, c"mode=0755")
            .map_err(|error| forbidden("mounting a tmpfs", &error.into()))?;
        Ok(scratch)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be undone here disappears with the mount namespace.
        let _ = rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.path);
    }
}

fn forbidden(step: &str, error: &io::Error) -> RigError {
    RigError::Forbidden(advice(step, error, |name| {
        fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()
    }))
}

/// What to tell the person: the step that failed, and the setting that is the likely reason,
/// judged by what `setting` reads for each name.
fn advice(step: &str, error: &io::Error, setting: impl Fn(&str) -> Option<String>) -> String {
    let number = |name: &str| setting(name).and_then(|text| text.trim().parse::<u64>().ok());
    let mut text = format!("namespaces are not allowed here: {step}: {error}");
    let mut named = false;
    let mut say = |setting: &str, now: u64, then: &str| {
        named = true;
        text.push_str(&format!(
            "\n  {setting} is {now}; as root: sysctl -w {setting}={then}   (or run this as root)"
        ));
    };
    if let Some(0) = number("kernel.unprivileged_userns_clone") {
        say("kernel.unprivileged_userns_clone", 0, "1");
    }
    if let Some(1) = number("kernel.apparmor_restrict_unprivileged_userns") {
        say("kernel.apparmor_restrict_unprivileged_userns", 1, "0");
    }
    for name in ["user.max_user_namespaces", "user.max_net_namespaces", "user.max_mnt_namespaces"] {
        if let Some(0) = number(name) {
            say(name, 0, "10000");
        }
    }
    if !named {
        text.push_str(
            "\n  none of kernel.unprivileged_userns_clone, user.max_user_namespaces and \
             kernel.apparmor_restrict_unprivileged_userns forbids it; inside a container its \
             runtime does: run it with the capability SYS_ADMIN (docker: --privileged), or on the \
             host",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> io::Error {
        io::Error::from_raw_os_error(13)
    }

    #[test]
    fn each_forbidding_setting_is_named_with_its_command() {
        for (name, value, command) in [
            (
                "kernel.unprivileged_userns_clone",
                "0\n",
                "sysctl -w kernel.unprivileged_userns_clone=1",
            ),
            (
                "kernel.apparmor_restrict_unprivileged_userns",
                "1\n",
                "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            ("user.max_user_namespaces", "0\n", "sysctl -w user.max_user_namespaces=10000"),
        ] {
            let text = advice("the first mount", &denied(), |asked| {
                (asked == name).then(|| value.to_owned())
            });
            assert!(text.contains(command), "{text}");
            assert!(text.contains("the first mount"), "{text}");
        }
    }

    #[test]
    fn settings_that_allow_are_not_blamed() {
        let text = advice("making a user namespace", &denied(), |asked| match asked {
            "kernel.unprivileged_userns_clone" => Some("1\n".into()),
            "user.max_user_namespaces" => Some("96365\n".into()),
            _ => None,
        });
        assert!(!text.contains("sysctl"), "{text}");
        assert!(text.contains("container"), "{text}");
    }
}
