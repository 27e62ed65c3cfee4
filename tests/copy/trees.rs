//! Trees of files: directories in directories, links, files of several chunks.

use std::collections::BTreeMap;

use levault::blob::BlobKind;
use levault::chunk::{ChunkIterator, ChunkRef, Chunker, ListBuilder};
use levault::id::BlobId;
use levault::repo::{BlobReader, BlobWriter, WriteMode};
use levault::run::{BlobSource, LeafCutter};
use levault::snapshot::{
    DirectoryBuilder, DirectoryWalk, EntryKind, FileMetadata, Snapshot, SnapshotSource as Saved,
};
use levault::snapshot::{TreeEntry, TreeRoot};

use super::*;

/// Files by path; a path that ends with `@` is a link to what its bytes say.
type Files = BTreeMap<String, Vec<u8>>;

fn files() -> Files {
    let file = |name: &str, seed, len| (name.to_owned(), common::value(seed, len));
    let link = ("home/sub/link@".to_owned(), b"../a".to_vec());
    let mut files = Files::from([
        file("home/a", 1, 400_000),
        file("home/b", 2, 90_000),
        file("home/sub/c", 3, 300_000),
        link,
    ]);
    // Enough names for a directory of several parts.
    files.extend((0..3000).map(|n| (format!("home/many/{n:05}"), vec![n as u8; 30])));
    files
}

/// Stores what lies below `path`; the tree that lists it.
fn store(repo: &Repo, writer: &mut BlobWriter, files: &Files, path: &str) -> BlobId {
    let secret = repo.domain_keys().chunker_secret().expose();
    let mut directory = DirectoryBuilder::new(LeafCutter::new(secret));
    let below = files
        .range(path.to_owned()..)
        .take_while(|(name, _)| name.starts_with(path));
    let mut names: Vec<_> = below
        .map(|(name, _)| name[path.len()..].split('/').next().unwrap().to_owned())
        .collect();
    names.dedup();
    names.sort();
    for name in names {
        let whole = format!("{path}{name}");
        let kind = match files.get(&whole) {
            Some(target) if name.ends_with('@') => EntryKind::Symlink(target.clone()),
            Some(bytes) => {
                let (cutter, mut list) = (Chunker::new(secret), ListBuilder::new());
                for chunk in cutter.chunks(bytes) {
                    let id = writer.add_one(BlobKind::Data, chunk.to_vec()).unwrap();
                    let bytes = chunk.len() as u64;
                    let mut add = |kind, plain| writer.add_one(kind, plain);
                    list.push(ChunkRef { id, bytes }, &mut add).unwrap();
                }
                EntryKind::File(
                    list.finish(&mut |kind, plain| writer.add_one(kind, plain))
                        .unwrap(),
                )
            }
            None => EntryKind::Directory(store(repo, writer, files, &format!("{whole}/"))),
        };
        let entry = TreeEntry {
            name: name.into_bytes(),
            kind,
            meta: FileMetadata {
                mode: Some(0o640),
                ..FileMetadata::default()
            },
        };
        directory
            .push(entry, &mut |kind, plain| writer.add_one(kind, plain))
            .unwrap();
    }
    directory
        .finish(&mut |kind, plain| writer.add_one(kind, plain))
        .unwrap()
}

/// A snapshot of the files, as a later version makes them.
fn snapshot(repo: &Repo, like: &Snapshot, files: &Files, nth: i64) {
    let report = OperationReport::default();
    let mut writer = BlobWriter::start(repo, &report, WriteMode::StoreNew).unwrap();
    let root = store(repo, &mut writer, files, "");
    writer.finish().unwrap();
    let regular = || files.iter().filter(|(path, _)| !path.ends_with('@'));
    let above = |path: &String| path.rsplit_once('/').map(|(above, _)| above.to_owned());
    let directories: std::collections::BTreeSet<_> = files
        .keys()
        .flat_map(|path| std::iter::successors(above(path), above))
        .collect();
    let tree = TreeRoot {
        name: "home".into(),
        path: b"/home".to_vec(),
        root,
        files: regular().count() as u64,
        directories: directories.len() as u64,
        bytes: regular().map(|(_, bytes)| bytes.len() as u64).sum(),
    };
    let snapshot = Snapshot {
        time: UnixNanos(like.time.0 + nth),
        counter: like.counter + nth as u64,
        sources: vec![Saved::Tree(tree)],
        ..like.clone()
    };
    repo.put_snapshot(&snapshot).unwrap();
}

fn load(source: &dyn BlobSource, tree: &BlobId, path: &str, into: &mut Files) {
    for entry in DirectoryWalk::open(tree, source).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.meta.mode, Some(0o640));
        let whole = format!("{path}{}", String::from_utf8(entry.name).unwrap());
        match entry.kind {
            EntryKind::Symlink(target) => drop(into.insert(whole, target)),
            EntryKind::Directory(id) => load(source, &id, &format!("{whole}/"), into),
            EntryKind::File(list) => {
                let chunks = ChunkIterator::new(list, source).map(|chunk| chunk.unwrap().id);
                let bytes = chunks.flat_map(|id| source.blob(BlobKind::Data, &id).unwrap().to_vec());
                into.insert(whole, bytes.collect());
            }
            kind => panic!("{kind:?} was not stored"),
        }
    }
}

#[test]
fn a_tree_arrives_whole_and_of_the_next_one_only_the_files_that_changed_are_read() {
    let source = Source::new(1);
    let like = source.repo.snapshots().unwrap().remove(0).snapshot;
    let (_, to) = fresh();
    let mut files = files();
    snapshot(&source.repo, &like, &files, 1);
    copy(&source.repo, &to).unwrap();
    files.insert("home/b".into(), common::value(9, 80_000));
    files.remove("home/many/00007");
    snapshot(&source.repo, &like, &files, 2);
    let traced = Arc::new(TracedStorage::new(source.storage.clone()));
    let report = OperationReport::default();
    let from = source.repo.with_storage(traced.clone());
    let outcome = Copy::default().run(&from, &to, &report, &mut |_| ()).unwrap();
    assert_eq!(outcome.copied.len(), 1);
    let read: u64 = traced
        .take_calls()
        .iter()
        .filter(|call| call.kind == ObjectKind::Pack)
        .map(|call| call.bytes)
        .sum();
    assert!(read < 250_000, "{read} bytes of packs were read");
    assert!(report.bytes_added.get() < 250_000, "{}", report.bytes_added.get());
    let latest = to.select("latest").unwrap().snapshot;
    let Saved::Tree(tree) = &latest.sources[0] else {
        panic!("a tree")
    };
    let lookup = to.lookup().unwrap();
    let mut found = Files::new();
    load(&BlobReader::new(&to, &lookup), &tree.root, "", &mut found);
    assert!(found == files);
    clean(&to);
}

#[test]
fn a_check_follows_trees_of_files() {
    let source = Source::new(1);
    let like = source.repo.snapshots().unwrap().remove(0).snapshot;
    let before: Vec<_> = source.storage.list(ObjectKind::Pack).unwrap();
    snapshot(&source.repo, &like, &files(), 1);
    let check = Check { read: ReadData::None };
    let findings = || {
        check
            .run(&source.repo, &OperationReport::default())
            .unwrap()
            .findings
    };
    assert!(findings().is_empty(), "{:?}", findings());
    for pack in source.storage.list(ObjectKind::Pack).unwrap() {
        if !before.iter().any(|old| old.name == pack.name) {
            source.storage.delete(pack.name).unwrap();
        }
    }
    assert!(!findings().is_empty(), "the files' packs are gone");
}
