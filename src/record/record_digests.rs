//! Computes the set digest and the stream digest of records.
//!
//! Two digests of a database: of its set of records, and of its canonical stream.
//!
//! The *set digest* is the sum, modulo 2^256, of a keyed BLAKE3 of each record's element, hash and sum read as
//! little-endian numbers. A sum does not care for order, so threads add their shares in any order, and an
//! increment takes the old record's hash off and adds the new one's. The key keeps an outsider who chooses
//! records from steering the sum (finding records that sum to zero is easy only for who can compute the hash).
//! Elements of up to 2 KiB are hashed with zeros up to the next whole block, because then many can be hashed at once
//! (`lanes.rs`); docs/decisions/0003-set-digest.md has the numbers and the argument.
//!
//! The *stream digest* is plain BLAKE3 over the canonical stream: anyone can compute it from a database.

use super::hash_lanes::{HashLanes, PADDED_BYTES_MAX};
use super::set_sum::{self, SetSum};
use super::{StreamElements, element_len, put_element, write_element};
use crate::error::Result;
use crate::id::{SetDigest, StreamDigest};

/// Values up to this many bytes are hashed from one buffer; copying a longer one costs more than it saves.
const COPY_BYTES_MAX: usize = 16 << 10;

/// Sums keyed hashes of records modulo 2^256. Holds up to eight short records of each length until they can be
/// hashed together, so one that lives long is cheaper than many that are merged.
#[derive(Clone)]
pub struct SetDigestAccumulator<'k> {
    key: &'k [u8; 32],
    sum: SetSum,
    waiting: HashLanes,
}

impl<'k> SetDigestAccumulator<'k> {
    /// The digest of no record.
    pub fn new(key: &'k [u8; 32]) -> Self {
        Self::resume(key, &SetDigest([0; 32]))
    }

    /// Goes on from a digest, as an increment does.
    pub fn resume(key: &'k [u8; 32], from: &SetDigest) -> Self {
        Self {
            key,
            sum: set_sum::from_bytes(&from.0),
            waiting: HashLanes::new(),
        }
    }

    /// Adds one record given as its canonical element.
    #[inline]
    pub fn add_element(&mut self, element: &[u8]) {
        if element.len() <= PADDED_BYTES_MAX {
            self.wait(element.len(), |to| to.copy_from_slice(element))
        } else {
            set_sum::add(&mut self.sum, blake3::keyed_hash(self.key, element).as_bytes())
        }
    }

    /// Adds every record of a canonical stream.
    pub fn add_stream(&mut self, stream: &[u8]) -> Result<()> {
        for element in StreamElements::new(stream) {
            self.add_element(element?.whole);
        }
        Ok(())
    }

    /// Adds one record.
    #[inline]
    pub fn add_record(&mut self, key: &[u8], value: &[u8]) {
        let len = element_len(key.len(), value.len());
        if len <= PADDED_BYTES_MAX {
            self.wait(len, |to| write_element(to, key, value))
        } else {
            set_sum::add(&mut self.sum, &hash_long(self.key, key, value))
        }
    }

    #[cfg(any(test, feature = "test-util"))]
    /// Takes one record off that was added before.
    pub fn sub_record(&mut self, key: &[u8], value: &[u8]) {
        let mut one = Self::new(self.key);
        one.add_record(key, value);
        self.unmerge(&one.digest());
    }

    /// Adds what another thread summed.
    pub fn merge(&mut self, other: &SetDigest) {
        set_sum::add(&mut self.sum, &other.0);
    }

    /// Takes off what [`SetDigestAccumulator::merge`] would add.
    pub fn unmerge(&mut self, other: &SetDigest) {
        set_sum::subtract(&mut self.sum, &other.0);
    }

    /// The digest so far.
    pub fn digest(&self) -> SetDigest {
        let mut sum = self.sum;
        self.waiting.add_waiting(self.key, &mut sum);
        SetDigest(set_sum::to_bytes(&sum))
    }

    #[inline]
    fn wait(&mut self, len: usize, write: impl FnOnce(&mut [u8])) {
        self.waiting.push(self.key, len, write, &mut self.sum);
    }
}

fn hash_long(secret: &[u8; 32], key: &[u8], value: &[u8]) -> [u8; 32] {
    if value.len() <= COPY_BYTES_MAX {
        let mut element = Vec::new();
        put_element(&mut element, key, value);
        return *blake3::keyed_hash(secret, &element).as_bytes();
    }
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(&(key.len() as u32).to_le_bytes());
    hasher.update(key);
    hasher.update(&(value.len() as u32).to_le_bytes());
    hasher.update(value);
    *hasher.finalize().as_bytes()
}

/// Bytes of the stream hashed at once: a whole subtree of BLAKE3's, so that all lanes are full at every level.
pub(super) const STRIDE: usize = 64 << 10;

/// BLAKE3 over the canonical stream, fed in key order. Records wait until a stride is full: fed singly, they would
/// be hashed block by block.
#[derive(Clone, Default)]
pub struct StreamDigester {
    hasher: blake3::Hasher,
    /// Less than a stride.
    waiting: Vec<u8>,
}

impl StreamDigester {
    /// The digest of the empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with whole elements or any part of the stream.
    pub fn stream(&mut self, mut stream: &[u8]) {
        while self.waiting.len() + stream.len() >= STRIDE {
            let (now, rest) = stream.split_at(STRIDE - self.waiting.len());
            stream = rest;
            if self.waiting.is_empty() {
                self.hasher.update(now)
            } else {
                self.waiting.extend_from_slice(now);
                self.hasher.update(&self.waiting)
            };
            self.waiting.clear();
        }
        self.waiting.extend_from_slice(stream);
    }

    /// Goes on with one record.
    pub fn record(&mut self, key: &[u8], value: &[u8]) {
        if self.waiting.len() + element_len(key.len(), value.len()) < STRIDE {
            return put_element(&mut self.waiting, key, value);
        }
        self.stream(&(key.len() as u32).to_le_bytes());
        self.stream(key);
        self.stream(&(value.len() as u32).to_le_bytes());
        self.stream(value);
    }

    /// The digest so far.
    pub fn digest(&self) -> StreamDigest {
        let mut hasher = self.hasher.clone();
        StreamDigest(*hasher.update(&self.waiting).finalize().as_bytes())
    }
}
