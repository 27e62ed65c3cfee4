//! Makes index entries and segments for tests.

use std::collections::BTreeSet;

use super::{IndexEntry, Location, Segment, SegmentPack};
use crate::id::{BlobId, ObjectId};
use crate::kind::BlobKind;

pub(crate) fn hash(seed: u64, what: u8) -> [u8; 32] {
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.push(what);
    *blake3::hash(&bytes).as_bytes()
}

/// A made-up entry of blob `seed` in pack `pack`.
pub(crate) fn entry(seed: u64, pack: u64) -> IndexEntry {
    let number = u32::from_le_bytes(*hash(seed, 1).first_chunk().unwrap());
    let location = Location {
        pack: ObjectId(hash(pack, 2)),
        offset: number % 30_000_000,
        len: number % 70_000,
        plain_len: number % 90_000,
        kind: BlobKind::ALL[number as usize % 6],
        ordinal: number % 1000,
    };
    IndexEntry {
        id: BlobId(hash(seed, 0)),
        location,
    }
}

pub(crate) fn segment_of(entries: Vec<IndexEntry>, supersedes: Vec<ObjectId>) -> Segment {
    let packs: BTreeSet<_> = entries.iter().map(|entry| entry.location.pack).collect();
    let packs = packs.into_iter().map(|pack| SegmentPack { pack, len: 32 << 20 });
    Segment::new(packs.collect(), supersedes, entries).unwrap()
}

/// Blobs are drawn from a small set, so that segments share some and blobs have several locations.
pub(crate) fn random_segment(seed: u64, count: usize) -> Segment {
    let draw =
        |number: usize| u64::from_le_bytes(*hash(seed * 1_000_003 + number as u64, 9).first_chunk().unwrap());
    let entries = (0..count).map(|number| entry(draw(number) % 500, (draw(number) >> 32) % 7));
    let supersedes = (0..seed % 3).map(|number| ObjectId(hash(seed ^ number, 3)));
    segment_of(entries.collect(), supersedes.collect())
}
