//! What a dongle remembers, as bytes.
//!
//! Two records, each with a version in front and a CRC-32 behind. One that is not whole is none: a life then
//! begins as one without memory, which R8 makes safe.

use crc::{CRC_32_CKSUM, Crc};
use hb_proto::arbiter::{Memory, NodeMemory};
use hb_proto::config::MAX_GROUPS;
use hb_proto::id::{BootId, GroupId};
use hb_proto::time::Duration;
use hb_proto::wire::message::arbiter::{LineShown, Promisees, Shown};
use heapless::Vec;

const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_CKSUM);
/// Of both records. Another one is no record of ours.
const VERSION: u8 = 1;
/// Bytes of the longest record but that of the keys.
pub const LONGEST_RECORD: usize = 1 + 4 + 9 + 3 * 8 + 2 * 5 + 4;

/// Why this can't fail: the buffers are sized for the records.
const ROOM: &str = "the longest record";

/// The record of [`crate::Area::Flash`]: the life's number, and what the arbiter remembers apart from promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Of the life that is under way, or was last; the next one begins above it.
    pub boot: BootId,
    /// Its promisees are not stored here.
    pub memory: Memory,
}

/// The record of [`crate::Area::Retained`]: to whom each group is promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retained(pub Promisees);

type Bytes = Vec<u8, LONGEST_RECORD>;

/// Reads little-endian numbers off the front of a record.
struct Reader<'r>(&'r [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

fn put(bytes: &mut Bytes, more: &[u8]) {
    bytes.extend_from_slice(more).expect(ROOM);
}

/// Puts the check sum into a record's last four bytes.
pub(crate) fn sealed(record: &mut [u8]) {
    if let Some((body, sum)) = record.split_last_chunk_mut() {
        *sum = CRC32.checksum(body).to_le_bytes();
    }
}

fn with_sum(mut bytes: Bytes) -> Bytes {
    put(&mut bytes, &[0; 4]);
    sealed(&mut bytes);
    bytes
}

/// Whether a record's last four bytes are its check sum.
pub(crate) fn is_whole(record: &[u8]) -> bool {
    let parts = record.split_last_chunk();
    parts.is_some_and(|(body, sum)| CRC32.checksum(body) == u32::from_le_bytes(*sum))
}

/// The body of a record that is whole and of this version, without the version and the check sum.
pub(crate) fn opened(bytes: &[u8], version: u8) -> Option<&[u8]> {
    let (body, _sum) = bytes.split_last_chunk::<4>()?;
    let (&found, body_after) = body.split_first()?;
    (is_whole(bytes) && version == found).then_some(body_after)
}

impl Record {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8, LONGEST_RECORD> {
        let memory = &self.memory;
        let mut bytes = Bytes::new();
        put(&mut bytes, &[VERSION]);
        put(&mut bytes, &self.boot.value().to_le_bytes());
        put(&mut bytes, &[u8::from(memory.haresources.is_some())]);
        put(&mut bytes, &memory.haresources.unwrap_or(0).to_le_bytes());
        for time in [memory.lease, memory.guard, memory.deadtime] {
            put(&mut bytes, &time.micros().to_le_bytes());
        }
        for node in &memory.nodes {
            put(&mut bytes, &node.pulsed.map_or(0, BootId::value).to_le_bytes());
            put(&mut bytes, &[node.line as u8]);
        }
        with_sum(bytes)
    }

    /// From bytes; `None` unless they are a whole record of this version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(opened(bytes, VERSION)?);
        let boot = BootId::new(reader.u32()?)?;
        let has_haresources = reader.u8()? != 0;
        let haresources = Some(reader.u64()?).filter(|_| has_haresources);
        let mut time = || reader.u64().map(Duration::from_micros);
        let (lease, guard, deadtime) = (time()?, time()?, time()?);
        let mut nodes = [NodeMemory::default(); 2];
        for node in &mut nodes {
            node.pulsed = BootId::new(reader.u32()?);
            node.line = match reader.u8()? {
                0 => LineShown::Untested,
                1 => LineShown::Commissioned,
                2 => LineShown::Miswired,
                _ => return None,
            };
        }
        let promisees = Promisees::default();
        let memory = Memory { promisees, haresources, lease, guard, deadtime, nodes };
        reader.0.is_empty().then_some(Self { boot, memory })
    }
}

impl Retained {
    /// As bytes: two bits a group.
    #[must_use]
    pub fn encode(&self) -> Vec<u8, LONGEST_RECORD> {
        let mut bytes = Bytes::new();
        put(&mut bytes, &[VERSION]);
        let packed = groups().fold(0_u32, |packed, group| {
            packed | (self.0.shown(group) as u32) << (u32::from(group.0) * 2)
        });
        put(&mut bytes, &packed.to_le_bytes());
        with_sum(bytes)
    }

    /// From bytes; `None` unless they are a whole record of this version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(opened(bytes, VERSION)?);
        let packed = reader.u32()?;
        let mut promisees = Promisees::default();
        for group in groups() {
            let shown = match packed >> (u32::from(group.0) * 2) & 3 {
                0 => Shown::Nobody,
                1 => Shown::A,
                2 => Shown::B,
                _ => Shown::Withheld,
            };
            promisees.set(group, shown);
        }
        reader.0.is_empty().then_some(Self(promisees))
    }
}

fn groups() -> impl Iterator<Item = GroupId> {
    (0..MAX_GROUPS as u8).map(GroupId)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let pulsed = BootId::new(0x00AB_CDEF);
        let memory = Memory {
            promisees: Promisees::default(),
            haresources: Some(0x0123_4567_89AB_CDEF),
            lease: Duration::from_millis(400),
            guard: Duration::MAX,
            deadtime: Duration::from_millis(500),
            nodes: [
                NodeMemory { pulsed, line: LineShown::Commissioned },
                NodeMemory { pulsed: None, line: LineShown::Miswired },
            ],
        };
        Record { boot: BootId::new(7).expect("a number"), memory }
    }

    fn retained() -> Retained {
        let mut promisees = Promisees::default();
        for (group, shown) in [(0, Shown::A), (1, Shown::B), (15, Shown::Withheld)] {
            promisees.set(GroupId(group), shown);
        }
        Retained(promisees)
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Record::decode(&record().encode()), Some(record()));
        let empty = Record { memory: Memory::default(), ..record() };
        assert_eq!(Record::decode(&empty.encode()), Some(empty));
        assert_eq!(Retained::decode(&retained().encode()), Some(retained()));
        assert!(record().encode().len() <= LONGEST_RECORD);
    }

    /// Power went in the middle of a write, or a cell lost its charge: no record, never another one.
    #[test]
    fn a_record_that_is_not_whole_is_none() {
        for whole in [record().encode(), retained().encode()] {
            let is_none =
                |bytes: &[u8]| Record::decode(bytes).is_none() && Retained::decode(bytes).is_none();
            for bit in 0..whole.len() * 8 {
                let mut damaged = whole.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(is_none(&damaged), "bit {bit}");
            }
            for length in 0..whole.len() {
                assert!(is_none(&whole[..length]), "{length} bytes");
            }
            assert!(is_none(&[0xFF; LONGEST_RECORD]) && is_none(&[0; LONGEST_RECORD]));
        }
        assert_eq!(Record::decode(&retained().encode()), None, "the other area's");
    }
}
