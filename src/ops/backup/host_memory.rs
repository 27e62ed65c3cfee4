//! Provides a write-only host with its last snapshots from memory.

use std::collections::{HashMap, HashSet};

use crate::annotations::CurrentNotes;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;
use crate::repo::{HostState, RememberedSnapshot, WriteOnlyRepo};
use crate::report::OperationReport;
use crate::snapshot::Snapshot;

use super::save_database::{DatabaseInput, SavedDatabase};
use crate::engine::publish_snapshot::SnapshotDependencies;

/// What it remembers.
pub struct HostMemory {
    state: HostState,
    /// By snapshot, the packs that it rests on.
    packs: HashMap<ObjectId, HashMap<ObjectId, u64>>,
}

impl DatabaseInput {
    /// As a write-only host knows it. A snapshot of which a pack is gone or marked is remembered for its counter only:
    /// nothing can stand on it.
    pub fn load_for_host(host: &WriteOnlyRepo) -> Result<Self> {
        let state = host.state();
        let remembered = state.load_all();
        let mut catalog = host.catalog(&remembered)?;
        let mut packs = HashMap::new();
        if !remembered.is_empty() {
            let seen = host.repo().list_packs_and_marks()?;
            for kept in remembered {
                match seen.prove_packs(host.repo(), &kept.packs) {
                    Ok(()) => drop(packs.insert(kept.id, kept.packs)),
                    Err(error) if error.kind() == ErrorKind::Busy => {}
                    Err(error) => return Err(error),
                }
            }
        }
        catalog.snapshots.retain(|stored| packs.contains_key(&stored.id));
        Ok(Self {
            catalog,
            notes: CurrentNotes::default(),
            host: Some(HostMemory { state, packs }),
        })
    }

    /// What a snapshot rests on that stands on `parents`. A write-only host cannot prove that these still count; it proves
    /// all packs of theirs instead, like its own (docs/ORDERING.md, section 5).
    pub fn dependencies(
        &self,
        packs: HashMap<ObjectId, u64>,
        parents: HashSet<ObjectId>,
    ) -> Result<SnapshotDependencies<'_>> {
        let Some(host) = &self.host else {
            return Ok(SnapshotDependencies {
                packs,
                parents,
                catalog: &self.catalog,
            });
        };
        let mut packs = packs;
        for parent in &parents {
            let of_it = host.packs.get(parent).ok_or_else(|| {
                Error::new(
                    ErrorKind::Busy,
                    format!("what snapshot {} rests on is not known", parent.short()),
                )
            })?;
            packs.extend(of_it);
        }
        Ok(SnapshotDependencies {
            packs,
            parents: HashSet::new(),
            catalog: &self.catalog,
        })
    }
}

impl HostMemory {
    /// Remembers a snapshot that is durable. A failure costs the next backup a full read, and is told.
    pub fn remember(
        &self,
        id: ObjectId,
        snapshot: Snapshot,
        rests_on: &SnapshotDependencies<'_>,
        report: &OperationReport,
    ) {
        let packs = rests_on.packs.clone();
        let kept = RememberedSnapshot { id, snapshot, packs };
        if let Err(error) = self.state.store(&kept) {
            report.notice(format!("the next backup reads everything: {error}"));
        }
    }
}

/// The notes would be the owner's word.
pub fn report_suspects(saved: &SavedDatabase, report: &OperationReport) {
    let disagreement = saved.outcome.disagreement.iter();
    for id in disagreement.flat_map(|found| &found.suspects) {
        report.notice(format!(
            "snapshot {} is suspect, and a write-only host cannot note that: tell its owner",
            id.short()
        ));
    }
}
