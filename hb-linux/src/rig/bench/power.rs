//! The machines' power: on, off, and back after a reset.

use std::os::fd::AsFd;

use super::super::line::Port;
use super::super::machine::Verb;
use super::super::outlet::{Live, Reset};
use super::super::{Doing, RigError, links, watchdog};
use super::{Bench, Network, Node, rig_side};

impl Bench {
    /// Power on: new namespaces, new interfaces, new ports on the lines; the disk as it was. The
    /// daemon is started as soon as the machine is up.
    ///
    /// # Errors
    /// What couldn't be made.
    pub fn power_on(&mut self, node: Node) -> Result<(), RigError> {
        self.power_on_without_daemon(node)?;
        self.daemon(node, Verb::Start)
    }

    /// Power on, with the daemon left to [`Self::daemon`].
    ///
    /// # Errors
    /// What couldn't be made.
    pub fn power_on_without_daemon(&mut self, node: Node) -> Result<(), RigError> {
        self.clear(node);
        let (mut ttys, mut lines) = (Vec::with_capacity(self.cables.len()), Vec::new());
        for (number, cable) in self.cables.iter().enumerate() {
            if let Some(ports) = self.real.get(number) {
                // By its name of today: by-path may have led elsewhere before.
                let port = std::fs::canonicalize(&ports[node.index()])
                    .doing(|| format!("looking for {}", ports[node.index()].display()))?;
                ttys.push((format!("ttyS{number}"), port));
                continue;
            }
            let port = Port::new().doing(|| "making a pty".into())?;
            ttys.push((format!("ttyS{number}"), port.device().to_owned()));
            let (line, side) = cable.end(node);
            line.attach(side, port);
            lines.push((line.clone(), side));
        }
        let (switches, ports) = (&self.switches, &mut self.ports[node.index()]);
        self.machines[node.index()].power_on(ttys, |namespace| {
            for network in Network::BOTH {
                let ours = rig_side(node, network);
                // A machine that ended on its own leaves its veth to the kernel's own time.
                let _ = links::delete(&ours);
                links::veth(&ours, network.interface(), network.mac(node), namespace.as_fd())
                    .doing(|| format!("making the veth pair {ours}"))?;
                ports[network.index()] = Some(switches[network.index()].plug(&ours)?);
            }
            Ok(())
        })?;
        let network = Network::BOTH.into_iter().filter_map(|network| {
            let port = self.ports[node.index()][network.index()]?;
            Some((self.switches[network.index()].clone(), port))
        });
        let (machine, outlet) = (&self.machines[node.index()], &self.outlets[node.index()]);
        let live = Live { pidfd: machine.pidfd()?, network: network.collect(), lines };
        let power_on = outlet.switched_on(live);
        if let Some(timeout_s) = self.watchdog_s {
            let device = watchdog::device(&machine.run_files());
            watchdog::start(&device, timeout_s, outlet.clone(), power_on)?;
        }
        if let Some(dongle) = &self.dongle {
            dongle.mains(node, true)?;
            dongle.machines_changed();
        }
        Ok(())
    }

    /// Power loss: not a frame and not a byte leaves the machine any more, then all in it is
    /// killed.
    pub fn power_off(&mut self, node: Node) {
        self.clear(node);
        if let Some(dongle) = &self.dongle {
            // Starting fails at worst, and nothing is started by a loss of power.
            let _ = dongle.mains(node, false);
        }
    }

    /// Nothing runs on the machine any more, whatever ended it.
    fn clear(&mut self, node: Node) {
        self.outlets[node.index()].unplug();
        self.machines[node.index()].power_off();
        for network in Network::BOTH {
            // A machine that never came up has a port all the same.
            if let Some(port) = self.ports[node.index()][network.index()].take() {
                self.switches[network.index()].unplug(port);
            }
            // Gone already when the kernel was quicker.
            let _ = links::delete(&rig_side(node, network));
        }
        for cable in &self.cables {
            let (line, side) = cable.end(node);
            line.detach(side);
        }
    }

    /// Machines that were reset, that have been down for a boot's time since, and that nobody has booted:
    /// each is due for a [`Self::power_on`].
    #[must_use]
    pub fn resets(&self) -> Vec<(Node, Reset)> {
        let due = |node: Node| Some((node, self.outlets[node.index()].boots_after()?));
        Node::BOTH.into_iter().filter_map(due).collect()
    }

    /// Every reset of a machine so far, whatever caused it.
    #[must_use]
    pub fn resets_of(&self, node: Node) -> Vec<Reset> {
        self.outlets[node.index()].resets()
    }
}

impl Drop for Bench {
    /// Whoever still watches a machine sees that it has ended.
    fn drop(&mut self) {
        self.outlets.iter().for_each(|outlet| outlet.unplug());
    }
}
