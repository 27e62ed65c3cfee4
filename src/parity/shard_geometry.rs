//! Computes how a pack is cut into shards.

use super::ParityShare;
use crate::envelope::Header;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{PACK_STORED_BYTES_MAX, PARITY_DATA_SHARDS_MAX, PARITY_SHARD_BYTES_MAX};

use super::parity_header::{HASH_LEN, ParityHeader};

/// Shards are whole stripes of the code: 32 symbols of two bytes.
const SHARD_STEP: usize = 64;

/// Within the limits of FORMAT.md section 11, and so are all numbers derived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardGeometry {
    len: usize,
    shard_len: usize,
    parity: usize,
}

impl ShardGeometry {
    /// For a pack of `len` bytes, of which any stretch of `share` is to be healed.
    ///
    /// A burst of b bytes touches at most ⌈(b - 1) / shard length⌉ + 1 shards, wherever it begins: so many parity
    /// shards there are. Shards near 4·√len make what that rounding costs and what the hashes cost about equal: 0.3 % of
    /// a full pack, more of a small one.
    pub fn plan(len: u64, share: ParityShare) -> Result<Self> {
        let shard_len = 4 * len.isqrt() as usize;
        let shard_len = shard_len.next_multiple_of(SHARD_STEP).max(SHARD_STEP);
        let data = len.div_ceil(shard_len as u64);
        let touched = (share.of(len).max(1) - 1).div_ceil(shard_len as u64) + 1;
        Self::new(len, shard_len, touched.min(data) as usize)
    }

    /// [`ErrorKind::Limit`] for what no program writes.
    pub fn new(len: u64, shard_len: usize, parity: usize) -> Result<Self> {
        let is_len = (1..=PACK_STORED_BYTES_MAX).contains(&len);
        let is_shard = (SHARD_STEP..=PARITY_SHARD_BYTES_MAX).contains(&shard_len)
            && shard_len.is_multiple_of(SHARD_STEP);
        let geometry = Self {
            len: len as usize,
            shard_len,
            parity,
        };
        let within = is_len
            && is_shard
            && geometry.data() <= PARITY_DATA_SHARDS_MAX
            && (1..=geometry.data()).contains(&parity);
        if within {
            Ok(geometry)
        } else {
            Err(Error::new(
                ErrorKind::Limit,
                format!("{parity} parity shards of {shard_len} bytes over {len} bytes"),
            ))
        }
    }

    /// Bytes of the pack, at least one.
    pub fn len(&self) -> usize {
        self.len
    }

    /// False: a pack of no bytes has no parity.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of a shard; of the last data shard there may be fewer.
    pub fn shard_len(&self) -> usize {
        self.shard_len
    }

    /// Data shards.
    pub fn data(&self) -> usize {
        self.len.div_ceil(self.shard_len)
    }

    /// Parity shards: as many shards of either kind may be lost.
    pub fn parity(&self) -> usize {
        self.parity
    }

    /// The longest burst, bytes, that is healed wherever it begins.
    pub fn burst(&self) -> usize {
        if self.parity == self.data() {
            self.len
        } else {
            (self.parity - 1) * self.shard_len + 1
        }
    }

    /// Where a data shard lies in the pack.
    pub(super) fn data_range(&self, number: usize) -> std::ops::Range<usize> {
        let start = number * self.shard_len;
        start..self.len.min(start + self.shard_len)
    }

    /// Bytes of all hashes, which stand in the object twice.
    pub(super) fn hashes_len(&self) -> usize {
        HASH_LEN * (self.data() + self.parity)
    }

    /// Where parity shard `number` lies in the object.
    pub(super) fn parity_range(&self, number: usize) -> std::ops::Range<usize> {
        let start = Header::LEN + ParityHeader::LEN + self.hashes_len() + number * self.shard_len;
        start..start + self.shard_len
    }

    /// Bytes of the parity object.
    pub fn object_len(&self) -> usize {
        self.parity_range(self.parity).start + self.hashes_len() + ParityHeader::LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_the_share_touches_no_more_shards_than_there_is_parity_for() {
        for share in [1, 100, 250, 500, 3333, 9999, 10_000]
            .map(|count| ParityShare::from_ten_thousandths(count).unwrap())
        {
            for len in (1..3000).chain([65_535, 1 << 20, (1 << 25) + 1, PACK_STORED_BYTES_MAX]) {
                let geometry = ShardGeometry::plan(len, share).unwrap();
                let burst = share.of(len);
                assert!(geometry.burst() as u64 >= burst, "{share} of {len}");
                // The worst place for it is to begin on a shard's last byte.
                let first = (geometry.shard_len() as u64 - 1).min(len - burst);
                let touched = (first + burst - 1) / geometry.shard_len() as u64
                    - first / geometry.shard_len() as u64
                    + 1;
                assert!(touched as usize <= geometry.parity(), "{share} of {len}");
            }
        }
    }

    #[test]
    fn what_it_costs_is_little_more_than_the_share() {
        for (len, most) in [(32 << 20, 0.0035), (1 << 20, 0.02), (128 << 20, 0.002)] {
            let geometry = ShardGeometry::plan(len, ParityShare::DEFAULT).unwrap();
            let cost = geometry.object_len() as f64 / len as f64;
            assert!((0.05..0.05 + most).contains(&cost), "{len}: {cost}");
        }
    }

    #[test]
    fn geometries_outside_the_limits_are_refused() {
        for (len, shard_len, parity) in [
            (0, 64, 1),
            (PACK_STORED_BYTES_MAX + 1, 1 << 20, 1),
            (u64::MAX, 1 << 20, 1),
            (1000, 0, 1),
            (1000, 63, 1),
            (1000, 65, 1),
            (1000, PARITY_SHARD_BYTES_MAX + 64, 1),
            (1000, 64, 0),
            (1000, 64, 17),
            (64 * PARITY_DATA_SHARDS_MAX as u64 + 1, 64, 1),
        ] {
            let refused = ShardGeometry::new(len, shard_len, parity).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Limit, "{len} {shard_len} {parity}");
        }
        assert_eq!(ShardGeometry::new(1000, 64, 16).unwrap().burst(), 1000);
    }
}
