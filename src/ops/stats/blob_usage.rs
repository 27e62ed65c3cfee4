//! Counts which blobs are used by which databases and trees.
//!
//! Memory: for each blob its first user, and one bit for each of three sets; the number of users does not count.

use std::collections::HashSet;

use crate::chunk::BlobSource;
use crate::engine::reachability::{ReachabilityWalk, VisitedNodes, database_trees};
use crate::error::Result;
use crate::id::BlobId;
use crate::report::OperationReport;
use crate::snapshot::{DatabaseRoot, SnapshotSource, StoredRunRef, TreeRoot};

use super::StoredShare;
use crate::engine::blob_set::{BlobSet, NumberedBlobs};

/// A blob that no group uses.
const UNUSED_BLOB: u32 = u32::MAX;

/// A blob that several groups use.
const SHARED_BLOB: u32 = u32::MAX - 1;

/// What uses blobs.
#[derive(Clone, Copy)]
pub enum BlobUser<'s> {
    Database(&'s DatabaseRoot),
    Tree(&'s TreeRoot),
}

impl<'s> From<&'s SnapshotSource> for BlobUser<'s> {
    fn from(source: &'s SnapshotSource) -> Self {
        match source {
            SnapshotSource::Database(database) => Self::Database(database),
            SnapshotSource::Tree(tree) => Self::Tree(tree),
        }
    }
}

/// What each group of databases and trees rests on, and rests on alone.
pub fn stored_shares(
    source: &dyn BlobSource,
    blobs: &NumberedBlobs,
    groups: &[Vec<BlobUser>],
    report: &OperationReport,
) -> Result<Vec<StoredShare>> {
    let mut uses = BlobUsageCounter {
        walk: ReachabilityWalk { source, report },
        blobs,
        users: vec![UNUSED_BLOB; blobs.len()],
        last_base: None,
    };
    let each = (0..).zip(groups);
    let mut shares = each
        .map(|(number, group)| uses.count_group(number, group))
        .collect::<Result<Vec<_>>>()?;
    for (blob, user) in uses.users.iter().enumerate() {
        if let Some(share) = shares.get_mut(*user as usize) {
            share.exclusive_bytes += blobs.stored_len(blob);
        }
    }
    Ok(shares)
}

struct BlobUsageCounter<'a> {
    walk: ReachabilityWalk<'a>,
    blobs: &'a NumberedBlobs,
    /// Number of the only group that uses a blob.
    users: Vec<u32>,
    /// The blobs of the base that was walked last: the next snapshot's is often the same.
    last_base: Option<(BlobId, BlobSet)>,
}

/// The blobs of one group.
struct UsageGroup {
    number: u32,
    all: BlobSet,
    runs: HashSet<BlobId>,
    seen: VisitedNodes,
    share: StoredShare,
}

impl BlobUsageCounter<'_> {
    fn count_group(&mut self, number: u32, users: &[BlobUser]) -> Result<StoredShare> {
        let mut group = UsageGroup {
            number,
            all: BlobSet::new(self.blobs.len()),
            runs: HashSet::new(),
            seen: VisitedNodes::default(),
            share: StoredShare::default(),
        };
        for user in users {
            let bytes = match user {
                BlobUser::Database(database) => database.bytes(),
                BlobUser::Tree(tree) => tree.bytes,
            };
            group.share.restore_bytes = group.share.restore_bytes.saturating_add(bytes);
            match user {
                BlobUser::Database(database) => self.count_database(database, &mut group)?,
                BlobUser::Tree(tree) => self.count_tree(&tree.root, &mut group)?,
            }
        }
        Ok(group.share)
    }

    fn count_tree(&mut self, tree: &BlobId, group: &mut UsageGroup) -> Result<()> {
        let mut found = BlobSet::new(self.blobs.len());
        self.walk.walk_tree(tree, &mut group.seen, &mut |_, id| {
            self.insert_blob(id, &mut found)
        })?;
        self.count_blobs(&found, group);
        Ok(())
    }

    fn count_database(&mut self, database: &DatabaseRoot, group: &mut UsageGroup) -> Result<()> {
        for run in database.runs() {
            self.count_run(run, group)?;
        }
        database_trees(database).try_for_each(|tree| self.count_tree(tree, group))
    }

    fn count_run(&mut self, run: &StoredRunRef, group: &mut UsageGroup) -> Result<()> {
        let Some(root) = &run.root else { return Ok(()) };
        let id = root.top.id;
        if !group.runs.insert(id) {
            return Ok(());
        }
        let known = self.last_base.take_if(|(base, _)| *base == id);
        let found = match known {
            Some((_, found)) => found,
            None => self.walk_run(run)?,
        };
        self.count_blobs(&found, group);
        if run.filter.is_none() || self.last_base.is_none() {
            self.last_base = Some((id, found));
        }
        Ok(())
    }

    fn count_blobs(&mut self, found: &BlobSet, group: &mut UsageGroup) {
        group.all.extend(found, |blob| {
            group.share.stored_bytes += self.blobs.stored_len(blob);
            let user = &mut self.users[blob];
            *user = if *user == UNUSED_BLOB {
                group.number
            } else {
                SHARED_BLOB
            };
        });
    }

    fn walk_run(&self, run: &StoredRunRef) -> Result<BlobSet> {
        let mut found = BlobSet::new(self.blobs.len());
        self.walk
            .walk_run(run, &mut |_, id| self.insert_blob(id, &mut found))?;
        Ok(found)
    }

    fn insert_blob(&self, id: &BlobId, found: &mut BlobSet) -> Result<()> {
        if let Some(number) = self.blobs.number(id) {
            found.insert(number);
        }
        Ok(())
    }
}
