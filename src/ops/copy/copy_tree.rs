//! Copies one tree of files, taking over unchanged files unread.
//!
//! A tree of files. Files that are as they were in the tree before are taken over unread.

use std::collections::BTreeSet;

use crate::blob::BlobKind;
use crate::chunk::BlobSource;
use crate::engine::tree_rewrite::{EntryAction, TreeRewrite, TreeRewriter};
use crate::error::{Error, Result};
use crate::id::{BlobId, ObjectId};
use crate::repo::BlobReader;
use crate::snapshot::{DirectoryWalk, EntryKind, TreeEntry};

use super::copy_snapshot::{ParentPair, SnapshotCarrier};

impl SnapshotCarrier<'_> {
    /// Copies a tree; its id in the destination. `before` is one that may have files in common with it, and its copy.
    pub fn tree(
        &mut self,
        tree: &BlobId,
        before: Option<ParentPair>,
        parents: &mut BTreeSet<ObjectId>,
    ) -> Result<BlobId> {
        let Some(before) = before else {
            return self.directory(tree, None);
        };
        parents.extend(&before.ground.parents);
        if before.from == *tree {
            return Ok(before.to);
        }
        if before.ground.is_new {
            self.sink.flush()?;
        }
        let lookup = self.to.lookup();
        let lookup = self.sink.own_snapshots(lookup)?;
        let there = BlobReader::new(self.to, &lookup);
        self.directory(tree, Some((before.from, before.to, &there)))
    }

    fn directory(
        &mut self,
        tree: &BlobId,
        before: Option<(BlobId, BlobId, &dyn BlobSource)>,
    ) -> Result<BlobId> {
        let (source, to, report) = (self.recent, self.to, self.report);
        let remake = TreeRewrite {
            source,
            secret: to.domain_keys().chunker_secret().expose(),
            report,
        };
        let mut copying = TreeCopy {
            carrier: self,
            before,
        };
        remake.rewrite_tree(tree, &mut copying).map(|(tree, ())| tree)
    }
}

/// A tree on its way.
struct TreeCopy<'c, 'a, 't> {
    carrier: &'c mut SnapshotCarrier<'a>,
    /// The tree before, its copy, and where that is.
    before: Option<(BlobId, BlobId, &'t dyn BlobSource)>,
}

/// A directory, and what it was before.
struct CopiedDirectory<'t> {
    twins: DirectoryPairWalk<'t>,
    /// What the entry that is looked at was.
    twin: Option<(EntryKind, EntryKind)>,
}

impl<'a: 't, 't> TreeRewriter for TreeCopy<'_, 'a, 't> {
    type DirectoryProgress = CopiedDirectory<'t>;
    type SubtreeTotals = ();

    fn enter_directory(
        &mut self,
        _: &BlobId,
        from: Option<(&mut CopiedDirectory<'t>, &TreeEntry)>,
    ) -> Result<CopiedDirectory<'t>> {
        let pair = match from {
            None => self.before.map(|(from, to, _)| (from, to)),
            Some((above, _)) => match above.twin {
                Some((EntryKind::Directory(from), EntryKind::Directory(to))) => Some((from, to)),
                _ => None,
            },
        };
        let there = self.before.map(|(_, _, there)| there);
        let here: &dyn BlobSource = self.carrier.recent;
        let places = pair.zip(there);
        let places = places.map(|((from, to), there)| [(from, here), (to, there)]);
        Ok(CopiedDirectory {
            twins: DirectoryPairWalk::new(places),
            twin: None,
        })
    }

    fn decide_entry(
        &mut self,
        level: &mut CopiedDirectory<'t>,
        _: &[u8],
        entry: TreeEntry,
    ) -> Result<EntryAction> {
        level.twin = level.twins.find(&entry.name);
        let kind = match (&level.twin, &entry.kind) {
            (Some((from, copied)), kind) if from == kind => copied.clone(),
            (_, EntryKind::File(list)) => EntryKind::File(self.carrier.list(list, None)?),
            (_, EntryKind::Directory(id)) => {
                let id = *id;
                return Ok(EntryAction::Enter(entry, id));
            }
            (_, kind) => kind.clone(),
        };
        Ok(EntryAction::Keep(TreeEntry { kind, ..entry }))
    }

    /// Half a tree is no copy.
    fn report_unreadable(&mut self, _: &[u8], error: Error) -> Result<()> {
        Err(error)
    }

    fn suspend_directory(&mut self, level: &mut CopiedDirectory<'t>) {
        level.twins.close();
    }

    fn finish_directory(&mut self, _: CopiedDirectory<'t>) {}

    fn add_subtree(&mut self, _: &mut CopiedDirectory<'t>, (): &()) {}

    fn store_blob(&mut self, kind: BlobKind, plain: Vec<u8>) -> Result<BlobId> {
        self.carrier.sink.add_one(kind, plain)
    }
}

/// A directory of the source and its copy, walked in step. Where they differ in a name, nothing more is known.
struct DirectoryPairWalk<'a> {
    /// Where the two are, while more may be known.
    places: Option<EntryPair<'a>>,
    walks: Option<(DirectoryWalk<'a>, DirectoryWalk<'a>)>,
    at: Option<(TreeEntry, TreeEntry)>,
}

type EntryPair<'a> = [(BlobId, &'a dyn BlobSource); 2];

impl<'a> DirectoryPairWalk<'a> {
    fn new(places: Option<EntryPair<'a>>) -> Self {
        Self {
            places,
            walks: None,
            at: None,
        }
    }

    /// Gives back memory; what is asked for next is read anew.
    fn close(&mut self) {
        (self.walks, self.at) = (None, None);
    }

    fn find(&mut self, name: &[u8]) -> Option<(EntryKind, EntryKind)> {
        if let (Some(places), None) = (&self.places, &self.walks) {
            let open = |(tree, source): &(BlobId, &'a dyn BlobSource)| {
                DirectoryWalk::open_from(tree, name.to_vec(), *source).ok()
            };
            self.walks = open(&places[0]).zip(open(&places[1]));
            self.advance();
        }
        while let Some((from, to)) = &self.at {
            match from.name[..].cmp(name) {
                std::cmp::Ordering::Less => self.advance(),
                std::cmp::Ordering::Equal => return Some((from.kind.clone(), to.kind.clone())),
                std::cmp::Ordering::Greater => return None,
            }
        }
        None
    }

    fn advance(&mut self) {
        self.at = self.walks.as_mut().and_then(|(from, to)| {
            let (from, to) = (from.next()?.ok()?, to.next()?.ok()?);
            (from.name == to.name).then_some((from, to))
        });
        if self.at.is_none() {
            (self.places, self.walks) = (None, None);
        }
    }
}
