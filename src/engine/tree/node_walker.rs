//! Walks all entries below a node, in order, in bounded memory.
//!
//! Everything below a node, in order, whatever the depth: memory is bounded by closing directories far above the one
//! that is read, and opening them again behind the last name they gave. Length is bounded by what the snapshot states.

use crate::engine::tree::snapshot_view::{DirectoryTreeRef, SnapshotView, TreeNode, join_path};
use crate::engine::tree::stated_size::StatedSize;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::limits::{PATH_BYTES_MAX, TREE_DEPTH_MAX};
use crate::snapshot::EntryKind;

/// Directories kept open, the innermost ones: each holds one decoded blob.
pub const OPEN_DIRECTORIES_MAX: usize = 16;

/// Walks a tree. An error is of one directory and names it: what else there is comes after it.
pub struct NodeWalker<'a> {
    view: SnapshotView<'a>,
    /// Directories that are being listed, the outermost first.
    levels: Vec<NodeWalkLevel<'a>>,
    path: Vec<u8>,
    /// What is given next, or entered next.
    next_event: NodeWalkEvent,
    /// What may still come; `None` where whoever walks counts for himself.
    stated: Option<StatedSize<'a>>,
    is_cut_short: bool,
}

enum NodeWalkEvent {
    Start(TreeNode),
    Enter(TreeNode),
    Continue,
}

struct NodeWalkLevel<'a> {
    entries: DirectoryEntries<'a>,
    /// The database that it is beside.
    database: Option<u32>,
    /// Length of the directory's own path.
    path_len: usize,
}

/// The entries of a directory, read as far as it was asked for; it can be closed in between.
pub struct DirectoryEntries<'a> {
    view: SnapshotView<'a>,
    listing: DirectoryTreeRef,
    open: Option<Box<dyn Iterator<Item = Result<TreeNode>> + 'a>>,
    /// Name of the entry given last; empty at the beginning.
    last_name: Vec<u8>,
}

impl<'a> NodeWalker<'a> {
    pub(super) fn new(view: SnapshotView<'a>, start: TreeNode, stated: Option<StatedSize<'a>>) -> Self {
        Self {
            view,
            levels: Vec::new(),
            path: Vec::new(),
            next_event: NodeWalkEvent::Start(start),
            stated,
            is_cut_short: false,
        }
    }

    /// Names from the node that the walk began with to the one given last, joined by `/`; empty for the first.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// How many directories lead to the node given last: 0 for the first.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// True after the error that there is more than the snapshot states: nothing comes after it, whatever was not given.
    pub fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// Passes over what the node given last holds.
    pub fn skip_children(&mut self) {
        self.next_event = NodeWalkEvent::Continue;
    }

    fn next_node(&mut self) -> Result<Option<TreeNode>> {
        match std::mem::replace(&mut self.next_event, NodeWalkEvent::Continue) {
            NodeWalkEvent::Start(node) => return self.yield_node(node).map(Some),
            NodeWalkEvent::Enter(node) => {
                let entered = self.enter_directory(&node);
                entered.context(|| format!("list {}", self.path_text()))?;
            }
            NodeWalkEvent::Continue => {}
        }
        while let Some(level) = self.levels.last_mut() {
            self.path.truncate(level.path_len);
            let entry = level.entries.next().transpose();
            match entry.context(|| format!("list {}", String::from_utf8_lossy(&self.path))) {
                Ok(Some(node)) => {
                    join_path(&mut self.path, &node.entry.name);
                    return self.yield_node(node).map(Some);
                }
                Ok(None) => drop(self.levels.pop()),
                Err(error) => {
                    self.levels.pop();
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    fn yield_node(&mut self, node: TreeNode) -> Result<TreeNode> {
        if let Some(stated) = &mut self.stated
            && let Err(error) = stated.spend(&node)
        {
            self.is_cut_short = true;
            self.levels.clear();
            return Err(error);
        }
        if matches!(node.entry.kind, EntryKind::Directory(_) | EntryKind::Database(_)) {
            self.next_event = NodeWalkEvent::Enter(node.clone());
        }
        Ok(node)
    }

    fn enter_directory(&mut self, node: &TreeNode) -> Result<()> {
        let Some(listing) = self.view.directory_tree(node)? else {
            return Ok(());
        };
        if self.levels.len() == TREE_DEPTH_MAX || self.path.len() > PATH_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                "directories in directories without end",
            ));
        }
        let database = match node.entry.kind {
            EntryKind::Database(number) => Some(number),
            _ => None,
        };
        if database.is_some() && self.levels.iter().any(|level| level.database == database) {
            return Err(Error::corrupt("a database within itself"));
        }
        if let Some(far) = self.levels.len().checked_sub(OPEN_DIRECTORIES_MAX) {
            self.levels[far].entries.close();
        }
        self.levels.push(NodeWalkLevel {
            entries: DirectoryEntries::new(self.view, listing),
            database,
            path_len: self.path.len(),
        });
        Ok(())
    }

    fn path_text(&self) -> String {
        if self.path.is_empty() {
            "the root".into()
        } else {
            String::from_utf8_lossy(&self.path).into_owned()
        }
    }
}

impl<'a> DirectoryEntries<'a> {
    /// Nothing is read yet.
    pub fn new(view: SnapshotView<'a>, listing: DirectoryTreeRef) -> Self {
        Self {
            view,
            listing,
            open: None,
            last_name: Vec::new(),
        }
    }

    /// Gives back memory; the next entry is read anew.
    pub fn close(&mut self) {
        self.open = None;
    }

    fn next_entry(&mut self) -> Result<Option<TreeNode>> {
        let entries = match &mut self.open {
            Some(entries) => entries,
            closed => closed.insert(Box::new(entries_after(
                self.view,
                &self.listing,
                &self.last_name,
            )?)),
        };
        let node = entries.next().transpose()?;
        if let Some(node) = &node {
            self.last_name.clone_from(&node.entry.name);
        }
        Ok(node)
    }
}

impl Iterator for DirectoryEntries<'_> {
    type Item = Result<TreeNode>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

/// The entries behind `last`: no name is between it and itself with a zero byte.
fn entries_after<'a>(
    view: SnapshotView<'a>,
    listing: &DirectoryTreeRef,
    last: &[u8],
) -> Result<impl Iterator<Item = Result<TreeNode>> + use<'a>> {
    match last {
        [] => view.list_entries(listing, last),
        _ => view.list_entries(listing, &[last, b"\0"].concat()),
    }
}

impl Iterator for NodeWalker<'_> {
    type Item = Result<TreeNode>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_node().transpose()
    }
}
