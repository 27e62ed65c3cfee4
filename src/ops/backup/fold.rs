//! Runs of a stack that become one, where the plan says so ([`mod@crate::run::fold`]).

use crate::error::{Error, Kind, Result};
use crate::leveldb::Comparator;
use crate::ops::read::not_a_record;
use crate::repo::{BlobReader, Repo, Writer};
use crate::report::Report;
use crate::run::fold::{self, Fold};
use crate::run::{self, Entry, KeyRange, Payload, StackCursor, Tombstones, Walker};
use crate::snapshot::{Content, DatabaseRoot, Run};

use super::increment::run_of;
use super::pipeline;
use super::scan::Scan;

/// Makes one run of several where the plan says so. The entries are moved as they are: long values stay where they
/// lie, and deletions stay deletions, since older runs are below. Only patches that have become long are put out.
pub(super) fn fold_stack(
    repo: &Repo,
    writer: &mut Writer,
    root: &mut DatabaseRoot,
    report: &Report,
) -> Result<()> {
    let Content::Logical { runs, .. } = &mut root.content else {
        return Ok(());
    };
    if repo.keyring().is_err() {
        // A write-only host cannot read runs: it stacks them until it reads everything (`increment::parent`).
        return Ok(());
    }
    let sizes: Vec<_> = runs.iter().map(Run::bytes).collect();
    let Fold::Newest(count) = fold::plan(&sizes) else {
        return Ok(());
    };
    let folded = fold_runs(repo, writer, runs, count, report)?;
    runs.truncate(runs.len() - count);
    runs.extend(folded);
    Ok(())
}

fn fold_runs(
    repo: &Repo,
    writer: &mut Writer,
    runs: &[Run],
    count: usize,
    report: &Report,
) -> Result<Option<Run>> {
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
        .map(|run| Walker::new(&reader, run.root.as_ref(), &order))
        .collect();
    let read = |scan: &mut Scan| {
        let newest = &walkers[..count];
        let mut merged = StackCursor::new(newest, &KeyRange::all(), Tombstones::Keep, &order)?;
        while let Some(entry) = merged.next()? {
            match &entry.payload {
                Payload::Patch(patch) if patch.is_long() => {
                    let value = run::stack::get(walkers.iter().copied(), entry.key)?;
                    let value = value.ok_or_else(not_a_record)?;
                    let payload = value.as_payload();
                    scan.entry(&Entry { payload, ..entry })?;
                }
                _ => scan.entry(&entry)?,
            }
        }
        Ok(())
    };
    let stored = pipeline::store(repo, writer, read, report)?;
    match run_of(stored.base, &comparator) {
        Some(run) => Ok(Some(run)),
        None => Err(Error::new(
            Kind::Corrupt,
            "runs with entries were folded into none",
        )),
    }
}
