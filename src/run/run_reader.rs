//! Reads a run: all leaves, a key range, or one key.
//!
//! Root → leaves in order, a key range of them, or one key: reads inner nodes as it meets them, and holds every
//! node and leaf to what its parent says and to the key order. A mistake is an error that names the blob.

use std::cmp::Ordering;

use super::leaf::LeafReader;
use super::node::{ChildRef, LeafRef, RunNode, RunRoot, kind_at};
use super::run_entry::{OwnedEntry, RunEntry};
use super::{BlobSource, KeyOrder, KeyRange};
use crate::blob::BlobKind;
use crate::error::{Error, Result, ResultExt};
use crate::id::BlobId;

/// One run, ready to be read.
#[derive(Clone, Copy)]
pub struct RunReader<'a> {
    pub(super) source: &'a dyn BlobSource,
    root: Option<&'a RunRoot>,
    pub(super) order: KeyOrder<'a>,
}

/// A leaf and the keys it may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafSpan {
    /// The leaf as its parent knows it.
    pub leaf: LeafRef,
    /// First key of the next leaf: all keys of this one come before it. `None` for the last leaf.
    pub upper: Option<Vec<u8>>,
}

impl<'a> RunReader<'a> {
    /// Reads nothing yet. `root` is `None` for a run without records.
    pub fn new(source: &'a dyn BlobSource, root: Option<&'a RunRoot>, order: KeyOrder<'a>) -> Self {
        Self { source, root, order }
    }

    /// The leaves that may hold keys of `range`, in key order; loads inner nodes only.
    pub fn leaves(&self, range: KeyRange) -> LeafIterator<'a> {
        let top = self.root.map(|root| RunLevel {
            level: root.level,
            children: vec![root.top.clone()],
            next: 0,
            upper: None,
        });
        LeafIterator {
            walker: *self,
            range,
            stack: top.into_iter().collect(),
        }
    }

    /// The run's root; `None` for a run without records.
    pub fn root(&self) -> Option<&'a RunRoot> {
        self.root
    }

    /// What this run says of one key; `None` if it says nothing. Reads one leaf at most.
    pub fn get(&self, key: &[u8]) -> Result<Option<OwnedEntry>> {
        let mut leaves = self.leaves(KeyRange::all());
        leaves.seek(key);
        let Some(span) = leaves.next().transpose()? else {
            return Ok(None);
        };
        if (self.order)(key, &span.leaf.first_key) == Ordering::Less {
            return Ok(None);
        }
        let id = span.leaf.id;
        let plain = self.source.blob(BlobKind::Leaf, &id)?;
        find(&plain, key, self.order).context(|| format!("leaf {id}"))
    }

    /// Every blob of the run's own tree, parents first: for `check` and `prune`. Chunks are not among them.
    pub fn blobs(&self, visit: &mut dyn FnMut(BlobKind, &BlobId) -> Result<()>) -> Result<()> {
        let mut leaves = self.leaves(KeyRange::all());
        while let Some((level, child, upper)) = leaves.step()? {
            visit(kind_at(level), &child.id)?;
            if level > 0 {
                leaves.descend(level, &child, upper)?;
            }
        }
        Ok(())
    }

    fn node(&self, level: u8, child: &ChildRef, upper: Option<&[u8]>) -> Result<RunNode> {
        let plain = self.source.blob(BlobKind::Node, &child.id)?;
        let node = RunNode::decode(&plain)?;
        if node.level != level || node.child_ref(child.id).as_ref() != Some(child) {
            return Err(Error::corrupt("not what its parent says"));
        }
        let keys = node.children.iter().map(|child| &child.first_key[..]);
        if keys
            .clone()
            .zip(keys.skip(1).chain(upper))
            .all(|(a, b)| (self.order)(a, b) == Ordering::Less)
        {
            Ok(node)
        } else {
            Err(Error::corrupt("first keys out of order"))
        }
    }
}

/// A child on the way: its level, itself, and the first key behind it.
pub(super) type RunStep = (u8, ChildRef, Option<Vec<u8>>);

/// Iterates over the leaves of a run.
pub struct LeafIterator<'a> {
    walker: RunReader<'a>,
    range: KeyRange,
    stack: Vec<RunLevel>,
}

/// Children of one node that is being walked.
struct RunLevel {
    /// Level of the children.
    level: u8,
    children: Vec<ChildRef>,
    next: usize,
    /// First key behind this node.
    upper: Option<Vec<u8>>,
}

impl LeafIterator<'_> {
    /// Goes on with the leaf that may hold `key`, unless the way is past it already. Reads nothing yet.
    pub(super) fn seek(&mut self, key: &[u8]) {
        let from = self.range.from.get_or_insert_default();
        from.clear();
        from.extend_from_slice(key);
    }

    /// The next child on the way that may hold keys of the range, with its level and upper bound.
    pub(super) fn step(&mut self) -> Result<Option<RunStep>> {
        while let Some(top) = self.stack.last_mut() {
            let Some(child) = top.children.get(top.next) else {
                self.stack.pop();
                continue;
            };
            top.next += 1;
            let sibling = top.children.get(top.next).map(|next| &next.first_key);
            let upper = sibling.or(top.upper.as_ref());
            let order = self.walker.order;
            if self.range.is_before(&child.first_key, order) {
                self.stack.clear();
                return Ok(None);
            }
            if !upper.is_some_and(|upper| self.range.starts_at_or_after(upper, order)) {
                return Ok(Some((top.level, child.clone(), upper.cloned())));
            }
        }
        Ok(None)
    }

    /// Opens a child that is a node, so that the next step goes on inside it.
    pub(super) fn descend(&mut self, level: u8, child: &ChildRef, upper: Option<Vec<u8>>) -> Result<()> {
        let node = self.walker.node(level, child, upper.as_deref());
        let children = node.context(|| format!("node {}", child.id))?.children;
        self.stack.push(RunLevel {
            level: level - 1,
            children,
            next: 0,
            upper,
        });
        Ok(())
    }

    fn next_leaf(&mut self) -> Result<Option<LeafSpan>> {
        while let Some((level, child, upper)) = self.step()? {
            match level {
                0 => return Ok(Some(LeafSpan { leaf: child, upper })),
                _ => self.descend(level, &child, upper)?,
            }
        }
        Ok(None)
    }
}

impl Iterator for LeafIterator<'_> {
    type Item = Result<LeafSpan>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        let leaf = self.next_leaf();
        if leaf.is_err() {
            self.stack.clear();
        }
        leaf.transpose()
    }
}

fn find(plain: &[u8], key: &[u8], order: KeyOrder<'_>) -> Result<Option<OwnedEntry>> {
    let mut reader = LeafReader::new(plain)?;
    while let Some(entry) = reader.next()? {
        match order(entry.key, key) {
            Ordering::Less => {}
            Ordering::Equal => return Ok(Some(entry.payload.to_owned())),
            Ordering::Greater => break,
        }
    }
    Ok(None)
}

/// Gives every entry of a leaf to `visit` and holds the leaf to what its parent says: key order, bounds, counts.
pub fn read_leaf(
    plain: &[u8],
    span: &LeafSpan,
    order: KeyOrder<'_>,
    visit: impl FnMut(&RunEntry<'_>) -> Result<()>,
) -> Result<()> {
    visit_leaf(plain, span, order, visit).context(|| format!("leaf {}", span.leaf.id))
}

/// [`read_leaf`] for who wants nothing but the proof.
pub fn verify_leaf(plain: &[u8], span: &LeafSpan, order: KeyOrder<'_>) -> Result<()> {
    read_leaf(plain, span, order, |_| Ok(()))
}

fn visit_leaf(
    plain: &[u8],
    span: &LeafSpan,
    order: KeyOrder<'_>,
    mut visit: impl FnMut(&RunEntry<'_>) -> Result<()>,
) -> Result<()> {
    let mut reader = LeafReader::new(plain)?;
    let mut sum = LeafRef {
        first_key: Vec::new(),
        records: 0,
        bytes: 0,
        chunked: 0,
        ..span.leaf
    };
    let mut before = Vec::new();
    while let Some(entry) = reader.next()? {
        match sum.records {
            0 => sum.first_key = entry.key.to_vec(),
            _ if order(&before, entry.key) == Ordering::Less => {}
            _ => return Err(Error::corrupt("keys out of order")),
        }
        sum.count(&entry)?;
        before.clear();
        before.extend_from_slice(entry.key);
        visit(&entry)?;
    }
    let bounded = span
        .upper
        .as_ref()
        .is_none_or(|upper| order(&before, upper) == Ordering::Less);
    if bounded && sum == span.leaf {
        Ok(())
    } else {
        Err(Error::corrupt("not what its parent says"))
    }
}
