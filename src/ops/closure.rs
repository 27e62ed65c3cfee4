//! Every blob that something rests on: its trees from the roots down, and the chunks of long values and files.

use std::cell::RefCell;
use std::sync::Arc;

use crate::blob::BlobKind;
use crate::chunk::{BlobSource, ChunkList};
use crate::error::{Act, Error, Result};
use crate::id::BlobId;
use crate::leveldb::Comparator;
use crate::report::Report;
use crate::run::{KeyRange, Payload, Walker, read_leaf};
use crate::snapshot::{Content, DatabaseRoot, DirectoryWalk, EntryKind, Run, Source};

/// Takes a blob; an error ends the walk.
pub type EachBlob<'e> = &'e mut dyn FnMut(BlobKind, &BlobId) -> Result<()>;

/// Where the blobs of a source begin.
#[derive(Clone, Copy)]
pub enum Root<'a> {
    /// One that has records.
    Run(&'a Run),
    /// Of files.
    Tree(&'a BlobId),
}

/// Tells roots apart: snapshots share most, and none need be walked twice. A run is walked in the order of its keys.
pub type RootId = (BlobId, String);

impl Root<'_> {
    /// See [`RootId`].
    pub fn id(self) -> RootId {
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
pub fn roots(source: &Source) -> Vec<Root<'_>> {
    match source {
        Source::Database(database) => {
            let runs = database.runs().filter(|run| run.root.is_some());
            runs.map(Root::Run)
                .chain(trees(database).map(Root::Tree))
                .collect()
        }
        Source::Tree(tree) => vec![Root::Tree(&tree.root)],
    }
}

/// Walks down from roots.
#[derive(Clone, Copy)]
pub struct Closure<'a> {
    /// Where inner nodes and lists are read.
    pub source: &'a dyn BlobSource,
    /// Asked whether to go on.
    pub report: &'a Report,
}

impl Closure<'_> {
    /// The blobs below a root, itself among them, some perhaps twice.
    pub fn root(&self, root: Root, each: EachBlob) -> Result<()> {
        match root {
            Root::Run(run) => self.run(run, each),
            Root::Tree(tree) => self.tree(tree, each),
        }
    }

    /// The blobs of a run, some perhaps twice. Reads inner nodes, and leaves only where long values hang on them.
    pub fn run(&self, run: &Run, each: EachBlob) -> Result<()> {
        let comparator = Comparator::from_name(&run.comparator);
        let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
        let walker = Walker::new(self.source, run.root.as_ref(), &order);
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
                Payload::Chunked(list) => self.list(list, each),
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    /// The blobs of a tree of files.
    pub fn tree(&self, tree: &BlobId, each: EachBlob) -> Result<()> {
        // A large directory is several blobs, which the walk opens by itself.
        let opened = Opened::of(self.source);
        let walk = DirectoryWalk::open(tree, &opened);
        for entry in walk.act(|| format!("tree {}", tree.short()))? {
            match entry?.kind {
                EntryKind::File(list) => self.list(&list, each)?,
                EntryKind::Directory(id) => self.tree(&id, each)?,
                _ => {}
            }
        }
        let blobs = opened.blobs.into_inner();
        blobs.into_iter().try_for_each(|(kind, id)| each(kind, &id))
    }

    /// The blobs of a long value or a file.
    pub fn list(&self, list: &ChunkList, each: EachBlob) -> Result<()> {
        let kind = list.child_kind();
        for child in list.children() {
            each(kind, &child.id)?;
            if kind == BlobKind::List {
                let plain = self.source.blob(kind, &child.id)?;
                let below = ChunkList::decode_blob(&plain)?;
                match (below.depth() + 1, below.bytes()) == (list.depth(), child.bytes) {
                    true => self.list(&below, each)?,
                    false => return Err(Error::corrupt("a list of chunks is not what its parent says")),
                }
            }
        }
        self.report.go_on()
    }
}

/// The trees of files that a database has: its own, where it is stored as files, and those beside it.
pub fn trees(database: &DatabaseRoot) -> impl Iterator<Item = &BlobId> {
    let files = match &database.content {
        Content::Physical { tree } => Some(tree),
        Content::Logical { .. } => None,
    };
    files.into_iter().chain(&database.beside)
}

/// Keeps the name of every blob that is read through it.
struct Opened<'a> {
    source: &'a dyn BlobSource,
    blobs: RefCell<Vec<(BlobKind, BlobId)>>,
}

impl<'a> Opened<'a> {
    fn of(source: &'a dyn BlobSource) -> Self {
        let blobs = RefCell::default();
        Self { source, blobs }
    }
}

impl BlobSource for Opened<'_> {
    fn blob(&self, kind: BlobKind, id: &BlobId) -> Result<Arc<[u8]>> {
        self.blobs.borrow_mut().push((kind, *id));
        self.source.blob(kind, id)
    }
}
