//! Compacts runs of a stack as planned.
//!
//! Runs of a stack that become one, where the plan says so ([`mod@crate::run::compaction_plan`]).

use crate::engine::read_records::not_a_record;
use crate::error::{Error, ErrorKind, Result};
use crate::leveldb::Comparator;
use crate::repo::{BlobReader, BlobWriter, Repo};
use crate::report::OperationReport;
use crate::run::compaction_plan::{self, CompactionPlan};
use crate::run::{self, EntryPayload, KeyRange, RunEntry, RunReader, StackCursor, TombstoneMode};
use crate::snapshot::{DatabaseContent, DatabaseRoot, StoredRunRef};

use super::increment::stored_run_ref;
use crate::engine::record_scan::RecordScanSink;
use crate::engine::run_pipeline;

/// Makes one run of several where the plan says so. The entries are moved as they are: long values stay where they
/// lie, and deletions stay deletions, since older runs are below. Only patches that have become long are put out.
pub(super) fn compact_stack(
    repo: &Repo,
    writer: &mut BlobWriter,
    root: &mut DatabaseRoot,
    report: &OperationReport,
) -> Result<()> {
    let DatabaseContent::Logical { runs, .. } = &mut root.content else {
        return Ok(());
    };
    if repo.keyring().is_err() {
        // A write-only host cannot read runs: it stacks them until it reads everything (`increment::parent`).
        return Ok(());
    }
    let sizes: Vec<_> = runs.iter().map(StoredRunRef::bytes).collect();
    let CompactionPlan::Newest(count) = compaction_plan::plan(&sizes) else {
        return Ok(());
    };
    let folded = compact_runs(repo, writer, runs, count, report)?;
    runs.truncate(runs.len() - count);
    runs.extend(folded);
    Ok(())
}

fn compact_runs(
    repo: &Repo,
    writer: &mut BlobWriter,
    runs: &[StoredRunRef],
    count: usize,
    report: &OperationReport,
) -> Result<Option<StoredRunRef>> {
    let Some(first) = runs.first() else {
        return Ok(None);
    };
    // The newest of them may still be in open packs.
    writer.flush()?;
    let comparator = Comparator::from_name(&first.comparator);
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    let lookup = repo.lookup()?;
    let reader = BlobReader::new(repo, &lookup);
    let walkers: Vec<_> = runs
        .iter()
        .rev()
        .map(|run| RunReader::new(&reader, run.root.as_ref(), &order))
        .collect();
    let read = |scan: &mut RecordScanSink| {
        let newest = &walkers[..count];
        let mut merged = StackCursor::new(newest, &KeyRange::all(), TombstoneMode::Keep, &order)?;
        while let Some(entry) = merged.next()? {
            match &entry.payload {
                EntryPayload::Patch(patch) if patch.is_long() => {
                    let value = run::stack_cursor::get(walkers.iter().copied(), entry.key)?;
                    let value = value.ok_or_else(not_a_record)?;
                    let payload = value.as_payload();
                    scan.push_entry(&RunEntry { payload, ..entry })?;
                }
                _ => scan.push_entry(&entry)?,
            }
        }
        Ok(())
    };
    let stored = run_pipeline::store_runs(repo, writer, read, report)?;
    match stored_run_ref(stored.base, &comparator) {
        Some(run) => Ok(Some(run)),
        None => Err(Error::new(
            ErrorKind::Corrupt,
            "runs with entries were folded into none",
        )),
    }
}
