//! Compares two directories, skipping equal subtrees.

use std::cmp::Ordering;

use crate::engine::tree::{
    DirectoryEntries, DirectoryTreeRef, OPEN_DIRECTORIES_MAX, SnapshotView, StatedSize, TreeNode, join_path,
};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::TREE_DEPTH_MAX;
use crate::report::OperationReport;
use crate::snapshot::{EntryKind, FileMetadata};

/// What became of a file, a directory, or whatever else a tree holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// Only the new state has it.
    Added,
    /// Only the old state has it.
    Removed,
    /// Its content is another one.
    Content,
    /// Only mode, owner, modification time or extended attributes are others.
    Metadata,
    /// It is something else now.
    Type,
    /// One state has it, and of the other it was not read.
    Unread,
}

/// One thing that differs.
pub struct FileDifference<'d> {
    /// Names below what was compared.
    pub path: &'d [u8],
    /// What became of it.
    pub change: FileChange,
    /// Absent if added.
    pub old: Option<&'d TreeNode>,
    /// Absent if removed.
    pub new: Option<&'d TreeNode>,
}

/// Takes a difference; an error ends the comparison.
pub type FileDifferenceVisitor<'d> = &'d mut dyn FnMut(&FileDifference) -> Result<()>;

/// Compares two states of a tree. A database is compared by its directory's metadata alone: which one it is depends on
/// the snapshot.
pub struct TreeComparison<'a, 's> {
    pub old: SnapshotView<'a>,
    pub new: SnapshotView<'a>,
    pub report: &'s OperationReport,
    pub sink: FileDifferenceVisitor<'s>,
    /// What may still come of the two.
    stated: [Option<StatedSize<'a>>; 2],
    has_ended: bool,
}

/// A directory in both states.
struct DirectoryInBoth<'a> {
    sides: [RemainingEntries<'a>; 2],
    path_len: usize,
}

/// The entries that are still to come.
struct RemainingEntries<'a> {
    next: Option<TreeNode>,
    rest: DirectoryEntries<'a>,
}

impl<'a> RemainingEntries<'a> {
    fn new(view: SnapshotView<'a>, listing: DirectoryTreeRef) -> Result<Self> {
        let mut rest = DirectoryEntries::new(view, listing);
        let next = rest.next().transpose()?;
        Ok(Self { next, rest })
    }

    fn take(&mut self) -> Result<Option<TreeNode>> {
        let next = self.rest.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }
}

impl<'a> DirectoryInBoth<'a> {
    /// The first of what is left by name, in the states that have it.
    fn next(&mut self) -> Result<[Option<TreeNode>; 2]> {
        let [old, new] = &mut self.sides;
        let order = match (&old.next, &new.next) {
            (Some(old), Some(new)) => old.entry.name.cmp(&new.entry.name),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        Ok(match order {
            Ordering::Less => [old.take()?, None],
            Ordering::Equal => [old.take()?, new.take()?],
            Ordering::Greater => [None, new.take()?],
        })
    }
}

impl<'a, 's> TreeComparison<'a, 's> {
    pub fn new(
        [old, new]: [SnapshotView<'a>; 2],
        report: &'s OperationReport,
        sink: FileDifferenceVisitor<'s>,
    ) -> Self {
        Self {
            old,
            new,
            report,
            sink,
            stated: [None, None],
            has_ended: false,
        }
    }

    /// Holds what was met against what its snapshot states. False if there is more, which ends the comparison.
    fn spend_stated(&mut self, path: &[u8], [old, new]: [Option<&TreeNode>; 2]) -> bool {
        for (side, view, node) in [(0, self.old, old), (1, self.new, new)] {
            let Some(node) = node else { continue };
            let stated = self.stated[side].get_or_insert_with(|| StatedSize::of(view, node));
            if let Err(error) = stated.spend(node)
                && !self.has_ended
            {
                self.has_ended = true;
                self.report_problem(path, error);
            }
        }
        !self.has_ended
    }

    /// Compares two nodes and all below them, giving differences in order of their paths. A directory that cannot be
    /// read is a problem in the report.
    pub fn compare(&mut self, old: &TreeNode, new: &TreeNode) -> Result<()> {
        let (mut levels, mut path) = (Vec::new(), Vec::new());
        levels.extend(self.compare_nodes(&path, old, new)?);
        loop {
            self.report.go_on()?;
            let Some(level) = levels.last_mut().filter(|_| !self.has_ended) else {
                return Ok(());
            };
            path.truncate(level.path_len);
            match level.next() {
                Ok([None, None]) => drop(levels.pop()),
                Ok(pair) => {
                    let inner = self.compare_pair(&mut path, pair)?;
                    self.enter_level(&mut levels, inner, &path);
                }
                Err(error) => {
                    self.report_problem(&path, error);
                    levels.pop();
                }
            }
        }
    }

    fn report_problem(&self, path: &[u8], error: Error) {
        let error = error.context(format!("compare {}", String::from_utf8_lossy(path)));
        self.report.problem(error.to_string());
    }

    fn enter_level(
        &self,
        levels: &mut Vec<DirectoryInBoth<'a>>,
        inner: Option<DirectoryInBoth<'a>>,
        path: &[u8],
    ) {
        let Some(inner) = inner else { return };
        if levels.len() == TREE_DEPTH_MAX {
            let error = Error::new(ErrorKind::Limit, "directories in directories without end");
            return self.report_problem(path, error);
        }
        if let Some(far) = levels.len().checked_sub(OPEN_DIRECTORIES_MAX) {
            levels[far].sides.iter_mut().for_each(|side| side.rest.close());
        }
        levels.push(inner);
    }

    fn compare_pair(
        &mut self,
        path: &mut Vec<u8>,
        pair: [Option<TreeNode>; 2],
    ) -> Result<Option<DirectoryInBoth<'a>>> {
        if let Some(node) = pair.iter().flatten().next() {
            join_path(path, &node.entry.name);
        }
        let both = matches!(pair, [Some(_), Some(_)]);
        if both && !self.spend_stated(path, pair.each_ref().map(Option::as_ref)) {
            return Ok(None);
        }
        match pair {
            [Some(old), Some(new)] => self.compare_nodes(path, &old, &new),
            [Some(old), None] => self.report_whole(path, &old, FileChange::Removed).map(|()| None),
            [None, Some(new)] => self.report_whole(path, &new, FileChange::Added).map(|()| None),
            [None, None] => Ok(None),
        }
    }

    /// What is in both; the level to enter if it is a directory in both, and not the same.
    fn compare_nodes(
        &mut self,
        path: &[u8],
        old: &TreeNode,
        new: &TreeNode,
    ) -> Result<Option<DirectoryInBoth<'a>>> {
        let change = find_change(old, new);
        if let Some(change) = change {
            let (old, new) = (Some(old), Some(new));
            (self.sink)(&FileDifference {
                path,
                change,
                old,
                new,
            })?;
        }
        match (&old.entry.kind, &new.entry.kind) {
            (EntryKind::Directory(one), EntryKind::Directory(other)) if one != other => {
                match self.open_level(old, new, path.len()) {
                    Ok(level) => Ok(level),
                    Err(error) => {
                        self.report_problem(path, error);
                        Ok(None)
                    }
                }
            }
            _ if change == Some(FileChange::Type) => {
                self.report_below(path, old, FileChange::Removed)?;
                self.report_below(path, new, FileChange::Added).map(|()| None)
            }
            _ => Ok(None),
        }
    }

    fn open_level(
        &self,
        old: &TreeNode,
        new: &TreeNode,
        path_len: usize,
    ) -> Result<Option<DirectoryInBoth<'a>>> {
        let sides = (self.old.directory_tree(old)?, self.new.directory_tree(new)?);
        let (Some(old), Some(new)) = sides else {
            return Ok(None);
        };
        let sides = [
            RemainingEntries::new(self.old, old)?,
            RemainingEntries::new(self.new, new)?,
        ];
        Ok(Some(DirectoryInBoth { sides, path_len }))
    }

    /// A node and all below it, in one state alone.
    pub fn report_whole(&mut self, path: &[u8], node: &TreeNode, change: FileChange) -> Result<()> {
        self.report_one(path, node, change)?;
        self.report_below(path, node, change)
    }

    /// All below a node, in one state alone.
    pub fn report_below(&mut self, path: &[u8], node: &TreeNode, change: FileChange) -> Result<()> {
        let view = match change {
            FileChange::Removed => self.old,
            _ => self.new,
        };
        let mut walk = view.walk_unbounded(node.clone());
        while let Some(node) = walk.next() {
            self.report.go_on()?;
            let mut path = path.to_vec();
            join_path(&mut path, walk.path());
            match node {
                Ok(_) if walk.depth() == 0 => {}
                Ok(node) => match self.report_one(&path, &node, change) {
                    Ok(()) if self.has_ended => return Ok(()),
                    told => told?,
                },
                Err(error) => self.report_problem(&path, error),
            }
        }
        Ok(())
    }

    fn report_one(&mut self, path: &[u8], node: &TreeNode, change: FileChange) -> Result<()> {
        let (old, new) = match change {
            FileChange::Removed => (Some(node), None),
            _ => (None, Some(node)),
        };
        if !self.spend_stated(path, [old, new]) {
            return Ok(());
        }
        (self.sink)(&FileDifference {
            path,
            change,
            old,
            new,
        })
    }
}

/// How two nodes of one name differ, not looking into directories.
fn find_change(old: &TreeNode, new: &TreeNode) -> Option<FileChange> {
    use EntryKind::{Database, Directory};
    let (old, new) = (&old.entry, &new.entry);
    let same_content = match (&old.kind, &new.kind) {
        (Directory(_), Directory(_)) | (Database(_), Database(_)) => true,
        (one, other) if std::mem::discriminant(one) != std::mem::discriminant(other) => {
            return Some(FileChange::Type);
        }
        (one, other) => one == other,
    };
    match (
        same_content,
        visible_metadata(&old.meta) == visible_metadata(&new.meta),
    ) {
        (false, _) => Some(FileChange::Content),
        (true, false) => Some(FileChange::Metadata),
        (true, true) => None,
    }
}

/// What of the metadata a restore brings back and a person sees.
fn visible_metadata(meta: &FileMetadata) -> impl PartialEq + '_ {
    (meta.mode, meta.uid, meta.gid, meta.mtime_nanos, &meta.xattrs)
}
