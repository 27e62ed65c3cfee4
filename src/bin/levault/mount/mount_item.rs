//! Finds the items of the mount, and what they contain.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use levault::engine::tree::TREE_DEPTH_MAX;
use levault::engine::tree::{self, DirectoryTreeRef, TreeNode};
use levault::error::{Error, ErrorKind, Result};
use levault::id::ObjectId;
use levault::snapshot::{DatabaseRoot, EntryKind};

use super::mount_context::{MountContext, ShownSnapshot, has_records};
use super::restored_databases::RestoredDatabase;
use super::snapshot_directories::SnapshotDirectoryName;

/// What the records of a database `NAME` are called.
pub const RECORDS: &[u8] = b".records.jsonl";

/// Something with an inode.
#[derive(Clone)]
pub enum MountItem {
    Top,
    Shelf(SnapshotDirectoryName),
    /// A link to this name.
    Latest(String),
    Snapshot(Arc<ShownSnapshot>),
    /// A directory of a snapshot that only leads to places of sources: the names that lead to it, each with a slash.
    Way(Arc<ShownSnapshot>, Arc<Vec<u8>>),
    /// What a tree holds.
    Node(Arc<ShownSnapshot>, Arc<MountedNode>),
    /// The records of a database.
    Records(Arc<ShownSnapshot>, u32),
    /// A file of a database that is made on demand.
    File(Arc<ShownSnapshot>, Arc<DatabaseFileItem>),
}

/// A node, and the way to it.
#[derive(Clone)]
pub struct MountedNode {
    pub node: TreeNode,
    /// Databases that it lies beside, and how deep it lies.
    within: Vec<u32>,
    depth: usize,
}

/// One of a database's own files.
pub struct DatabaseFileItem {
    pub database: u32,
    pub name: Vec<u8>,
}

impl MountedNode {
    fn top(node: TreeNode) -> Self {
        Self {
            node,
            within: Vec::new(),
            depth: 0,
        }
    }

    /// The place of something in it. Where trees lead round in circles, they end here.
    fn inner(&self, node: TreeNode) -> Result<Self> {
        let mut within = self.within.clone();
        if let EntryKind::Database(number) = self.node.entry.kind {
            if within.contains(&number) {
                return Err(Error::corrupt("a database within itself"));
            }
            within.push(number);
        }
        if self.depth < TREE_DEPTH_MAX {
            Ok(Self {
                node,
                within,
                depth: self.depth + 1,
            })
        } else {
            Err(Error::new(
                ErrorKind::Limit,
                "directories in directories without end",
            ))
        }
    }
}

impl MountItem {
    /// What has an inode of its own wherever it is met: one file with several names.
    pub fn link(&self) -> Option<(ObjectId, usize, u64)> {
        match self {
            Self::Node(shown, place) => {
                let number = place.node.entry.meta.hard_link?;
                Some((shown.stored.id, place.node.source, number))
            }
            _ => None,
        }
    }
}

impl MountContext {
    /// What a directory has under this name.
    pub fn child(&self, item: &MountItem, name: &OsStr) -> Result<Option<MountItem>> {
        // The kernel resolves these itself, and a database's files are looked up on disk.
        if name == "." || name == ".." {
            return Ok(None);
        }
        match item {
            MountItem::Top => Ok(snapshot_directories()
                .into_iter()
                .find(|shelf| shelf.text() == name)
                .map(MountItem::Shelf)),
            MountItem::Shelf(shelf) => Ok(self.lookup_snapshot_directory(shelf, name)),
            MountItem::Snapshot(shown) => self.lookup_in_snapshot(shown, b"", name.as_bytes()),
            MountItem::Way(shown, way) => self.lookup_in_snapshot(shown, way, name.as_bytes()),
            MountItem::Node(shown, place) => self.lookup_in_node(shown, place, name.as_bytes()),
            MountItem::Latest(_) | MountItem::Records(..) | MountItem::File(..) => Ok(None),
        }
    }

    fn lookup_snapshot_directory(&self, shelf: &SnapshotDirectoryName, name: &OsStr) -> Option<MountItem> {
        let listed = self.listed();
        let inner = listed.shelves.inner(shelf);
        if let Some(inner) = inner.into_iter().find(|inner| inner.text() == name) {
            return Some(MountItem::Shelf(inner));
        }
        let (shelf, name) = (listed.shelves.shelf(shelf)?, name.to_str()?);
        if name == "latest" {
            return shelf.latest.clone().map(MountItem::Latest);
        }
        let number = shelf.by_name.get(name)?;
        Some(MountItem::Snapshot(Arc::clone(&listed.snapshots[*number])))
    }

    fn lookup_in_snapshot(
        &self,
        shown: &Arc<ShownSnapshot>,
        way: &[u8],
        name: &[u8],
    ) -> Result<Option<MountItem>> {
        let entries = self.lookup_leading_directory(shown, way)?;
        let named = |name: &[u8]| entries.iter().find(|(own, _)| own == name).map(|(_, item)| item);
        match (named(name), name.strip_suffix(RECORDS).and_then(named)) {
            (Some(item), _) => Ok(Some(item.clone())),
            (None, Some(MountItem::Node(_, place))) => Ok(records(shown, &place.node)),
            (None, _) => Ok(None),
        }
    }

    /// What stands in a directory above the sources, by name.
    pub fn lookup_leading_directory(
        &self,
        shown: &Arc<ShownSnapshot>,
        way: &[u8],
    ) -> Result<Vec<(Vec<u8>, MountItem)>> {
        let mut entries: Vec<(Vec<u8>, MountItem)> = Vec::new();
        for (place, number) in shown.tops() {
            let Some(rest) = place.strip_prefix(way) else {
                continue;
            };
            let Some(end) = rest.iter().position(|byte| *byte == b'/') else {
                let found = shown.view(&self.cache, |view| view.resolve_source(number))?;
                let node = MountItem::Node(Arc::clone(shown), Arc::new(MountedNode::top(found.node)));
                entries.push((rest.to_vec(), node));
                continue;
            };
            let (name, way) = (&rest[..end], [way, &rest[..=end]].concat());
            if entries.iter().all(|(known, _)| known != name) {
                entries.push((name.to_vec(), MountItem::Way(Arc::clone(shown), Arc::new(way))));
            }
        }
        Ok(entries)
    }

    fn lookup_in_node(
        &self,
        shown: &Arc<ShownSnapshot>,
        place: &MountedNode,
        name: &[u8],
    ) -> Result<Option<MountItem>> {
        if let EntryKind::Database(number) = place.node.entry.kind {
            let made = self.restored_file(shown, number)?;
            if made.path.join(OsStr::from_bytes(name)).symlink_metadata().is_ok() {
                return Ok(Some(file_of(shown, number, name)));
            }
        }
        let child = |name: &[u8]| shown.view(&self.cache, |view| view.find_child(&place.node, name));
        if let Some(node) = child(name)? {
            return Ok(Some(MountItem::Node(
                Arc::clone(shown),
                Arc::new(place.inner(node)?),
            )));
        }
        match name.strip_suffix(RECORDS).filter(|name| !name.is_empty()) {
            Some(name) => Ok(child(name)?.and_then(|node| records(shown, &node))),
            None => Ok(None),
        }
    }

    /// Where the entries of a node are.
    pub fn entries_of(&self, shown: &ShownSnapshot, place: &MountedNode) -> Result<Option<DirectoryTreeRef>> {
        shown.view(&self.cache, |view| view.directory_tree(&place.node))
    }

    /// A database's files, made if they are not there.
    pub fn restored_file(&self, shown: &ShownSnapshot, number: u32) -> Result<Arc<RestoredDatabase>> {
        let made = self.databases.get(shown, number, &self.report);
        self.warn_of_problems();
        made
    }

    /// The database of this number.
    pub fn database<'s>(&self, shown: &'s ShownSnapshot, number: u32) -> Result<&'s DatabaseRoot> {
        tree::database_by_number(&shown.stored.snapshot, number)
    }
}

/// What stands at the top.
pub fn snapshot_directories() -> [SnapshotDirectoryName; 4] {
    [
        SnapshotDirectoryName::Hosts,
        SnapshotDirectoryName::Ids,
        SnapshotDirectoryName::Times,
        SnapshotDirectoryName::Tags,
    ]
}

/// The records of a node, if it is a database that has any.
pub fn records(shown: &Arc<ShownSnapshot>, node: &TreeNode) -> Option<MountItem> {
    let number = has_records(shown, &node.entry.kind)?;
    Some(MountItem::Records(Arc::clone(shown), number))
}

/// A file of a database.
pub fn file_of(shown: &Arc<ShownSnapshot>, database: u32, name: &[u8]) -> MountItem {
    let file = DatabaseFileItem {
        database,
        name: name.to_vec(),
    };
    MountItem::File(Arc::clone(shown), Arc::new(file))
}
