//! Lists open directories of the mount, piece by piece.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::FileType;
use levault::engine::tree::TreeNode;
use levault::error::Result;
use levault::snapshot::EntryKind;

use super::inodes::number;
use super::item_attributes::{file_type, type_of};
use super::mount_context::{MountContext, ShownSnapshot};
use super::mount_item::{MountItem, MountedNode, RECORDS, file_of, records, snapshot_directories};
use super::snapshot_directories::SnapshotDirectoryName;

/// Entries of a tree read at once.
const AT_ONCE: usize = 512;

/// One name in a directory.
#[derive(Clone)]
pub struct ListedName {
    pub ino: u64,
    pub kind: FileType,
    pub name: Vec<u8>,
}

/// An open directory.
pub struct OpenListing {
    ino: u64,
    item: MountItem,
    /// Read, and not given yet.
    queue: VecDeque<ListedName>,
    /// Number of the next entry that is given.
    at: u64,
    next: NextRead,
}

/// What is read next.
enum NextRead {
    Start,
    /// Entries of the tree behind this name; from the first on, if it is empty.
    Behind(Vec<u8>),
    Nothing,
}

impl OpenListing {
    /// Nothing is read yet.
    pub fn new(ino: u64, item: MountItem) -> Self {
        Self {
            ino,
            item,
            queue: VecDeque::new(),
            at: 0,
            next: NextRead::Start,
        }
    }

    /// Gives entries from this number on, each with the next one's, until `takes` has no more room.
    pub fn add_entry(
        &mut self,
        world: &MountContext,
        from: u64,
        mut takes: impl FnMut(&ListedName, u64) -> bool,
    ) -> Result<()> {
        if from < self.at {
            *self = Self::new(self.ino, self.item.clone());
        }
        while let Some(entry) = self.peek_next(world)? {
            if self.at >= from && !takes(&entry, self.at + 1) {
                return Ok(());
            }
            self.queue.pop_front();
            self.at += 1;
        }
        Ok(())
    }

    fn peek_next(&mut self, world: &MountContext) -> Result<Option<ListedName>> {
        while self.queue.is_empty() {
            match std::mem::replace(&mut self.next, NextRead::Nothing) {
                NextRead::Nothing => return Ok(None),
                NextRead::Start => self.start(world)?,
                NextRead::Behind(name) => self.refill(world, &name)?,
            }
        }
        Ok(self.queue.front().cloned())
    }

    fn push(&mut self, name: &[u8], item: &MountItem) {
        self.queue.push_back(ListedName {
            ino: number(self.ino, name, item.link()),
            kind: type_of(item),
            name: name.to_vec(),
        });
    }

    fn start(&mut self, world: &MountContext) -> Result<()> {
        for name in [&b"."[..], b".."] {
            self.queue.push_back(ListedName {
                ino: self.ino,
                kind: FileType::Directory,
                name: name.to_vec(),
            });
        }
        match self.item.clone() {
            MountItem::Top => snapshot_directories()
                .into_iter()
                .for_each(|shelf| self.push(shelf.text().as_bytes(), &MountItem::Shelf(shelf.clone()))),
            MountItem::Shelf(shelf) => self.add_snapshot_directories(world, &shelf),
            MountItem::Snapshot(shown) => self.sources(world, &shown, b"")?,
            MountItem::Way(shown, way) => self.sources(world, &shown, &way)?,
            MountItem::Node(shown, place) => {
                if let EntryKind::Database(number) = place.node.entry.kind {
                    for name in world.restored_file(&shown, number)?.names()? {
                        self.push(name.as_bytes(), &file_of(&shown, number, name.as_bytes()));
                    }
                }
                self.next = NextRead::Behind(Vec::new());
            }
            MountItem::Latest(_) | MountItem::Records(..) | MountItem::File(..) => {}
        }
        Ok(())
    }

    fn add_snapshot_directories(&mut self, world: &MountContext, name: &SnapshotDirectoryName) {
        let listed = world.listed();
        for inner in listed.shelves.inner(name) {
            self.push(inner.text().as_bytes(), &MountItem::Shelf(inner.clone()));
        }
        let Some(shelf) = listed.shelves.shelf(name) else {
            return;
        };
        for (name, number) in &shelf.by_name {
            let shown = Arc::clone(&listed.snapshots[*number]);
            self.push(name.as_bytes(), &MountItem::Snapshot(shown));
        }
        if let Some(latest) = &shelf.latest {
            self.push(b"latest", &MountItem::Latest(latest.clone()));
        }
    }

    fn sources(&mut self, world: &MountContext, shown: &Arc<ShownSnapshot>, way: &[u8]) -> Result<()> {
        let entries = world.lookup_leading_directory(shown, way)?;
        for (name, item) in &entries {
            self.push(name, item);
            let MountItem::Node(_, place) = item else { continue };
            let companion = [&name[..], RECORDS].concat();
            let is_free = entries.iter().all(|(other, _)| *other != companion);
            if let Some(records) = records(shown, &place.node).filter(|_| is_free) {
                self.push(&companion, &records);
            }
        }
        Ok(())
    }

    /// The next entries of a tree.
    fn refill(&mut self, world: &MountContext, last: &[u8]) -> Result<()> {
        let MountItem::Node(shown, place) = self.item.clone() else {
            return Ok(());
        };
        let from = match last {
            [] => Vec::new(),
            last => [last, b"\0"].concat(),
        };
        let Some(listing) = world.entries_of(&shown, &place)? else {
            return Ok(());
        };
        let nodes: Vec<TreeNode> = shown.view(&world.cache, |view| {
            view.list_entries(&listing, &from)?.take(AT_ONCE).collect()
        })?;
        if let Some(last) = nodes.last().filter(|_| nodes.len() == AT_ONCE) {
            self.next = NextRead::Behind(last.entry.name.clone());
        }
        nodes
            .into_iter()
            .try_for_each(|node| self.node(world, &shown, &place, node))
    }

    fn node(
        &mut self,
        world: &MountContext,
        shown: &Arc<ShownSnapshot>,
        place: &MountedNode,
        node: TreeNode,
    ) -> Result<()> {
        let name = node.entry.name.clone();
        if let EntryKind::Database(number) = place.node.entry.kind {
            let made = world.restored_file(shown, number)?;
            if made
                .path
                .join(OsStr::from_bytes(&name))
                .symlink_metadata()
                .is_ok()
            {
                return Ok(());
            }
        }
        let companion = [&name[..], RECORDS].concat();
        let records = records(shown, &node);
        let link = node
            .entry
            .meta
            .hard_link
            .map(|link| (shown.stored.id, node.source, link));
        self.queue.push_back(ListedName {
            ino: number(self.ino, &name, link),
            kind: file_type(&node.entry.kind),
            name,
        });
        let Some(records) = records else { return Ok(()) };
        let taken = shown.view(&world.cache, |view| view.find_child(&place.node, &companion))?;
        if taken.is_none() {
            self.push(&companion, &records);
        }
        Ok(())
    }
}
