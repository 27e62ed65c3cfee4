//! Builds filter blocks as C++ LevelDB and goleveldb do.
//!
//! ```text
//! filter 0 | filter 1 | ... | offset of filter 0 (le32) | ... | offset of the offsets (le32) | 11
//! ```
//!
//! Filter *i* covers the keys of every data block that begins in file bytes `[i * 2048, (i + 1) * 2048)`; one
//! that covers no block is empty. Each ends with its number of probes. Keys are kept as their 32-bit hash
//! only: the probes need no more, and nothing is copied.

use super::database_layout::{DatabaseLayout, TableExtension};

/// The policy of C++ LevelDB, and of what follows it.
const CPP_NAME: &str = "leveldb.BuiltinBloomFilter2";

/// goleveldb's policy: the same bits. C++ LevelDB before 1.13 used the name for bits that differ where keys hold
/// bytes above 127.
const GO_NAME: &str = "leveldb.BuiltinBloomFilter";

/// log2 of the file bytes one filter covers.
const FILTER_BASE_LOG2: u8 = 11;
const FILTER_BITS_MIN: usize = 64;
const HASH_SEED: u32 = 0xbc9f_1d34;
const HASH_FACTOR: u32 = 0xc6a4_a793;

/// The filter block of one table; made anew by [`FilterBuilder::finish`].
#[derive(Debug)]
pub(crate) struct FilterBuilder {
    name: &'static str,
    bits_per_key: usize,
    probes: u8,
    hashes: Vec<u32>,
    filters: Vec<u8>,
    offsets: Vec<u32>,
}

impl FilterBuilder {
    /// The builder of the filters that `shape` has, if we know how to make them. A database of another policy is
    /// written without filters, which every reader takes as "may match": a wrong filter would hide keys.
    pub(crate) fn of(shape: &DatabaseLayout) -> Option<Self> {
        let filter = shape.filter.as_ref()?;
        match (filter.name.as_str(), shape.table_extension) {
            (CPP_NAME, _) => Some(Self::new(CPP_NAME, filter.bits_per_key)),
            // goleveldb never wrote .sst, the old C++ nothing else.
            (GO_NAME, TableExtension::Ldb) => Some(Self::new(GO_NAME, filter.bits_per_key)),
            _ => None,
        }
    }

    fn new(name: &'static str, bits_per_key: u8) -> Self {
        let bits_per_key = usize::from(bits_per_key.max(1));
        Self {
            name,
            bits_per_key,
            // ln 2 rounded down as LevelDB rounds it: more probes cost time and save little.
            probes: (bits_per_key as f64 * 0.69).clamp(1.0, 30.0) as u8,
            hashes: Vec::new(),
            filters: Vec::new(),
            offsets: Vec::new(),
        }
    }

    /// The policy's name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The next key of the data block begun last.
    #[inline]
    pub(crate) fn add(&mut self, key: &[u8]) {
        self.hashes.push(hash(key));
    }

    /// The keys that follow are in the block that begins at this byte of the file.
    #[inline]
    pub(crate) fn start_block(&mut self, offset: usize) {
        let filter_index = offset >> FILTER_BASE_LOG2;
        while self.offsets.len() < filter_index {
            self.close_filter();
        }
    }

    /// Appends the block to `out` and begins anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.hashes.is_empty() {
            self.close_filter();
        }
        let offsets_offset = self.filters.len() as u32;
        out.reserve(self.filters.len() + 4 * self.offsets.len() + 5);
        out.extend_from_slice(&self.filters);
        for offset in self.offsets.iter().chain([&offsets_offset]) {
            out.extend_from_slice(&offset.to_le_bytes());
        }
        out.push(FILTER_BASE_LOG2);
        self.clear();
    }

    /// Forgets every key.
    pub(crate) fn clear(&mut self) {
        self.hashes.clear();
        self.filters.clear();
        self.offsets.clear();
    }

    fn close_filter(&mut self) {
        self.offsets.push(self.filters.len() as u32);
        if self.hashes.is_empty() {
            return;
        }
        let bytes_len = (self.hashes.len() * self.bits_per_key)
            .max(FILTER_BITS_MIN)
            .div_ceil(8);
        let start = self.filters.len();
        self.filters.resize(start + bytes_len, 0);
        let filter = &mut self.filters[start..];
        let divide = Remainder::policy_named(bytes_len as u32 * 8);
        for &hash in &self.hashes {
            set_bits(filter, hash, self.probes, &divide);
        }
        self.filters.push(self.probes);
        self.hashes.clear();
    }
}

#[inline]
fn set_bits(filter: &mut [u8], mut hash: u32, probes: u8, divide: &Remainder) {
    let delta = hash.rotate_right(17);
    for _ in 0..probes {
        let bit = divide.of(hash);
        filter[bit as usize / 8] |= 1 << (bit % 8);
        hash = hash.wrapping_add(delta);
    }
}

/// `n % divisor` by two multiplications (Lemire, Kaser, Kurz: "Faster remainder by direct computation",
/// exact for all 32-bit numbers): the division would be a third of the filter's cost.
struct Remainder {
    divisor: u32,
    reciprocal: u64,
}

impl Remainder {
    fn policy_named(divisor: u32) -> Self {
        Self {
            divisor,
            reciprocal: u64::MAX / u64::from(divisor) + 1,
        }
    }

    #[inline]
    fn of(&self, number: u32) -> u32 {
        let fraction = self.reciprocal.wrapping_mul(u64::from(number));
        ((u128::from(fraction) * u128::from(self.divisor)) >> 64) as u32
    }
}

/// LevelDB's `Hash` (a relative of murmur) with the Bloom filter's seed.
#[inline]
fn hash(key: &[u8]) -> u32 {
    let mut hash = HASH_SEED ^ (key.len() as u32).wrapping_mul(HASH_FACTOR);
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        hash = hash
            .wrapping_add(u32::from_le_bytes(*word))
            .wrapping_mul(HASH_FACTOR);
        hash ^= hash >> 16;
    }
    if tail.is_empty() {
        return hash;
    }
    for (index, &byte) in tail.iter().enumerate() {
        hash = hash.wrapping_add(u32::from(byte) << (8 * index));
    }
    hash = hash.wrapping_mul(HASH_FACTOR);
    hash ^ (hash >> 24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rusty_leveldb::{BloomPolicy, FilterPolicy};

    proptest! {
        #[test]
        fn the_remainder_is_the_remainder(number: u32, divisor in 64..u32::MAX) {
            prop_assert_eq!(Remainder::policy_named(divisor).of(number), number % divisor);
        }

        #[test]
        fn a_filter_is_the_one_that_another_implementation_makes(
            keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..200),
            bits_per_key in 1u8..60,
        ) {
            let mut builder = FilterBuilder::new(CPP_NAME, bits_per_key);
            let (mut joined, mut offsets) = (Vec::new(), Vec::new());
            for key in &keys {
                builder.add(key);
                offsets.push(joined.len());
                joined.extend_from_slice(key);
            }
            let mut block = Vec::new();
            builder.finish(&mut block);
            let filter = BloomPolicy::new(u32::from(bits_per_key)).create_filter(&joined, &offsets);
            prop_assert_eq!(&block[..filter.len()], &filter[..]);
            prop_assert_eq!(block.len(), filter.len() + 4 + 4 + 1);
        }
    }

    #[test]
    fn a_block_that_begins_further_on_leaves_empty_filters_between() {
        let mut builder = FilterBuilder::new(CPP_NAME, 10);
        builder.start_block(0);
        builder.add(b"first");
        builder.start_block(5000);
        builder.add(b"second");
        let mut block = Vec::new();
        builder.finish(&mut block);
        let offsets: Vec<u32> = block[18..block.len() - 1]
            .chunks(4)
            .map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        assert_eq!(offsets, [0, 9, 9, 18], "filters of 8 bytes and a probe count");
        assert_eq!(block.last(), Some(&11));
    }
}
