//! Replaces a snapshot's stack by the run that a compaction made of it.
//!
//! Snapshots of which the notes say that their records lie elsewhere now: a snapshot's object never changes, and its
//! name, which people have written down, stays.

use std::collections::BTreeMap;

use super::CompactedStack;
use crate::snapshot::{DatabaseContent, Snapshot, SnapshotSource, StoredRunRef};

/// The runs that replace stacks of one snapshot, by source; the newest note counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactedStacks(BTreeMap<u32, StoredRunRef>);

impl CompactedStacks {
    pub(super) fn apply_note(&mut self, rebased: &CompactedStack) {
        self.0.insert(rebased.source, rebased.run.clone());
    }

    /// True if the snapshot's own runs are the ones.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts them in place of the stacks.
    pub fn apply(&self, snapshot: &mut Snapshot) {
        for (source, run) in &self.0 {
            compacted_stack_of(*source, run, snapshot);
        }
    }
}

impl CompactedStack {
    /// Puts it in place of the stack.
    pub fn apply(&self, snapshot: &mut Snapshot) {
        compacted_stack_of(self.source, &self.run, snapshot);
    }
}

/// What the snapshot says of records and digests holds as before, so whoever reads the run finds out if it is not what it
/// stands for. One for a source without a stack says nothing.
fn compacted_stack_of(source: u32, run: &StoredRunRef, snapshot: &mut Snapshot) {
    let found = usize::try_from(source).ok();
    let found = found.and_then(|source| snapshot.sources.get_mut(source));
    if let Some(SnapshotSource::Database(database)) = found
        && let DatabaseContent::Logical { runs, .. } = &mut database.content
    {
        *runs = vec![run.clone()];
    }
}
