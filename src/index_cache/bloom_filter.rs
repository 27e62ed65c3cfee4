//! A blocked Bloom filter over the blob ids of one run.
//!
//! "Surely not here", in two bytes a blob: a Bloom filter in blocks of one cache line.
//!
//! Blob ids are keyed hashes, so their own bits are all the randomness it takes: eight bytes choose the block,
//! eight times nine bits choose the bits in it. With 16 bits for each blob about 0.2 % of the ids that are not
//! there look as if they were, and cost one read each.

use crate::id::BlobId;

/// Bytes of one block: a cache line.
pub(super) const FILTER_BLOCK_LEN: usize = 64;
const BLOBS_PER_BLOCK: u64 = 32;
const PROBES: u32 = 8;

/// The filter of one run; without any bytes it lets everything pass.
#[derive(Default)]
pub(super) struct BlockedBloomFilter {
    pub(super) bytes: Vec<u8>,
}

impl BlockedBloomFilter {
    /// Empty, with room for `blobs` blobs.
    pub(super) fn for_blobs(blobs: u64) -> Self {
        let blocks = blobs.div_ceil(BLOBS_PER_BLOCK).max(1) as usize;
        Self {
            bytes: vec![0; blocks * FILTER_BLOCK_LEN],
        }
    }

    pub(super) fn insert(&mut self, id: &BlobId) {
        let Some(start) = self.block_index(id) else {
            return;
        };
        let block = &mut self.bytes[start..start + FILTER_BLOCK_LEN];
        for bit in bit_mask(id) {
            block[bit >> 3] |= 1 << (bit & 7);
        }
    }

    pub(super) fn may_hold(&self, id: &BlobId) -> bool {
        let Some(start) = self.block_index(id) else {
            return true;
        };
        let block = &self.bytes[start..start + FILTER_BLOCK_LEN];
        bit_mask(id).all(|bit| block[bit >> 3] & (1 << (bit & 7)) != 0)
    }

    /// Where the id's block starts; `None` if there are no blocks.
    fn block_index(&self, id: &BlobId) -> Option<usize> {
        let blocks = (self.bytes.len() / FILTER_BLOCK_LEN) as u128;
        let scaled = (u128::from(word(id, 8)) * blocks) >> 64;
        (blocks > 0).then_some(scaled as usize * FILTER_BLOCK_LEN)
    }
}

fn bit_mask(id: &BlobId) -> impl Iterator<Item = usize> {
    let random = u128::from(word(id, 16)) | u128::from(word(id, 24)) << 64;
    (0..PROBES).map(move |probe| (random >> (9 * probe)) as usize & 0x1ff)
}

/// Eight bytes of an id, as a number in the order of the ids.
pub(super) fn word(id: &BlobId, at: usize) -> u64 {
    id.0[at..at + 8]
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}
