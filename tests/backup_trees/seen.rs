//! A snapshot's trees as plain values, and a directory as the same.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use levault::blob::BlobKind;
use levault::chunk::{BlobSource, ChunkIterator};
use levault::id::BlobId;
use levault::repo::{BlobReader, Repo};
use levault::snapshot::{
    DatabaseRoot, DirectoryWalk, EntryKind, FileMetadata, Snapshot, SnapshotSource, TreeRoot,
};

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    File(Vec<u8>),
    Directory,
    Link(Vec<u8>),
    Database(u32),
    Other,
}

/// By paths from the root on, `/` between names.
pub type Things = BTreeMap<Vec<u8>, Thing>;

/// All that lies in a tree blob, and its metadata.
pub fn stored(repo: &Repo, root: &BlobId) -> BTreeMap<Vec<u8>, (Thing, FileMetadata)> {
    let lookup = repo.lookup().unwrap();
    let reader = BlobReader::new(repo, &lookup);
    let mut all = BTreeMap::new();
    let mut open = vec![(Vec::new(), *root)];
    while let Some((above, id)) = open.pop() {
        for entry in DirectoryWalk::open(&id, &reader).unwrap() {
            let entry = entry.unwrap();
            let path = join(&above, &entry.name);
            let thing = match entry.kind {
                EntryKind::File(list) => Thing::File(bytes(&reader, ChunkIterator::new(list, &reader))),
                EntryKind::Directory(id) => {
                    open.push((path.clone(), id));
                    Thing::Directory
                }
                EntryKind::Symlink(target) => Thing::Link(target),
                EntryKind::Database(number) => Thing::Database(number),
                EntryKind::Fifo | EntryKind::Device(_) => Thing::Other,
            };
            all.insert(path, (thing, entry.meta));
        }
    }
    all
}

/// The same without metadata.
pub fn things(repo: &Repo, root: &BlobId) -> Things {
    let stored = stored(repo, root).into_iter();
    stored.map(|(path, (thing, _))| (path, thing)).collect()
}

fn bytes(reader: &BlobReader, chunks: ChunkIterator) -> Vec<u8> {
    let read = |chunk: levault::error::Result<levault::chunk::ChunkRef>| {
        let chunk = chunk.unwrap();
        let plain = reader.blob(BlobKind::Data, &chunk.id).unwrap();
        assert_eq!(plain.len() as u64, chunk.bytes);
        plain.to_vec()
    };
    chunks.flat_map(read).collect()
}

fn join(above: &[u8], name: &[u8]) -> Vec<u8> {
    match above {
        [] => name.to_vec(),
        above => [above, b"/", name].concat(),
    }
}

/// What stands at a path and below it, under its last name.
pub fn on_disk(path: &Path) -> Things {
    let mut all = Things::new();
    add(path, path.file_name().unwrap().as_bytes().to_vec(), &mut all);
    all
}

fn add(path: &Path, name: Vec<u8>, all: &mut Things) {
    let facts = fs::symlink_metadata(path).unwrap();
    let thing = if facts.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            add(&entry.path(), join(&name, entry.file_name().as_bytes()), all);
        }
        Thing::Directory
    } else if facts.is_file() {
        Thing::File(fs::read(path).unwrap())
    } else if facts.is_symlink() {
        Thing::Link(fs::read_link(path).unwrap().into_os_string().into_vec())
    } else {
        Thing::Other
    };
    all.insert(name, thing);
}

/// The newest snapshot.
pub fn latest(repo: &Repo) -> Snapshot {
    repo.select("latest").unwrap().snapshot
}

/// Its trees.
pub fn trees(snapshot: &Snapshot) -> Vec<&TreeRoot> {
    let sources = snapshot.sources.iter();
    sources
        .filter_map(|source| match source {
            SnapshotSource::Tree(tree) => Some(tree),
            SnapshotSource::Database(_) => None,
        })
        .collect()
}

/// The database of this name, and its number.
pub fn database<'s>(snapshot: &'s Snapshot, name: &str) -> (u32, &'s DatabaseRoot) {
    let is = |(_, source): &(u32, &SnapshotSource)| source.name() == name;
    match (0..).zip(&snapshot.sources).find(is) {
        Some((number, SnapshotSource::Database(database))) => (number, database),
        _ => panic!("no database {name}"),
    }
}

/// Bytes that look random.
pub fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}
