//! Records the blobs that snapshots need and that no pack has.
//!
//! Blobs that snapshots need and the index does not know, to be noted as bad: an increment looks for nothing of what it
//! stands on unless something is noted.

use std::collections::{BTreeSet, HashSet};

use crate::annotations::{BadBlob, BadBlobs};
use crate::blob::BlobKind;
use crate::engine::blob_cache::BlobCacheReader;
use crate::engine::reachability::{ReachabilityRootId, ReachabilityWalk, VisitedNodes, source_roots};
use crate::error::Result;
use crate::id::{BlobId, ObjectId};
use crate::index_cache::IndexLookup;
use crate::limits::BAD_BLOBS_MAX;
use crate::repo::{BlobReader, Repo};
use crate::report::OperationReport;
use crate::run::partial_run::is_loss;

/// Walks the trees of all snapshots that count. Of a tree below a node that is lost the node alone is told.
pub fn find_missing(
    repo: &Repo,
    lookup: &IndexLookup,
    gone: &HashSet<ObjectId>,
    report: &OperationReport,
) -> Result<Vec<BadBlob>> {
    let reader = BlobReader::new(repo, lookup);
    let recent = BlobCacheReader::new(&reader);
    let closure = ReachabilityWalk {
        source: &recent,
        report,
    };
    let mut found = BTreeSet::new();
    let mut walked: HashSet<ReachabilityRootId> = HashSet::new();
    let mut seen = VisitedNodes::default();
    let mut each = |kind: BlobKind, id: &BlobId| {
        let copies = lookup.locations(id)?;
        if copies.iter().all(|copy| gone.contains(&copy.pack)) {
            found.insert(BadBlob { id: *id, kind });
        }
        Ok(())
    };
    for stored in repo.catalog()?.of_domain(repo.domain()).snapshots {
        for root in stored.snapshot.sources.iter().flat_map(source_roots) {
            if !walked.insert(root.id()) {
                continue;
            }
            skip_lost(closure.walk_root(root, &mut seen, &mut each))?;
        }
    }
    Ok(found.into_iter().collect())
}

fn skip_lost(walked: Result<()>) -> Result<()> {
    match walked {
        Err(error) if !is_loss(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Notes those that are not noted yet; how many.
pub fn store_bad_blob_list(repo: &Repo, lost: &[BadBlob]) -> Result<u64> {
    let known = repo.bad_blobs()?.blobs(repo);
    let new = lost.iter().filter(|blob| !known.contains(&blob.id));
    let new: Vec<_> = new.copied().collect();
    for blobs in new.chunks(BAD_BLOBS_MAX) {
        repo.put_bad_blobs(&BadBlobs {
            when: repo.clock().now(),
            domain: repo.domain_keys().id(),
            blobs: blobs.to_vec(),
        })?;
    }
    Ok(new.len() as u64)
}
