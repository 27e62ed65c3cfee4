//! A stack of runs read as one: merged by key, the newest word on a key wins, and a deletion hides older ones.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use super::entry::{Entry, Payload};
use super::walk::{LeafSpan, Leaves, Walker, read_leaf};
use super::{KeyOrder, KeyRange};
use crate::blob::BlobKind;
use crate::chunk::ChunkList;
use crate::error::Result;

/// What becomes of deletions that are the newest word on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tombstones {
    /// Left out: for who wants the records, and for folding into the base.
    Drop,
    /// Given: for folding deltas that still stand on older runs.
    Keep,
}

/// Gives the entries of a stack in key order. Holds one leaf of each run.
pub struct StackCursor<'a> {
    /// Newest first.
    runs: Vec<RunCursor<'a>>,
    order: KeyOrder<'a>,
    tombstones: Tombstones,
    /// The run whose entry was given last, and which must go on before the next.
    given: Option<usize>,
}

impl<'a> StackCursor<'a> {
    /// Reads `runs`, newest first, within `range`. All of them have the same key order.
    pub fn new(
        runs: &[Walker<'a>],
        range: &KeyRange,
        tombstones: Tombstones,
        order: KeyOrder<'a>,
    ) -> Result<Self> {
        let open = |walker: &Walker<'a>| RunCursor::open(*walker, range.clone());
        let runs = runs.iter().map(open).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            runs,
            order,
            tombstones,
            given: None,
        })
    }

    /// The next entry, or `None` after the last.
    #[expect(
        clippy::should_implement_trait,
        reason = "entries borrow from the reader: no Iterator can give them"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>> {
        if let Some(run) = self.given.take() {
            self.pass(run)?;
        }
        while let Some(run) = self.first() {
            if self.tombstones == Tombstones::Keep || !self.runs[run].at_tombstone() {
                self.given = Some(run);
                return Ok(self.runs[run].entry());
            }
            self.pass(run)?;
        }
        Ok(None)
    }

    /// The run with the least key; the newest of them if several have it.
    fn first(&self) -> Option<usize> {
        let mut first: Option<(usize, &[u8])> = None;
        for (run, cursor) in self.runs.iter().enumerate() {
            let Some(key) = cursor.key() else { continue };
            if first.is_none_or(|(_, least)| (self.order)(key, least) == Ordering::Less) {
                first = Some((run, key));
            }
        }
        first.map(|(run, _)| run)
    }

    /// Goes past the key that `run` stands at, in every run. The newer ones are past it already.
    fn pass(&mut self, run: usize) -> Result<()> {
        let (newer, older) = self.runs.split_at_mut(run + 1);
        let Some(current) = newer.last_mut() else {
            return Ok(());
        };
        for cursor in older {
            let same = match (cursor.key(), current.key()) {
                (Some(a), Some(b)) => (self.order)(a, b) == Ordering::Equal,
                _ => false,
            };
            if same {
                cursor.advance()?;
            }
        }
        current.advance()
    }
}

/// Goes through the entries of one run.
struct RunCursor<'a> {
    walker: Walker<'a>,
    leaves: Leaves<'a>,
    range: KeyRange,
    leaf: OpenLeaf,
    at: usize,
}

impl<'a> RunCursor<'a> {
    fn open(walker: Walker<'a>, range: KeyRange) -> Result<Self> {
        let leaves = walker.leaves(range.clone());
        let mut cursor = Self {
            walker,
            leaves,
            range,
            leaf: OpenLeaf::default(),
            at: 0,
        };
        cursor.settle()?;
        Ok(cursor)
    }

    fn advance(&mut self) -> Result<()> {
        self.at += 1;
        self.settle()
    }

    /// Moves on to an entry inside the range, through as many leaves as it takes.
    fn settle(&mut self) -> Result<()> {
        loop {
            match self.key() {
                Some(key) if self.range.contains(key, self.walker.order) => return Ok(()),
                Some(_) => self.at += 1,
                None => match self.leaves.next().transpose()? {
                    Some(span) => self.load(&span)?,
                    None => return Ok(()),
                },
            }
        }
    }

    fn load(&mut self, span: &LeafSpan) -> Result<()> {
        let plain = self.walker.source.blob(BlobKind::Leaf, &span.leaf.id)?;
        self.leaf = OpenLeaf::read(plain, span, self.walker.order)?;
        self.at = 0;
        Ok(())
    }

    fn key(&self) -> Option<&[u8]> {
        let slot = self.leaf.slots.get(self.at)?;
        Some(&self.leaf.keys[slot.key.clone()])
    }

    fn at_tombstone(&self) -> bool {
        let slot = self.leaf.slots.get(self.at);
        slot.is_some_and(|slot| matches!(slot.payload, Held::Delete))
    }

    fn entry(&self) -> Option<Entry<'_>> {
        let slot = self.leaf.slots.get(self.at)?;
        let payload = match &slot.payload {
            Held::Inline(value) => Payload::Inline(&self.leaf.plain[value.clone()]),
            Held::Chunked(list) => Payload::Chunked(list.clone()),
            Held::Delete => Payload::Delete,
        };
        let key = &self.leaf.keys[slot.key.clone()];
        Some(Entry { key, payload })
    }
}

/// A leaf with its entries found, verified as a whole before the first is given.
struct OpenLeaf {
    plain: Arc<[u8]>,
    keys: Vec<u8>,
    slots: Vec<Slot>,
}

struct Slot {
    key: Range<usize>,
    payload: Held,
}

enum Held {
    /// Where the value lies in the leaf.
    Inline(Range<usize>),
    Chunked(ChunkList),
    Delete,
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
    fn read(plain: Arc<[u8]>, span: &LeafSpan, order: KeyOrder<'_>) -> Result<Self> {
        let (mut keys, mut slots) = (Vec::new(), Vec::new());
        read_leaf(&plain, span, order, |entry| {
            let start = keys.len();
            keys.extend_from_slice(entry.key);
            let payload = match &entry.payload {
                Payload::Inline(value) => Held::Inline(offset_of(value, &plain)),
                Payload::Chunked(list) => Held::Chunked(list.clone()),
                Payload::Delete => Held::Delete,
            };
            slots.push(Slot {
                key: start..keys.len(),
                payload,
            });
            Ok(())
        })?;
        Ok(Self { plain, keys, slots })
    }
}

/// Where a slice of `whole` lies in it.
fn offset_of(part: &[u8], whole: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}
