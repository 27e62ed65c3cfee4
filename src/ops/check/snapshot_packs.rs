//! Finds the packs that the blobs of each snapshot lie in.
//!
//! The packs that snapshots rest on: every copy of everything that their trees lead to.

use std::collections::HashSet;

use crate::engine::blob_cache::BlobCacheReader;
use crate::engine::reachability::{
    ReachabilityRoot, ReachabilityRootId, ReachabilityWalk, VisitedNodes, source_roots,
};
use crate::error::{ErrorKind, Result};
use crate::id::ObjectId;
use crate::repo::{BlobReader, Repo, StoredSnapshot};
use crate::report::OperationReport;

use super::objects::ReadableIndex;

/// The packs, as far as the trees can be walked. Where one breaks is for [`super::trees`] to tell.
pub fn rests_on(
    repo: &Repo,
    index: &ReadableIndex,
    snapshots: &[StoredSnapshot],
    report: &OperationReport,
) -> Result<HashSet<ObjectId>> {
    let reader = BlobReader::new(repo, &index.lookup);
    let source = BlobCacheReader::new(&reader);
    let closure = ReachabilityWalk {
        source: &source,
        report,
    };
    let mut walk = DependencyWalk {
        closure,
        reader: &reader,
        walked: HashSet::new(),
        seen: VisitedNodes::default(),
        packs: HashSet::new(),
    };
    let sources = snapshots.iter().flat_map(|stored| &stored.snapshot.sources);
    sources
        .flat_map(source_roots)
        .try_for_each(|root| walk.root(root))?;
    Ok(walk.packs)
}

struct DependencyWalk<'a> {
    closure: ReachabilityWalk<'a>,
    reader: &'a BlobReader<'a>,
    walked: HashSet<ReachabilityRootId>,
    seen: VisitedNodes,
    packs: HashSet<ObjectId>,
}

impl DependencyWalk<'_> {
    fn root(&mut self, root: ReachabilityRoot) -> Result<()> {
        if !self.walked.insert(root.id()) {
            return Ok(());
        }
        let walked = self.closure.walk_root(root, &mut self.seen, &mut |kind, id| {
            let locations = self.reader.locations(kind, id)?;
            self.packs
                .extend(locations.into_iter().map(|location| location.pack));
            Ok(())
        });
        match walked {
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}
