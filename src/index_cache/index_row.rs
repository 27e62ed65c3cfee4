//! Encodes and decodes the 84-byte rows of run files.
//!
//! One entry in a run file: 84 bytes, all of one width, so that a block can be searched without being decoded.

use crate::codec::Reader;
use crate::error::Result;
use crate::id::{BlobId, ObjectId};
use crate::index::{IndexEntry, Location};
use crate::kind::BlobKind;

/// Bytes of one row.
pub(super) const ROW_LEN: usize = 84;

/// Segments in one run file at most: their numbers have 24 bits in a row.
pub(super) const SEGMENT_NUMBER_MAX: u32 = (1 << 24) - 1;

/// An entry, and which of the run's segments said so: what a segment said no longer counts once it is not
/// listed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IndexRow {
    pub(super) entry: IndexEntry,
    pub(super) segment: u32,
}

impl IndexRow {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let IndexEntry { id, location } = &self.entry;
        out.extend_from_slice(&id.0);
        out.extend_from_slice(&location.pack.0);
        for number in [
            location.offset,
            location.len,
            location.plain_len,
            location.ordinal,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&(self.segment << 8 | location.kind as u32).to_le_bytes());
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let id = BlobId(reader.array()?);
        let pack = ObjectId(reader.array()?);
        let [offset, len, plain_len, ordinal] = [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
        let last = reader.u32()?;
        reader.finish()?;
        let location = Location {
            pack,
            offset,
            len,
            plain_len,
            ordinal,
            kind: BlobKind::try_from(last as u8)?,
        };
        Ok(Self {
            entry: IndexEntry { id, location },
            segment: last >> 8,
        })
    }
}
