//! Two digests of a database: of its set of records, and of its canonical stream.
//!
//! The *set digest* is the sum, modulo 2^256, of a keyed BLAKE3 of each record's element, hash and sum read as
//! little-endian numbers. A sum does not care for order, so threads add their shares in any order, and an
//! increment takes the old record's hash off and adds the new one's. The key keeps an outsider who chooses
//! records from steering the sum (finding records that sum to zero is easy only for who can compute the hash).
//!
//! The *stream digest* is plain BLAKE3 over the canonical stream: anyone can compute it from a database.

use super::{Elements, put_element};
use crate::error::Result;
use crate::id::{SetDigest, StreamDigest};

/// Values up to this many bytes are hashed from one buffer; copying a longer one costs more than it saves.
const COPY_BYTES_MAX: usize = 16 << 10;

/// Sums keyed hashes of records modulo 2^256.
#[derive(Clone)]
pub struct SetDigestAcc<'k> {
    key: &'k [u8; 32],
    sum: [u64; 4],
}

impl<'k> SetDigestAcc<'k> {
    /// The digest of no record.
    pub fn new(key: &'k [u8; 32]) -> Self {
        Self { key, sum: [0; 4] }
    }

    /// Goes on from a digest, as an increment does.
    pub fn resume(key: &'k [u8; 32], from: &SetDigest) -> Self {
        let sum = limbs(&from.0);
        Self { key, sum }
    }

    /// Adds one record given as its canonical element.
    #[inline]
    pub fn add_element(&mut self, element: &[u8]) {
        add(
            &mut self.sum,
            &limbs(blake3::keyed_hash(self.key, element).as_bytes()),
        );
    }

    /// Adds every record of a canonical stream.
    pub fn add_stream(&mut self, stream: &[u8]) -> Result<()> {
        for element in Elements::new(stream) {
            self.add_element(element?.whole);
        }
        Ok(())
    }

    /// Adds one record.
    pub fn add_record(&mut self, key: &[u8], value: &[u8]) {
        let hash = self.hash(key, value);
        add(&mut self.sum, &hash);
    }

    /// Takes one record off that was added before.
    pub fn sub_record(&mut self, key: &[u8], value: &[u8]) {
        let hash = self.hash(key, value);
        sub(&mut self.sum, &hash);
    }

    /// Adds what another thread summed.
    pub fn merge(&mut self, other: &SetDigest) {
        add(&mut self.sum, &limbs(&other.0));
    }

    /// Takes off what [`SetDigestAcc::merge`] would add.
    pub fn unmerge(&mut self, other: &SetDigest) {
        sub(&mut self.sum, &limbs(&other.0));
    }

    /// The digest so far.
    pub fn digest(&self) -> SetDigest {
        let mut bytes = [0; 32];
        for (to, limb) in bytes.chunks_exact_mut(8).zip(self.sum) {
            to.copy_from_slice(&limb.to_le_bytes());
        }
        SetDigest(bytes)
    }

    fn hash(&self, key: &[u8], value: &[u8]) -> [u64; 4] {
        if value.len() <= COPY_BYTES_MAX {
            let mut element = Vec::new();
            put_element(&mut element, key, value);
            return limbs(blake3::keyed_hash(self.key, &element).as_bytes());
        }
        let mut hasher = blake3::Hasher::new_keyed(self.key);
        hasher.update(&(key.len() as u32).to_le_bytes());
        hasher.update(key);
        hasher.update(&(value.len() as u32).to_le_bytes());
        hasher.update(value);
        limbs(hasher.finalize().as_bytes())
    }
}

fn limbs(bytes: &[u8; 32]) -> [u64; 4] {
    let mut limbs = [0; 4];
    for (limb, from) in limbs.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_le_bytes(*from);
    }
    limbs
}

#[inline]
fn add(sum: &mut [u64; 4], other: &[u64; 4]) {
    let mut carry = false;
    for (to, from) in sum.iter_mut().zip(other) {
        (*to, carry) = add_limb(*to, *from, carry);
    }
}

#[inline]
fn sub(sum: &mut [u64; 4], other: &[u64; 4]) {
    let mut borrow = false;
    for (to, from) in sum.iter_mut().zip(other) {
        (*to, borrow) = sub_limb(*to, *from, borrow);
    }
}

#[inline]
fn add_limb(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

#[inline]
fn sub_limb(a: u64, b: u64, borrow: bool) -> (u64, bool) {
    let (rest, first) = a.overflowing_sub(b);
    let (rest, second) = rest.overflowing_sub(u64::from(borrow));
    (rest, first | second)
}

/// BLAKE3 over the canonical stream, fed in key order.
#[derive(Clone, Default)]
pub struct StreamDigester(blake3::Hasher);

impl StreamDigester {
    /// The digest of the empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with whole elements or any part of the stream.
    pub fn stream(&mut self, stream: &[u8]) {
        self.0.update(stream);
    }

    /// Goes on with one record.
    pub fn record(&mut self, key: &[u8], value: &[u8]) {
        self.0.update(&(key.len() as u32).to_le_bytes());
        self.0.update(key);
        self.0.update(&(value.len() as u32).to_le_bytes());
        self.0.update(value);
    }

    /// The digest so far.
    pub fn digest(&self) -> StreamDigest {
        StreamDigest(*self.0.finalize().as_bytes())
    }
}
