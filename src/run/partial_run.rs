//! Surveys runs of which pieces are lost.
//!
//! Runs of which pieces are lost: which keys that concerns, and what is still known of a stack of them.
//!
//! A piece that a run lacks could hold any of the keys of its range. What older runs say of those keys may be outdated,
//! so they are not asked there; what newer runs put there stands. So every record that is given is one that the whole
//! stack has, and a key that is not given and lies in a lost range is unknown, not absent.
//!
//! ```text
//! newest   put c ───────── put x ──
//!          ── lost: f to m ────────      from f to m only the newest run is asked
//! oldest   a  c  e  g  i  k  o  q  u
//! given    a  c  e              o  q  u  x
//! ```

use std::cmp::Ordering;

use super::run_entry::RunEntry;
use super::run_reader::{LeafSpan, RunReader, verify_leaf};
use super::stack_cursor::{StackCursor, TombstoneMode};
use super::{KeyOrder, KeyRange};
use crate::blob::BlobKind;
use crate::error::{Error, ErrorKind, Result};

/// A run, and the pieces that it lacks.
pub struct PartialRun<'a> {
    walker: RunReader<'a>,
    /// Key of its last entry.
    last_key: &'a [u8],
    /// In key order, apart.
    lost: Vec<KeyRange>,
}

/// True if it says that bytes are gone or wrong, so that no retry brings them back.
pub fn is_loss(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::Torn | ErrorKind::NotFound
    )
}

impl<'a> PartialRun<'a> {
    /// Reads every node and every leaf, and notes the range of each that cannot be read. `after` is the least key behind a
    /// given one, where the order has such a thing: without one, what is lost at a run's end reaches to the end of all keys.
    ///
    /// # Errors
    /// Those that say nothing of what is stored: the storage's, an interruption.
    pub fn survey_losses(
        walker: RunReader<'a>,
        last_key: &'a [u8],
        after: impl Fn(&[u8]) -> Option<Vec<u8>>,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<Self> {
        let mut lost: Vec<KeyRange> = Vec::new();
        let mut pieces = walker.leaves(KeyRange::all());
        while let Some((level, child, upper)) = pieces.step()? {
            go_on()?;
            let read = match level {
                0 => leaf(&walker, &child, upper.clone()),
                _ => pieces.descend(level, &child, upper.clone()),
            };
            match read {
                Ok(()) => {}
                Err(error) if is_loss(&error) => {
                    let to = upper.or_else(|| after(last_key));
                    let from = child.first_key;
                    match lost.last_mut() {
                        // Neighbours are one.
                        Some(before) if before.to.as_ref() == Some(&from) => before.to = to,
                        _ => lost.push(KeyRange { from: Some(from), to }),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            walker,
            last_key,
            lost,
        })
    }

    /// Ranges in which it may lack entries.
    pub fn lost_ranges(&self) -> &[KeyRange] {
        &self.lost
    }

    /// Key of its last entry.
    pub fn last_key(&self) -> &[u8] {
        self.last_key
    }

    fn is_missing(&self, segment: &KeyRange, order: KeyOrder) -> bool {
        self.lost.iter().any(|lost| contains_key(lost, segment, order))
    }

    /// False if it has no key in the segment: then nothing of it need be read, and may not be readable.
    fn reaches_key(&self, segment: &KeyRange, order: KeyOrder) -> bool {
        let Some(root) = self.walker.root() else {
            return false;
        };
        let ends_before = segment.is_after(self.last_key, order);
        !ends_before && !segment.is_before(&root.top.first_key, order)
    }
}

fn leaf(walker: &RunReader, child: &super::ChildRef, upper: Option<Vec<u8>>) -> Result<()> {
    let plain = walker.source.blob(BlobKind::Leaf, &child.id)?;
    let span = LeafSpan {
        leaf: child.clone(),
        upper,
    };
    verify_leaf(&plain, &span, walker.order)
}

/// True if all of the segment lies in the range. Segments end wherever a range does.
fn contains_key(range: &KeyRange, segment: &KeyRange, order: KeyOrder) -> bool {
    let begins = match (&range.from, &segment.from) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(range), Some(segment)) => order(range, segment) != Ordering::Greater,
    };
    let ends = match (&range.to, &segment.to) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(range), Some(segment)) => order(segment, range) != Ordering::Greater,
    };
    begins && ends
}

/// Gives what is still known of the stack, in key order: puts, and nothing else. Runs newest first.
pub fn for_each_readable(
    runs: &[PartialRun],
    order: KeyOrder,
    visit: &mut dyn FnMut(&RunEntry) -> Result<()>,
) -> Result<()> {
    for segment in segments(runs, order) {
        let depth = runs.iter().position(|run| run.is_missing(&segment, order));
        // Above a lost piece a deletion or a patch is the last word on a key whose value it does not tell.
        let tombstones = match depth {
            None => TombstoneMode::Drop,
            Some(_) => TombstoneMode::Keep,
        };
        let asked = runs[..depth.unwrap_or(runs.len())].iter();
        let asked = asked.filter(|run| run.reaches_key(&segment, order));
        let walkers: Vec<_> = asked.map(|run| run.walker).collect();
        let mut merged = StackCursor::new(&walkers, &segment, tombstones, order)?;
        while let Some(entry) = merged.next()? {
            visit(&entry)?;
        }
    }
    Ok(())
}

/// All keys, cut wherever a lost range begins or ends.
fn segments(runs: &[PartialRun], order: KeyOrder) -> Vec<KeyRange> {
    let lost = runs.iter().flat_map(|run| &run.lost);
    let mut cuts: Vec<_> = lost
        .flat_map(|range| [&range.from, &range.to])
        .flatten()
        .collect();
    cuts.sort_by(|a, b| order(a, b));
    cuts.dedup_by(|a, b| order(a, b) == Ordering::Equal);
    let mut segments = Vec::with_capacity(cuts.len() + 1);
    let mut from = None;
    for cut in cuts {
        segments.push(KeyRange {
            from: from.replace(cut.clone()),
            to: Some(cut.clone()),
        });
    }
    segments.push(KeyRange { from, to: None });
    segments
}
