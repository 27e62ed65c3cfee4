//! Cuts bytes into chunks by FastCDC with a secret gear table.
//!
//! Bytes → chunks: FastCDC (version of 2020) over a gear table drawn from the domain's secret.
//!
//! The published table would let anyone predict boundaries, and the crate's own seed only XORs one number into
//! it; a table of 256 secret numbers costs nothing more. (It is no proof against an attacker who chooses
//! content: docs/THREATS.md.)

use std::sync::OnceLock;

use fastcdc::v2020::cut_gear;
use zeroize::Zeroize;

use crate::limits::{CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};

/// Names the derivation of the gear table from the chunker secret; part of the format.
const GEAR_CONTEXT: &str = "levault v1 chunk gear table";

/// A boundary before the average size must meet all of these bits as zero: one position in 2^17.
const MASK_BEFORE_AVERAGE: u64 = 0x0000_d907_0353_7000;
/// A boundary after the average size must meet these: one position in 2^15.
const MASK_AFTER_AVERAGE: u64 = 0x0000_d90f_0353_0000;

/// Whether the bytes shown are all there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputEnd {
    /// Bytes follow that are not in the window yet.
    Follows,
    /// The window ends where the value or file ends.
    Ended,
}

/// Cuts by one domain's secret. The table is as secret, and wiped on drop.
pub struct Chunker {
    gear: Box<[u64; 256]>,
    gear_shifted: Box<[u64; 256]>,
    /// By byte, once it was asked for: see [`Self::first_chunk_len_of_run`].
    runs: [OnceLock<usize>; 256],
}

impl Chunker {
    /// Draws the gear table: 256 little-endian numbers from the extended output of BLAKE3 in key derivation mode.
    pub fn new(secret: &[u8; 32]) -> Self {
        let mut bytes = [0; 2048];
        let mut hasher = blake3::Hasher::new_derive_key(GEAR_CONTEXT);
        hasher.update(secret).finalize_xof().fill(&mut bytes);
        let mut gear = Box::new([0; 256]);
        for (to, from) in gear.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *to = u64::from_le_bytes(*from);
        }
        let gear_shifted = Box::new(gear.map(|number| number << 1));
        bytes.zeroize();
        Self {
            gear,
            gear_shifted,
            runs: [const { OnceLock::new() }; 256],
        }
    }

    /// Length of the first chunk of `window`, or `None` if that takes bytes that are not there yet. A window of
    /// [`CHUNK_BYTES_MAX`] bytes always has an answer; an empty one that has ended has none.
    pub fn first_chunk_len(&self, window: &[u8], more: InputEnd) -> Option<usize> {
        match more {
            InputEnd::Follows if window.len() < CHUNK_BYTES_MAX => None,
            InputEnd::Ended if window.is_empty() => None,
            _ => Some(self.cut_chunk(window)),
        }
    }

    /// Length of the first chunk of a window that begins with [`CHUNK_BYTES_MAX`] times the same byte. Where a chunk ends
    /// depends on nothing but that many bytes from its beginning, so all chunks of a long run are of this length.
    pub fn first_chunk_len_of_run(&self, byte: u8) -> usize {
        *self.runs[usize::from(byte)].get_or_init(|| self.cut_chunk(&vec![byte; CHUNK_BYTES_MAX]))
    }

    #[cfg(any(test, feature = "test-util"))]
    /// All chunks of a value that is in memory.
    pub fn chunks<'a>(&'a self, value: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = value;
        std::iter::from_fn(move || {
            let (chunk, left) = rest.split_at(self.first_chunk_len(rest, InputEnd::Ended)?);
            rest = left;
            Some(chunk)
        })
    }

    fn cut_chunk(&self, window: &[u8]) -> usize {
        let (_, len) = cut_gear(
            window,
            CHUNK_BYTES_MIN,
            CHUNK_BYTES_AVERAGE,
            CHUNK_BYTES_MAX,
            MASK_BEFORE_AVERAGE,
            MASK_AFTER_AVERAGE,
            MASK_BEFORE_AVERAGE << 1,
            MASK_AFTER_AVERAGE << 1,
            &self.gear[..],
            &self.gear_shifted[..],
        );
        len
    }
}

impl Drop for Chunker {
    fn drop(&mut self) {
        self.gear.zeroize();
        self.gear_shifted.zeroize();
    }
}
