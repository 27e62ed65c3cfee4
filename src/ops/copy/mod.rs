//! Copies snapshots from one repository into another.
//!
//! Copy: snapshots of one repository into another, each blob opened, compared, and sealed again under the other's keys.
//!
//! ```text
//! both catalogs ──plan──▶ there already: what the next ones can stand on
//!                    └──▶ missing, oldest first ──carry──▶ blobs, lists, leaves, nodes, trees (bottom up)
//!                                                └──digest──▶ the source's compared, the destination's recorded
//!                                                      └──publish──▶ packs, index, proof, snapshot, notes
//! ```
//! A copy says of what it is one ([`crate::snapshot::OriginalSnapshot`]): that is how a second copy knows what is there, and
//! how one that was killed goes on. Ids are keyed, so nothing of the source can be found in the destination by name; but
//! a copy keeps a run's leaves as they are, one for one, in their order. So the runs of a snapshot that is there already
//! answer for the same runs of the next one unread, and a new base is walked side by side with the one before it: no
//! table of old and new ids is kept, however many blobs there are (docs/decisions/0010-copy.md).
//!
//! The order of writes is a backup's, and so is the argument (docs/ORDERING.md, section 12).

mod chunk_lists;
mod copy_notes;
mod copy_plan;
mod copy_run;
mod copy_snapshot;
mod copy_tree;
mod paired_runs;
mod run_digests;

use std::collections::HashSet;

use crate::engine::blob_cache::BlobCacheReader;
use crate::engine::publish_snapshot::SnapshotDependencies;
use crate::engine::snapshot_filter::SnapshotFilter;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;
use crate::repo::{BlobReader, OWN_DOMAIN, Repo, SnapshotCatalog, StoredNotes, StoredSnapshot};
use crate::report::OperationReport;
use crate::snapshot::Snapshot;
use crate::storage::ObjectKind;

pub use copy_plan::{CopyPlan, CopyStep};
use copy_snapshot::{CarriedSnapshot, SnapshotCarrier};

/// How often a copy begins anew when something vanishes under it, on either side.
const ATTEMPTS_MAX: u32 = 3;

/// Snapshots that wait for their packs to be stored at most.
const READY_MAX: usize = 64;

/// What to copy; everything by default.
#[derive(Clone, Debug, Default)]
pub struct Copy {
    /// Only these: ids, their beginnings, `latest`, `latest~N`.
    pub snapshots: Vec<String>,
    /// Only those that fit.
    pub filter: SnapshotFilter,
}

/// A snapshot and its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedSnapshot {
    /// Its name in the source.
    pub from: ObjectId,
    /// The copy's in the destination.
    pub to: ObjectId,
}

/// A snapshot that is not copied because the source lacks something of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedSnapshot {
    /// Its name in the source.
    pub snapshot: ObjectId,
    /// What is lacking.
    pub why: String,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct CopyOutcome {
    /// Snapshots that were copied, oldest first; durable.
    pub copied: Vec<CopiedSnapshot>,
    /// Wanted snapshots that were there already.
    pub there: usize,
    /// Wanted snapshots that cannot be had whole.
    pub refused: Vec<RefusedSnapshot>,
    /// Snapshots of the source that cannot be read at all.
    pub unreadable: Vec<String>,
    /// Notes that were made in the destination because they hold in the source.
    pub notes: usize,
}

/// Told of each copy as soon as it is durable.
pub type CopiedVisitor<'e> = &'e mut dyn FnMut(CopiedSnapshot);

/// One repository, as it is listed.
pub struct ListedRepository {
    /// Its snapshots; the tags of those that count are those that hold of them.
    pub catalog: SnapshotCatalog,
    /// What was noted of them.
    pub notes: StoredNotes,
}

impl ListedRepository {
    /// Lists snapshots, then notes. What cannot be read is told to the report.
    pub fn load(repo: &Repo, report: &OperationReport) -> Result<Self> {
        let mut catalog = repo.catalog()?;
        let notes = repo.notes()?;
        let unread = catalog.unread_forget_records.iter().chain(&notes.unread);
        unread.for_each(|unread| report.notice(&unread.what));
        let standing = notes.current_notes();
        for stored in &mut catalog.snapshots {
            stored.snapshot.tags = standing.tags(&stored.id, &stored.snapshot.tags).to_vec();
        }
        Ok(Self { catalog, notes })
    }
}

impl Copy {
    /// What would be copied; stores nothing.
    pub fn plan<'k>(
        &self,
        from: &Repo,
        source: &'k ListedRepository,
        to: &Repo,
        there: &'k ListedRepository,
    ) -> Result<CopyPlan<'k>> {
        let wanted = self.selected_snapshots(&source.catalog)?;
        Ok(copy_plan::plan(
            (*from.id(), &source.catalog),
            &wanted,
            (*to.id(), &there.catalog),
        ))
    }

    /// Copies. Every snapshot that `each` is told of is durable, whatever happens afterwards.
    ///
    /// # Errors
    /// Those of the destination, and of a source of which nothing can be listed. What a snapshot lacks in the source
    /// is not an error but in the outcome.
    pub fn run(
        &self,
        from: &Repo,
        to: &Repo,
        report: &OperationReport,
        each: CopiedVisitor,
    ) -> Result<CopyOutcome> {
        let mut outcome = CopyOutcome::default();
        for attempt in 1.. {
            let last = attempt == ATTEMPTS_MAX;
            match self.attempt(from, to, report, last, &mut outcome, each) {
                Err(error) if error.kind() == ErrorKind::Busy && !last => {
                    report.notice(format!("begun again: {error}"));
                }
                result => return result.map(|()| outcome),
            }
        }
        unreachable!("the last attempt returns")
    }

    fn attempt(
        &self,
        from: &Repo,
        to: &Repo,
        report: &OperationReport,
        last: bool,
        outcome: &mut CopyOutcome,
        each: CopiedVisitor,
    ) -> Result<()> {
        let (source, there) = (
            ListedRepository::load(from, report)?,
            ListedRepository::load(to, report)?,
        );
        let plan = self.plan(from, &source, to, &there)?;
        outcome.there = plan.there.saturating_sub(outcome.copied.len());
        let unreadable = source.catalog.unreadable.iter();
        outcome.unreadable = unreadable.map(ToString::to_string).collect();
        outcome.refused.clear();
        outcome.notes += copy_notes::copy_new_notes(to, &plan, &source.notes, &there.notes)?;
        if plan.missing == 0 {
            return Ok(());
        }
        // What is noted as bad there may be what a copy would stand on: then nothing is taken over unread.
        let trusts = to.storage_reader().list(ObjectKind::Bad)?.is_empty();
        let mut successor = there.catalog.next_counter_and_parent();
        for domain in from.domains()? {
            let steps = plan.steps.iter().filter(|step| step.domain() == domain);
            let steps: Vec<_> = steps.collect();
            if !steps.iter().any(|step| matches!(step, CopyStep::Copy(_))) {
                continue;
            }
            // Behind the snapshots: whatever a listed one needs is in it.
            let from = from.in_domain(domain)?;
            let lookup = from.lookup()?;
            let reader = BlobReader::new(&from, &lookup);
            let recent = BlobCacheReader::new(&reader);
            let carrier = SnapshotCarrier::start(&from, &reader, &recent, to, report)?;
            let trusts = trusts && carrier.is_complete_at_destination();
            let mut shipment = CopyInProgress {
                carrier,
                source: &source,
                there: &there.catalog,
                to,
                report,
                trusts,
                successor,
                ready: Vec::new(),
                begun_at: report.bytes_added.get(),
                outcome: &mut *outcome,
                each: &mut *each,
            };
            for step in steps {
                shipment.step(step, last)?;
            }
            shipment.publish()?;
            successor = shipment.successor;
            shipment.carrier.finish()?;
        }
        Ok(())
    }

    fn selected_snapshots(&self, catalog: &SnapshotCatalog) -> Result<HashSet<ObjectId>> {
        let named = self.snapshots.iter().map(|words| catalog.select(words));
        let named: Vec<&StoredSnapshot> = if self.snapshots.is_empty() {
            catalog.snapshots.iter().collect()
        } else {
            named.collect::<Result<_>>()?
        };
        let fits = named.into_iter().filter(|stored| self.filter.fits(stored));
        Ok(fits.map(|stored| stored.id).collect())
    }
}

/// Snapshots on their way.
struct CopyInProgress<'a, 'o> {
    carrier: SnapshotCarrier<'a>,
    source: &'a ListedRepository,
    /// The destination, as it was listed.
    there: &'a SnapshotCatalog,
    to: &'a Repo,
    report: &'a OperationReport,
    /// Whether copies that are there can be stood on.
    trusts: bool,
    /// Counter of the destination's next snapshot, and the one it follows.
    successor: (u64, Option<ObjectId>),
    /// All of these is with the writer, and not yet all of it durable.
    ready: Vec<(ObjectId, CarriedSnapshot)>,
    /// Bytes that had been added when the first of them came.
    begun_at: u64,
    outcome: &'o mut CopyOutcome,
    each: CopiedVisitor<'o>,
}

impl CopyInProgress<'_, '_> {
    fn step(&mut self, step: &CopyStep, last: bool) -> Result<()> {
        self.report.go_on()?;
        let stored = match step {
            CopyStep::There { source, copied } => {
                if self.trusts {
                    self.carrier.add_common(source, copied);
                }
                return Ok(());
            }
            CopyStep::Copy(stored) => stored,
        };
        match self.carrier.carry_over(stored) {
            Ok(carried) => self.ready.push((stored.id, carried)),
            Err(error) if !self.carrier.is_of_source(&error) => return Err(error),
            // A prune of the source may have moved it: what is where is listed anew.
            Err(error) if error.kind() == ErrorKind::NotFound && !last => {
                self.publish()?;
                return Err(error.with_kind(ErrorKind::Busy));
            }
            Err(error) => self.outcome.refused.push(RefusedSnapshot {
                snapshot: stored.id,
                why: error.to_string(),
            }),
        }
        let added = self.report.bytes_added.get() - self.begun_at;
        if self.ready.len() >= READY_MAX || added >= self.to.pack_bytes() as u64 {
            self.publish()
        } else {
            Ok(())
        }
    }

    /// Packs and index first; then each snapshot behind a proof of its own.
    fn publish(&mut self) -> Result<()> {
        self.begun_at = self.report.bytes_added.get();
        if self.ready.is_empty() {
            return Ok(());
        }
        let packs = self.carrier.flush()?;
        for (from, carried) in std::mem::take(&mut self.ready) {
            let rests_on = SnapshotDependencies {
                packs: packs.clone(),
                parents: carried.parents.into_iter().collect(),
                catalog: self.there,
            };
            let (counter, previous) = self.successor;
            let snapshot = Snapshot {
                domain: OWN_DOMAIN,
                counter,
                previous,
                ..carried.snapshot
            };
            let to = rests_on.publish(self.to, &snapshot)?;
            self.successor = (counter.saturating_add(1), Some(to));
            let copied = CopiedSnapshot { from, to };
            self.outcome.copied.push(copied);
            (self.each)(copied);
            self.outcome.notes += copy_notes::notes_of_copied(self.to, &self.source.notes, copied)?;
        }
        Ok(())
    }
}

#[cold]
fn digest_mismatch(what: &str) -> Error {
    Error::corrupt(format!("the records do not have the recorded {what}"))
}
