//! Numbers all indexed blobs, for sets of blobs in little memory.
//!
//! Every indexed blob by number, small enough for tens of millions: 13 bytes a blob while they are counted.

use crate::error::Result;
use crate::id::BlobId;
use crate::index::IndexEntry;

/// Ids that begin with the same two bytes are one bucket.
const BUCKETS: usize = 1 << 16;

/// Blobs in order of id. Seven bytes of an id stand for it: ids are keyed hashes, and two of ten million blobs fall
/// together once in a thousand repositories, where they count as one.
pub struct NumberedBlobs {
    /// Number of the first blob of each bucket, and behind the last.
    starts: Vec<u32>,
    /// The five bytes behind a bucket's two.
    tails: Vec<[u8; 5]>,
    /// Stored bytes of each blob's first copy.
    lens: Vec<u32>,
    /// Bytes of all of them before compression.
    plain_bytes: u64,
}

impl NumberedBlobs {
    /// Takes the index's entries, in order; about `count` of them.
    pub fn collect(entries: impl Iterator<Item = Result<IndexEntry>>, count: u64) -> Result<Self> {
        let count = usize::try_from(count).unwrap_or(0);
        let mut blobs = Self {
            starts: vec![0; BUCKETS + 1],
            tails: Vec::with_capacity(count),
            lens: Vec::with_capacity(count),
            plain_bytes: 0,
        };
        let mut last = None;
        for entry in entries {
            let entry = entry?;
            if last != Some(entry.id) {
                blobs.push(&entry);
            }
            last = Some(entry.id);
        }
        for bucket in 0..BUCKETS {
            blobs.starts[bucket + 1] += blobs.starts[bucket];
        }
        Ok(blobs)
    }

    fn push(&mut self, entry: &IndexEntry) {
        let (bucket, tail) = bucket_and_tail(&entry.id);
        self.starts[bucket + 1] += 1;
        self.tails.push(tail);
        self.lens.push(entry.location.len);
        self.plain_bytes += u64::from(entry.location.plain_len);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lens.len()
    }

    /// Bytes of all of them before compression.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Stored bytes of all of them, each once.
    pub fn stored_bytes(&self) -> u64 {
        self.lens.iter().map(|len| u64::from(*len)).sum()
    }

    /// The number of a blob, or `None` if no segment knows it.
    pub fn number(&self, id: &BlobId) -> Option<usize> {
        let (bucket, tail) = bucket_and_tail(id);
        let bounds = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
        let at = self.tails[bounds.clone()].binary_search(&tail).ok()?;
        Some(bounds.start + at)
    }

    /// Stored bytes of a blob by number.
    pub fn stored_len(&self, number: usize) -> u64 {
        u64::from(self.lens[number])
    }
}

fn bucket_and_tail(id: &BlobId) -> (usize, [u8; 5]) {
    let mut tail = [0; 5];
    tail.copy_from_slice(&id.0[2..7]);
    (usize::from(u16::from_be_bytes([id.0[0], id.0[1]])), tail)
}

/// A set of blobs by number.
#[derive(Clone)]
pub struct BlobSet(Vec<u64>);

impl BlobSet {
    /// An empty set with room for `count` blobs.
    pub fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    /// Adds one; true if it was not there.
    pub fn insert(&mut self, number: usize) -> bool {
        let (word, bit) = (&mut self.0[number / 64], 1 << (number % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// True if it is in the set.
    pub fn contains(&self, number: usize) -> bool {
        self.0[number / 64] & 1 << (number % 64) != 0
    }

    /// Adds all of `other` and calls `each` for those that were not there.
    pub fn extend(&mut self, other: &Self, mut each: impl FnMut(usize)) {
        for (at, (word, more)) in self.0.iter_mut().zip(&other.0).enumerate() {
            let mut fresh = more & !*word;
            *word |= fresh;
            while fresh != 0 {
                each(at * 64 + fresh.trailing_zeros() as usize);
                fresh &= fresh - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobKind;
    use crate::chunk::memory_blobs::noise;
    use crate::id::ObjectId;
    use crate::index::Location;
    use std::collections::BTreeSet;

    fn entry(id: BlobId, copy: u8) -> IndexEntry {
        let location = Location {
            pack: ObjectId([copy; 32]),
            offset: 0,
            len: 10 + u32::from(id.0[9]),
            plain_len: 100,
            kind: BlobKind::Leaf,
            ordinal: 0,
        };
        IndexEntry { id, location }
    }

    #[test]
    fn blobs_are_found_by_id_and_copies_count_once() {
        let ids: BTreeSet<[u8; 32]> = noise(3, 32 * 5000).as_chunks().0.iter().copied().collect();
        let entries = ids
            .iter()
            .flat_map(|id| [1, 2].map(|copy| Ok(entry(BlobId(*id), copy))));
        let blobs = NumberedBlobs::collect(entries, 10_000).unwrap();
        assert_eq!((blobs.len(), blobs.plain_bytes()), (5000, 500_000));
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(blobs.number(&BlobId(*id)), Some(number));
            assert_eq!(blobs.stored_len(number), 10 + u64::from(id[9]));
        }
        assert_eq!(blobs.number(&BlobId([7; 32])), None);
    }

    #[test]
    fn a_set_tells_what_is_new_to_it() {
        let (mut all, mut more) = (BlobSet::new(200), BlobSet::new(200));
        assert!(all.insert(3) && !all.insert(3));
        [3, 64, 199]
            .iter()
            .for_each(|number| assert!(more.insert(*number)));
        let mut fresh = Vec::new();
        all.extend(&more, |number| fresh.push(number));
        assert_eq!(fresh, [64, 199]);
        all.extend(&more, |_| panic!("all are there"));
    }
}
