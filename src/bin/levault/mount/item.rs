//! What there is in the mount, and what is in it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use levault::error::{Error, Kind, Result};
use levault::id::ObjectId;
use levault::limits::TREE_DEPTH_MAX;
use levault::ops::tree::{self, Listing, Node};
use levault::snapshot::{DatabaseRoot, EntryKind};

use super::databases::Made;
use super::shelves::ShelfName;
use super::world::{Shown, World, has_records};

/// What the records of a database `NAME` are called.
pub const RECORDS: &[u8] = b".records.jsonl";

/// Something with an inode.
#[derive(Clone)]
pub enum Item {
    Top,
    Shelf(ShelfName),
    /// A link to this name.
    Latest(String),
    Snapshot(Arc<Shown>),
    /// A directory of a snapshot that only leads to places of sources: the names that lead to it, each with a slash.
    Way(Arc<Shown>, Arc<Vec<u8>>),
    /// What a tree holds.
    Node(Arc<Shown>, Arc<Place>),
    /// The records of a database.
    Records(Arc<Shown>, u32),
    /// A file of a database that is made on demand.
    File(Arc<Shown>, Arc<MadeFile>),
}

/// A node, and the way to it.
#[derive(Clone)]
pub struct Place {
    pub node: Node,
    /// Databases that it lies beside, and how deep it lies.
    within: Vec<u32>,
    depth: usize,
}

/// One of a database's own files.
pub struct MadeFile {
    pub database: u32,
    pub name: Vec<u8>,
}

impl Place {
    fn top(node: Node) -> Self {
        Self {
            node,
            within: Vec::new(),
            depth: 0,
        }
    }

    /// The place of something in it. Where trees lead round in circles, they end here.
    fn inner(&self, node: Node) -> Result<Self> {
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
            Err(Error::new(Kind::Limit, "directories in directories without end"))
        }
    }
}

impl Item {
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

impl World {
    /// What a directory has under this name.
    pub fn child(&self, item: &Item, name: &OsStr) -> Result<Option<Item>> {
        // The kernel resolves these itself, and a database's files are looked up on disk.
        if name == "." || name == ".." {
            return Ok(None);
        }
        match item {
            Item::Top => Ok(shelves()
                .into_iter()
                .find(|shelf| shelf.text() == name)
                .map(Item::Shelf)),
            Item::Shelf(shelf) => Ok(self.on_shelf(shelf, name)),
            Item::Snapshot(shown) => self.in_snapshot(shown, b"", name.as_bytes()),
            Item::Way(shown, way) => self.in_snapshot(shown, way, name.as_bytes()),
            Item::Node(shown, place) => self.in_node(shown, place, name.as_bytes()),
            Item::Latest(_) | Item::Records(..) | Item::File(..) => Ok(None),
        }
    }

    fn on_shelf(&self, shelf: &ShelfName, name: &OsStr) -> Option<Item> {
        let listed = self.listed();
        let inner = listed.shelves.inner(shelf);
        if let Some(inner) = inner.into_iter().find(|inner| inner.text() == name) {
            return Some(Item::Shelf(inner));
        }
        let (shelf, name) = (listed.shelves.shelf(shelf)?, name.to_str()?);
        if name == "latest" {
            return shelf.latest.clone().map(Item::Latest);
        }
        let number = shelf.by_name.get(name)?;
        Some(Item::Snapshot(Arc::clone(&listed.snapshots[*number])))
    }

    fn in_snapshot(&self, shown: &Arc<Shown>, way: &[u8], name: &[u8]) -> Result<Option<Item>> {
        let entries = self.on_the_way(shown, way)?;
        let named = |name: &[u8]| entries.iter().find(|(own, _)| own == name).map(|(_, item)| item);
        match (named(name), name.strip_suffix(RECORDS).and_then(named)) {
            (Some(item), _) => Ok(Some(item.clone())),
            (None, Some(Item::Node(_, place))) => Ok(records(shown, &place.node)),
            (None, _) => Ok(None),
        }
    }

    /// What stands in a directory above the sources, by name.
    pub fn on_the_way(&self, shown: &Arc<Shown>, way: &[u8]) -> Result<Vec<(Vec<u8>, Item)>> {
        let mut entries: Vec<(Vec<u8>, Item)> = Vec::new();
        for (place, number) in shown.tops() {
            let Some(rest) = place.strip_prefix(way) else {
                continue;
            };
            let Some(end) = rest.iter().position(|byte| *byte == b'/') else {
                let found = shown.view(&self.cache, |view| view.source(number))?;
                let node = Item::Node(Arc::clone(shown), Arc::new(Place::top(found.node)));
                entries.push((rest.to_vec(), node));
                continue;
            };
            let (name, way) = (&rest[..end], [way, &rest[..=end]].concat());
            if entries.iter().all(|(known, _)| known != name) {
                entries.push((name.to_vec(), Item::Way(Arc::clone(shown), Arc::new(way))));
            }
        }
        Ok(entries)
    }

    fn in_node(&self, shown: &Arc<Shown>, place: &Place, name: &[u8]) -> Result<Option<Item>> {
        if let EntryKind::Database(number) = place.node.entry.kind {
            let made = self.made(shown, number)?;
            if made.path.join(OsStr::from_bytes(name)).symlink_metadata().is_ok() {
                return Ok(Some(file_of(shown, number, name)));
            }
        }
        let child = |name: &[u8]| shown.view(&self.cache, |view| view.child(&place.node, name));
        if let Some(node) = child(name)? {
            return Ok(Some(Item::Node(Arc::clone(shown), Arc::new(place.inner(node)?))));
        }
        match name.strip_suffix(RECORDS).filter(|name| !name.is_empty()) {
            Some(name) => Ok(child(name)?.and_then(|node| records(shown, &node))),
            None => Ok(None),
        }
    }

    /// Where the entries of a node are.
    pub fn entries_of(&self, shown: &Shown, place: &Place) -> Result<Option<Listing>> {
        shown.view(&self.cache, |view| view.listing(&place.node))
    }

    /// A database's files, made if they are not there.
    pub fn made(&self, shown: &Shown, number: u32) -> Result<Arc<Made>> {
        let made = self.databases.get(shown, number, &self.report);
        self.tell_problems();
        made
    }

    /// The database of this number.
    pub fn database<'s>(&self, shown: &'s Shown, number: u32) -> Result<&'s DatabaseRoot> {
        tree::database(&shown.stored.snapshot, number)
    }
}

/// What stands at the top.
pub fn shelves() -> [ShelfName; 4] {
    [
        ShelfName::Hosts,
        ShelfName::Ids,
        ShelfName::Times,
        ShelfName::Tags,
    ]
}

/// The records of a node, if it is a database that has any.
pub fn records(shown: &Arc<Shown>, node: &Node) -> Option<Item> {
    let number = has_records(shown, &node.entry.kind)?;
    Some(Item::Records(Arc::clone(shown), number))
}

/// A file of a database.
pub fn file_of(shown: &Arc<Shown>, database: u32, name: &[u8]) -> Item {
    let file = MadeFile {
        database,
        name: name.to_vec(),
    };
    Item::File(Arc::clone(shown), Arc::new(file))
}
