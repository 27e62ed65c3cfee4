//! The entries of an open directory, some at a time, so that a large one costs no more memory than a small one.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::FileType;
use levault::error::Result;
use levault::ops::tree::Node;
use levault::snapshot::EntryKind;

use super::attr::{file_type, type_of};
use super::inodes::number;
use super::item::{Item, Place, RECORDS, file_of, records, shelves};
use super::shelves::ShelfName;
use super::world::{Shown, World};

/// Entries of a tree read at once.
const AT_ONCE: usize = 512;

/// One name in a directory.
#[derive(Clone)]
pub struct Entry {
    pub ino: u64,
    pub kind: FileType,
    pub name: Vec<u8>,
}

/// An open directory.
pub struct Listing {
    ino: u64,
    item: Item,
    /// Read, and not given yet.
    queue: VecDeque<Entry>,
    /// Number of the next entry that is given.
    at: u64,
    next: Next,
}

/// What is read next.
enum Next {
    Start,
    /// Entries of the tree behind this name; from the first on, if it is empty.
    Behind(Vec<u8>),
    Nothing,
}

impl Listing {
    /// Nothing is read yet.
    pub fn new(ino: u64, item: Item) -> Self {
        Self {
            ino,
            item,
            queue: VecDeque::new(),
            at: 0,
            next: Next::Start,
        }
    }

    /// Gives entries from this number on, each with the next one's, until `takes` has no more room.
    pub fn give(
        &mut self,
        world: &World,
        from: u64,
        mut takes: impl FnMut(&Entry, u64) -> bool,
    ) -> Result<()> {
        if from < self.at {
            *self = Self::new(self.ino, self.item.clone());
        }
        while let Some(entry) = self.peek(world)? {
            if self.at >= from && !takes(&entry, self.at + 1) {
                return Ok(());
            }
            self.queue.pop_front();
            self.at += 1;
        }
        Ok(())
    }

    fn peek(&mut self, world: &World) -> Result<Option<Entry>> {
        while self.queue.is_empty() {
            match std::mem::replace(&mut self.next, Next::Nothing) {
                Next::Nothing => return Ok(None),
                Next::Start => self.start(world)?,
                Next::Behind(name) => self.more(world, &name)?,
            }
        }
        Ok(self.queue.front().cloned())
    }

    fn push(&mut self, name: &[u8], item: &Item) {
        self.queue.push_back(Entry {
            ino: number(self.ino, name, item.link()),
            kind: type_of(item),
            name: name.to_vec(),
        });
    }

    fn start(&mut self, world: &World) -> Result<()> {
        for name in [&b"."[..], b".."] {
            self.queue.push_back(Entry {
                ino: self.ino,
                kind: FileType::Directory,
                name: name.to_vec(),
            });
        }
        match self.item.clone() {
            Item::Top => shelves()
                .into_iter()
                .for_each(|shelf| self.push(shelf.text().as_bytes(), &Item::Shelf(shelf.clone()))),
            Item::Shelf(shelf) => self.shelf(world, &shelf),
            Item::Snapshot(shown) => self.sources(world, &shown, b"")?,
            Item::Way(shown, way) => self.sources(world, &shown, &way)?,
            Item::Node(shown, place) => {
                if let EntryKind::Database(number) = place.node.entry.kind {
                    for name in world.made(&shown, number)?.names()? {
                        self.push(name.as_bytes(), &file_of(&shown, number, name.as_bytes()));
                    }
                }
                self.next = Next::Behind(Vec::new());
            }
            Item::Latest(_) | Item::Records(..) | Item::File(..) => {}
        }
        Ok(())
    }

    fn shelf(&mut self, world: &World, name: &ShelfName) {
        let listed = world.listed();
        for inner in listed.shelves.inner(name) {
            self.push(inner.text().as_bytes(), &Item::Shelf(inner.clone()));
        }
        let Some(shelf) = listed.shelves.shelf(name) else {
            return;
        };
        for (name, number) in &shelf.by_name {
            let shown = Arc::clone(&listed.snapshots[*number]);
            self.push(name.as_bytes(), &Item::Snapshot(shown));
        }
        if let Some(latest) = &shelf.latest {
            self.push(b"latest", &Item::Latest(latest.clone()));
        }
    }

    fn sources(&mut self, world: &World, shown: &Arc<Shown>, way: &[u8]) -> Result<()> {
        let entries = world.on_the_way(shown, way)?;
        for (name, item) in &entries {
            self.push(name, item);
            let Item::Node(_, place) = item else { continue };
            let companion = [&name[..], RECORDS].concat();
            let is_free = entries.iter().all(|(other, _)| *other != companion);
            if let Some(records) = records(shown, &place.node).filter(|_| is_free) {
                self.push(&companion, &records);
            }
        }
        Ok(())
    }

    /// The next entries of a tree.
    fn more(&mut self, world: &World, last: &[u8]) -> Result<()> {
        let Item::Node(shown, place) = self.item.clone() else {
            return Ok(());
        };
        let from = match last {
            [] => Vec::new(),
            last => [last, b"\0"].concat(),
        };
        let Some(listing) = world.entries_of(&shown, &place)? else {
            return Ok(());
        };
        let nodes: Vec<Node> = shown.view(&world.cache, |view| {
            view.list(&listing, &from)?.take(AT_ONCE).collect()
        })?;
        if let Some(last) = nodes.last().filter(|_| nodes.len() == AT_ONCE) {
            self.next = Next::Behind(last.entry.name.clone());
        }
        nodes
            .into_iter()
            .try_for_each(|node| self.node(world, &shown, &place, node))
    }

    fn node(&mut self, world: &World, shown: &Arc<Shown>, place: &Place, node: Node) -> Result<()> {
        let name = node.entry.name.clone();
        if let EntryKind::Database(number) = place.node.entry.kind {
            let made = world.made(shown, number)?;
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
        self.queue.push_back(Entry {
            ino: number(self.ino, &name, link),
            kind: file_type(&node.entry.kind),
            name,
        });
        let Some(records) = records else { return Ok(()) };
        let taken = shown.view(&world.cache, |view| view.child(&place.node, &companion))?;
        if taken.is_none() {
            self.push(&companion, &records);
        }
        Ok(())
    }
}
