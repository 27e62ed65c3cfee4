//! Hashes partitions of the stream apart, and joins the hashes.
//!
//! The stream digest by stretches: each is hashed wherever it is, by whoever reads it, and they are joined in order.
//!
//! ```text
//! stream     |  stride  |  stride  |  stride  |  stride  |  ...
//! stretches  |     first      |    second     |  third ...
//! second                      |head|  stride  |rest|
//! ```
//! BLAKE3 is a tree: a stride that begins at a multiple of its length is a whole subtree, whose value depends on its bytes
//! and its place alone. A stretch hashes the strides that lie in it; the bytes at its edges are hashed when it is joined to
//! the one before. Two subtrees are merged in another way where they are all there is, so a stretch always holds its last
//! bytes back.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::record_digests::STRIDE;
use super::{element_len, put_element};
use crate::id::StreamDigest;

/// A stretch of the canonical stream, fed in key order.
#[derive(Clone, Default)]
pub struct StreamPartition {
    /// Where it begins in the stream.
    begins: u64,
    /// Its bytes before the first stride that lies in it; they are in `waiting` until they are all there.
    head: Vec<u8>,
    subtrees: HashSubtrees,
    /// Where `waiting` begins in the stream.
    at: u64,
    /// Not hashed yet: one stride at most, and one byte at least behind what is hashed.
    waiting: Vec<u8>,
}

/// Values of subtrees that lie side by side, merged as far as they go.
#[derive(Clone, Default)]
struct HashSubtrees(Vec<HashSubtree>);

#[derive(Clone)]
struct HashSubtree {
    /// It has `1 << level` strides,
    level: u32,
    /// and so many of its size come before it.
    index: u64,
    value: ChainingValue,
}

impl StreamPartition {
    /// The stretch that begins behind `begins` bytes of the stream.
    pub fn partition_at(begins: u64) -> Self {
        Self {
            begins,
            at: begins,
            ..Self::default()
        }
    }

    /// Goes on with one record.
    pub fn record(&mut self, key: &[u8], value: &[u8]) {
        if self.waiting.len() + element_len(key.len(), value.len()) <= self.free_room() {
            return put_element(&mut self.waiting, key, value);
        }
        self.stream(&(key.len() as u32).to_le_bytes());
        self.stream(key);
        self.stream(&(value.len() as u32).to_le_bytes());
        self.stream(value);
    }

    /// Goes on with the stretch that comes next; false if that is not where it begins.
    pub fn join_partitions(&mut self, next: &Self) -> bool {
        if next.begins != self.at + self.waiting.len() as u64 {
            return false;
        }
        self.stream(&next.head);
        if !next.subtrees.0.is_empty() {
            self.close();
            next.subtrees
                .0
                .iter()
                .for_each(|tree| self.subtrees.push(tree.clone()));
            self.at = next.at;
        }
        self.stream(&next.waiting);
        true
    }

    /// The digest of the stream that ends here; `None` of a stretch that is not the first.
    pub fn digest(&self) -> Option<StreamDigest> {
        let digest = match (self.begins, self.subtrees.0.split_first()) {
            (0, None) => blake3::hash(&self.waiting),
            (0, Some((first, rest))) => {
                let last = subtree(self.at, &self.waiting);
                let right = rest.iter().rev().fold(last, |right, left| {
                    merge_subtrees_non_root(&left.value, &right, Mode::Hash)
                });
                merge_subtrees_root(&first.value, &right, Mode::Hash)
            }
            _ => return None,
        };
        Some(StreamDigest(*digest.as_bytes()))
    }

    fn stream(&mut self, mut bytes: &[u8]) {
        while self.waiting.len() + bytes.len() > self.free_room() {
            let (now, rest) = bytes.split_at(self.free_room() - self.waiting.len());
            self.waiting.extend_from_slice(now);
            self.close();
            bytes = rest;
        }
        self.waiting.extend_from_slice(bytes);
    }

    /// How much may wait: up to the next stride.
    #[inline]
    fn free_room(&self) -> usize {
        STRIDE - (self.at % STRIDE as u64) as usize
    }

    /// Takes what waits, which ends where a stride ends.
    fn close(&mut self) {
        match self.at % STRIDE as u64 {
            0 if !self.waiting.is_empty() => self.subtrees.push(HashSubtree {
                level: 0,
                index: self.at / STRIDE as u64,
                value: subtree(self.at, &self.waiting),
            }),
            _ => self.head.extend_from_slice(&self.waiting),
        }
        self.at += self.waiting.len() as u64;
        self.waiting.clear();
    }
}

impl HashSubtrees {
    fn push(&mut self, mut tree: HashSubtree) {
        while let Some(left) = self.0.pop_if(|left| left.is_left_sibling(&tree)) {
            tree = HashSubtree {
                level: tree.level + 1,
                index: tree.index / 2,
                value: merge_subtrees_non_root(&left.value, &tree.value, Mode::Hash),
            };
        }
        self.0.push(tree);
    }
}

impl HashSubtree {
    /// True if both are halves of one above.
    fn is_left_sibling(&self, right: &Self) -> bool {
        self.level == right.level && self.index + 1 == right.index && self.index.is_multiple_of(2)
    }
}

/// The value of `bytes`, a stride or less, that stand at the beginning of a stride.
fn subtree(at: u64, bytes: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(at).update(bytes);
    hasher.finalize_non_root()
}

#[cfg(test)]
#[path = "stretch_tests.rs"]
mod tests;
