//! Resolves addresses and lists directories of one snapshot.
//!
//! One snapshot's trees: addresses, directories, single entries.

use crate::chunk::BlobSource;
use crate::engine::tree::address;
use crate::engine::tree::node_walker::NodeWalker;
use crate::engine::tree::stated_size::StatedSize;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::BlobId;
use crate::snapshot::source_label::parts;
use crate::snapshot::{DatabaseRoot, DirectoryWalk, EntryKind, Snapshot, SnapshotSource, TreeEntry};

/// The trees of one snapshot.
#[derive(Clone, Copy)]
pub struct SnapshotView<'a> {
    snapshot: &'a Snapshot,
    blobs: &'a dyn BlobSource,
}

/// Something a tree holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeNode {
    /// Number of the source whose trees hold it: names of one file have the same [`crate::snapshot::FileMetadata::hard_link`] only
    /// within one.
    pub source: usize,
    /// Its name, what it is, and its metadata.
    pub entry: TreeEntry,
}

/// What an address leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedAddress {
    /// The address as the snapshot spells it: the source's name and the names below it.
    pub name: Vec<u8>,
    /// Where it stood.
    pub path: Vec<u8>,
    /// What it is.
    pub node: TreeNode,
}

/// Where the entries of a directory are; `tree` is `None` if there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryTreeRef {
    /// See [`TreeNode::source`].
    pub source: usize,
    /// The directory's tree blob.
    pub tree: Option<BlobId>,
}

impl ResolvedAddress {
    /// Where something below it stood.
    pub fn below(&self, path: &[u8]) -> Vec<u8> {
        let mut whole = self.path.clone();
        join_path(&mut whole, path);
        whole
    }
}

impl<'a> SnapshotView<'a> {
    /// The trees of `snapshot`, whose blobs `blobs` has.
    pub fn new(snapshot: &'a Snapshot, blobs: &'a dyn BlobSource) -> Self {
        Self { snapshot, blobs }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// Where its blobs come from.
    pub fn blobs(&self) -> &'a dyn BlobSource {
        self.blobs
    }

    /// Numbers of the sources that lie in no other source of the snapshot, as far as names and paths say.
    pub fn top_sources(&self) -> Vec<usize> {
        address::top_sources(self.snapshot)
    }

    /// A source itself: the file, directory or database that was asked for.
    pub fn resolve_source(&self, number: usize) -> Result<ResolvedAddress> {
        let source = self.snapshot.sources.get(number);
        let source = source.ok_or_else(|| Error::corrupt(format!("no source {number} in the snapshot")))?;
        let entry = match source {
            SnapshotSource::Tree(tree) => self
                .read_root_entry(&tree.root)
                .context(|| format!("tree of {}", tree.name))?,
            SnapshotSource::Database(database) => database_entry(number, database),
        };
        Ok(ResolvedAddress {
            name: source.label().into_owned(),
            path: source.path().to_vec(),
            node: TreeNode {
                source: number,
                entry,
            },
        })
    }

    /// A tree's root lists one entry.
    fn read_root_entry(&self, id: &BlobId) -> Result<TreeEntry> {
        let mut walk = DirectoryWalk::open(id, self.blobs)?;
        let (first, second) = (walk.next().transpose()?, walk.next());
        first
            .filter(|_| second.is_none())
            .ok_or_else(|| Error::corrupt("a root that does not list one entry"))
    }

    /// What `address` leads to: `NAME`, `NAME/inner/path`, or the same by the path where a source stood; see
    /// [`super`]. [`ErrorKind::NotFound`] if there is no such thing.
    pub fn resolve(&self, address: &[u8]) -> Result<ResolvedAddress> {
        let Some((number, rest)) = address::find_source(self.snapshot, address)? else {
            return Err(self.source_not_found(address));
        };
        let mut found = self.resolve_source(number)?;
        for name in rest {
            let child = self.find_child(&found.node, name)?;
            found.node = child.ok_or_else(|| entry_not_found(&found, name))?;
            join_path(&mut found.name, name);
            join_path(&mut found.path, name);
        }
        Ok(found)
    }

    fn source_not_found(&self, address: &[u8]) -> Error {
        let address = String::from_utf8_lossy(address);
        let sources = self.top_sources().into_iter();
        let names: Vec<_> = sources
            .map(|number| self.snapshot.sources[number].name())
            .take(20)
            .collect();
        let names = names.join(", ");
        Error::new(
            ErrorKind::NotFound,
            format!("{address} is not in the snapshot; it holds {names}"),
        )
    }

    /// Where the entries of a directory are, or those beside a database; `None` for what can have no entries.
    pub fn directory_tree(&self, node: &TreeNode) -> Result<Option<DirectoryTreeRef>> {
        match &node.entry.kind {
            EntryKind::Directory(id) => Ok(Some(DirectoryTreeRef {
                source: node.source,
                tree: Some(*id),
            })),
            EntryKind::Database(number) => Ok(Some(DirectoryTreeRef {
                source: *number as usize,
                tree: self.database(*number)?.beside,
            })),
            _ => Ok(None),
        }
    }

    /// See [`database_by_number`].
    pub fn database(&self, number: u32) -> Result<&'a DatabaseRoot> {
        database_by_number(self.snapshot, number)
    }

    /// Entries in order of their names, from the first on whose name is `from` or behind it.
    pub fn list_entries(
        &self,
        listing: &DirectoryTreeRef,
        from: &[u8],
    ) -> Result<impl Iterator<Item = Result<TreeNode>> + use<'a>> {
        let source = listing.source;
        let open = |id: &BlobId| DirectoryWalk::open_from(id, from.to_vec(), self.blobs);
        let walk = listing.tree.as_ref().map(open).transpose()?;
        let entries = walk.into_iter().flatten();
        Ok(entries.map(move |entry| entry.map(|entry| TreeNode { source, entry })))
    }

    /// One entry of a directory; `None` if it is not there, or `node` is no directory.
    pub fn find_child(&self, node: &TreeNode, name: &[u8]) -> Result<Option<TreeNode>> {
        let Some(listing) = self.directory_tree(node)? else {
            return Ok(None);
        };
        let first = self.list_entries(&listing, name)?.next().transpose()?;
        Ok(first.filter(|child| child.entry.name == name))
    }

    /// The node and all below it: each directory before its entries, entries in order of their names; no more than the
    /// snapshot states.
    pub fn walk(&self, node: TreeNode) -> NodeWalker<'a> {
        let stated = StatedSize::of(*self, &node);
        NodeWalker::new(*self, node, Some(stated))
    }

    /// The same, for who compares what there is with what is stated and passes over what was met before.
    pub fn walk_unbounded(&self, node: TreeNode) -> NodeWalker<'a> {
        NodeWalker::new(*self, node, None)
    }
}

/// The database that a tree's entry names. [`ErrorKind::Corrupt`] if there is none of that number.
pub fn database_by_number(snapshot: &Snapshot, number: u32) -> Result<&DatabaseRoot> {
    match snapshot.sources.get(number as usize) {
        Some(SnapshotSource::Database(database)) => Ok(database),
        _ => Err(Error::corrupt(format!(
            "a tree names source {number} as a database"
        ))),
    }
}

/// A database that was asked for by itself, as a tree would list it.
fn database_entry(number: usize, database: &DatabaseRoot) -> TreeEntry {
    let name = parts(&database.path).last().unwrap_or_default();
    TreeEntry {
        name: name.to_vec(),
        // A snapshot has few sources, see `SNAPSHOT_SOURCES_MAX`.
        kind: EntryKind::Database(number as u32),
        meta: database.directory.clone().unwrap_or_default(),
    }
}

fn entry_not_found(found: &ResolvedAddress, name: &[u8]) -> Error {
    let (path, name) = (
        String::from_utf8_lossy(&found.name),
        String::from_utf8_lossy(name),
    );
    let what = match found.node.entry.kind {
        EntryKind::Directory(_) => format!("no {name} in {path}"),
        EntryKind::Database(_) => format!("no {name} beside the database {path}"),
        _ => format!("{path} is no directory, so it holds no {name}"),
    };
    Error::new(ErrorKind::NotFound, what)
}

/// Appends names to a path; none leave it as it is.
pub fn join_path(path: &mut Vec<u8>, names: &[u8]) {
    if !path.is_empty() && !names.is_empty() && !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(names);
}
