//! Looks up ascending keys in a stack.
//!
//! Point lookups in a stack, keys ascending: each leaf and node is read once at most, whatever the number of keys.

use std::cmp::Ordering;

use super::KeyRange;
use super::open_leaf::OpenLeaf;
use super::run_entry::{EntryPayload, OwnedEntry, RunEntry};
use super::run_reader::{LeafIterator, RunReader};
use super::stack_diff::StackLayer;
use super::value_patch::PatchChain;
use crate::blob::BlobKind;
use crate::error::Result;

/// The lower part of a stack, asked for single keys.
pub(super) struct StackLookup<'s, 'a> {
    /// Newest first.
    layers: Vec<RunKeyFinder<'s, 'a>>,
    /// What a patch made of the value under it.
    made: Option<OwnedEntry>,
}

struct RunKeyFinder<'s, 'a> {
    layer: &'s StackLayer<'a>,
    leaves: LeafIterator<'a>,
    leaf: OpenLeaf,
    /// First key behind the leaf; `None` before the first leaf and in the last.
    upper: Option<Vec<u8>>,
    is_open: bool,
}

impl<'s, 'a> StackLookup<'s, 'a> {
    /// Looks into `layers`, oldest first. Reads nothing yet.
    pub(super) fn new(layers: &'s [StackLayer<'a>]) -> Self {
        Self {
            layers: layers.iter().rev().map(RunKeyFinder::new).collect(),
            made: None,
        }
    }

    /// The newest entry of `key`, a deletion too, never a patch. No key may come before one that was asked for earlier.
    pub(super) fn entry(&mut self, key: &[u8]) -> Result<Option<RunEntry<'_>>> {
        let mut pile: Option<(usize, PatchChain)> = None;
        self.made = None;
        for at in 0..self.layers.len() {
            if !self.layers[at].seek(key)? {
                continue;
            }
            match (self.layers[at].entry(key).map(|entry| entry.payload), &mut pile) {
                (None, _) => {}
                (Some(EntryPayload::Patch(newest)), None) => pile = Some((at, PatchChain::new(&newest))),
                (Some(_), None) => return Ok(self.layers[at].entry(key)),
                (Some(under), Some((newest, pile))) => {
                    if let Some(value) = pile.put_under(&under)? {
                        return Ok(self.made(*newest, key, value));
                    }
                }
            }
        }
        match pile {
            Some(_) => Err(PatchChain::no_base_error()),
            None => Ok(None),
        }
    }

    fn made(&mut self, newest: usize, key: &[u8], value: OwnedEntry) -> Option<RunEntry<'_>> {
        let made = self.made.insert(value);
        let entry = self.layers[newest].entry(key)?;
        Some(RunEntry {
            payload: made.as_payload(),
            ..entry
        })
    }
}

impl<'s, 'a> RunKeyFinder<'s, 'a> {
    fn new(layer: &'s StackLayer<'a>) -> Self {
        Self {
            layer,
            leaves: layer.walker.leaves(KeyRange::all()),
            leaf: OpenLeaf::default(),
            upper: None,
            is_open: false,
        }
    }

    /// Opens the leaf that `key` belongs in; true if it is there.
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        if !self.layer.may_hold(key) {
            return Ok(false);
        }
        let RunReader { source, order, .. } = self.layer.walker;
        let passed = self
            .upper
            .as_ref()
            .is_some_and(|upper| order(key, upper) != Ordering::Less);
        if !self.is_open || passed {
            self.leaves.seek(key);
            let Some(span) = self.leaves.next().transpose()? else {
                return Ok(false);
            };
            let plain = source.blob(BlobKind::Leaf, &span.leaf.id)?;
            self.leaf = OpenLeaf::read(plain, &span, order)?;
            (self.upper, self.is_open) = (span.upper, true);
        }
        Ok(self.leaf.find(key, order).is_some())
    }

    fn entry(&self, key: &[u8]) -> Option<RunEntry<'_>> {
        self.leaf.find(key, self.layer.walker.order)
    }
}
