//! A guest that has just booted, kept as a file: power-on takes half a second from there, not a boot.
//!
//! It is taken before the guest is anybody: no disk is mounted, no network card has a driver, no daemon ran. Its
//! random numbers are no longer the same once it goes on: QEMU gives each start another generation ID, at
//! which the kernel takes new ones (drivers/virt/vmgenid.c).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hb_linux::rig::bench::Network;
use hb_linux::rig::mac_text;

use super::bench::node;
use super::image::Image;
use super::power::{self, BOOT_PATIENCE, Power, Start, Wires};
use crate::chronicle::Clock;
use crate::scenario::cluster::Machine;

/// Where a machine's snapshot lies, or would.
#[must_use]
pub fn path(image: &Image, machine: Machine) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    let nowhere = Path::new("x");
    power::arguments(nowhere, "x", image, nowhere, &wires(machine)).hash(&mut hasher);
    super::rig::versions().hash(&mut hasher);
    let name = format!("snapshot-{}-{:016x}-{machine}", image.key, hasher.finish());
    image.directory.join(name)
}

/// A machine's own devices, with nothing at their ends.
fn wires(machine: Machine) -> Wires {
    let network = [Network::Public, Network::Private];
    let network = network.map(|network| (None, mac_text(network.mac(node(machine)))));
    Wires { serial: [None, None], network: network.into(), extra: Vec::new() }
}

/// Boots each machine once and keeps it, where that wasn't done yet.
///
/// # Errors
/// Why there are none; the rig boots its guests then.
pub fn make(image: &Image) -> Result<(), String> {
    for machine in Machine::BOTH {
        let path = path(image, machine);
        if path.exists() {
            continue;
        }
        let scratch = image.directory.join(format!("booting.{}", std::process::id()));
        std::fs::create_dir_all(&scratch).map_err(|error| error.to_string())?;
        let made = boot(image, machine, &scratch, &path);
        let _ = std::fs::remove_dir_all(&scratch);
        made?;
    }
    Ok(())
}

fn boot(image: &Image, machine: Machine, scratch: &Path, path: &Path) -> Result<(), String> {
    let disk = scratch.join("disk");
    // As large as a machine's: its size is the device's.
    let file = std::fs::File::create(&disk).map_err(|error| error.to_string())?;
    file.set_len(u64::from(super::bench::DISK_MB) << 20).map_err(|error| error.to_string())?;
    let nobody = Arc::new(|_, _: &serde_json::Value| ());
    let wires = wires(machine);
    let mut power = Power::on(Start {
        directory: scratch,
        name: machine.name(),
        image,
        disk: &disk,
        wires: &wires,
        clock: Clock::start(),
        sink: nobody,
        restore: None,
    })?;
    power.agent.wait_until_up(BOOT_PATIENCE)?;
    let begun = path.with_extension(format!("{}.part", std::process::id()));
    power.save(&begun)?;
    std::fs::rename(&begun, path).map_err(|error| error.to_string())
}
