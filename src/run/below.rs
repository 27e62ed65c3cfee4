//! Point lookups in a stack, keys ascending: each leaf and node is read once at most, whatever the number of keys.

use std::cmp::Ordering;

use super::KeyRange;
use super::diff::Layer;
use super::entry::Entry;
use super::open_leaf::OpenLeaf;
use super::walk::{Leaves, Walker};
use crate::blob::BlobKind;
use crate::error::Result;

/// The lower part of a stack, asked for single keys.
pub(super) struct Below<'s, 'a> {
    /// Newest first.
    layers: Vec<Finder<'s, 'a>>,
}

struct Finder<'s, 'a> {
    layer: &'s Layer<'a>,
    leaves: Leaves<'a>,
    leaf: OpenLeaf,
    /// First key behind the leaf; `None` before the first leaf and in the last.
    upper: Option<Vec<u8>>,
    is_open: bool,
}

impl<'s, 'a> Below<'s, 'a> {
    /// Looks into `layers`, oldest first. Reads nothing yet.
    pub(super) fn new(layers: &'s [Layer<'a>]) -> Self {
        Self {
            layers: layers.iter().rev().map(Finder::new).collect(),
        }
    }

    /// The newest entry of `key`, a deletion too. No key may come before one that was asked for earlier.
    pub(super) fn entry(&mut self, key: &[u8]) -> Result<Option<Entry<'_>>> {
        for finder in &mut self.layers {
            if finder.seek(key)? {
                return Ok(finder.leaf.find(key, finder.layer.walker.order));
            }
        }
        Ok(None)
    }
}

impl<'s, 'a> Finder<'s, 'a> {
    fn new(layer: &'s Layer<'a>) -> Self {
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
        let Walker { source, order, .. } = self.layer.walker;
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
}
