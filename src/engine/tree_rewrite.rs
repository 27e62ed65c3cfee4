//! Rewrites a tree of files from the bottom up.
//!
//! A tree of files made again from the bottom up, out of what another one has: for a copy under other keys, or without what
//! is lost.
//!
//! ```text
//! old:   a   a/b   a/b/f       (next)        open: [root] [a] [a/b]
//! new:   a/b's entries are stored when it is left, and its id goes into a's
//! ```
//! However deep a tree is, the walk's own state is on the heap; memory is bounded by closing far directories, as
//! [`super::tree::NodeWalker`] does. A directory that is named again is not walked again.

use std::collections::{BTreeMap, HashMap};

use crate::blob::BlobKind;
use crate::chunk::BlobSource;
use crate::engine::tree::{OPEN_DIRECTORIES_MAX, join_path};
use crate::error::{Error, Result, ResultExt};
use crate::id::BlobId;
use crate::limits::TREE_DEPTH_MAX;
use crate::report::OperationReport;
use crate::run::LeafCutter;
use crate::snapshot::{DirectoryBuilder, DirectoryWalk, EntryKind, TreeEntry};

/// Entries of directories that are not done yet, all levels together: about a gigabyte at worst, and far more than any
/// directories in directories had.
const WAITING_ENTRIES_MAX: usize = 1 << 22;

/// What becomes of an entry.
pub enum EntryAction {
    /// It stands in the new directory.
    Keep(TreeEntry),
    /// It stands there under a name that may belong elsewhere; if there is another of that name, under a longer one.
    KeepAs(TreeEntry, &'static [u8]),
    /// It does not.
    LeaveOut,
    /// A directory that is made again first.
    Enter(TreeEntry, BlobId),
}

/// Whoever makes a tree again.
pub trait TreeRewriter {
    /// What goes with a directory while it is under way.
    type DirectoryProgress;
    /// What a directory comes to, to be added to the one above it.
    type SubtreeTotals: Clone;

    /// A directory is entered; `entry` of what is above leads there, or it is a root.
    fn enter_directory(
        &mut self,
        tree: &BlobId,
        from: Option<(&mut Self::DirectoryProgress, &TreeEntry)>,
    ) -> Result<Self::DirectoryProgress>;
    /// What becomes of one entry that is at `path`.
    fn decide_entry(
        &mut self,
        level: &mut Self::DirectoryProgress,
        path: &[u8],
        entry: TreeEntry,
    ) -> Result<EntryAction>;
    /// Part of the directory at `path` cannot be read; an error ends it all.
    fn report_unreadable(&mut self, path: &[u8], error: Error) -> Result<()>;
    /// It will not be looked at for a while.
    fn suspend_directory(&mut self, _: &mut Self::DirectoryProgress) {}
    /// A directory is done.
    fn finish_directory(&mut self, level: Self::DirectoryProgress) -> Self::SubtreeTotals;
    /// One below this one is done, or was before.
    fn add_subtree(&mut self, level: &mut Self::DirectoryProgress, below: &Self::SubtreeTotals);
    /// Stores a blob of the new tree.
    fn store_blob(&mut self, kind: BlobKind, plain: Vec<u8>) -> Result<BlobId>;
}

/// What trees are made from and how they are cut.
pub struct TreeRewrite<'a> {
    pub source: &'a dyn BlobSource,
    pub secret: &'a [u8; 32],
    pub report: &'a OperationReport,
}

struct DirectoryInRewrite<'a, L> {
    tree: BlobId,
    /// What it is in the directory above.
    entry: Option<TreeEntry>,
    level: L,
    walk: Option<DirectoryWalk<'a>>,
    /// Name of the entry that was read last.
    last_name: Vec<u8>,
    builder: DirectoryBuilder,
    /// Entries that come behind others that were not read yet, and what makes a longer name.
    postponed: BTreeMap<Vec<u8>, (TreeEntry, &'static [u8])>,
    /// Length of its own path.
    path_len: usize,
    /// Entries that waited above when this was entered.
    waiting_above: usize,
}

impl<'a> TreeRewrite<'a> {
    /// The new tree and what it comes to.
    pub fn rewrite_tree<M: TreeRewriter>(
        &self,
        tree: &BlobId,
        maker: &mut M,
    ) -> Result<(BlobId, M::SubtreeTotals)> {
        let mut path = Vec::new();
        let made = self.walk(tree, maker, &mut path);
        made.context(|| {
            if path.is_empty() {
                format!("tree {}", tree.short())
            } else {
                String::from_utf8_lossy(&path).into_owned()
            }
        })
    }

    fn walk<M: TreeRewriter>(
        &self,
        tree: &BlobId,
        maker: &mut M,
        path: &mut Vec<u8>,
    ) -> Result<(BlobId, M::SubtreeTotals)> {
        let mut made: HashMap<BlobId, (BlobId, M::SubtreeTotals)> = HashMap::new();
        let mut open = Vec::new();
        let mut top = self.open(*tree, None, maker.enter_directory(tree, None)?);
        loop {
            self.report.go_on()?;
            path.truncate(top.path_len);
            let fate = match self.next(&mut top, maker, path)? {
                Some(entry) => {
                    join_path(path, &entry.name);
                    maker.decide_entry(&mut top.level, path, entry)?
                }
                None => {
                    top.push_postponed(None, maker)?;
                    let id = top
                        .builder
                        .finish(&mut |kind, plain| maker.store_blob(kind, plain))?;
                    let sum = maker.finish_directory(top.level);
                    let (Some(above), Some(entry)) = (open.pop(), top.entry) else {
                        return Ok((id, sum));
                    };
                    made.insert(top.tree, (id, sum.clone()));
                    top = above;
                    maker.add_subtree(&mut top.level, &sum);
                    EntryAction::Keep(with_directory_id(entry, id))
                }
            };
            match fate {
                EntryAction::Keep(entry) => top.push(entry, maker)?,
                EntryAction::KeepAs(entry, more) => top.postpone(entry, more),
                EntryAction::LeaveOut => {}
                EntryAction::Enter(entry, id) => {
                    if let Some((id, sum)) = made.get(&id) {
                        maker.add_subtree(&mut top.level, sum);
                        let entry = with_directory_id(entry, *id);
                        top.push(entry, maker)?;
                        continue;
                    }
                    let waiting = top.waiting_above + top.builder.waiting();
                    // A root is a listing of one, and no directory.
                    if open.len() == TREE_DEPTH_MAX || waiting > WAITING_ENTRIES_MAX {
                        let error = Error::corrupt("directories in directories without end");
                        maker.report_unreadable(path, error)?;
                        continue;
                    }
                    let level = maker.enter_directory(&id, Some((&mut top.level, &entry)))?;
                    let inner = DirectoryInRewrite {
                        path_len: path.len(),
                        waiting_above: waiting,
                        ..self.open(id, Some(entry), level)
                    };
                    open.push(std::mem::replace(&mut top, inner));
                    if let Some(far) = open.len().checked_sub(OPEN_DIRECTORIES_MAX) {
                        open[far].walk = None;
                        maker.suspend_directory(&mut open[far].level);
                    }
                }
            }
        }
    }

    fn open<L>(&self, tree: BlobId, entry: Option<TreeEntry>, level: L) -> DirectoryInRewrite<'a, L> {
        DirectoryInRewrite {
            tree,
            entry,
            level,
            walk: None,
            last_name: Vec::new(),
            builder: DirectoryBuilder::new(LeafCutter::new(self.secret)),
            postponed: BTreeMap::new(),
            path_len: 0,
            waiting_above: 0,
        }
    }

    /// The next entry that can be read.
    fn next<M: TreeRewriter>(
        &self,
        open: &mut DirectoryInRewrite<'a, M::DirectoryProgress>,
        maker: &mut M,
        path: &[u8],
    ) -> Result<Option<TreeEntry>> {
        loop {
            let walk = match &mut open.walk {
                Some(walk) => walk,
                closed => {
                    let from = match &open.last_name[..] {
                        [] => Vec::new(),
                        last => [last, b"\0"].concat(),
                    };
                    match DirectoryWalk::open_from(&open.tree, from, self.source) {
                        Ok(walk) => closed.insert(walk.skip_unreadable()),
                        Err(error) => {
                            maker.report_unreadable(path, error)?;
                            return Ok(None);
                        }
                    }
                }
            };
            match walk.next() {
                Some(Ok(entry)) => {
                    open.last_name.clone_from(&entry.name);
                    return Ok(Some(entry));
                }
                Some(Err(error)) => maker.report_unreadable(path, error)?,
                None => return Ok(None),
            }
        }
    }
}

impl<L> DirectoryInRewrite<'_, L> {
    fn push<M: TreeRewriter>(&mut self, entry: TreeEntry, maker: &mut M) -> Result<()> {
        self.push_postponed(Some(&entry.name), maker)?;
        if let Some((held, more)) = self.postponed.remove(&entry.name) {
            let name = [&held.name[..], more].concat();
            self.postpone(TreeEntry { name, ..held }, more);
        }
        self.builder
            .push(entry, &mut |kind, plain| maker.store_blob(kind, plain))
    }

    fn postpone(&mut self, mut entry: TreeEntry, more: &'static [u8]) {
        while self.postponed.contains_key(&entry.name) {
            entry.name.extend_from_slice(more);
        }
        self.postponed.insert(entry.name.clone(), (entry, more));
    }

    /// What was held back and comes before `name`, or all of it.
    fn push_postponed<M: TreeRewriter>(&mut self, name: Option<&[u8]>, maker: &mut M) -> Result<()> {
        while let Some(first) = self.postponed.first_entry() {
            if name.is_some_and(|name| &first.key()[..] >= name) {
                break;
            }
            let (entry, _) = first.remove();
            self.builder
                .push(entry, &mut |kind, plain| maker.store_blob(kind, plain))?;
        }
        Ok(())
    }
}

fn with_directory_id(entry: TreeEntry, id: BlobId) -> TreeEntry {
    let kind = EntryKind::Directory(id);
    TreeEntry { kind, ..entry }
}
