//! Merges the runs of a stack in key order.
//!
//! A stack of runs read as one: merged by key, the newest word on a key wins, and a deletion hides older ones.

use std::cmp::Ordering;

use super::open_leaf::OpenLeaf;
use super::run_entry::{EntryPayload, OwnedEntry, RunEntry};
use super::run_reader::{LeafSpan, RunReader};
use super::value_patch::PatchChain;
use super::{KeyOrder, KeyRange};
use crate::blob::BlobKind;
use crate::error::Result;

/// What becomes of deletions that are the newest word on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TombstoneMode {
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
    tombstones: TombstoneMode,
    /// The run whose entry was given last, and which must go on before the next.
    given: Option<usize>,
    /// What its patch made, or several patches joined, where the entry is a patch.
    made: Option<OwnedEntry>,
}

impl<'a> StackCursor<'a> {
    /// Reads `runs`, newest first, within `range`. All of them have the same key order.
    pub fn new(
        runs: &[RunReader<'a>],
        range: &KeyRange,
        tombstones: TombstoneMode,
        order: KeyOrder<'a>,
    ) -> Result<Self> {
        let all = |walker: &RunReader<'a>| -> (RunReader<'a>, LeafSpans<'a>) {
            (*walker, Box::new(walker.leaves(range.clone())))
        };
        Self::from_runs(runs.iter().map(all).collect(), range, tombstones, order)
    }

    /// The same of some leaves of each run only.
    pub(super) fn from_runs(
        runs: Vec<(RunReader<'a>, LeafSpans<'a>)>,
        range: &KeyRange,
        tombstones: TombstoneMode,
        order: KeyOrder<'a>,
    ) -> Result<Self> {
        let open = |(walker, leaves)| RunCursor::open(walker, leaves, range.clone());
        let runs = runs.into_iter().map(open).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            runs,
            order,
            tombstones,
            given: None,
            made: None,
        })
    }

    /// The entry that was given last, again.
    pub fn entry(&self) -> Option<RunEntry<'_>> {
        let entry = self.runs[self.given?].entry()?;
        Some(match &self.made {
            Some(made) => RunEntry {
                payload: made.as_payload(),
                ..entry
            },
            None => entry,
        })
    }

    /// Its key.
    pub fn key(&self) -> Option<&[u8]> {
        self.runs[self.given?].key()
    }

    /// True if it was the oldest run's.
    pub(super) fn is_of_oldest(&self) -> bool {
        self.given.is_some_and(|run| run + 1 == self.runs.len())
    }

    /// The next entry, or `None` after the last.
    #[allow(
        clippy::should_implement_trait,
        reason = "entries borrow from the reader: no Iterator can give them"
    )]
    pub fn next(&mut self) -> Result<Option<RunEntry<'_>>> {
        if let Some(run) = self.given.take() {
            self.skip_shadowed(run)?;
        }
        while let Some(run) = self.first_run() {
            if self.tombstones == TombstoneMode::Keep || !self.runs[run].at_tombstone() {
                self.given = Some(run);
                self.made = self.apply_patches(run)?;
                return Ok(self.entry());
            }
            self.skip_shadowed(run)?;
        }
        Ok(None)
    }

    /// The run with the least key; the newest of them if several have it.
    fn first_run(&self) -> Option<usize> {
        let mut first: Option<(usize, &[u8])> = None;
        for (run, cursor) in self.runs.iter().enumerate() {
            let Some(key) = cursor.key() else { continue };
            if first.is_none_or(|(_, least)| (self.order)(key, least) == Ordering::Less) {
                first = Some((run, key));
            }
        }
        first.map(|(run, _)| run)
    }

    /// What becomes of a patch: the value, if what it was made for is in one of these runs, else all patches of the key.
    fn apply_patches(&self, run: usize) -> Result<Option<OwnedEntry>> {
        let Some(RunEntry {
            key,
            payload: EntryPayload::Patch(newest),
        }) = self.runs[run].entry()
        else {
            return Ok(None);
        };
        let mut pile = PatchChain::new(&newest);
        for older in &self.runs[run + 1..] {
            let same = older
                .key()
                .is_some_and(|other| (self.order)(other, key) == Ordering::Equal);
            if let Some(entry) = older.entry().filter(|_| same)
                && let Some(value) = pile.put_under(&entry.payload)?
            {
                return Ok(Some(value));
            }
        }
        match self.tombstones {
            TombstoneMode::Keep => Ok(Some(OwnedEntry::Patch(pile.join_steps()))),
            TombstoneMode::Drop => Err(PatchChain::no_base_error()),
        }
    }

    /// Goes past the key that `run` stands at, in every run. The newer ones are past it already.
    fn skip_shadowed(&mut self, run: usize) -> Result<()> {
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

/// What a stack says of one key, never a deletion or a patch; `None` if there is no record. Runs newest first: they are
/// asked one after another, until one holds the value.
pub fn get<'a>(runs: impl Iterator<Item = RunReader<'a>>, key: &[u8]) -> Result<Option<OwnedEntry>> {
    let mut pile: Option<PatchChain> = None;
    for run in runs {
        let found = match (run.get(key)?, &mut pile) {
            (None, _) => None,
            (Some(OwnedEntry::Delete), None) => return Ok(None),
            (Some(OwnedEntry::Patch(newest)), pile @ None) => {
                *pile = Some(PatchChain::new(&newest));
                None
            }
            (found, None) => found,
            (Some(under), Some(pile)) => pile.put_under(&under.as_payload())?,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    pile.map_or(Ok(None), |_| Err(PatchChain::no_base_error()))
}

/// Leaves of one run, in key order.
pub(super) type LeafSpans<'a> = Box<dyn Iterator<Item = Result<LeafSpan>> + 'a>;

/// Goes through the entries of one run.
struct RunCursor<'a> {
    walker: RunReader<'a>,
    leaves: LeafSpans<'a>,
    range: KeyRange,
    leaf: OpenLeaf,
    at: usize,
}

impl<'a> RunCursor<'a> {
    fn open(walker: RunReader<'a>, leaves: LeafSpans<'a>, range: KeyRange) -> Result<Self> {
        let mut cursor = Self {
            walker,
            leaves,
            range,
            leaf: OpenLeaf::default(),
            at: 0,
        };
        cursor.settle_entry()?;
        Ok(cursor)
    }

    fn advance(&mut self) -> Result<()> {
        self.at += 1;
        self.settle_entry()
    }

    /// Moves on to an entry inside the range, through as many leaves as it takes.
    fn settle_entry(&mut self) -> Result<()> {
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
        self.leaf.key(self.at)
    }

    fn at_tombstone(&self) -> bool {
        self.leaf.is_tombstone(self.at)
    }

    fn entry(&self) -> Option<RunEntry<'_>> {
        self.leaf.entry(self.at)
    }
}
