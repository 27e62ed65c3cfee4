//! Hashes many short messages in SIMD lanes (keyed BLAKE3).
//!
//! BLAKE3's own entry points use SIMD across the chunks of one message, so a message of one chunk runs alone and
//! wastes most of the machine. Here messages of equally many blocks wait in a *bucket* until [`LANES`] are together:
//!
//! ```text
//! message ──pad with zeros to whole blocks──▶ bucket of its length ──full──▶ one hash_many over all lanes ──▶ sum
//!                                             1 .. 32 blocks                 (two, and one for the parents, above 1 KiB)
//! ```
//! What comes out is `blake3::keyed_hash` of the padded message, which the tests hold it to for every length. The
//! function underneath is public but not documented: that is why `Cargo.toml` names one version of the crate alone.

use blake3::IncrementCounter;
use blake3::platform::Platform;

use super::set_sum::{SetSum, add};

/// Messages hashed at once: as many as 256-bit registers have words.
pub const LANES: usize = 8;

/// The longest message that is padded and waits: two chunks. Longer ones have chunks of their own to fill lanes with.
pub const PADDED_BYTES_MAX: usize = 2 * CHUNK;

const BLOCK: usize = 64;
const CHUNK: usize = 1024;
const BLOCKS_MAX: usize = PADDED_BYTES_MAX / BLOCK;
const CHUNK_BLOCKS: usize = CHUNK / BLOCK;
const HASH: usize = 32;

// BLAKE3's domain flags (its paper, table 3).
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const PARENT: u8 = 4;
const ROOT: u8 = 8;
const KEYED_HASH: u8 = 16;

/// Messages that wait for company, by length.
#[derive(Clone)]
pub struct HashLanes {
    platform: Platform,
    buckets: [LengthBucket; BLOCKS_MAX],
}

/// Up to [`LANES`] messages of equally many blocks, one after another.
#[derive(Clone, Default)]
struct LengthBucket {
    /// Room for all lanes; empty before the first message.
    bytes: Vec<u8>,
    count: usize,
}

/// Where in the hash tree the inputs of one call stand.
#[derive(Clone, Copy)]
struct HashTreePosition {
    chunk: u64,
    flags: u8,
    start: u8,
    end: u8,
}

type Hashes = [u8; LANES * HASH];

impl HashLanes {
    /// No message.
    pub fn new() -> Self {
        Self {
            platform: Platform::detect(),
            buckets: Default::default(),
        }
    }

    /// Takes a message of 1 to [`PADDED_BYTES_MAX`] bytes, which `write` writes; adds the hashes of all in its bucket
    /// to `sum` once that is full.
    #[inline]
    pub fn push(&mut self, key: &[u8; 32], len: usize, write: impl FnOnce(&mut [u8]), sum: &mut SetSum) {
        let stride = len.next_multiple_of(BLOCK);
        let bucket = &mut self.buckets[stride / BLOCK - 1];
        if bucket.bytes.is_empty() {
            bucket.bytes = vec![0; stride * LANES];
        }
        let lane = &mut bucket.bytes[bucket.count * stride..][..stride];
        let (message, padding) = lane.split_at_mut(len);
        write(message);
        padding.fill(0);
        bucket.count += 1;
        if bucket.count == LANES {
            bucket.hash(self.platform, key, stride, sum);
            bucket.count = 0;
        }
    }

    /// Adds the hashes of those that wait, which go on waiting.
    pub fn add_waiting(&self, key: &[u8; 32], sum: &mut SetSum) {
        for (bucket, blocks) in self.buckets.iter().zip(1..) {
            if bucket.count > 0 {
                bucket.hash(self.platform, key, blocks * BLOCK, sum);
            }
        }
    }
}

impl LengthBucket {
    fn hash(&self, platform: Platform, key: &[u8; 32], stride: usize, sum: &mut SetSum) {
        let call = HashManyCall {
            platform,
            key: words(key),
            lanes: &self.bytes,
            stride,
            width: lane_count(platform, self.count),
        };
        let hashes = match stride / BLOCK {
            blocks @ ..=CHUNK_BLOCKS => call.chunks(0, blocks, ROOT),
            blocks => call.two_chunks(blocks - CHUNK_BLOCKS),
        };
        for hash in hashes.as_chunks::<HASH>().0.iter().take(self.count) {
            add(sum, hash);
        }
    }
}

/// Lanes to run for `count` messages: empty ones cost nothing beside full ones, as long as not most are empty.
fn lane_count(platform: Platform, count: usize) -> usize {
    let degree = platform.simd_degree();
    if 2 * count > degree {
        count.next_multiple_of(degree).min(LANES)
    } else {
        count
    }
}

fn words(key: &[u8; 32]) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// One bucket's inputs.
struct HashManyCall<'a> {
    platform: Platform,
    key: [u32; 8],
    lanes: &'a [u8],
    stride: usize,
    width: usize,
}

impl HashManyCall<'_> {
    /// The chunk of `blocks` blocks in each lane that is its `nth`.
    fn chunks(&self, nth: usize, blocks: usize, root: u8) -> Hashes {
        let place = HashTreePosition {
            chunk: nth as u64,
            flags: KEYED_HASH,
            start: CHUNK_START,
            end: CHUNK_END | root,
        };
        let at = nth * CHUNK;
        macro_rules! of {
            ($($n:literal)*) => {
                match blocks {
                    $($n => self.run::<{ $n * BLOCK }>(at, place),)*
                    _ => unreachable!("a chunk has 1 to 16 blocks"),
                }
            };
        }
        of!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    }

    /// A full chunk, one of `blocks` blocks, and their parent.
    fn two_chunks(&self, blocks: usize) -> Hashes {
        let (left, right) = (self.chunks(0, CHUNK_BLOCKS, 0), self.chunks(1, blocks, 0));
        let mut parents = [0; LANES * BLOCK];
        let children = left.as_chunks::<HASH>().0.iter().zip(right.as_chunks::<HASH>().0);
        for (parent, (left, right)) in parents.as_chunks_mut::<BLOCK>().0.iter_mut().zip(children) {
            parent[..HASH].copy_from_slice(left);
            parent[HASH..].copy_from_slice(right);
        }
        let place = HashTreePosition {
            chunk: 0,
            flags: KEYED_HASH | PARENT | ROOT,
            start: 0,
            end: 0,
        };
        let call = HashManyCall {
            lanes: &parents,
            stride: BLOCK,
            ..*self
        };
        call.run::<BLOCK>(0, place)
    }

    /// Hashes `N` bytes at `at` of each lane.
    #[inline]
    fn run<const N: usize>(&self, at: usize, place: HashTreePosition) -> Hashes {
        let input = |lane: usize| {
            let bytes = &self.lanes[lane * self.stride + at..];
            bytes
                .first_chunk::<N>()
                .expect("a bucket has room for all its lanes")
        };
        let inputs: [&[u8; N]; LANES] = std::array::from_fn(input);
        let mut out = [0; LANES * HASH];
        self.platform.hash_many(
            &inputs[..self.width],
            &self.key,
            place.chunk,
            IncrementCounter::No,
            place.flags,
            place.start,
            place.end,
            &mut out,
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::set_sum;

    const KEY: [u8; 32] = [3; 32];

    fn message(len: usize, salt: usize) -> Vec<u8> {
        (0..len)
            .map(|at| (at * 31 + at / 251 + salt * 17) as u8)
            .collect()
    }

    fn by_the_book(messages: &[Vec<u8>]) -> SetSum {
        let mut total = SetSum::default();
        for message in messages {
            let mut padded = message.clone();
            padded.resize(message.len().next_multiple_of(BLOCK), 0);
            set_sum::add(&mut total, blake3::keyed_hash(&KEY, &padded).as_bytes());
        }
        total
    }

    fn in_lanes(messages: &[Vec<u8>]) -> SetSum {
        let (mut lanes, mut total) = (HashLanes::new(), SetSum::default());
        for message in messages {
            lanes.push(&KEY, message.len(), |to| to.copy_from_slice(message), &mut total);
        }
        lanes.add_waiting(&KEY, &mut total);
        total
    }

    #[test]
    fn every_length_alone_and_in_every_company_is_the_keyed_hash_of_the_padded_message() {
        for len in (1..=PADDED_BYTES_MAX).filter(|len| len % BLOCK < 3 || len % BLOCK == 63) {
            for count in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17] {
                let messages: Vec<_> = (0..count).map(|salt| message(len, salt)).collect();
                assert_eq!(
                    in_lanes(&messages),
                    by_the_book(&messages),
                    "{count} of {len} bytes"
                );
            }
        }
    }

    #[test]
    fn lengths_in_any_mixture_do_not_disturb_one_another() {
        let messages: Vec<_> = (0..3000)
            .map(|n| message(1 + n * 613 % PADDED_BYTES_MAX, n))
            .collect();
        assert_eq!(in_lanes(&messages), by_the_book(&messages));
    }

    #[test]
    fn what_was_longer_in_a_lane_leaves_nothing_behind() {
        let long: Vec<_> = (0..LANES).map(|salt| message(64, salt)).collect();
        let short: Vec<_> = (0..LANES).map(|salt| message(3, salt)).collect();
        let both: Vec<_> = long.into_iter().chain(short).collect();
        assert_eq!(in_lanes(&both), by_the_book(&both));
    }
}
