//! Gives up what root can do and a heartbeat need not.
//!
//! The helper process was started before and keeps its rights: resource scripts need them. A helper that
//! is started anew later gets them back by execve(2), because the user stays root (capabilities(7)).

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// What the loop goes on needing.
const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN // addresses over netlink
    .union(CapabilitySet::NET_RAW) // gratuitous ARP; binding a socket to a device again
    .union(CapabilitySet::NET_BIND_SERVICE) // UDP port 694, should its interface be made anew
    .union(CapabilitySet::IPC_LOCK); // pages that are touched for the first time are locked

/// Keeps what is needed of what this thread has, and nothing else. Call it from the only thread, after
/// files, sockets, memory and priority are as they shall be.
///
/// A serial device that comes back is opened as its owner root, without CAP_DAC_OVERRIDE.
///
/// # Errors
/// What the kernel answered; the rights are as before.
pub fn drop_unneeded() -> Result<(), Errno> {
    let has = capabilities(None)?;
    let kept = has.permitted & KEPT;
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capabilities belong to a thread, so a test may give up its own.
    #[test]
    fn nothing_else_is_left_and_nothing_is_gained() {
        let before = capabilities(None).expect("readable").permitted;
        let after = std::thread::spawn(|| {
            drop_unneeded().expect("giving up is always allowed");
            capabilities(None).expect("readable")
        });
        let after = after.join().expect("no panic");
        assert_eq!(after.permitted, before & KEPT);
        assert_eq!(after.effective, after.permitted);
        assert!(!after.permitted.contains(CapabilitySet::SYS_ADMIN));
    }
}
