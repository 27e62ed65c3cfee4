//! Checks trees of files: blobs, counts, depth.
//!
//! Trees of files: every blob of theirs, the counts that the snapshot states, and how deep they are.
//!
//! A directory is walked once, however often it is named: of one that is right, what it holds is kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::PoisonError;

use super::{TreeCheck, TreeFault, path};
use crate::blob::BlobKind;
use crate::chunk::{BlobSource, ChunkList, ChunkRef};
use crate::engine::tree::{NodeWalker, SnapshotView, TreeNode};
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::limits::{PATH_BYTES_MAX, TREE_DEPTH_MAX};
use crate::repo::StoredSnapshot;
use crate::snapshot::{EntryKind, TreeEntry, TreeRoot};

/// What a directory comes to, itself among it.
#[derive(Clone, Copy, Default)]
struct DirectoryTotals {
    files: u64,
    directories: u64,
    bytes: u64,
    /// Directories in directories, from this one down.
    levels: usize,
    /// Bytes of the longest path from this one to a directory below it.
    path: usize,
    /// Databases lie in it, and what is beside those depends on the snapshot.
    is_of_snapshot: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum DirectoryPosition {
    Directory(BlobId),
    /// Beside this source of the snapshot.
    Database(u32),
}

/// Directories that were walked, about 120 bytes each.
#[derive(Default)]
pub struct WalkedDirectories {
    sums: HashMap<DirectoryPosition, DirectoryTotals>,
    has_databases: bool,
}

impl WalkedDirectories {
    /// Forgets what holds for one snapshot alone.
    pub fn next_snapshot(&mut self) {
        if std::mem::take(&mut self.has_databases) {
            self.sums.retain(|_, sum| !sum.is_of_snapshot);
        }
    }

    fn add(&mut self, found: HashMap<DirectoryPosition, DirectoryTotals>) {
        self.has_databases |= found.values().any(|sum| sum.is_of_snapshot);
        self.sums.extend(found);
    }
}

/// A directory on the way to what is looked at.
struct DirectoryOnPath {
    place: DirectoryPosition,
    sum: DirectoryTotals,
    /// Length of its own path.
    path_len: usize,
}

/// One walk from a root down.
struct FileTreeCheck<'a> {
    known: &'a WalkedDirectories,
    /// What this walk finds: to be kept if nothing is wrong.
    found: HashMap<DirectoryPosition, DirectoryTotals>,
    open: Vec<DirectoryOnPath>,
    whole: DirectoryTotals,
    wrong: Vec<TreeFault>,
}

impl TreeCheck<'_> {
    /// A tree that was asked for, with the counts that are stated of it.
    pub(super) fn source(
        &mut self,
        stored: &StoredSnapshot,
        number: usize,
        tree: &TreeRoot,
    ) -> Result<Vec<TreeFault>> {
        let root = SnapshotView::new(&stored.snapshot, &self.reader).resolve_source(number);
        let root = match root {
            Ok(root) => root.node,
            Err(error) => {
                return Ok(vec![self.unreadable_finding(
                    Some(tree.root),
                    &error,
                    String::new(),
                )?]);
            }
        };
        let (mut wrong, sum) = self.files(stored, root)?;
        let states = (tree.files, tree.directories, tree.bytes);
        if wrong.is_empty() && states != (sum.files, sum.directories, sum.bytes) {
            let counts = |(files, directories, bytes)| {
                format!("{files} files, {directories} directories, {bytes} bytes")
            };
            let has = counts((sum.files, sum.directories, sum.bytes));
            let what = format!("tree {} states {}, and has {has}", tree.name, counts(states));
            wrong.push(TreeFault {
                object: path(stored),
                what,
                keys: String::new(),
            });
        }
        Ok(wrong)
    }

    /// A database's files, or what is beside it.
    pub(super) fn check_other_files(
        &mut self,
        stored: &StoredSnapshot,
        tree: &BlobId,
    ) -> Result<Vec<TreeFault>> {
        let entry = TreeEntry {
            name: Vec::new(),
            kind: EntryKind::Directory(*tree),
            meta: Default::default(),
        };
        let source = usize::MAX;
        self.files(stored, TreeNode { source, entry })
            .map(|(wrong, _)| wrong)
    }

    fn files(
        &mut self,
        stored: &StoredSnapshot,
        root: TreeNode,
    ) -> Result<(Vec<TreeFault>, DirectoryTotals)> {
        let view = SnapshotView::new(&stored.snapshot, &self.reader);
        let mut search = FileTreeCheck {
            known: &self.known,
            found: HashMap::new(),
            open: Vec::new(),
            whole: DirectoryTotals::default(),
            wrong: Vec::new(),
        };
        let mut walk = view.walk_unbounded(root);
        while let Some(node) = walk.next() {
            self.report.go_on()?;
            match node {
                Ok(node) => {
                    search.close(walk.depth());
                    self.check_node(&mut search, &mut walk, &node)?;
                }
                Err(error) => {
                    let keys = at(walk.path());
                    search
                        .wrong
                        .push(self.unreadable_finding(search.tree_at(walk.depth()), &error, keys)?);
                }
            }
        }
        search.close(0);
        let FileTreeCheck {
            found, whole, wrong, ..
        } = search;
        if wrong.is_empty() {
            self.known.add(found);
        }
        Ok((wrong, whole))
    }

    fn check_node(&self, search: &mut FileTreeCheck, walk: &mut NodeWalker, node: &TreeNode) -> Result<()> {
        let place = match &node.entry.kind {
            EntryKind::File(list) => {
                let sum = search.sum();
                sum.files += 1;
                sum.bytes = sum.bytes.saturating_add(list.bytes());
                let wrong = self.chunks(list)?;
                search.wrong.extend(wrong.map(|wrong| TreeFault {
                    keys: at(walk.path()),
                    ..wrong
                }));
                return Ok(());
            }
            EntryKind::Directory(tree) => DirectoryPosition::Directory(*tree),
            EntryKind::Database(number) => DirectoryPosition::Database(*number),
            _ => return Ok(()),
        };
        let known = search.known.sums.get(&place).or(search.found.get(&place));
        match known.copied() {
            None => search.enter(place, walk.path().len()),
            Some(sum) => {
                walk.skip_children();
                let too_deep = walk.depth() + sum.levels > TREE_DEPTH_MAX;
                if too_deep || walk.path().len() + sum.path > PATH_BYTES_MAX {
                    let error = Error::new(ErrorKind::Limit, "directories in directories without end");
                    let wrong = self.unreadable_finding(place.tree(), &error, at(walk.path()))?;
                    search.wrong.push(wrong);
                }
                search.add(place, sum, walk.path().len());
            }
        }
        Ok(())
    }

    /// Every chunk of a list in a good pack. Lists in lists are 40 levels at most.
    pub(super) fn chunks(&self, list: &ChunkList) -> Result<Option<TreeFault>> {
        let kind = list.child_kind();
        for child in list.children() {
            self.report.go_on()?;
            let wrong = match kind {
                BlobKind::List => self.list_below(list, child)?,
                _ => self.location_text(BlobKind::Data, &child.id)?,
            };
            if wrong.is_some() {
                return Ok(wrong);
            }
        }
        Ok(None)
    }

    fn list_below(&self, list: &ChunkList, child: &ChunkRef) -> Result<Option<TreeFault>> {
        let lists = || self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lists().get(&child.id).copied();
        let found = match known {
            Some((depth, bytes)) => child.child_ids(list.depth(), depth, bytes).map(|()| None),
            None => {
                let plain = self.reader.blob(BlobKind::List, &child.id);
                plain.and_then(|plain| ChunkList::decode_at_depth(list.depth(), child, &plain).map(Some))
            }
        };
        match found {
            Err(error) => self
                .unreadable_finding(Some(child.id), &error, String::new())
                .map(Some),
            Ok(None) => Ok(None),
            Ok(Some(below)) => {
                let wrong = self.chunks(&below)?;
                if wrong.is_none() {
                    lists().insert(child.id, (below.depth(), below.bytes()));
                }
                Ok(wrong)
            }
        }
    }
}

impl FileTreeCheck<'_> {
    /// Of what is looked at.
    fn sum(&mut self) -> &mut DirectoryTotals {
        match self.open.last_mut() {
            Some(open) => &mut open.sum,
            None => &mut self.whole,
        }
    }

    fn enter(&mut self, place: DirectoryPosition, path_len: usize) {
        let sum = DirectoryTotals {
            directories: 1,
            levels: 1,
            is_of_snapshot: matches!(place, DirectoryPosition::Database(_)),
            ..DirectoryTotals::default()
        };
        self.open.push(DirectoryOnPath { place, sum, path_len });
    }

    /// Directories are left when the walk is no deeper than they are.
    fn close(&mut self, depth: usize) {
        while self.open.len() > depth {
            let Some(DirectoryOnPath { place, sum, path_len }) = self.open.pop() else {
                return;
            };
            self.add(place, sum, path_len);
            match self.found.entry(place) {
                Entry::Vacant(entry) => drop(entry.insert(sum)),
                Entry::Occupied(_) => {}
            }
        }
    }

    /// Adds a directory to the one that holds it; what is beside a database is no part of the tree's counts.
    fn add(&mut self, place: DirectoryPosition, below: DirectoryTotals, path_len: usize) {
        let above = self.open.last().map_or(0, |open| open.path_len);
        let sum = self.sum();
        if matches!(place, DirectoryPosition::Directory(_)) {
            sum.files = sum.files.saturating_add(below.files);
            sum.directories = sum.directories.saturating_add(below.directories);
            sum.bytes = sum.bytes.saturating_add(below.bytes);
        }
        sum.levels = sum.levels.max(below.levels + 1);
        sum.path = sum.path.max(path_len - above + below.path);
        sum.is_of_snapshot |= below.is_of_snapshot;
    }

    fn tree_at(&self, depth: usize) -> Option<BlobId> {
        self.open.get(depth).and_then(|open| open.place.tree())
    }
}

impl DirectoryPosition {
    fn tree(self) -> Option<BlobId> {
        match self {
            Self::Directory(tree) => Some(tree),
            Self::Database(_) => None,
        }
    }
}

fn at(path: &[u8]) -> String {
    match path {
        [] => String::new(),
        path => format!(", file {}", String::from_utf8_lossy(path)),
    }
}
