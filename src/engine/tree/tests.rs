//! Goal: an address leads where it says and nowhere else, a walk gives everything once and ends on any tree, a range of
//! a file is that range. Method: trees made by hand, honest and hostile ones.

use std::sync::Arc;

use crate::blob::BlobKind;
use crate::chunk::memory_blobs::{MemoryBlobs, noise};
use crate::chunk::{ChunkList, ChunkRef, Chunker, ListBuilder};
use crate::clock::UnixNanos;
use crate::engine::tree::node_walker::NodeWalker;
use crate::engine::tree::*;
use crate::error::{ErrorKind, Result};
use crate::id::{BlobId, DomainId, SetDigest, TimelineId};
use crate::leveldb::DatabaseLayout;
use crate::limits::TREE_DEPTH_MAX;
use crate::run::LeafCutter;
use crate::snapshot::{
    CaptureRecord, DatabaseContent, DatabaseRoot, DirectoryBuilder, EntryKind, FileMetadata, Snapshot,
};
use crate::snapshot::{SnapshotSource, SourceTrust, TreeEntry, TreeRoot};

fn entry(name: &[u8], kind: EntryKind) -> TreeEntry {
    let meta = FileMetadata::default();
    TreeEntry {
        name: name.to_vec(),
        kind,
        meta,
    }
}

fn directory(blobs: &mut MemoryBlobs, entries: Vec<TreeEntry>) -> BlobId {
    let mut builder = DirectoryBuilder::new(LeafCutter::new(&[1; 32]));
    for entry in entries {
        builder
            .push(entry, &mut |kind, plain| blobs.store(kind, plain))
            .unwrap();
    }
    builder
        .finish(&mut |kind, plain| blobs.store(kind, plain))
        .unwrap()
}

fn file(blobs: &mut MemoryBlobs, bytes: &[u8]) -> EntryKind {
    let mut list = ListBuilder::new();
    for chunk in Chunker::new(&[1; 32]).chunks(bytes) {
        let id = blobs.store(BlobKind::Data, chunk.to_vec()).unwrap();
        let bytes = chunk.len() as u64;
        list.push(ChunkRef { id, bytes }, &mut |kind, plain| {
            blobs.store(kind, plain)
        })
        .unwrap();
    }
    EntryKind::File(list.finish(&mut |kind, plain| blobs.store(kind, plain)).unwrap())
}

fn tree(blobs: &mut MemoryBlobs, name: &str, path: &str, root: EntryKind) -> SnapshotSource {
    let last = path.rsplit('/').next().unwrap();
    SnapshotSource::Tree(TreeRoot {
        name: name.into(),
        path: path.into(),
        root: directory(blobs, vec![entry(last.as_bytes(), root)]),
        files: u64::MAX,
        directories: u64::MAX,
        bytes: u64::MAX,
    })
}

fn database(name: &str, path: &str, beside: Option<BlobId>) -> SnapshotSource {
    SnapshotSource::Database(Box::new(DatabaseRoot {
        name: name.into(),
        path: path.into(),
        directory: Some(FileMetadata {
            mode: Some(0o700),
            ..FileMetadata::default()
        }),
        timeline: TimelineId([1; 16]),
        shape: DatabaseLayout::default(),
        content: DatabaseContent::Logical {
            runs: Vec::new(),
            uncertain: None,
        },
        records: 0,
        key_bytes: 0,
        value_bytes: 0,
        set_digest: SetDigest([0; 32]),
        stream_digest: None,
        last_sequence: 0,
        damage: Vec::new(),
        damage_unlisted: 0,
        capture: CaptureRecord::default(),
        trust: SourceTrust::Verified,
        beside,
        files: None,
    }))
}

fn snapshot(sources: Vec<SnapshotSource>) -> Snapshot {
    Snapshot {
        domain: DomainId(0),
        counter: 1,
        previous: None,
        host: "host".into(),
        user: "user".into(),
        time: UnixNanos(1),
        time_end: UnixNanos(2),
        tags: Vec::new(),
        program: "test".into(),
        sources,
        original: None,
        missing: Default::default(),
        inside: None,
    }
}

/// `profile`: a tree with a database two levels down, which has a file and a directory beside it. `chain`: a database.
fn profile() -> (Snapshot, MemoryBlobs) {
    let mut blobs = MemoryBlobs::default();
    let b = &mut blobs;
    let note = file(b, b"note");
    let blob = directory(b, vec![entry(b"1", EntryKind::Fifo)]);
    let beside = directory(
        b,
        vec![entry(b"blob", EntryKind::Directory(blob)), entry(b"note", note)],
    );
    let history = file(b, &noise(1, 300_000));
    let default = directory(
        b,
        vec![
            entry(b"History", history),
            entry(b"leveldb", EntryKind::Database(0)),
            entry(b"link", EntryKind::Symlink(b"/etc/passwd".to_vec())),
            entry(b"\xff", EntryKind::Fifo),
        ],
    );
    let empty = directory(b, vec![]);
    let root = directory(
        b,
        vec![
            entry(b"Default", EntryKind::Directory(default)),
            entry(b"Empty", EntryKind::Directory(empty)),
        ],
    );
    let sources = vec![
        database(
            "profile/Default/leveldb",
            "/home/u/p/Default/leveldb",
            Some(beside),
        ),
        database("chain", "/var/chain", None),
        tree(b, "profile", "/home/u/p", EntryKind::Directory(root)),
        tree(b, "file", "/home/u/file", EntryKind::Fifo),
    ];
    (snapshot(sources), blobs)
}

fn walked(walk: NodeWalker) -> Vec<String> {
    let mut walk = walk;
    let mut all = Vec::new();
    while let Some(node) = walk.next() {
        let node = node.unwrap();
        let path = String::from_utf8_lossy(walk.path());
        all.push(format!("{} {} {path}", walk.depth(), node.source));
    }
    all
}

#[test]
fn an_address_leads_to_what_it_names() {
    let (snapshot, blobs) = profile();
    let view = SnapshotView::new(&snapshot, &blobs);
    for (address, path, source) in [
        ("profile", "/home/u/p", 2),
        ("profile/", "/home/u/p", 2),
        ("profile//Default/History", "/home/u/p/Default/History", 2),
        ("/home/u/p/Default/History/", "/home/u/p/Default/History", 2),
        ("profile/Default/leveldb", "/home/u/p/Default/leveldb", 0),
        ("/home/u/p/Default/leveldb", "/home/u/p/Default/leveldb", 0),
        (
            "profile/Default/leveldb/note",
            "/home/u/p/Default/leveldb/note",
            0,
        ),
        (
            "/home/u/p/Default/leveldb/blob/1",
            "/home/u/p/Default/leveldb/blob/1",
            0,
        ),
        ("file", "/home/u/file", 3),
        ("chain", "/var/chain", 1),
    ] {
        let found = view.resolve(address.as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(&found.path), path);
        assert_eq!(found.node.source, source, "{address}");
    }
    let odd = view.resolve(b"profile/Default/\xff").unwrap();
    assert_eq!(
        (odd.node.entry.kind, &odd.name[..]),
        (EntryKind::Fifo, &b"profile/Default/\xff"[..])
    );
    let db = view.resolve(b"chain").unwrap().node.entry;
    assert_eq!((db.kind, db.meta.mode), (EntryKind::Database(1), Some(0o700)));
}

#[test]
fn an_address_that_leads_nowhere_is_an_error_that_says_where_it_ended() {
    let (snapshot, blobs) = profile();
    let view = SnapshotView::new(&snapshot, &blobs);
    for (address, says) in [
        ("", "it holds chain, profile, file"),
        ("prof", "it holds chain, profile, file"),
        ("home/u/p", "it holds"),
        ("profile/Default/nothing", "no nothing in profile/Default"),
        (
            "profile/Default/History/x",
            "profile/Default/History is no directory",
        ),
        ("profile/Default/link/x", "profile/Default/link is no directory"),
        ("profile/../profile", "no .. in profile"),
        (
            "profile/Default/leveldb/CURRENT",
            "no CURRENT beside the database profile/Default/leveldb",
        ),
        ("chain/x", "no x beside the database chain"),
    ] {
        let error = view.resolve(address.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{address}");
        assert!(error.to_string().contains(says), "{address}: {error}");
    }
}

#[test]
fn a_source_saved_as_the_whole_filesystem_is_below_the_root() {
    let mut blobs = MemoryBlobs::default();
    let etc = directory(&mut blobs, vec![entry(b"etc", EntryKind::Fifo)]);
    let source = TreeRoot {
        name: "/".into(),
        path: b"/".to_vec(),
        root: directory(&mut blobs, vec![entry(b"root", EntryKind::Directory(etc))]),
        files: u64::MAX,
        directories: u64::MAX,
        bytes: u64::MAX,
    };
    let snapshot = snapshot(vec![SnapshotSource::Tree(source)]);
    let view = SnapshotView::new(&snapshot, &blobs);
    assert_eq!(view.resolve(b"/etc").unwrap().path, b"/etc");
    assert_eq!(view.resolve(b"/").unwrap().path, b"/");
    assert_eq!(view.resolve(b"etc").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_source_is_within_another_where_name_and_path_agree() {
    let (snapshot, blobs) = profile();
    assert_eq!(SnapshotView::new(&snapshot, &blobs).top_sources(), [1, 2, 3]);
    let mut blobs = MemoryBlobs::default();
    let sources = vec![
        database("a/b", "/x/b", None),
        database("c/d", "/y/d", None),
        tree(&mut blobs, "a", "/x", EntryKind::Fifo),
        tree(&mut blobs, "c", "/x", EntryKind::Fifo),
        database("a/b/e/f", "/x/b/e/f", None),
    ];
    let snapshot = super::tests::snapshot(sources);
    assert_eq!(SnapshotView::new(&snapshot, &blobs).top_sources(), [1, 2, 3]);
}

#[test]
fn a_walk_gives_everything_once_in_order() {
    let (snapshot, blobs) = profile();
    let view = SnapshotView::new(&snapshot, &blobs);
    let start = view.resolve(b"profile").unwrap().node;
    assert_eq!(
        walked(view.walk(start)),
        [
            "0 2 ",
            "1 2 Default",
            "2 2 Default/History",
            "2 2 Default/leveldb",
            "3 0 Default/leveldb/blob",
            "4 0 Default/leveldb/blob/1",
            "3 0 Default/leveldb/note",
            "2 2 Default/link",
            "2 2 Default/\u{fffd}",
            "1 2 Empty",
        ]
    );
}

#[test]
fn what_is_skipped_is_not_read() {
    let (snapshot, blobs) = profile();
    let view = SnapshotView::new(&snapshot, &blobs);
    let mut walk = view.walk(view.resolve(b"profile").unwrap().node);
    let mut names = Vec::new();
    blobs.asked.borrow_mut().clear();
    while let Some(node) = walk.next() {
        names.push(node.unwrap().entry.name);
        if walk.path() == b"Default" {
            walk.skip_children();
        }
    }
    assert_eq!(names, [&b"p"[..], b"Default", b"Empty"]);
    assert_eq!(blobs.asked.borrow().len(), 2, "the root and Empty");
}

#[test]
fn a_large_directory_is_entered_where_the_name_is() {
    let mut blobs = MemoryBlobs::default();
    let name = |n: usize| format!("{n:06}").into_bytes();
    let many = (0..50_000).map(|n| entry(&name(n), EntryKind::Fifo)).collect();
    let root = directory(&mut blobs, many);
    let source = tree(&mut blobs, "t", "/t", EntryKind::Directory(root));
    let snapshot = snapshot(vec![source]);
    let view = SnapshotView::new(&snapshot, &blobs);
    let node = view.resolve(b"t").unwrap().node;
    blobs.asked.borrow_mut().clear();
    let child = view.find_child(&node, &name(43_210)).unwrap().unwrap();
    assert_eq!(child.entry.name, name(43_210));
    assert!(view.find_child(&node, b"04321x").unwrap().is_none());
    assert!(blobs.asked.borrow().len() <= 8, "{}", blobs.asked.borrow().len());
    let listing = view.directory_tree(&node).unwrap().unwrap();
    let rest = view.list_entries(&listing, &name(49_990)).unwrap();
    assert_eq!(rest.count(), 10);
}

/// `levels` directories in each other, each with a file before and behind the next.
fn nested(blobs: &mut MemoryBlobs, levels: usize) -> Snapshot {
    let mut inner = directory(blobs, vec![]);
    for _ in 1..levels {
        let entries = vec![
            entry(b"a", EntryKind::Fifo),
            entry(b"b", EntryKind::Directory(inner)),
            entry(b"c", EntryKind::Fifo),
        ];
        inner = directory(blobs, entries);
    }
    snapshot(vec![tree(blobs, "t", "/t", EntryKind::Directory(inner))])
}

#[test]
fn a_deep_tree_is_walked_whole_and_one_without_end_is_refused() {
    let mut blobs = MemoryBlobs::default();
    let snapshot = nested(&mut blobs, TREE_DEPTH_MAX);
    let view = SnapshotView::new(&snapshot, &blobs);
    let walk = view.walk(view.resolve_source(0).unwrap().node);
    assert_eq!(walk.filter(Result::is_ok).count(), 3 * (TREE_DEPTH_MAX - 1) + 1);
    let snapshot = nested(&mut blobs, TREE_DEPTH_MAX + 1);
    let view = SnapshotView::new(&snapshot, &blobs);
    let mut errors = view
        .walk(view.resolve_source(0).unwrap().node)
        .filter_map(Result::err);
    assert_eq!(errors.next().unwrap().kind(), ErrorKind::Limit);
    assert!(errors.next().is_none(), "what lies above it is walked on");
}

#[test]
fn a_database_within_itself_is_refused() {
    let mut blobs = MemoryBlobs::default();
    let beside = directory(&mut blobs, vec![entry(b"x", EntryKind::Database(1))]);
    let other = directory(&mut blobs, vec![entry(b"y", EntryKind::Database(0))]);
    let sources = vec![
        database("a", "/a", Some(beside)),
        database("b", "/b", Some(other)),
    ];
    let snapshot = snapshot(sources);
    let view = SnapshotView::new(&snapshot, &blobs);
    let walk = view.walk(view.resolve_source(0).unwrap().node);
    let steps: Vec<_> = walk.map(|node| node.map(|node| node.entry.name)).collect();
    let [Ok(_), Ok(_), Ok(_), Err(error)] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("list x/y"), "{error}");
}

#[test]
fn a_database_that_the_snapshot_does_not_have_is_corrupt() {
    let mut blobs = MemoryBlobs::default();
    for number in [1, 2, u32::MAX] {
        let sources = vec![
            database("d", "/d", None),
            tree(&mut blobs, "t", "/t", EntryKind::Database(number)),
        ];
        let snapshot = snapshot(sources);
        let view = SnapshotView::new(&snapshot, &blobs);
        let node = view.resolve_source(1).unwrap().node;
        assert_eq!(view.directory_tree(&node).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(
            view.find_child(&node, b"x").unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        let error = view.walk(node).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{number}");
    }
}

#[test]
fn a_root_has_one_entry() {
    for entries in [
        vec![],
        vec![entry(b"a", EntryKind::Fifo), entry(b"b", EntryKind::Fifo)],
    ] {
        let mut blobs = MemoryBlobs::default();
        let SnapshotSource::Tree(mut root) = tree(&mut blobs, "t", "/t", EntryKind::Fifo) else {
            panic!("a tree")
        };
        root.root = directory(&mut blobs, entries);
        let snapshot = snapshot(vec![SnapshotSource::Tree(root)]);
        let error = SnapshotView::new(&snapshot, &blobs)
            .resolve_source(0)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_directory_that_is_lost_is_named_and_the_rest_is_walked() {
    let (snapshot, mut blobs) = profile();
    let view = SnapshotView::new(&snapshot, &blobs);
    let lost = view.resolve(b"profile/Default").unwrap().node.entry;
    let EntryKind::Directory(id) = lost.kind else {
        panic!("a directory")
    };
    blobs.map.remove(&id);
    let view = SnapshotView::new(&snapshot, &blobs);
    let (good, bad): (Vec<_>, Vec<_>) = view
        .walk(view.resolve(b"profile").unwrap().node)
        .partition(Result::is_ok);
    assert_eq!(good.len(), 3, "the root, Default itself, Empty");
    let error = bad.into_iter().next().unwrap().unwrap_err();
    assert!(error.to_string().starts_with("list Default: "), "{error}");
}

#[test]
fn a_range_of_a_file_is_that_range() {
    let mut blobs = MemoryBlobs::default();
    let bytes = noise(7, 6 << 20);
    let EntryKind::File(list) = file(&mut blobs, &bytes) else {
        panic!("a file")
    };
    assert!(list.depth() > 0, "long enough for list blobs");
    let len = bytes.len();
    for (offset, count) in [
        (0, 10),
        (0, len),
        (len / 2, 100_000),
        (len - 1, 5),
        (len, 5),
        (len + 7, 5),
        (3, 0),
    ] {
        blobs.asked.borrow_mut().clear();
        let read = read_at(&blobs, &list, offset as u64, count).unwrap();
        let (from, to) = (offset.min(len), (offset + count).min(len));
        assert!(read == bytes[from..to.max(from)], "{count} bytes from {offset}");
        if count < len {
            assert!(blobs.asked.borrow().len() <= 10, "{count} bytes from {offset}");
        }
    }
    assert!(read_at(&blobs, &list, u64::MAX, usize::MAX).unwrap().is_empty());
    let none = ChunkList::default();
    assert!(read_at(&blobs, &none, 0, 9).unwrap().is_empty());
}

#[test]
fn a_chunk_that_is_not_as_long_as_its_list_says_is_corrupt() {
    let mut blobs = MemoryBlobs::default();
    let id = blobs.store(BlobKind::Data, vec![1; 10]).unwrap();
    let list = ChunkList::from_chunks(vec![ChunkRef { id, bytes: 11 }]).unwrap();
    assert_eq!(
        read_at(&blobs, &list, 0, 5).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

#[test]
fn a_stream_is_the_whole_file_and_ends_at_a_chunk_that_is_not_as_its_list_says() {
    use crate::keys::{Password, SlotCost};
    use crate::repo::{BlobReader, BlobWriter, NewRepository, Repo, RepoSettings, WriteMode};
    use crate::report::OperationReport;
    let new = NewRepository {
        cost: SlotCost::cheap(),
        ..NewRepository::default()
    };
    let storage = Arc::new(crate::storage::MemoryStorage::default());
    let repo = Repo::create(
        storage,
        &Password::new(b"p".to_vec()),
        new,
        RepoSettings::default(),
    )
    .unwrap();
    let report = OperationReport::default();
    let bytes = noise(9, 20 << 20);
    let mut writer = BlobWriter::start(&repo, &report, WriteMode::StoreNew).unwrap();
    let mut list = ListBuilder::new();
    for chunk in Chunker::new(&[1; 32]).chunks(&bytes) {
        let id = writer.add_one(BlobKind::Data, chunk.to_vec()).unwrap();
        let bytes = chunk.len() as u64;
        list.push(ChunkRef { id, bytes }, &mut |kind, plain| {
            writer.add_one(kind, plain)
        })
        .unwrap();
    }
    let list = list
        .finish(&mut |kind, plain| writer.add_one(kind, plain))
        .unwrap();
    let short = writer.add_one(BlobKind::Data, vec![1; 10]).unwrap();
    writer.finish().unwrap();
    let lookup = repo.lookup().unwrap();
    let reader = BlobReader::new(&repo, &lookup);
    let mut read = Vec::new();
    let mut sink = |piece: &[u8]| {
        read.extend_from_slice(piece);
        Ok(())
    };
    read_file(&reader, &list, &report, &mut sink).unwrap();
    assert!(read == bytes);
    assert_eq!(report.bytes_done.get(), bytes.len() as u64);
    let wrong = ChunkList::from_chunks(vec![ChunkRef { id: short, bytes: 9 }]).unwrap();
    let error = read_file(&reader, &wrong, &report, &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
