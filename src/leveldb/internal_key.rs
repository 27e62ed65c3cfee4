//! Splits and orders internal keys: user key, sequence number, kind.
//!
//! Internal keys: a user key, then sequence number and kind; the order of entries in tables.

use std::cmp::Ordering;

use super::comparator::Comparator;
use super::version::{TAG_BYTES, user_key};

/// Where a source stands after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStep {
    /// On an entry with a greater user key than the one before.
    NextKey,
    /// On an older entry for the same user key.
    SameKey,
    /// Behind its last entry.
    End,
}

/// Sequence number and kind, the last eight bytes of an internal key that is long enough.
#[inline(always)]
pub fn tag(internal: &[u8]) -> u64 {
    internal
        .last_chunk::<TAG_BYTES>()
        .map_or(0, |tag| u64::from_le_bytes(*tag))
}

/// True if the new key's user key is plainly greater than the old one's: they differ, upwards, in the first byte
/// that is not shared, which is how nearly every entry begins. False says nothing.
#[inline(always)]
pub fn is_greater_by_key(old: &[u8], shared: usize, suffix: &[u8]) -> bool {
    shared + TAG_BYTES < old.len() && TAG_BYTES < suffix.len() && old[shared] < suffix[0]
}

/// Whether `next` may follow `key` in a table, and how.
pub fn is_in_order(order: &Comparator, key: &[u8], next: &[u8]) -> Result<SourceStep, &'static str> {
    if key.is_empty() || !order.is_known() {
        return Ok(SourceStep::NextKey);
    }
    match order.compare(user_key(key), user_key(next)) {
        Ordering::Less => Ok(SourceStep::NextKey),
        Ordering::Equal if tag(key) > tag(next) => Ok(SourceStep::SameKey),
        _ => Err("keys are out of order"),
    }
}

/// Orders two internal keys: user key upwards, then sequence number downwards.
pub fn compare_internal(order: &Comparator, a: &[u8], b: &[u8]) -> Ordering {
    order
        .compare(user_key(a), user_key(b))
        .then_with(|| tag(b).cmp(&tag(a)))
}
