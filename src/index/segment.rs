//! Encodes and decodes index segments.
//!
//! An index segment ⇄ bytes: a clear header that names packs, a body (to be sealed) that names blobs.
//! Specified in docs/format/07-index.md; there is one encoding of each segment.

use super::{IndexEntry, Location};
use crate::codec::{Reader, put_varint};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BlobId, ObjectId};
use crate::kind::BlobKind;
use crate::limits::{BLOB_BYTES_MAX, SEGMENT_ENTRIES_MAX, SEGMENT_PACKS_MAX, SEGMENT_SUPERSEDES_MAX};

/// Fewest bytes of an entry in the body: an id, a kind byte, and five varints.
const ENTRY_LEN_MIN: usize = 32 + 1 + 5;

/// Fewest bytes of a pack in the header: a name and a varint.
const PACK_LEN_MIN: usize = 32 + 1;

/// A pack that a segment speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentPack {
    /// Its name.
    pub pack: ObjectId,
    /// All its stored bytes; also without a key, `check` can compare this with the listing.
    pub len: u64,
}

/// One index segment. Always in order and within the limits, because there is no way to make another.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Segment {
    packs: Vec<SegmentPack>,
    supersedes: Vec<ObjectId>,
    entries: Vec<IndexEntry>,
}

impl Segment {
    /// Sorts all three and drops doubles. [`ErrorKind::Limit`] if one of them is too long for a segment;
    /// [`ErrorKind::Usage`] if an entry lies outside of every pack named, or a pack is named with two lengths.
    pub fn new(
        mut packs: Vec<SegmentPack>,
        mut supersedes: Vec<ObjectId>,
        mut entries: Vec<IndexEntry>,
    ) -> Result<Self> {
        sort(&mut packs);
        sort(&mut supersedes);
        sort(&mut entries);
        within("packs", packs.len(), SEGMENT_PACKS_MAX)?;
        within("superseded segments", supersedes.len(), SEGMENT_SUPERSEDES_MAX)?;
        within("entries", entries.len(), SEGMENT_ENTRIES_MAX)?;
        if let Some(twice) = packs.windows(2).find(|pair| pair[0].pack == pair[1].pack) {
            let pack = twice[0].pack;
            return Err(Error::new(
                ErrorKind::Usage,
                format!("pack {pack} has two lengths"),
            ));
        }
        for entry in &entries {
            let number = pack_number(&packs, &entry.location.pack);
            let pack = number.and_then(|number| packs.get(number)).ok_or_else(|| {
                let text = format!("blob {} lies in a pack that is not named", entry.id);
                Error::new(ErrorKind::Usage, text)
            })?;
            check_len(entry, pack).map_err(|error| error.with_kind(ErrorKind::Usage))?;
        }
        Ok(Self {
            packs,
            supersedes,
            entries,
        })
    }

    /// Reads a whole clear part and an opened body; a byte that nothing accounts for is an error.
    pub fn decode(clear: &[u8], body: &[u8]) -> Result<Self> {
        let (packs, supersedes, used) = decode_header(clear)?;
        Reader::new(&clear[used..]).finish()?;
        let entries = decode_body(body, &packs)?;
        Ok(Self {
            packs,
            supersedes,
            entries,
        })
    }

    /// The same, and no segment is replaced by it.
    #[must_use]
    pub fn without_superseded(mut self) -> Self {
        self.supersedes.clear();
        self
    }

    /// The packs, by name.
    pub fn packs(&self) -> &[SegmentPack] {
        &self.packs
    }

    /// The segments that this one replaces, by name.
    pub fn supersedes(&self) -> &[ObjectId] {
        &self.supersedes
    }

    /// The entries, by id.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }
}

/// The clear header: packs and superseded segments. Says itself where it ends.
pub fn encode_header(segment: &Segment) -> Vec<u8> {
    let mut out = Vec::with_capacity(10 + 36 * segment.packs.len() + 32 * segment.supersedes.len());
    put_varint(&mut out, segment.packs.len() as u64);
    for SegmentPack { pack, len } in &segment.packs {
        out.extend_from_slice(&pack.0);
        put_varint(&mut out, *len);
    }
    put_varint(&mut out, segment.supersedes.len() as u64);
    for id in &segment.supersedes {
        out.extend_from_slice(&id.0);
    }
    out
}

/// Packs, superseded segments, and the bytes that the header took; what follows is the caller's.
pub fn decode_header(bytes: &[u8]) -> Result<(Vec<SegmentPack>, Vec<ObjectId>, usize)> {
    let mut reader = Reader::new(bytes);
    let count = count(&mut reader, SEGMENT_PACKS_MAX, PACK_LEN_MIN, "packs")?;
    let mut packs = Vec::with_capacity(count);
    for _ in 0..count {
        let pack = ObjectId(reader.array()?);
        let len = reader.varint_canonical()?;
        packs.push(SegmentPack { pack, len });
    }
    check_ascending(packs.iter().map(|pack| pack.pack), "packs")?;
    let count = self::count(&mut reader, SEGMENT_SUPERSEDES_MAX, 32, "superseded segments")?;
    let mut supersedes = Vec::with_capacity(count);
    for _ in 0..count {
        supersedes.push(ObjectId(reader.array()?));
    }
    check_ascending(supersedes.iter(), "superseded segments")?;
    Ok((packs, supersedes, reader.position()))
}

/// The body, to be sealed: every entry, packs by their number in the header.
pub fn encode_body(segment: &Segment) -> Vec<u8> {
    let mut out = Vec::with_capacity(10 + 48 * segment.entries.len());
    put_varint(&mut out, segment.entries.len() as u64);
    for IndexEntry { id, location } in &segment.entries {
        let pack = pack_number(&segment.packs, &location.pack).expect("Segment::new saw to it");
        out.extend_from_slice(&id.0);
        out.push(location.kind as u8);
        for number in [pack as u64, location.offset.into(), location.ordinal.into()] {
            put_varint(&mut out, number);
        }
        put_varint(&mut out, location.len.into());
        put_varint(&mut out, location.plain_len.into());
    }
    out
}

/// The entries of an opened body, given the packs of its header. Each is checked against its pack's length.
pub fn decode_body(bytes: &[u8], packs: &[SegmentPack]) -> Result<Vec<IndexEntry>> {
    let mut reader = Reader::new(bytes);
    let count = count(&mut reader, SEGMENT_ENTRIES_MAX, ENTRY_LEN_MIN, "entries")?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(decode_entry(&mut reader, packs)?);
    }
    reader.finish()?;
    check_ascending(entries.iter(), "entries")?;
    Ok(entries)
}

fn decode_entry(reader: &mut Reader<'_>, packs: &[SegmentPack]) -> Result<IndexEntry> {
    let id = BlobId(reader.array()?);
    let kind = BlobKind::try_from(reader.u8()?)?;
    let number = reader.varint_canonical()?;
    let pack = usize::try_from(number)
        .ok()
        .and_then(|number| packs.get(number))
        .ok_or_else(|| {
            Error::corrupt(format!(
                "blob {id} lies in pack number {number} of {}",
                packs.len()
            ))
        })?;
    let location = Location {
        pack: pack.pack,
        kind,
        offset: u32_varint(reader)?,
        ordinal: u32_varint(reader)?,
        len: u32_varint(reader)?,
        plain_len: u32_varint(reader)?,
    };
    let entry = IndexEntry { id, location };
    check_len(&entry, pack)?;
    Ok(entry)
}

fn check_len(entry: &IndexEntry, pack: &SegmentPack) -> Result<()> {
    let Location {
        offset,
        len,
        plain_len,
        ordinal,
        ..
    } = entry.location;
    let inside = u64::from(offset) + u64::from(len) <= pack.len;
    // The largest ordinal is the directory's nonce.
    if inside && plain_len as usize <= BLOB_BYTES_MAX && ordinal < u32::MAX {
        Ok(())
    } else {
        Err(Error::corrupt(format!(
            "blob {} cannot lie at {offset}+{len} (plain {plain_len}, ordinal {ordinal}) of a pack of {} bytes",
            entry.id, pack.len
        )))
    }
}

fn u32_varint(reader: &mut Reader<'_>) -> Result<u32> {
    let value = reader.varint_canonical()?;
    u32::try_from(value).map_err(|_| Error::corrupt(format!("number {value} is longer than 32 bits")))
}

/// A count that the limit allows and for which there are enough bytes, before anything is allocated.
fn count(reader: &mut Reader<'_>, max: usize, each: usize, what: &str) -> Result<usize> {
    let count = reader.varint_canonical()?;
    let max = max.min(reader.remaining() / each);
    match usize::try_from(count) {
        Ok(count) if count <= max => Ok(count),
        _ => Err(Error::corrupt(format!("{count} {what}, {max} can be"))),
    }
}

fn check_ascending<T: Ord>(mut items: impl Iterator<Item = T>, what: &str) -> Result<()> {
    let Some(mut last) = items.next() else {
        return Ok(());
    };
    for item in items {
        if item <= last {
            return Err(Error::corrupt(format!("{what} are out of order")));
        }
        last = item;
    }
    Ok(())
}

fn pack_number(packs: &[SegmentPack], id: &ObjectId) -> Option<usize> {
    packs.binary_search_by(|pack| pack.pack.cmp(id)).ok()
}

fn sort<T: Ord>(items: &mut Vec<T>) {
    items.sort_unstable();
    items.dedup();
}

fn within(what: &str, count: usize, max: usize) -> Result<()> {
    if count <= max {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Limit,
            format!("{count} {what} in one index segment, at most {max}"),
        ))
    }
}
