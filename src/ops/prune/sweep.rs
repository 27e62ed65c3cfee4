//! Deletes what was marked, in a safe order.
//!
//! What is deleted, and in which order (docs/ORDERING.md 7).
//!
//! ```text
//! forgotten snapshots --> index without the packs --> the packs --> marks that have done their work
//! ```
//! A crash in between leaves marks without packs, or entries of packs that are gone, which the next sweep removes.

use std::collections::HashSet;

use crate::annotations::{DeletionMark, MarkedPack, ReplacedMark};
use crate::clock::UnixNanos;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;
use crate::limits::OBJECT_BYTES_MAX;
use crate::repo::{DeletePermit, Repo, StoredMark, SweepPermit};
use crate::report::OperationReport;
use crate::storage::{ObjectKind, ObjectName};

use super::prune_input::PruneInput;
use super::prune_plan::{PackUsage, is_grace_over};
use crate::engine::rewrite_segments;

/// What is to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Snapshots that were forgotten long ago.
    pub snapshots: Vec<ObjectId>,
    /// Packs with their lengths.
    pub packs: Vec<MarkedPack>,
    /// Marks whose packs are all gone then.
    pub marks: Vec<ObjectId>,
    /// Marked packs that are needed again.
    pub unmark: Vec<ObjectId>,
    /// Notes on bad blobs of which no wrong copy is left.
    pub bad: Vec<ObjectId>,
}

/// Plans: what is ripe `now`, by the storage's clock, and what nothing needs. Pure.
pub fn plan(facts: &PruneInput, grace: i64, now: UnixNanos) -> Sweep {
    let may_go = |pack: &&PackUsage| {
        let since = pack.marked.flatten();
        is_grace_over(since, grace, now) && !pack.needed && !pack.retained
    };
    let going = facts.packs.iter().filter(may_go);
    let packs: Vec<_> = going
        .map(|pack| MarkedPack {
            pack: pack.id,
            len: pack.len,
        })
        .collect();
    let unmark: Vec<_> = facts
        .packs
        .iter()
        .filter(|pack| pack.needed)
        .map(|pack| pack.id)
        .collect();
    let left: HashSet<_> = facts.packs.iter().map(|pack| pack.id).collect();
    let left = &left - &packs.iter().map(|pack| pack.pack).collect();
    let left = &left | &facts.others;
    let is_done = |mark: &&StoredMark| mark.mark.packs.iter().all(|pack| !left.contains(&pack.pack));
    Sweep {
        snapshots: facts.expired.clone(),
        marks: facts.marks.iter().filter(is_done).map(|mark| mark.id).collect(),
        packs,
        unmark,
        bad: facts.bad_over.clone(),
    }
}

impl Sweep {
    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Bytes that it gives back.
    pub fn bytes(&self) -> u64 {
        self.packs.iter().map(|pack| pack.len).sum()
    }

    /// Carries it out; `permit` is of the listings that it was planned by.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when it takes longer than an hour: run it again, which goes on from new listings.
    pub(super) fn run(
        &self,
        repo: &Repo,
        facts: &PruneInput,
        permit: &SweepPermit<'_>,
        report: &OperationReport,
    ) -> Result<()> {
        let permit = DeletePermit::Sweep(permit);
        let delete = |kind: ObjectKind, id: ObjectId| -> Result<()> {
            report.go_on()?;
            repo.delete(&permit, ObjectName { kind, id })
        };
        unmark(repo, &facts.marks, &self.unmark)?;
        self.snapshots(repo, &delete)?;
        let gone = self.gone(facts);
        let rewritten = rewrite_segments::rewrite(repo, &facts.index, &gone, report);
        let is_full = matches!(&rewritten, Err(error) if error.kind() == ErrorKind::Full);
        if !is_full {
            rewritten?;
        }
        let mut packs = self.packs.iter();
        packs.try_for_each(|pack| delete(ObjectKind::Pack, pack.pack))?;
        if is_full {
            // There is room now. Until here the index named packs that are gone, as behind a sweep that died.
            rewrite_segments::rewrite(repo, &facts.index, &gone, report)?;
        }
        self.marks
            .iter()
            .try_for_each(|id| delete(ObjectKind::Mark, *id))?;
        self.bad.iter().try_for_each(|id| delete(ObjectKind::Bad, *id))
    }

    /// Deletes forgotten snapshots, unless one is brought back meanwhile: then all are put back, and nothing else goes.
    fn snapshots(&self, repo: &Repo, delete: &dyn Fn(ObjectKind, ObjectId) -> Result<()>) -> Result<()> {
        let mut kept = Vec::new();
        for id in &self.snapshots {
            let name = ObjectName::new(ObjectKind::Snapshot, *id);
            match repo.storage_reader().get(name, OBJECT_BYTES_MAX) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                bytes => kept.push((name, bytes?)),
            }
        }
        let deleted = kept.iter().try_for_each(|(name, _)| delete(name.kind, name.id));
        match deleted.and_then(|()| self.are_forgotten(repo)) {
            Ok(()) => Ok(()),
            Err(error) => {
                for (name, bytes) in &kept {
                    repo.put_snapshot_back(*name, bytes)?;
                }
                Err(error)
            }
        }
    }

    fn are_forgotten(&self, repo: &Repo) -> Result<()> {
        let forgotten = repo.forget_records()?.require_complete(&repo.notes()?)?;
        match self.snapshots.iter().find(|id| forgotten.of(id).is_none()) {
            None => Ok(()),
            Some(id) => Err(Error::new(
                ErrorKind::Busy,
                format!("snapshot {} was brought back meanwhile; run it again", id.short()),
            )),
        }
    }

    /// Packs that go, and those that segments name and that have gone already: in another prune, or in one that ended
    /// too early.
    fn gone(&self, facts: &PruneInput) -> HashSet<ObjectId> {
        let listed: HashSet<_> = facts.packs.iter().map(|pack| pack.id).collect();
        let mut gone: HashSet<_> = self.packs.iter().map(|pack| pack.pack).collect();
        gone.extend(facts.index.packs.keys().filter(|id| !listed.contains(*id)));
        gone
    }
}

/// Takes marks off `packs`. The new mark, which keeps the old one's time, is durable before the old one goes.
pub fn unmark(repo: &Repo, marks: &[StoredMark], packs: &[ObjectId]) -> Result<()> {
    let packs: HashSet<_> = packs.iter().collect();
    for stored in marks {
        let stays = |marked: &&MarkedPack| !packs.contains(&marked.pack);
        let left: Vec<_> = stored.mark.packs.iter().filter(stays).copied().collect();
        if left.len() == stored.mark.packs.len() {
            continue;
        }
        if !left.is_empty() {
            repo.put_mark(&DeletionMark {
                when: stored.mark.when,
                packs: left,
                replaces: stored.since.map(|since| ReplacedMark {
                    mark: stored.id,
                    since,
                }),
            })?;
        }
        let name = ObjectName {
            kind: ObjectKind::Mark,
            id: stored.id,
        };
        repo.delete(&DeletePermit::Disposable, name)?;
    }
    Ok(())
}
