//! Finds the records and files that differ between two snapshots.
//!
//! `diff`: which records were added, changed and removed between two states of a database, at the cost of what
//! differs; see [`mod@crate::run::stack_diff`]. And which files, between two states of a tree.

mod file_diff;
mod tree_diff;

pub use file_diff::{FileComparison, FileDiffOutcome, FileTotals};
pub use tree_diff::{FileChange, FileDifference};

use crate::engine::database_state::{DatabaseState, stack_layers};
use crate::error::{Error, ErrorKind, Result};
use crate::leveldb::Comparator;
use crate::repo::{BlobReader, Repo, StoredSnapshot};
use crate::report::OperationReport;
use crate::run::{self, RecordDifference};

use crate::engine::blob_cache::BlobCacheReader;
use crate::engine::key_selection::KeySelection;
use crate::engine::read_records;

/// How many records, and their key and value bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordTotals {
    /// Records.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// What differs, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordDiffOutcome {
    /// Records that only the new state has.
    pub added: RecordTotals,
    /// Records with a new value; bytes of the new record.
    pub changed: RecordTotals,
    /// Records that only the old state has.
    pub removed: RecordTotals,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordChange {
    /// Only the new state has it.
    Added,
    /// Its value, or its key where the order takes different bytes for one key, is another one.
    Changed,
    /// Only the old state has it.
    Removed,
}

impl RecordChange {
    /// What a difference is.
    pub fn of(difference: &RecordDifference<'_>) -> Self {
        match (&difference.old, &difference.new) {
            (None, _) => Self::Added,
            (Some(_), Some(_)) => Self::Changed,
            (Some(_), None) => Self::Removed,
        }
    }
}

/// Gives every selected key whose record differs, in key order. Records that damage made uncertain are not looked at.
/// Where the repository lost records of either, what differs may be no difference: that is a problem in the report.
///
/// # Errors
/// [`ErrorKind::Usage`] if one of the two is stored as files, or if their key orders or dedup domains are not the same.
pub fn diff_records(
    repo: &Repo,
    old: DatabaseState,
    new: DatabaseState,
    selection: &KeySelection,
    report: &OperationReport,
    sink: run::stack_diff::DifferenceVisitor,
) -> Result<RecordDiffOutcome> {
    refuse_unlike(old, new)?;
    for state in [old, new] {
        if let Some(lost) = read_records::describe_lost_keys(state.database, selection) {
            report.problem(format!("snapshot {}: {lost}", state.snapshot.id.short()));
        }
    }
    let repo = &repo.in_domain(new.snapshot.snapshot.domain)?;
    let lookup = repo.lookup()?;
    let reader = BlobReader::new(repo, &lookup);
    let recent = BlobCacheReader::new(&reader);
    let comparator = Comparator::from_name(&new.database.shape.comparator);
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    let old = stack_layers(&recent, read_records::runs(old.database, false)?, &order);
    let new = stack_layers(&recent, read_records::runs(new.database, false)?, &order);
    let mut outcome = RecordDiffOutcome::default();
    run::diff(
        &old,
        &new,
        &selection.range(&comparator),
        &order,
        &mut |difference| {
            report.go_on()?;
            if selection.contains(difference.key, &order) {
                outcome.count(difference);
                sink(difference)
            } else {
                Ok(())
            }
        },
    )?;
    Ok(outcome)
}

fn refuse_unlike(old: DatabaseState, new: DatabaseState) -> Result<()> {
    let orders = [old, new].map(|state| &state.database.shape.comparator);
    let what = if orders[0] == orders[1] {
        return refuse_other_domain(old.snapshot, new.snapshot);
    } else {
        format!("their keys are ordered by {:?} and by {:?}", orders[0], orders[1])
    };
    let names = [old, new].map(|state| format!("{} in {}", state.database.name, state.snapshot.id.short()));
    Err(Error::new(
        ErrorKind::Usage,
        format!("compare {} with {}: {what}", names[0], names[1]),
    ))
}

/// Blobs of the same bytes have other names in another domain.
fn refuse_other_domain(old: &StoredSnapshot, new: &StoredSnapshot) -> Result<()> {
    if old.snapshot.domain == new.snapshot.domain {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Usage,
            format!(
                "compare {} with {}: they were saved in two dedup domains",
                old.id.short(),
                new.id.short()
            ),
        ))
    }
}

impl RecordDiffOutcome {
    fn count(&mut self, difference: &RecordDifference<'_>) {
        let tally = match RecordChange::of(difference) {
            RecordChange::Added => &mut self.added,
            RecordChange::Changed => &mut self.changed,
            RecordChange::Removed => &mut self.removed,
        };
        let value = difference.new.as_ref().or(difference.old.as_ref());
        tally.records += 1;
        tally.bytes += difference.key.len() as u64 + value.map_or(0, |value| value.value_bytes());
    }

    /// Records that differ.
    pub fn records(&self) -> u64 {
        self.added.records + self.changed.records + self.removed.records
    }
}
