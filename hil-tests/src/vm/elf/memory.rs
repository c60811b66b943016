//! What lies in a dongle's EEPROM before it is put into the line: keys that it was given over its line, as
//! `hb dongle provision` does, and the lines that the rig calls tested.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use emulated::{Begin, Chip, Line, Supply, provision_with};
use hb_linux::config::{AuthKeys, Method};
use hb_linux::rig::dongle::Spec;
use hb_mcu::{Area, Kept, RETAINED, Record, Store};
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::service::Ask;

/// What the pair's authkeys say.
///
/// # Errors
/// They can't be read.
pub fn keys(spec: &Spec) -> Result<(AuthKeys, KeyRing), String> {
    let directory = spec.config_dir.as_ref().ok_or("a dongle without keys is not for this rig")?;
    let (keys, said) = AuthKeys::read(directory);
    let words = || said.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let keys = keys.ok_or_else(words)?;
    let ring = keys.keys.iter().map(|key| match key.method {
        Method::Crc => Key::crc(key.id),
        Method::Hmac => Key::hmac(key.id, &key.secret),
    });
    let ring = ring.collect::<Option<_>>().and_then(|all| KeyRing::new(all, keys.signing_key));
    Ok((keys, ring.ok_or("authkeys has a number that is none")?))
}

/// A dongle that was never on gets its keys, and the rig's word for its lines.
///
/// # Errors
/// It can't have them.
pub fn prepare(
    spec: &Spec,
    elf: &Path,
    supply: &Supply,
    keys: &(AuthKeys, KeyRing),
) -> Result<(), String> {
    if supply.eeprom().exists() {
        return Ok(());
    }
    supply.make_blank().map_err(|error| error.to_string())?;
    let [key] = keys.0.keys.as_slice() else {
        return Err("a dongle of this rig is provisioned with one key".to_owned());
    };
    let secret = heapless::Vec::from_slice(&key.secret).map_err(|_| "a secret is too long")?;
    let crc = key.method == Method::Crc;
    let first = Ask::SetKey { key: key.id, signs: true, crc, number: spec.id, secret };
    {
        let by: &[&str] = &["setpriv", "--pdeathsig", "KILL"];
        let (_chip, [one, two]) = Chip::on(elf, supply, Begin { by, ..Begin::default() });
        let mut line = Line::with_keys(one, keys.1.clone());
        // Somebody reads what leaves by the other port, or the emulator waits.
        let _other = Line::with_keys(two, keys.1.clone());
        provision_with(&mut line, &first);
        // A life that answers has begun with its key, and stored what it needs.
        let identity = line.identify();
        if identity.signing != Some(key.id) {
            return Err(format!("it has another key after its provisioning: {identity:?}"));
        }
    }
    let tested = spec.memory.join("flash");
    if !tested.is_file() {
        return Ok(());
    }
    let given = fs::read(&tested).map_err(|error| error.to_string())?;
    let given = Record::decode(&given).ok_or("what the rig wrote is no record")?;
    call_tested(supply, &given)
}

/// The lines are taken for tested, as by the dongle of the namespace rig: their test is `hb dongle commission`.
fn call_tested(supply: &Supply, given: &Record) -> Result<(), String> {
    let image = File::options().read(true).write(true).open(supply.eeprom());
    let image = Image(image.map_err(|error| error.to_string())?);
    let mut kept = Kept::mount(image, Box::leak(Box::new([0; RETAINED])))
        .map_err(|error| format!("the EEPROM: {error:?}"))?;
    let mut bytes = [0; hb_mcu::LONGEST_RECORD];
    let read = kept.read(Area::Flash, &mut bytes).map_err(|error| format!("{error:?}"))?;
    let mut record = Record::decode(&bytes[..read]).ok_or("it has stored no life")?;
    for (node, given) in record.memory.nodes.iter_mut().zip(&given.memory.nodes) {
        node.line = given.line;
    }
    let written = kept.write(Area::Flash, &record.encode());
    written.map_err(|error| format!("the EEPROM: {error:?}"))
}

/// The EEPROM's cells in their file, as the firmware sees them.
#[derive(Debug)]
struct Image(File);

/// The file can't be read or written.
#[derive(Debug)]
struct Unreadable;

impl NorFlashError for Unreadable {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl ErrorType for Image {
    type Error = Unreadable;
}

impl ReadNorFlash for Image {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Unreadable> {
        self.0.read_exact_at(bytes, offset.into()).map_err(|_| Unreadable)
    }

    fn capacity(&self) -> usize {
        2 * Self::ERASE_SIZE
    }
}

impl NorFlash for Image {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Unreadable> {
        let blank = vec![0xFF; (to - from) as usize];
        self.0.write_all_at(&blank, from.into()).map_err(|_| Unreadable)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Unreadable> {
        self.0.write_all_at(bytes, offset.into()).map_err(|_| Unreadable)
    }
}
