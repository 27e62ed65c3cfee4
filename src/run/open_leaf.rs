//! Gives access to the entries of a decoded leaf.
//!
//! A leaf with its entries found: what cursors stand in.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use super::KeyOrder;
use super::run_entry::{EntryPayload, RunEntry};
use super::run_reader::{LeafSpan, read_leaf};
use super::value_patch::Patch;
use crate::chunk::ChunkList;
use crate::error::Result;

/// A leaf, verified as a whole before the first entry is given. Holds nothing until one is read.
pub(super) struct OpenLeaf {
    plain: Arc<[u8]>,
    keys: Vec<u8>,
    slots: Vec<LeafEntrySlot>,
}

struct LeafEntrySlot {
    key: Range<usize>,
    payload: HeldEntry,
}

enum HeldEntry {
    /// Where the value lies in the leaf.
    Inline(Range<usize>),
    Chunked(ChunkList),
    Delete,
    Patch(Patch<'static>),
}

impl Default for OpenLeaf {
    fn default() -> Self {
        Self {
            plain: Arc::from([]),
            keys: Vec::new(),
            slots: Vec::new(),
        }
    }
}

impl OpenLeaf {
    pub(super) fn read(plain: Arc<[u8]>, span: &LeafSpan, order: KeyOrder<'_>) -> Result<Self> {
        let (mut keys, mut slots) = (Vec::new(), Vec::new());
        read_leaf(&plain, span, order, |entry| {
            let start = keys.len();
            keys.extend_from_slice(entry.key);
            let payload = match &entry.payload {
                EntryPayload::Inline(value) => HeldEntry::Inline(entry_offset(value, &plain)),
                EntryPayload::Chunked(list) => HeldEntry::Chunked(list.clone()),
                EntryPayload::Delete => HeldEntry::Delete,
                EntryPayload::Patch(patch) => HeldEntry::Patch(patch.clone().into_owned()),
            };
            slots.push(LeafEntrySlot {
                key: start..keys.len(),
                payload,
            });
            Ok(())
        })?;
        Ok(Self { plain, keys, slots })
    }

    /// Key of the entry `at`; `None` behind the last.
    pub(super) fn key(&self, at: usize) -> Option<&[u8]> {
        let slot = self.slots.get(at)?;
        Some(&self.keys[slot.key.clone()])
    }

    pub(super) fn is_tombstone(&self, at: usize) -> bool {
        let slot = self.slots.get(at);
        slot.is_some_and(|slot| matches!(slot.payload, HeldEntry::Delete))
    }

    pub(super) fn entry(&self, at: usize) -> Option<RunEntry<'_>> {
        let slot = self.slots.get(at)?;
        let payload = match &slot.payload {
            HeldEntry::Inline(value) => EntryPayload::Inline(&self.plain[value.clone()]),
            HeldEntry::Chunked(list) => EntryPayload::Chunked(list.clone()),
            HeldEntry::Delete => EntryPayload::Delete,
            HeldEntry::Patch(patch) => EntryPayload::Patch(patch.as_ref()),
        };
        let key = &self.keys[slot.key.clone()];
        Some(RunEntry { key, payload })
    }

    /// The entry whose key equals `key` by the order.
    pub(super) fn find(&self, key: &[u8], order: KeyOrder<'_>) -> Option<RunEntry<'_>> {
        let place = |slot: &LeafEntrySlot| -> Ordering { order(&self.keys[slot.key.clone()], key) };
        let at = self.slots.binary_search_by(place).ok()?;
        self.entry(at)
    }
}

/// Where a slice of `whole` lies in it.
fn entry_offset(part: &[u8], whole: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}
