//! A Bloom filter over the keys of a run.
//!
//! A small filter over the keys of a run: says of most keys that are not in it that they are not, so that `get`
//! need not open every run of a stack.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::snapshot_codec::at_most;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::FILTER_BYTES_MAX;

/// A Bloom filter. Its hash has no key: the filter stands in a sealed object, and a wrong "maybe" costs one read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBloomFilter {
    /// Bits set for each key, 1 to 30.
    probes: u8,
    /// The bits, least significant first.
    bits: Vec<u8>,
}

impl KeyBloomFilter {
    /// An empty filter for about `keys` keys at ten bits each (one wrong "maybe" in a hundred), as far as
    /// [`FILTER_BYTES_MAX`] lets it.
    pub fn for_keys(keys: usize) -> Self {
        let bytes = keys.saturating_mul(10).div_ceil(8).clamp(8, FILTER_BYTES_MAX);
        Self {
            probes: 7,
            bits: vec![0; bytes],
        }
    }

    /// Adds a key.
    pub fn insert(&mut self, key: &[u8]) {
        for bit in probes(key, self.probes, self.bits.len()) {
            self.bits[bit / 8] |= 1 << (bit % 8);
        }
    }

    /// False only if the key was never added.
    pub fn may_contain(&self, key: &[u8]) -> bool {
        probes(key, self.probes, self.bits.len()).all(|bit| self.bits[bit / 8] & (1 << (bit % 8)) != 0)
    }

    /// Bytes of its bits.
    pub(super) fn bytes(&self) -> usize {
        self.bits.len()
    }

    pub(super) fn check(&self) -> Result<()> {
        at_most("key filter", self.bits.len(), FILTER_BYTES_MAX)?;
        if self.bits.is_empty() || !(1..=30).contains(&self.probes) {
            Err(Error::new(ErrorKind::Limit, "key filter without bits or probes"))
        } else {
            Ok(())
        }
    }
}

/// Double hashing: two numbers from the key give all places.
fn probes(key: &[u8], count: u8, bytes: usize) -> impl Iterator<Item = usize> {
    let mut hasher = SipHasher13::new();
    hasher.write(key);
    let hash = hasher.finish();
    let step = hash.rotate_left(32) | 1;
    let bits = bytes as u64 * 8;
    (0..u64::from(count)).map(move |n| (hash.wrapping_add(n.wrapping_mul(step)) % bits) as usize)
}
