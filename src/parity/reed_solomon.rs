//! Computes parity shards, and restores lost data shards.
//!
//! The code itself, stripe by stripe: parity shards of data shards, and lost data shards of what is left.
//!
//! reed-solomon-simd computes it, always in its "high rate" arrangement, for which FORMAT.md section 11 has the
//! coefficients; `formula_tests.rs` holds the crate to them. A stripe is the same stretch of every shard. Symbols of
//! different stripes never meet, so one stripe after the other gives the same bytes as all at once, in a megabyte or
//! two of memory and mostly within the processor's cache.

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, HighRateEncoder, RateDecoder as _, RateEncoder as _};

use super::ShardGeometry;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a shard that are worked on at once.
const STRIPE: usize = 1024;

type Encoder = HighRateEncoder<DefaultEngine>;
type Decoder = HighRateDecoder<DefaultEngine>;

/// The parity shards of `pack`, one after the other.
pub fn parity_of(geometry: &ShardGeometry, pack: &[u8], out: &mut [u8]) -> Result<()> {
    let (data, parity, shard_len) = (geometry.data(), geometry.parity(), geometry.shard_len());
    let mut encoder = None;
    for at in (0..shard_len).step_by(STRIPE) {
        let width = STRIPE.min(shard_len - at);
        let encoder = match &mut encoder {
            None => encoder.insert(
                Encoder::new(data, parity, width, DefaultEngine::new(), None).map_err(reed_solomon_error)?,
            ),
            Some(encoder) => {
                encoder.reset(data, parity, width).map_err(reed_solomon_error)?;
                encoder
            }
        };
        for number in 0..data {
            let shard = &pack[geometry.data_range(number)];
            let mut padding = [0; STRIPE];
            let stripe = stripe(shard, at, width, &mut padding);
            encoder.add_original_shard(stripe).map_err(reed_solomon_error)?;
        }
        let made = encoder.encode().map_err(reed_solomon_error)?;
        for (number, stripe) in made.recovery_iter().enumerate() {
            let start = number * shard_len + at;
            out[start..start + width].copy_from_slice(stripe);
        }
    }
    Ok(())
}

/// Fills the lost data shards of `pack`: those for which `is_lost` says so. `parity` are the shards that are whole, by
/// number, no fewer than are lost.
pub fn restore(
    geometry: &ShardGeometry,
    pack: &mut [u8],
    is_lost: &[bool],
    parity: &[(usize, &[u8])],
) -> Result<()> {
    let shard_len = geometry.shard_len();
    let mut decoder = None;
    for at in (0..shard_len).step_by(STRIPE) {
        let width = STRIPE.min(shard_len - at);
        let (data, shards) = (geometry.data(), geometry.parity());
        let decoder = match &mut decoder {
            None => decoder.insert(
                Decoder::new(data, shards, width, DefaultEngine::new(), None).map_err(reed_solomon_error)?,
            ),
            Some(decoder) => {
                decoder.reset(data, shards, width).map_err(reed_solomon_error)?;
                decoder
            }
        };
        for number in (0..data).filter(|number| !is_lost[*number]) {
            let mut padding = [0; STRIPE];
            let stripe = stripe(&pack[geometry.data_range(number)], at, width, &mut padding);
            decoder
                .add_original_shard(number, stripe)
                .map_err(reed_solomon_error)?;
        }
        for (number, shard) in parity {
            let stripe = &shard[at..at + width];
            decoder
                .add_recovery_shard(*number, stripe)
                .map_err(reed_solomon_error)?;
        }
        let restored = decoder.decode().map_err(reed_solomon_error)?;
        for (number, stripe) in restored.restored_original_iter() {
            let shard = &mut pack[geometry.data_range(number)];
            let len = width.min(shard.len().saturating_sub(at));
            if len > 0 {
                shard[at..at + len].copy_from_slice(&stripe[..len]);
            }
        }
    }
    Ok(())
}

/// A stretch of a shard, filled up with zeroes where the shard is shorter.
fn stripe<'a>(shard: &'a [u8], at: usize, width: usize, padding: &'a mut [u8; STRIPE]) -> &'a [u8] {
    let there = shard.get(at..).unwrap_or_default();
    match there.get(..width) {
        Some(stripe) => stripe,
        None => {
            padding[..there.len()].copy_from_slice(there);
            &padding[..width]
        }
    }
}

/// Counts and lengths are within [`ShardGeometry`]'s limits, which are far within the crate's.
#[cold]
fn reed_solomon_error(cause: reed_solomon_simd::Error) -> Error {
    Error::with_cause(ErrorKind::Limit, "Reed-Solomon code", cause)
}
