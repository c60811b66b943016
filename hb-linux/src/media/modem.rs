//! A serial line's modem lines: whether the other end's machine holds them up.

use std::os::fd::AsFd;

use serialport::SerialPort;

/// Major number of USB adapters (Documentation/admin-guide/devices.txt of the kernel). Their drivers may ask the device
/// itself, which waits for a USB transfer: seconds, if the adapter hangs.
const USB_ADAPTERS: u32 = 188;

/// What a line's DSR and DCD say of the far end, once they have said anything.
///
/// A null-modem cable brings the other end's DTR there. A cable of three wires leaves them low for ever, and an idle
/// adapter may as well: so low means something only after high.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct FarEnd {
    was_up: bool,
}

impl FarEnd {
    /// With what was read now; `None`: nothing can be said.
    pub(super) fn look(&mut self, up: bool) -> Option<bool> {
        self.was_up |= up;
        self.was_up.then_some(up)
    }
}

/// Whether the driver knows the modem lines without waiting, as those of UARTs on the board do.
pub(super) fn answers_at_once(tty: impl AsFd) -> bool {
    rustix::fs::fstat(tty).is_ok_and(|stat| rustix::fs::major(stat.st_rdev) != USB_ADAPTERS)
}

/// Whether DSR or DCD is high (TIOCMGET, ioctl_tty(2)); `None` where there are none, as on a pseudo-terminal.
pub(super) fn is_up(line: &mut serialport::TTYPort) -> Option<bool> {
    let ready = line.read_data_set_ready().ok()?;
    Some(ready || line.read_carrier_detect().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded patterns: what TIOCMGET gave, and what it says.
    #[test]
    fn low_means_something_only_after_high() {
        let (up, low) = (true, false);
        for (what, read, says) in [
            ("three wires", &[low, low, low][..], &[None, None, None][..]),
            ("a machine that loses its power", &[up, up, low], &[Some(up), Some(up), Some(low)]),
            ("one that boots later", &[low, up, low, up], &[None, Some(up), Some(low), Some(up)]),
        ] {
            let mut far = FarEnd::default();
            let said: Vec<_> = read.iter().map(|&read| far.look(read)).collect();
            assert_eq!(said, says, "{what}");
        }
    }
}
