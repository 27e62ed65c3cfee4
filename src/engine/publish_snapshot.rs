//! Proves that a snapshot's packs exist, and stores the snapshot.
//!
//! The last step of a backup: proof, snapshot, and the proof again if the storage took its time (docs/ORDERING.md 5).

use std::collections::{HashMap, HashSet};

use crate::annotations::{CountedSnapshot, ForgetReason, ForgetRecord};
use crate::error::Result;
use crate::id::ObjectId;
use crate::repo::{Repo, SnapshotCatalog};
use crate::snapshot::Snapshot;

/// How long a proof holds, by our clock: the shortest grace is six times as long.
const PROOF_VALID_NANOS: i64 = 3600 * 1_000_000_000;

/// The packs that a snapshot needs.
pub struct SnapshotDependencies<'a> {
    /// Packs of its own blobs, stored now or before, with their lengths.
    pub packs: HashMap<ObjectId, u64>,
    /// Snapshots whose runs it has below its own.
    pub parents: HashSet<ObjectId>,
    /// By which those were read.
    pub catalog: &'a SnapshotCatalog,
}

impl SnapshotDependencies<'_> {
    /// Stores the snapshot.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Busy`] if something that it rests on has gone or may go: then it is not there.
    pub fn publish(&self, repo: &Repo, snapshot: &Snapshot) -> Result<ObjectId> {
        let proven = repo.clock().now();
        self.prove_dependencies(repo)?;
        let id = repo.put_snapshot(snapshot)?;
        repo.remember_newest_snapshot((snapshot.counter, id));
        let took = repo.clock().now().0.saturating_sub(proven.0);
        if (0..=PROOF_VALID_NANOS).contains(&took) {
            return Ok(id);
        }
        // Nobody was told of it, and nothing stands on it yet.
        self.prove_dependencies(repo).or_else(|error| {
            // A write-only host takes nothing back: it stays as one whose writer died here, and `check` convicts it.
            if repo.keyring().is_ok() {
                withdraw_snapshot(repo, id, snapshot)?;
            }
            Err(error)
        })?;
        Ok(id)
    }

    fn prove_dependencies(&self, repo: &Repo) -> Result<()> {
        repo.prove_snapshots(&self.parents, self.catalog)?;
        repo.prove_packs(&self.packs)
    }
}

/// Forgotten first: that explains the gap that it leaves in its domain's count.
fn withdraw_snapshot(repo: &Repo, id: ObjectId, snapshot: &Snapshot) -> Result<()> {
    repo.put_forget_record(&ForgetRecord {
        when: repo.clock().now(),
        why: ForgetReason::Damaged,
        words: "what it rests on went while it was stored; nobody was told of it".into(),
        snapshots: vec![CountedSnapshot {
            id,
            domain: snapshot.domain,
            counter: snapshot.counter,
        }],
    })?;
    repo.withdraw_snapshot(&id)
}
