//! Rebuilds a database from its readable pieces, recording holes.
//!
//! A database from what is left of it: the records of which every piece can be read, and holes where pieces are lost.

use std::collections::HashSet;

use crate::blob::BlobKind;
use crate::engine::read_records;
use crate::engine::run_pipeline::{self, StoredRun};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BlobId, ObjectId};
use crate::leveldb::Comparator;
use crate::leveldb::comparator::BYTEWISE_NAME;
use crate::limits::DAMAGE_MAX;
use crate::repo::{BlobReader, BlobWriter, Repo, TrustedCopies};
use crate::report::OperationReport;
use crate::run::partial_run::{PartialRun, for_each_readable, is_loss};
use crate::run::{BlobSource, EntryPayload, KeyOrder, RunReader};
use crate::snapshot::{DatabaseContent, DatabaseRoot, HoleKind, RecordedDamage, StoredRunRef};
use crate::source::RecordSink;

use super::repair_files::PartialFiles;

/// Bytes of keys that the holes of one database may name; more are joined.
const HOLE_KEY_BYTES_MAX: usize = 8 << 20;

/// Blobs as they can still be had: one that was noted as bad and opens nowhere is lost, whatever its packs look like.
pub struct ReadableBlobs<'a> {
    pub reader: BlobReader<'a>,
    pub copies: TrustedCopies<'a>,
    /// Blobs of packs that can be read and that no segment names.
    pub unindexed: &'a HashSet<BlobId>,
}

impl ReadableBlobs<'_> {
    /// Whether there is a copy.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] if only the index does not know of one: nothing may be given up for that.
    pub fn has(&self, id: &BlobId) -> Result<bool> {
        match self.copies.has(id)? {
            false if self.unindexed.contains(id) => Err(not_indexed(id)),
            has => Ok(has),
        }
    }
}

impl BlobSource for ReadableBlobs<'_> {
    fn blob(&self, kind: BlobKind, id: &BlobId) -> Result<std::sync::Arc<[u8]>> {
        let read = self.reader.blob(kind, id);
        read.map_err(|error| match error.kind() {
            ErrorKind::Interrupted => error,
            _ if self.unindexed.contains(id) => not_indexed(id),
            _ if self.copies.bad.contains(id) => error.with_kind(ErrorKind::Corrupt),
            _ => error,
        })
    }
}

#[cold]
fn not_indexed(id: &BlobId) -> Error {
    let what = format!("blob {} lies in a pack that is in no index segment", id.short());
    Error::new(ErrorKind::Lost, what).context(
        "run `levault repair index --apply` first, or wait for the end of a backup that is under way",
    )
}

/// What databases are made of again.
pub struct DatabaseRebuild<'a, 'w> {
    pub repo: &'a Repo,
    pub source: &'a dyn BlobSource,
    pub writer: &'a mut BlobWriter<'w>,
    pub report: &'a OperationReport,
}

/// A database as it is left.
pub struct RebuiltDatabase {
    pub root: DatabaseRoot,
    /// What it lacks that the one before had.
    pub holes: Vec<RecordedDamage>,
}

impl DatabaseRebuild<'_, '_> {
    /// Stores what is left of a database of snapshot `id`; durable only once the writer has finished.
    pub fn database(&mut self, old: &DatabaseRoot, id: &ObjectId) -> Result<RebuiltDatabase> {
        let mut root = old.clone();
        let mut lost = match &old.content {
            DatabaseContent::Logical { runs, uncertain } => {
                self.records(&mut root, runs, uncertain.as_ref())?
            }
            DatabaseContent::Physical { tree } => {
                let files = self.files(tree, PartialFiles::Leave)?;
                root.content = DatabaseContent::Physical { tree: files.tree };
                root.value_bytes = files.sum.bytes;
                files.holes()
            }
        };
        if let Some(beside) = &old.beside {
            let files = self.files(beside, PartialFiles::Keep)?;
            lost.extend(files.holes());
            root.beside = Some(files.tree);
        }
        let order_of = Comparator::from_name(&old.shape.comparator);
        let lost = fits(lost, &|a: &[u8], b: &[u8]| order_of.compare(a, b));
        let holes: Vec<_> = lost
            .into_iter()
            .map(|lost| RecordedDamage::hole(lost, id))
            .collect();
        keep_record(&mut root, &holes)?;
        Ok(RebuiltDatabase { root, holes })
    }

    /// The records become one run: what a stack would say of the ranges that it lacks could be outdated.
    fn records(
        &mut self,
        root: &mut DatabaseRoot,
        runs: &[StoredRunRef],
        uncertain: Option<&StoredRunRef>,
    ) -> Result<Vec<HoleKind>> {
        let comparator = Comparator::from_name(&root.shape.comparator);
        let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
        let newest_first = runs.iter().rev();
        let certain: Vec<_> = newest_first
            .map(|run| self.survey(run, &comparator, &order))
            .collect::<Result<_>>()?;
        let aside = uncertain
            .map(|run| self.survey(run, &comparator, &order))
            .transpose()?;
        let mut lost = ranges(&certain, &comparator, HoleKind::Records);
        lost.extend(ranges(aside.as_slice(), &comparator, HoleKind::Uncertain));
        let (source, report) = (self.source, self.report);
        let read = |scan: &mut dyn RecordSink| {
            let mut values = Vec::new();
            for (runs, is_certain) in [(&certain[..], true), (aside.as_slice(), false)] {
                for_each_readable(runs, &order, &mut |entry| {
                    report.go_on()?;
                    let value = match &entry.payload {
                        EntryPayload::Inline(value) => return scan.record(entry.key, value, is_certain),
                        EntryPayload::Chunked(list) => read_records::read_long_value(source, list),
                        EntryPayload::Delete | EntryPayload::Patch(_) => return Ok(()),
                    };
                    match value {
                        Ok(value) => scan.record(entry.key, &value, is_certain),
                        Err(error) if is_loss(&error) => {
                            let key = entry.key.to_vec();
                            values.push(if is_certain {
                                HoleKind::Records(key.clone(), Some(key))
                            } else {
                                HoleKind::Uncertain(key.clone(), Some(key))
                            });
                            Ok(())
                        }
                        Err(error) => Err(error),
                    }
                })?;
            }
            Ok(values)
        };
        let stored = run_pipeline::store_runs(self.repo, self.writer, |scan| read(scan), self.report)?;
        let run = |stored: StoredRun| StoredRunRef {
            root: stored.root,
            last_key: stored.last_key,
            comparator: comparator.name().to_owned(),
            filter: None,
        };
        lost.extend(stored.scan);
        root.records = stored.counts.records;
        root.key_bytes = stored.counts.key_bytes;
        root.value_bytes = stored.counts.value_bytes;
        root.set_digest = stored.set_digest;
        root.stream_digest = Some(stored.stream_digest);
        let uncertain = stored.uncertain.root.is_some().then_some(stored.uncertain);
        root.content = DatabaseContent::Logical {
            runs: vec![run(stored.base)],
            uncertain: uncertain.map(run),
        };
        Ok(lost)
    }

    fn survey<'r>(
        &self,
        run: &'r StoredRunRef,
        comparator: &Comparator,
        order: KeyOrder<'r>,
    ) -> Result<PartialRun<'r>>
    where
        Self: 'r,
    {
        let walker = RunReader::new(self.source, run.root.as_ref(), order);
        let report = self.report;
        let after = |key: &[u8]| key_after(comparator, key);
        PartialRun::survey_losses(walker, &run.last_key, after, &|| report.go_on())
    }
}

/// The least key behind this one, in the one order that is known to have such a thing.
fn key_after(comparator: &Comparator, key: &[u8]) -> Option<Vec<u8>> {
    (comparator.name() == BYTEWISE_NAME).then(|| [key, &[0]].concat())
}

/// Lost ranges with both their ends in them. What ends before a key ends with it here, which is one key too many; what
/// ends behind a run's last key ends with it.
fn ranges(
    runs: &[PartialRun],
    comparator: &Comparator,
    lost: impl Fn(Vec<u8>, Option<Vec<u8>>) -> HoleKind,
) -> Vec<HoleKind> {
    let mut all = Vec::new();
    for run in runs {
        for range in run.lost_ranges() {
            let last = range
                .to
                .as_ref()
                .map(|to| match key_after(comparator, run.last_key()) {
                    Some(end) if end == *to => run.last_key().to_vec(),
                    _ => to.clone(),
                });
            all.push(lost(range.from.clone().unwrap_or_default(), last));
        }
    }
    all
}

/// Sorted; ranges that touch are joined, and neighbours more and more until there are few enough.
fn fits(lost: Vec<HoleKind>, order: KeyOrder) -> Vec<HoleKind> {
    let (mut records, mut uncertain, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for lost in lost {
        match lost {
            HoleKind::Records(from, to) => records.push((from, to)),
            HoleKind::Uncertain(from, to) => uncertain.push((from, to)),
            HoleKind::File(_) => files.push(lost),
        }
    }
    if files.len() > DAMAGE_MAX / 4 {
        files = vec![HoleKind::File(None)];
    }
    let mut fitted: Vec<_> = merge_ranges(records, order)
        .into_iter()
        .map(|(from, to)| HoleKind::Records(from, to))
        .collect();
    let uncertain = merge_ranges(uncertain, order).into_iter();
    fitted.extend(uncertain.map(|(from, to)| HoleKind::Uncertain(from, to)));
    fitted.extend(files);
    fitted
}

type RunWithHoles = (Vec<u8>, Option<Vec<u8>>);

fn merge_ranges(mut ranges: Vec<RunWithHoles>, order: KeyOrder) -> Vec<RunWithHoles> {
    ranges.sort_by(|a, b| order(&a.0, &b.0));
    ranges.dedup_by(|next, before| {
        let touch = before.1.as_ref().is_none_or(|to| order(&next.0, to).is_le());
        if touch {
            extend(before, next, order);
        }
        touch
    });
    let bytes = |ranges: &[RunWithHoles]| -> usize {
        let of = |(from, to): &RunWithHoles| from.len() + to.as_ref().map_or(0, Vec::len);
        ranges.iter().map(of).sum()
    };
    while ranges.len() > DAMAGE_MAX / 4 || ranges.len() > 1 && bytes(&ranges) > HOLE_KEY_BYTES_MAX {
        let mut odd = false;
        ranges.dedup_by(|next, before| {
            odd = !odd;
            if odd {
                extend(before, next, order);
            }
            odd
        });
    }
    ranges
}

fn extend(range: &mut RunWithHoles, next: &mut RunWithHoles, order: KeyOrder) {
    let further = match (&range.1, &next.1) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(range), Some(next)) => order(next, range).is_gt(),
    };
    if further {
        range.1 = next.1.take();
    }
}

/// Holes are listed before what is known of the source: who reads must not take a lost key for one that was never there.
/// None is left out.
fn keep_record(root: &mut DatabaseRoot, holes: &[RecordedDamage]) -> Result<()> {
    let before = std::mem::take(&mut root.damage);
    let (old_holes, source): (Vec<_>, Vec<_>) = before.into_iter().partition(RecordedDamage::is_hole);
    if old_holes.len() + holes.len() > DAMAGE_MAX {
        return Err(Error::new(
            ErrorKind::Limit,
            "more holes than a snapshot can list",
        ));
    }
    let all = old_holes.len() + holes.len() + source.len();
    let kept = old_holes.into_iter().chain(holes.iter().cloned()).chain(source);
    root.damage = kept.take(DAMAGE_MAX).collect();
    root.damage_unlisted += (all - root.damage.len()) as u64;
    root.capture.increments = 0;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(from: u32, to: u32) -> RunWithHoles {
        let key = |number: u32| number.to_be_bytes().to_vec();
        (key(from), Some(key(to)))
    }

    fn bytewise(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
        a.cmp(b)
    }

    #[test]
    fn ranges_that_touch_are_joined_and_others_are_not() {
        let joined = merge_ranges(
            vec![closed(9, 12), closed(1, 3), closed(3, 5), closed(2, 2)],
            &bytewise,
        );
        assert_eq!(joined, [closed(1, 5), closed(9, 12)]);
        let open = merge_ranges(vec![closed(9, 12), (vec![0], None)], &bytewise);
        assert_eq!(open, [(vec![0], None)]);
    }

    #[test]
    fn many_ranges_become_few_that_hold_all_of_them() {
        let many: Vec<_> = (0..10_001).map(|at| closed(10 * at, 10 * at + 5)).collect();
        let few = merge_ranges(many.clone(), &bytewise);
        assert!(few.len() <= DAMAGE_MAX / 4 && few.len() > DAMAGE_MAX / 10);
        let held = |(from, to): &RunWithHoles| few.iter().any(|few| few.0 <= *from && few.1 >= *to);
        assert!(many.iter().all(held));
        assert!(few.is_sorted());
    }
}
