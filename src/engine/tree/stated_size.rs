//! Bounds a walk by the size that the snapshot states.
//!
//! What a snapshot says of a tree's size, held against what a walk meets: the same few blobs may be named over and over, and
//! lead to more files than any disk holds.

use crate::engine::tree::snapshot_view::{SnapshotView, TreeNode};
use crate::error::{Error, Result};
use crate::snapshot::{EntryKind, SnapshotSource, TreeRoot};

/// What may still come of a tree; of what lies beside a database nothing is stated.
pub struct StatedSize<'a> {
    tree: Option<(usize, &'a TreeRoot)>,
    files: u64,
    directories: u64,
    bytes: u64,
}

impl<'a> StatedSize<'a> {
    /// Of the source that holds `node`, however deep in it that lies.
    pub fn of(view: SnapshotView<'a>, node: &TreeNode) -> Self {
        let tree = match view.snapshot().sources.get(node.source) {
            Some(SnapshotSource::Tree(tree)) => Some((node.source, tree)),
            _ => None,
        };
        let of = |count: fn(&TreeRoot) -> u64| tree.map_or(0, |(_, tree)| count(tree));
        Self {
            tree,
            files: of(|tree| tree.files),
            directories: of(|tree| tree.directories),
            bytes: of(|tree| tree.bytes),
        }
    }

    /// Takes something that was met. [`crate::error::ErrorKind::Corrupt`] if it is more than was stated.
    pub fn spend(&mut self, node: &TreeNode) -> Result<()> {
        let Some((_, tree)) = self.tree.filter(|(source, _)| *source == node.source) else {
            return Ok(());
        };
        let (files, directories, bytes) = match &node.entry.kind {
            EntryKind::File(list) => (1, 0, list.bytes()),
            EntryKind::Directory(_) => (0, 1, 0),
            _ => return Ok(()),
        };
        let left = |of: &mut u64, by, states, what| match of.checked_sub(by) {
            Some(left) => {
                *of = left;
                Ok(())
            }
            None => Err(exceeds_stated_error(tree, states, what)),
        };
        left(&mut self.files, files, tree.files, "files")?;
        left(
            &mut self.directories,
            directories,
            tree.directories,
            "directories",
        )?;
        left(&mut self.bytes, bytes, tree.bytes, "bytes")
    }
}

#[cold]
fn exceeds_stated_error(tree: &TreeRoot, states: u64, what: &str) -> Error {
    let name = &tree.name;
    Error::corrupt(format!("tree {name} states {states} {what}, and has more"))
}
