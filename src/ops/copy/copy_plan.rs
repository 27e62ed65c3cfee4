//! Plans which snapshots are copied.
//!
//! What is to be copied: a pure comparison of two catalogs.

use std::collections::{HashMap, HashSet};

use crate::id::{DomainId, ObjectId, RepositoryId};
use crate::repo::{OWN_DOMAIN, SnapshotCatalog, StoredSnapshot};
use crate::snapshot::OriginalSnapshot;

/// All of it, in the order in which it is done.
#[derive(Clone, Debug)]
pub struct CopyPlan<'k> {
    /// The source's snapshots that are wanted or there, oldest first.
    pub steps: Vec<CopyStep<'k>>,
    /// Wanted ones that are not there.
    pub missing: usize,
    /// Wanted ones that are.
    pub there: usize,
}

/// One snapshot of the source.
#[derive(Clone, Copy, Debug)]
pub enum CopyStep<'k> {
    /// It is there; those after it may stand on it.
    There {
        /// In the source.
        source: &'k StoredSnapshot,
        /// In the destination.
        copied: &'k StoredSnapshot,
    },
    /// It is to be copied.
    Copy(&'k StoredSnapshot),
}

impl CopyStep<'_> {
    /// The dedup domain that the snapshot belongs to in the source.
    pub fn domain(&self) -> DomainId {
        match self {
            Self::There { source, .. } | Self::Copy(source) => source.snapshot.domain,
        }
    }
}

/// A repository's id, and what it has.
type CopySide<'k> = (RepositoryId, &'k SnapshotCatalog);

/// Which of the `wanted` snapshots of `source` are missing in `there`. Two snapshots are the same if they have one
/// original; one that is no copy is its own. Forgotten ones are not there. In the destination only the owner's own count:
/// a write-only host must not be able to say that something is there.
pub fn plan<'k>(source: CopySide<'k>, wanted: &HashSet<ObjectId>, there: CopySide<'k>) -> CopyPlan<'k> {
    let own = there.1.snapshots.iter();
    let own = own.filter(|stored| stored.snapshot.domain == OWN_DOMAIN);
    let copies: HashMap<_, _> = own.map(|stored| (original(&there.0, stored), stored)).collect();
    let mut plan = CopyPlan {
        steps: Vec::new(),
        missing: 0,
        there: 0,
    };
    for stored in &source.1.snapshots {
        let is_wanted = wanted.contains(&stored.id);
        match copies.get(&original(&source.0, stored)) {
            Some(copied) => {
                plan.there += usize::from(is_wanted);
                plan.steps.push(CopyStep::There {
                    source: stored,
                    copied,
                });
            }
            None if is_wanted => {
                plan.missing += 1;
                plan.steps.push(CopyStep::Copy(stored));
            }
            None => {}
        }
    }
    plan
}

/// What a snapshot is a copy of; itself, if of nothing. Only the owner's word counts: a write-only host could name any
/// snapshot, and pass for it.
pub fn original(repository: &RepositoryId, stored: &StoredSnapshot) -> OriginalSnapshot {
    let told = stored.snapshot.original;
    told.filter(|_| stored.snapshot.domain == OWN_DOMAIN)
        .unwrap_or(OriginalSnapshot {
            repository: *repository,
            snapshot: stored.id,
        })
}
