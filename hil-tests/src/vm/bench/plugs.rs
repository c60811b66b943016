//! A guest gets its power: cables, QEMU, and what makes it one of the two machines.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use hb_linux::rig::bench::Network;
use hb_linux::rig::line::Port;
use hb_linux::rig::links;
use hb_linux::rig::mac_text;
use hb_linux::rig::outlet::{Live, Outlet};
use serde_json::json;

use super::super::power::{BOOT_PATIENCE, Power, Start, Wires};
use super::super::relay::Relay;
use super::super::seen;
use super::{
    Bench, DISK_MB, NETWORKS, PATIENCE, PREFIX, USB_SERIAL, guest_side, network_index, node,
    rig_side, words,
};
use crate::scenario::cluster::Machine;

impl Bench {
    /// The same for both at once.
    ///
    /// # Errors
    /// As [`Self::power_on`].
    pub fn launch(&mut self, machine: Machine) -> Result<(), String> {
        self.clear(machine);
        self.lives[machine.index()] += 1;
        let mut wires = Wires {
            serial: [None, None],
            network: Vec::new(),
            extra: self.options.devices[machine.index()].clone(),
        };
        let mut lines = Vec::new();
        for (number, cable) in self.cables.iter().enumerate() {
            let port = Port::new().map_err(words)?.shallow();
            if number == 0 && self.options.usb {
                let end = format!("serial,id=usb0,path={}", port.device().display());
                wires.extra.extend(["-chardev".to_owned(), end]);
                wires.extra.extend(["-device".to_owned(), USB_SERIAL.to_owned()]);
            } else {
                wires.serial[number] = Some(port.device().to_owned());
            }
            let (line, side) = cable.end(node(machine));
            line.attach(side, port);
            lines.push((line.clone(), side));
        }
        let mut network = Vec::new();
        for one in NETWORKS {
            let (relay, end) = self.cable(machine, one)?;
            self.relays[machine.index()].push(relay);
            wires.network.push((Some(end.0), end.1));
            let switch = &self.switches[network_index(one)];
            let port = switch.plug(&rig_side(machine, one)).map_err(words)?;
            self.ports[machine.index()][network_index(one)] = Some(port);
            network.push((switch.clone(), port));
            let index = links::index(&rig_side(machine, one)).map_err(words)?;
            self.capture.tap(Some(machine), network_index(one), index).map_err(words)?;
        }
        self.launched[machine.index()] = Some(std::time::Instant::now());
        let name = format!("{machine}.{}", self.lives[machine.index()]);
        let sink = seen::sink(&self.seen, machine);
        let disk = self.disk(machine);
        let snapshot = if wires.extra.is_empty() && self.options.disk_mb == DISK_MB {
            self.image.snapshot(machine)
        } else {
            None
        };
        let (directory, image) = (self.directory(), &self.image);
        let power = Power::on(Start {
            directory,
            name: &name,
            image,
            disk: &disk,
            wires: &wires,
            clock: self.clock,
            sink,
            restore: snapshot.as_deref(),
        })?;
        let outlet = self.outlets[machine.index()].clone();
        let life = outlet.switched_on(Live { pidfd: power.pidfd()?, network, lines });
        watch(power.pidfd()?, outlet, life);
        self.power[machine.index()] = Some(power);
        if let Some(dongle) = &self.dongle {
            dongle.mains(node(machine), true).map_err(words)?;
            dongle.machines_changed();
        }
        Ok(())
    }

    /// A new cable between QEMU and the switch; QEMU's end is a socket that its process inherits.
    fn cable(
        &self,
        machine: Machine,
        network: Network,
    ) -> Result<(Relay, (std::os::fd::OwnedFd, String)), String> {
        let (ours, theirs) = (rig_side(machine, network), guest_side(machine, network));
        let _ = links::delete(&ours);
        let here = fs::File::open("/proc/thread-self/ns/net").map_err(words)?;
        // Not the guest's own address: that one is QEMU's to use.
        let mac = [2, 0, 0, 0, 0x51 + machine.index() as u8, network_index(network) as u8 + 1];
        links::veth(&ours, &theirs, mac, here.as_fd()).map_err(words)?;
        links::without_ipv6(&theirs).map_err(words)?;
        links::up(&theirs).map_err(words)?;
        let index = links::index(&theirs).map_err(words)?;
        let (relay, inherited) = Relay::start(index).map_err(words)?;
        Ok((relay, (inherited, mac_text(network.mac(node(machine))))))
    }

    pub(super) fn come_up(&mut self, machine: Machine) -> Result<(), String> {
        let power = self.power[machine.index()].as_ref().ok_or("no power")?;
        power.agent.wait_until_up(BOOT_PATIENCE)?;
        let script = self.setup(machine);
        let ran = power.agent.run(&["/bin/sh", "-c", &script], PATIENCE)?;
        if ran.code != 0 {
            return Err(format!("setting {machine} up: {ran:?}"));
        }
        power.agent.order(json!({"do": "follow"}), PATIENCE)?;
        Ok(())
    }

    /// What makes a guest one of the two machines.
    fn setup(&self, machine: Machine) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seconds = now.unwrap_or_default().as_secs();
        let mut script = format!(
            "set -e\nhostname {machine}\ndate -s @{seconds} >/dev/null\nmodprobe crc32c_generic\nmodprobe ext4\nmodprobe virtio_blk\n\
             modprobe virtio_net\nmount -t ext4 /dev/vda /disk\nmkdir -p /etc/ha.d\n\
             mount --bind /disk/etc /etc/ha.d\nmount --bind /disk/state /var/lib/heartbeat\n\
             mount --bind /disk/log /var/log\n\
             if [ -e /disk/sbin/heartbeatd ]; then mount --bind /disk/sbin/heartbeatd /usr/sbin/heartbeatd; fi\n\
             echo 127.0.0.1 localhost >/etc/hosts\nip link set lo up\n"
        );
        for one in Machine::BOTH {
            let address = Network::Public.address(node(one));
            script.push_str(&format!("echo {address} {one} >>/etc/hosts\n"));
        }
        for network in NETWORKS {
            let (name, address) = (network.interface(), network.address(node(machine)));
            script.push_str(&format!(
                "ip addr add {address}/{PREFIX} broadcast + dev {name}\nip link set {name} up\n"
            ));
        }
        for module in &self.options.modules {
            script.push_str(&format!("modprobe {module}\n"));
        }
        script
    }
}

/// A guest that resets itself (its watchdog, mostly) ends its QEMU; then its plugs go too.
fn watch(pidfd: OwnedFd, outlet: Arc<Outlet>, life: u64) {
    use rustix::event::{PollFd, PollFlags, poll};

    let watching = std::thread::Builder::new().name("watch".into()).spawn(move || {
        // EINTR: again.
        while !poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).is_ok_and(|ready| ready > 0) {}
        outlet.watchdog_bites(life);
    });
    assert!(watching.is_ok(), "no thread could be had");
}
