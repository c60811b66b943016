//! Two virtual machines with a real kernel: power that is really gone, watchdogs that really bite.
//!
//! Each guest is a QEMU process (TCG, no KVM needed) with Debian's stock kernel and a small initramfs
//! ([`image`]): the static daemon and tool, busybox, the drivers. Its disk is a file with a real ext4. Between the
//! guests stand the same wires as on the namespace rig: the null-modem line ([`hb_linux::rig::line`], whose pty QEMU
//! opens as a serial port, speed included), the user-space switch ([`hb_linux::rig::switch`]), and the client whose
//! observations are the verdict. The dongle is the same host process, or the firmware's ELF on an emulated board
//! ([`elf`]); its reset outputs end the guest's process.
//!
//! | what | where |
//! |---|---|
//! | kernel, initramfs | [`image`], [`mod@cpio`], [`modules`] |
//! | a guest with power | [`power`], [`qmp`], [`agent`] |
//! | both of them, and their wires | [`mod@bench`] |
//! | the dongle's real program | [`elf`]; what each reset's cause was: [`pins`] |
//! | what is seen of them | [`seen`], [`crate::capture`], [`consoles`], [`crate::wires`] |
//! | the scenario language | [`rig`] |

pub mod agent;
pub mod bench;
pub mod campaign;
pub mod consoles;
pub mod cpio;
pub mod elf;
pub mod image;
pub mod modules;
pub mod pins;
pub mod power;
pub mod qmp;
pub mod relay;
pub mod rig;
pub mod run;
pub mod seen;
pub mod snapshot;
pub mod stories;
pub(crate) mod verbs;
