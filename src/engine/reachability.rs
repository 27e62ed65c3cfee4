//! Walks all blobs that are reachable from given roots.
//!
//! Every blob that something rests on: its trees from the roots down, and the chunks of long values and files.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use crate::blob::BlobKind;
use crate::chunk::{BlobSource, ChunkList, ChunkRef};
use crate::error::{Error, Result, ResultExt};
use crate::id::BlobId;
use crate::leveldb::Comparator;
use crate::report::OperationReport;
use crate::run::partial_run::is_loss;
use crate::run::{EntryPayload, KeyRange, RunReader, read_leaf};
use crate::snapshot::{
    DatabaseContent, DatabaseRoot, DirectoryWalk, EntryKind, SnapshotSource, StoredRunRef,
};

/// Takes a blob; an error ends the walk.
pub type BlobVisitor<'e> = &'e mut dyn FnMut(BlobKind, &BlobId) -> Result<()>;

/// Where the blobs of a source begin.
#[derive(Clone, Copy)]
pub enum ReachabilityRoot<'a> {
    /// One that has records.
    Run(&'a StoredRunRef),
    /// Of files.
    Tree(&'a BlobId),
}

/// Tells roots apart: snapshots share most, and none need be walked twice. A run is walked in the order of its keys.
pub type ReachabilityRootId = (BlobId, String);

impl ReachabilityRoot<'_> {
    /// See [`ReachabilityRootId`].
    pub fn id(self) -> ReachabilityRootId {
        match self {
            Self::Run(run) => {
                let top = run
                    .root
                    .as_ref()
                    .map_or(BlobId([0; BlobId::LEN]), |root| root.top.id);
                (top, run.comparator.clone())
            }
            Self::Tree(tree) => (*tree, String::new()),
        }
    }
}

/// All that a source begins with.
pub fn source_roots(source: &SnapshotSource) -> Vec<ReachabilityRoot<'_>> {
    match source {
        SnapshotSource::Database(database) => {
            let runs = database.runs().filter(|run| run.root.is_some());
            runs.map(ReachabilityRoot::Run)
                .chain(database_trees(database).map(ReachabilityRoot::Tree))
                .collect()
        }
        SnapshotSource::Tree(tree) => vec![ReachabilityRoot::Tree(&tree.root)],
    }
}

/// Walks down from roots.
#[derive(Clone, Copy)]
pub struct ReachabilityWalk<'a> {
    /// Where inner nodes and lists are read.
    pub source: &'a dyn BlobSource,
    /// Asked whether to go on.
    pub report: &'a OperationReport,
}

impl ReachabilityWalk<'_> {
    /// The blobs below a root, itself among them, some perhaps twice; not those below what was seen before.
    pub fn walk_root(
        &self,
        root: ReachabilityRoot,
        seen: &mut VisitedNodes,
        each: BlobVisitor,
    ) -> Result<()> {
        match root {
            ReachabilityRoot::Run(run) => self.walk_run(run, each),
            ReachabilityRoot::Tree(tree) => self.walk_tree(tree, seen, each),
        }
    }

    /// The blobs of a run, some perhaps twice. Reads inner nodes, and leaves only where long values hang on them.
    pub fn walk_run(&self, run: &StoredRunRef, each: BlobVisitor) -> Result<()> {
        let comparator = Comparator::from_name(&run.comparator);
        let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
        let walker = RunReader::new(self.source, run.root.as_ref(), &order);
        walker.blobs(&mut |kind, id| {
            self.report.go_on()?;
            each(kind, id)
        })?;
        let chunked = run.root.as_ref().is_some_and(|root| root.top.chunked > 0);
        let leaves = chunked.then(|| walker.leaves(KeyRange::all()));
        for span in leaves.into_iter().flatten() {
            let span = span?;
            if span.leaf.chunked == 0 {
                continue;
            }
            let plain = self.source.blob(BlobKind::Leaf, &span.leaf.id)?;
            read_leaf(&plain, &span, &order, |entry| match &entry.payload {
                EntryPayload::Chunked(list) => self.walk_chunk_list(list, each),
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    /// The blobs of a tree of files, however deep it is: what is to be done waits on the heap. What cannot be read is passed
    /// over, and is the error in the end.
    pub fn walk_tree(&self, tree: &BlobId, seen: &mut VisitedNodes, each: BlobVisitor) -> Result<()> {
        let mut down = ReachabilityCursor {
            seen,
            waiting: Vec::new(),
            first_loss: None,
        };
        down.enqueue_tree(*tree);
        while let Some(tree) = down.waiting.pop() {
            let directory = self.walk_directory(&tree, &mut down, each);
            down.record_loss(directory.context(|| format!("tree {}", tree.short())))?;
        }
        down.first_loss.map_or(Ok(()), Err)
    }

    /// The blobs of one directory and its files. A large directory is several blobs, which its walk opens by itself.
    fn walk_directory(&self, tree: &BlobId, down: &mut ReachabilityCursor, each: BlobVisitor) -> Result<()> {
        let opened = TracingSource::of(self.source);
        let first = down.waiting.len();
        let walked = DirectoryWalk::open(tree, &opened).and_then(|mut walk| {
            walk.try_for_each(|entry| {
                self.report.go_on()?;
                match entry?.kind {
                    EntryKind::File(list) => self.walk_nested_lists(&list, down, each),
                    EntryKind::Directory(id) => {
                        down.enqueue_tree(id);
                        Ok(())
                    }
                    _ => Ok(()),
                }
            })
        });
        // In the order in which they were stored.
        down.waiting[first..].reverse();
        for (kind, id) in opened.blobs.into_inner() {
            let told = each(kind, &id);
            down.record_loss(told)?;
        }
        walked
    }

    /// The blobs of a long value or a file.
    pub fn walk_chunk_list(&self, list: &ChunkList, each: BlobVisitor) -> Result<()> {
        let mut seen = VisitedNodes::default();
        let mut down = ReachabilityCursor {
            seen: &mut seen,
            waiting: Vec::new(),
            first_loss: None,
        };
        self.walk_nested_lists(list, &mut down, each)?;
        down.first_loss.map_or(Ok(()), Err)
    }

    /// Lists in lists are 40 levels at most, see [`crate::limits::TREE_LEVELS_MAX`].
    fn walk_nested_lists(
        &self,
        list: &ChunkList,
        down: &mut ReachabilityCursor,
        each: BlobVisitor,
    ) -> Result<()> {
        let kind = list.child_kind();
        for child in list.children() {
            let told = each(kind, &child.id);
            down.record_loss(told)?;
            if kind == BlobKind::List && down.seen.insert(&child.id) {
                match self.read_child_list(list, child) {
                    Ok(below) => self.walk_nested_lists(&below, down, each)?,
                    lost => down.record_loss(lost.map(drop))?,
                }
            }
        }
        self.report.go_on()
    }

    fn read_child_list(&self, list: &ChunkList, child: &ChunkRef) -> Result<ChunkList> {
        let plain = self.source.blob(BlobKind::List, &child.id)?;
        ChunkList::decode_at_depth(list.depth(), child, &plain)
    }
}

/// Trees and lists below which a walk has been: a few blobs that name one another lead by more ways than anyone could go.
/// About 60 bytes each.
#[derive(Default)]
pub struct VisitedNodes(HashSet<BlobId>);

impl VisitedNodes {
    fn insert(&mut self, id: &BlobId) -> bool {
        self.0.insert(*id)
    }
}

/// A walk on its way.
struct ReachabilityCursor<'s> {
    seen: &'s mut VisitedNodes,
    /// Directories to be walked, the next one last.
    waiting: Vec<BlobId>,
    /// What could not be read, the first of it.
    first_loss: Option<Error>,
}

impl ReachabilityCursor<'_> {
    fn enqueue_tree(&mut self, tree: BlobId) {
        if self.seen.insert(&tree) {
            self.waiting.push(tree);
        }
    }

    /// Whatever is beside something lost may be there.
    fn record_loss(&mut self, walked: Result<()>) -> Result<()> {
        match walked {
            Err(error) if is_loss(&error) => drop(self.first_loss.get_or_insert(error)),
            walked => return walked,
        }
        Ok(())
    }
}

/// The trees of files that a database has: its own, where it is stored as files, and those beside it.
pub fn database_trees(database: &DatabaseRoot) -> impl Iterator<Item = &BlobId> {
    let files = match &database.content {
        DatabaseContent::Physical { tree } => Some(tree),
        DatabaseContent::Logical { .. } => None,
    };
    files.into_iter().chain(&database.beside)
}

/// Keeps the name of every blob that is read through it.
struct TracingSource<'a> {
    source: &'a dyn BlobSource,
    blobs: RefCell<Vec<(BlobKind, BlobId)>>,
}

impl<'a> TracingSource<'a> {
    fn of(source: &'a dyn BlobSource) -> Self {
        let blobs = RefCell::default();
        Self { source, blobs }
    }
}

impl BlobSource for TracingSource<'_> {
    fn blob(&self, kind: BlobKind, id: &BlobId) -> Result<Arc<[u8]>> {
        self.blobs.borrow_mut().push((kind, *id));
        self.source.blob(kind, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::memory_blobs::MemoryBlobs;
    use crate::error::ErrorKind;
    use crate::run::LeafCutter;
    use crate::snapshot::{DirectoryBuilder, FileMetadata, TreeEntry};

    fn directory(blobs: &mut MemoryBlobs, entries: Vec<(&str, EntryKind)>) -> BlobId {
        let mut builder = DirectoryBuilder::new(LeafCutter::new(&[1; 32]));
        let mut store = |kind, plain| blobs.store(kind, plain);
        for (name, kind) in entries {
            let (name, meta) = (name.into(), FileMetadata::default());
            builder.push(TreeEntry { name, kind, meta }, &mut store).unwrap();
        }
        builder.finish(&mut store).unwrap()
    }

    #[test]
    fn what_is_beside_something_lost_is_found_and_so_is_the_name_of_what_is_lost() {
        let mut blobs = MemoryBlobs::default();
        let chunk = |bytes| ChunkRef {
            id: BlobId([bytes; 32]),
            bytes: u64::from(bytes),
        };
        let file = |bytes| EntryKind::File(ChunkList::from_chunks(vec![chunk(bytes)]).unwrap());
        let lost = directory(&mut blobs, vec![("f", file(1))]);
        let whole = directory(&mut blobs, vec![("f", file(2))]);
        let under = [
            ("a", EntryKind::Directory(lost)),
            ("b", EntryKind::Directory(whole)),
        ];
        let root = directory(&mut blobs, under.into());
        blobs.map.remove(&lost);
        let report = OperationReport::default();
        let closure = ReachabilityWalk {
            source: &blobs,
            report: &report,
        };
        let mut found = HashSet::new();
        let walked = closure.walk_tree(&root, &mut VisitedNodes::default(), &mut |_, id| {
            found.insert(*id);
            Ok(())
        });
        assert_eq!(walked.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(found, HashSet::from([root, lost, whole, BlobId([2; 32])]));
    }
}
