//! One emulated board.

use std::fs;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::chip::{Begin, Chip};
use crate::line::Line;

/// Which ELF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Firmware {
    /// As it is shipped.
    Shipped,
    /// With faults on demand.
    Faults,
    /// With its log by defmt.
    Logging,
}

/// The ELF that `cargo xtask firmware` built, or why there is none.
///
/// # Errors
/// What is missing here, and how to get it.
pub fn firmware(which: Firmware) -> Result<PathBuf, String> {
    let found = Command::new("qemu-system-arm").arg("--version").output();
    if found.is_err() {
        return Err("no qemu-system-arm here (apt-get install qemu-system-arm)".to_owned());
    }
    let target = std::env::var_os("HB_FIRMWARE").map(PathBuf::from);
    let target = target
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/firmware"));
    let target = match which {
        Firmware::Shipped => target,
        Firmware::Faults => target.join("faults"),
        Firmware::Logging => target.join("defmt"),
    };
    let elf = target.join("thumbv7m-none-eabi/release/lm3s6965evb");
    if elf.is_file() {
        Ok(elf)
    } else {
        Err(format!("no {}; `cargo xtask firmware` builds it", elf.display()))
    }
}

/// A GPIO port: its number among QEMU's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpioPort(pub(crate) usize);

/// Sense inputs on bits 4 and 5, power feeds on 6 and 7.
pub const PORT_C: GpioPort = GpioPort(2);
/// Reset outputs on bits 0 and 1, reset lines on 2 and 3.
pub const PORT_E: GpioPort = GpioPort(4);
/// The button on bit 1, low when pressed.
pub(crate) const PORT_F: GpioPort = GpioPort(5);

/// Bytes of the EEPROM.
const EEPROM: usize = 8192;

/// A change of a reset output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin {
    /// When it was seen.
    pub at: Instant,
    /// 0 is A's, 1 B's.
    pub node: u8,
    /// Pulled.
    pub high: bool,
}

/// What outlives a loss of power, and where sockets lie.
#[derive(Debug)]
pub struct Supply {
    directory: PathBuf,
    kept: bool,
}

impl Supply {
    /// An empty EEPROM, in a directory of its own.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("hb-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory for temporary files");
        let supply = Self { directory, kept: false };
        supply.make_blank().expect("room for 8 KiB");
        supply
    }

    /// What lies in a directory that somebody else looks after.
    #[must_use]
    pub const fn at(directory: PathBuf) -> Self {
        Self { directory, kept: true }
    }

    /// An EEPROM as it comes from its factory.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn make_blank(&self) -> io::Result<()> {
        fs::write(self.eeprom(), vec![0xFF; EEPROM])
    }

    /// Where everything lies.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The EEPROM's cells.
    #[must_use]
    pub fn eeprom(&self) -> PathBuf {
        self.directory.join("eeprom")
    }

    /// Every access to a pin's registers while a board was on, if it was traced.
    #[must_use]
    pub fn trace(&self) -> String {
        fs::read_to_string(self.directory.join("trace")).unwrap_or_default()
    }
}

impl Drop for Supply {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// A board that is on, with the tests' ends of its lines.
pub struct Board {
    chip: Chip,
    /// The nodes' ends of both lines.
    pub lines: [Line; 2],
}

impl Board {
    /// Power comes.
    #[must_use]
    pub fn on(elf: &Path, supply: &Supply) -> Self {
        Self::begin(elf, supply, Begin::default())
    }

    /// Power comes, with more arguments for QEMU.
    #[must_use]
    pub fn with(elf: &Path, supply: &Supply, more: &[&str]) -> Self {
        Self::begin(elf, supply, Begin { more, ..Begin::default() })
    }

    /// Power comes while the button is held.
    #[must_use]
    pub fn with_button(elf: &Path, supply: &Supply) -> Self {
        Self::begin(elf, supply, Begin { button: true, ..Begin::default() })
    }

    /// Power comes in any way.
    #[must_use]
    pub fn begin(elf: &Path, supply: &Supply, begin: Begin<'_>) -> Self {
        let (chip, uarts) = Chip::on(elf, supply, begin);
        Self { chip, lines: uarts.map(Line::new) }
    }

    /// Writes a word of memory, as a probe at the debug port does.
    pub fn poke(&mut self, address: u32, value: u32) {
        self.chip.poke(address, value);
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.chip.pump();
        }
    }

    /// Waits until something is true, at most so long; whether it came true.
    pub fn until(&mut self, time: Duration, mut true_yet: impl FnMut(&mut Self) -> bool) -> bool {
        let end = Instant::now() + time;
        loop {
            if true_yet(self) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            self.wait(Duration::from_millis(2));
        }
    }
}

impl Deref for Board {
    type Target = Chip;

    fn deref(&self) -> &Chip {
        &self.chip
    }
}

impl DerefMut for Board {
    fn deref_mut(&mut self) -> &mut Chip {
        &mut self.chip
    }
}
