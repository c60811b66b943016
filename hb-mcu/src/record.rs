//! What a dongle remembers, as bytes.
//!
//! Two records, each with a version in front and a CRC-32 behind. One that is not whole is none: a life then
//! begins as one without memory, which R8 makes safe.

use hb_proto::arbiter::{Memory, NodeMemory};
use hb_proto::id::BootId;
use hb_proto::time::{Duration, Millis};
use hb_proto::wire::auth::check_sum;
use hb_proto::wire::fields::{Reader, Writer};
use hb_proto::wire::message::arbiter::{LineShown, Promisees};
use heapless::Vec;

/// Of both records. Another one is no record of ours.
const VERSION: u8 = 1;
/// Bytes of the longest record but that of the keys.
pub const LONGEST_RECORD: usize = 1 + 4 + 9 + 3 * 8 + 2 * 5 + 4;

/// Bytes of the check sum.
const SUM: usize = 4;

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

/// A record as it is stored.
pub type Bytes = Vec<u8, LONGEST_RECORD>;

/// Puts the check sum into a record's last four bytes.
pub(crate) fn sealed(record: &mut [u8]) {
    if let Some((body, sum)) = record.split_last_chunk_mut() {
        *sum = check_sum(body);
    }
}

/// A record of these fields, with its version and its check sum.
fn record(write: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut bytes = Bytes::new();
    // As long as it can be.
    let _ = bytes.resize_default(LONGEST_RECORD);
    let mut to = Writer { buf: &mut bytes, at: 0 };
    to.u8(VERSION);
    write(&mut to);
    let len = to.at + SUM;
    bytes.truncate(len);
    sealed(&mut bytes);
    bytes
}

/// Whether a record's last four bytes are its check sum.
pub(crate) fn is_whole(record: &[u8]) -> bool {
    let parts = record.split_last_chunk();
    parts.is_some_and(|(body, sum)| check_sum(body) == *sum)
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
    pub fn encode(&self) -> Bytes {
        Self::bytes_of(self.boot, &self.memory)
    }

    /// As [`Record::encode`], without a copy of what is remembered.
    #[must_use]
    pub(crate) fn bytes_of(boot: BootId, memory: &Memory) -> Bytes {
        record(|to| {
            to.u32(boot.value());
            to.u8(memory.haresources.is_some().into());
            to.u64(memory.haresources.unwrap_or(0));
            for time in [memory.lease, memory.guard, memory.deadtime] {
                to.u64(time.span().micros());
            }
            for node in &memory.nodes {
                to.u32(node.pulsed.map_or(0, BootId::value));
                to.u8(node.line as u8);
            }
        })
    }

    /// From bytes; `None` unless they are a whole record of this version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(opened(bytes, VERSION)?);
        let boot = BootId::new(from.u32());
        let has_haresources = from.u8() != 0;
        let haresources = Some(from.u64()).filter(|_| has_haresources);
        let [lease, guard, deadtime] =
            [(); 3].map(|()| Millis::of(Duration::from_micros(from.u64())));
        let mut nodes = [NodeMemory::default(); 2];
        for node in &mut nodes {
            node.pulsed = BootId::new(from.u32());
            let line = from.u8();
            node.line = from.meant(LineShown::from_code(line));
        }
        let promisees = Promisees::default();
        let memory = Memory { promisees, haresources, lease, guard, deadtime, nodes };
        from.end().ok()?;
        Some(Self { boot: boot?, memory })
    }
}

impl Retained {
    /// As bytes: two bits a group.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        record(|to| to.put(&self.0.bytes()))
    }

    /// From bytes; `None` unless they are a whole record of this version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = opened(bytes, VERSION)?.try_into().ok()?;
        Some(Self(Promisees::from_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use hb_proto::id::GroupId;
    use hb_proto::wire::message::arbiter::Shown;

    use super::*;

    fn record() -> Record {
        let pulsed = BootId::new(0x00AB_CDEF);
        let memory = Memory {
            promisees: Promisees::default(),
            haresources: Some(0x0123_4567_89AB_CDEF),
            lease: Millis(400),
            guard: Millis::MAX,
            deadtime: Millis(500),
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
