//! Compares two stacks, reading only what differs.
//!
//! ```text
//!        old                 new
//!   delta   delta       delta                    their own: merged, each side's newest word on a key
//!   ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─
//!   delta  =  delta                              common: looked into for single keys, where one side
//!   base   =  base                               alone has said something
//! ```
//!
//! **Why nothing is missed.** Let the two stacks have their oldest n runs in common. What a stack says of a key is
//! what its newest run with an entry of that key says. So a key that none of the other runs of either stack mentions
//! is decided by the common runs in both, and is the same in both. All other keys come up in the merge of the runs
//! that are not common: where both sides have a word there, these words decide; where one side has none, the common
//! runs decide for that side, and they are asked.
//!
//! With n = 0 the bases are two. A leaf of one id in both bases holds the same entries in both, and a base holds a
//! key once; so a key in no leaf that one base has alone (`own_leaves.rs`) is the same in both bases, or absent in
//! both. Merging just those leaves instead of the whole bases, the argument above holds for the rest of it: where
//! a side has no word, its whole base is asked. It need not be for a key that the other side has from such a leaf
//! of its base: this side's base has no such leaf with it, and no leaf of both bases has it either, for then the
//! other base would hold the key twice.
//!
//! **Equal values.** Within a dedup domain a value is inline or chunked by its length, and its chunks depend on its
//! bytes alone; so two values are equal if and only if their entries are, once patches are applied. A patch is applied
//! to what its own stack has under it: the runs that are not common first, then the common ones, or its whole base.

use std::cmp::Ordering;

use super::run_entry::{EntryPayload, OwnedEntry, RunEntry};
use super::run_reader::RunReader;
use super::stack_cursor::{LeafSpans, StackCursor, TombstoneMode};
use super::stack_lookup::StackLookup;
use super::unshared_leaves::UnsharedLeaves;
use super::value_patch::PatchChain;
use super::{KeyOrder, KeyRange};
use crate::error::Result;

/// Says of a key that it is not in a run, or that it may be.
type KeyFilterCheck<'a> = Box<dyn Fn(&[u8]) -> bool + 'a>;

/// One run of a stack, and what is known of its keys without reading it.
pub struct StackLayer<'a> {
    pub(super) walker: RunReader<'a>,
    may_hold: KeyFilterCheck<'a>,
}

impl<'a> StackLayer<'a> {
    #[cfg(any(test, feature = "test-util"))]
    /// A run that may hold any key.
    pub fn new(walker: RunReader<'a>) -> Self {
        Self::filtered(walker, |_| true)
    }

    /// A run that holds no key of which `may_hold` says no.
    pub fn filtered(walker: RunReader<'a>, may_hold: impl Fn(&[u8]) -> bool + 'a) -> Self {
        let may_hold = Box::new(may_hold);
        Self { walker, may_hold }
    }

    pub(super) fn may_hold(&self, key: &[u8]) -> bool {
        (self.may_hold)(key)
    }
}

/// A key whose record is not the same in both stacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordDifference<'a> {
    /// The key; where the order takes different bytes for one key, those of the new record.
    pub key: &'a [u8],
    /// The key as the old record has it; `key` for an added record.
    pub old_key: &'a [u8],
    /// The old value, never [`EntryPayload::Delete`] or a patch; `None` for an added record.
    pub old: Option<EntryPayload<'a>>,
    /// The new value, never [`EntryPayload::Delete`] or a patch; `None` for a removed record.
    pub new: Option<EntryPayload<'a>>,
}

/// Takes what differs, in key order; an error ends the comparison.
pub type DifferenceVisitor<'s> = &'s mut dyn FnMut(&RecordDifference<'_>) -> Result<()>;

/// Gives every key in `range` whose record differs between two stacks, oldest run first, of one key order and one
/// dedup domain.
pub fn diff(
    old: &[StackLayer<'_>],
    new: &[StackLayer<'_>],
    range: &KeyRange,
    order: KeyOrder<'_>,
    sink: DifferenceVisitor<'_>,
) -> Result<()> {
    let common = common_runs(old, new);
    let mut old_side = DiffSide::open(old, new, common, range, order)?;
    let mut new_side = DiffSide::open(new, old, common, range, order)?;
    old_side.own.next()?;
    new_side.own.next()?;
    while let Some(first) = first_key(&old_side.own, &new_side.own, order) {
        match first {
            Ordering::Less => report_removed(&mut old_side, &mut new_side, sink)?,
            Ordering::Greater => report_added(&mut old_side, &mut new_side, sink)?,
            Ordering::Equal => report_difference(old_side.newest_entry()?, new_side.newest_entry()?, sink)?,
        }
        if first != Ordering::Greater {
            old_side.own.next()?;
        }
        if first != Ordering::Less {
            new_side.own.next()?;
        }
    }
    Ok(())
}

/// Runs that both stacks begin with.
fn common_runs(old: &[StackLayer<'_>], new: &[StackLayer<'_>]) -> usize {
    let pairs = old.iter().zip(new);
    pairs
        .take_while(|(old, new)| old.walker.root() == new.walker.root())
        .count()
}

/// One stack in a comparison.
struct DiffSide<'s, 'a> {
    /// What this stack has alone.
    own: StackCursor<'a>,
    /// What decides where `own` has no word.
    below: StackLookup<'s, 'a>,
    /// Whether the oldest run of `own` is a base without the leaves that the other's base has.
    has_base: bool,
    /// What a patch made of the value below.
    made: Option<OwnedEntry>,
}

impl<'s, 'a> DiffSide<'s, 'a> {
    fn open(
        stack: &'s [StackLayer<'a>],
        other: &[StackLayer<'a>],
        common: usize,
        range: &KeyRange,
        order: KeyOrder<'a>,
    ) -> Result<Self> {
        let mut runs: Vec<(RunReader<'a>, LeafSpans<'a>)> = Vec::new();
        for (at, layer) in stack.iter().enumerate().skip(common).rev() {
            let leaves: LeafSpans<'a> = match other.first() {
                Some(base) if at == 0 => Box::new(UnsharedLeaves::new(&layer.walker, &base.walker, range)?),
                _ => Box::new(layer.walker.leaves(range.clone())),
            };
            runs.push((layer.walker, leaves));
        }
        let deciding = common.max(1).min(stack.len());
        Ok(Self {
            own: StackCursor::from_runs(runs, range, TombstoneMode::Keep, order)?,
            below: StackLookup::new(&stack[..deciding]),
            has_base: common == 0,
            made: None,
        })
    }

    /// What the stack says of the key that `own` stands at. A patch whose value `own` has not was made for what lies
    /// below, or in a leaf that both bases have.
    fn newest_entry(&mut self) -> Result<Option<RunEntry<'_>>> {
        let Some(entry) = self.own.entry() else {
            return Ok(None);
        };
        let EntryPayload::Patch(patch) = &entry.payload else {
            return Ok(Some(entry));
        };
        let base = self.below.entry(entry.key)?;
        let under = base.map_or(EntryPayload::Delete, |base| base.payload);
        self.made = PatchChain::new(patch).put_under(&under)?;
        let made = self.made.as_ref().map(OwnedEntry::as_payload);
        Ok(made.map(|payload| RunEntry { payload, ..entry }))
    }

    fn is_in_base(&self) -> bool {
        self.has_base && self.own.is_of_oldest()
    }
}

/// Which side stands at the lesser key.
fn first_key(old: &StackCursor<'_>, new: &StackCursor<'_>, order: KeyOrder<'_>) -> Option<Ordering> {
    match (old.key(), new.key()) {
        (None, None) => None,
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (Some(old), Some(new)) => Some(order(old, new)),
    }
}

fn report_removed(
    old: &mut DiffSide<'_, '_>,
    new: &mut DiffSide<'_, '_>,
    sink: DifferenceVisitor<'_>,
) -> Result<()> {
    let is_at_base = old.is_in_base();
    match old.newest_entry()? {
        Some(entry) if !is_at_base => {
            let other = new.below.entry(entry.key)?;
            report_difference(Some(entry), other, sink)
        }
        entry => report_difference(entry, None, sink),
    }
}

fn report_added(
    old: &mut DiffSide<'_, '_>,
    new: &mut DiffSide<'_, '_>,
    sink: DifferenceVisitor<'_>,
) -> Result<()> {
    let is_at_base = new.is_in_base();
    match new.newest_entry()? {
        Some(entry) if !is_at_base => {
            let other = old.below.entry(entry.key)?;
            report_difference(other, Some(entry), sink)
        }
        entry => report_difference(None, entry, sink),
    }
}

fn report_difference(
    old: Option<RunEntry<'_>>,
    new: Option<RunEntry<'_>>,
    sink: DifferenceVisitor<'_>,
) -> Result<()> {
    let is_record = |entry: &RunEntry<'_>| entry.payload != EntryPayload::Delete;
    let (old, new) = (old.filter(is_record), new.filter(is_record));
    if old == new {
        return Ok(());
    }
    let key = new.as_ref().or(old.as_ref()).map_or(&[][..], |entry| entry.key);
    sink(&RecordDifference {
        key,
        old_key: old.as_ref().map_or(key, |entry| entry.key),
        old: old.map(|entry| entry.payload),
        new: new.map(|entry| entry.payload),
    })
}
