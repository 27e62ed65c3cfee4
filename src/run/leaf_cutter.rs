//! Decides where leaves end, by a keyed hash of keys.
//!
//! Where leaves end: decided by a keyed hash of the last record's key.
//!
//! docs/decisions/0001-leaf-cut.md measured this against FastCDC over the stream. The hash does not know the
//! value, so an overwrite moves no boundary; a record ends a leaf with a probability in proportion to its
//! weight, so leaves come out alike in bytes whatever the size of records; the probability is low before the
//! average and high after it, so that few leaves are much larger than the average (a changed record costs the
//! leaf it is in, and large leaves hold more of the records that change).

use siphasher::sip::SipHasher13;

use crate::limits::LEAF_BYTES_MAX;

/// Names the derivation of the hash key from the chunker secret; part of the format.
const CUT_CONTEXT: &str = "levault v1 leaf cut";

/// Before this many bytes a record ends the leaf with probability weight / [`RARE`], after it weight / [`OFTEN`].
const TURN: usize = 64 << 10;
const RARE: u64 = 256 << 10;
const OFTEN: u64 = 16 << 10;

/// Says after which records a leaf ends.
#[derive(Clone)]
pub struct LeafCutter {
    hasher: SipHasher13,
    /// Weight of the leaf so far.
    bytes: usize,
}

impl LeafCutter {
    /// Draws the hash key from the domain's secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        let derived = blake3::derive_key(CUT_CONTEXT, secret);
        let mut key = [0; 16];
        key.copy_from_slice(&derived[..16]);
        Self {
            hasher: SipHasher13::new_with_key(&key),
            bytes: 0,
        }
    }

    /// True if the leaf ends after this record; `weight` as [`super::LeafDraft`] returned it. The next record
    /// then begins a new leaf.
    #[inline]
    pub fn cut_after(&mut self, key: &[u8], weight: usize) -> bool {
        self.bytes += weight;
        // Half a record ahead: of two ends around the average, the nearer one.
        let scale = if self.bytes + weight / 2 < TURN {
            u64::MAX / RARE
        } else {
            u64::MAX / OFTEN
        };
        let ends =
            self.bytes >= LEAF_BYTES_MAX || self.hasher.hash(key) < scale.saturating_mul(weight as u64);
        if ends {
            self.bytes = 0;
        }
        ends
    }
}
