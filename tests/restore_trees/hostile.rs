//! Trees that no backup stores: each is refused or contained, what is good in them comes back, and nothing else changes.

use std::fs;
use std::os::unix::fs::MetadataExt;

use levault::blob::BlobKind;
use levault::chunk::{ChunkList, ChunkRef};
use levault::clock::UnixNanos;
use levault::id::BlobId;
use levault::ops::restore::{ExtraEntries, OverwriteMode};
use levault::repo::{BlobWriter, WriteMode};
use levault::report::OperationReport;
use levault::run::LeafCutter;
use levault::snapshot::{DirectoryBuilder, EntryKind, FileMetadata, SnapshotSource, TreeEntry, TreeRoot};

use super::common;
use super::disk::{self, Disk, assert_same};
use super::scene::{Scene, noise};

/// A scene with a neighbour that nothing may touch, and trees stored by hand.
struct Loom {
    scene: Scene,
    blobs: Vec<(BlobKind, Vec<u8>)>,
    outside: Disk,
    stored: i64,
}

fn entry(name: &str, kind: EntryKind) -> TreeEntry {
    let meta = FileMetadata {
        mode: Some(0o755),
        ..FileMetadata::default()
    };
    TreeEntry {
        name: name.into(),
        kind,
        meta,
    }
}

impl Loom {
    fn new() -> Self {
        let scene = Scene::new();
        scene.database("db");
        scene.file("outside/file", "outside");
        scene.backup(&["db"]);
        let outside = disk::read(&scene.path("outside"));
        Self {
            scene,
            blobs: Vec::new(),
            outside,
            stored: 0,
        }
    }

    fn blob(&mut self, kind: BlobKind, plain: Vec<u8>) -> BlobId {
        let id = self.scene.repo.domain_keys().blob_id(kind, &plain);
        self.blobs.push((kind, plain));
        id
    }

    fn file(&mut self, bytes: &[u8]) -> EntryKind {
        let id = self.blob(BlobKind::Data, bytes.to_vec());
        let bytes = bytes.len() as u64;
        EntryKind::File(ChunkList::from_chunks(vec![ChunkRef { id, bytes }]).unwrap())
    }

    fn directory(&mut self, mut entries: Vec<TreeEntry>) -> BlobId {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let secret = *self.scene.repo.domain_keys().chunker_secret().expose();
        let mut builder = DirectoryBuilder::new(LeafCutter::new(&secret));
        let mut new = Vec::new();
        let keys = self.scene.repo.domain_keys();
        let mut store = |kind, plain: Vec<u8>| {
            let id = keys.blob_id(kind, &plain);
            new.push((kind, plain));
            Ok(id)
        };
        for entry in entries {
            builder.push(entry, &mut store).unwrap();
        }
        let id = builder.finish(&mut store).unwrap();
        self.blobs.extend(new);
        id
    }

    /// A snapshot of the database, and of a tree that is this directory.
    fn put(&mut self, root: BlobId, change: impl FnOnce(&mut Vec<SnapshotSource>)) {
        let top = self.directory(vec![entry("root", EntryKind::Directory(root))]);
        let report = OperationReport::default();
        let mut writer = BlobWriter::start(&self.scene.repo, &report, WriteMode::StoreNew).unwrap();
        for (kind, plain) in self.blobs.drain(..) {
            writer.add_one(kind, plain).unwrap();
        }
        writer.finish().unwrap();
        let mut snapshot = self.scene.repo.select("latest").unwrap().snapshot;
        self.stored += 1;
        snapshot.time = UnixNanos(snapshot.time.0 + self.stored);
        snapshot.counter += 1;
        snapshot.sources.truncate(1);
        if let SnapshotSource::Database(database) = &mut snapshot.sources[0] {
            database.name = "root/db".into();
            database.path = b"/root/db".to_vec();
            database.beside = None;
        }
        snapshot.sources.push(SnapshotSource::Tree(TreeRoot {
            name: "root".into(),
            path: b"/root".to_vec(),
            root: top,
            files: u64::MAX,
            directories: u64::MAX,
            bytes: u64::MAX,
        }));
        change(&mut snapshot.sources);
        self.scene.repo.put_snapshot(&snapshot).unwrap();
    }

    /// Restores; the problems that were told. Nothing outside has changed.
    fn restore(&self) -> Vec<String> {
        let before = self.scene.report.problems().len();
        self.scene.restore();
        assert_same(&disk::read(&self.scene.path("outside")), &self.outside);
        let mut problems = self.scene.report.problems().split_off(before);
        // The snapshot always has a database, and few of the trees do.
        problems.retain(|problem| !problem.contains("no tree of the snapshot has it"));
        problems
    }

    fn clear(&self) {
        let _ = fs::remove_dir_all(self.scene.target());
    }
}

/// A tree blob with one fifo for each name, as it is.
fn raw(names: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![1, 0, names.len() as u8];
    for name in names {
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&[5, 0]);
    }
    bytes
}

#[test]
fn a_name_that_leads_elsewhere_takes_its_directory_and_nothing_more() {
    for names in [
        &[&b".."[..]][..],
        &[b"."],
        &[b""],
        &[b"/"],
        &[b"/tmp/x"],
        &[b"../outside/x"],
        &[b"a/b"],
        &[b"a\0b"],
        &[b"b", b"a"],
        &[b"a", b"a"],
    ] {
        let mut loom = Loom::new();
        let wrong = loom.blob(BlobKind::Tree, raw(names));
        let good = loom.file(b"good");
        let root = loom.directory(vec![
            entry("good", good),
            entry("wrong", EntryKind::Directory(wrong)),
        ]);
        loom.put(root, |_| ());
        let problems = loom.restore();
        assert_eq!(problems.len(), 1, "{names:?}: {problems:?}");
        assert_eq!(loom.scene.names("target"), ["good", "wrong"]);
        assert!(loom.scene.names("target/wrong").is_empty());
    }
}

#[test]
fn a_source_that_is_called_what_is_no_name_gets_a_place_below_the_target() {
    for name in ["..", "/", "a/b", "root"] {
        let mut loom = Loom::new();
        let root = loom.directory(vec![]);
        loom.put(root, |sources| {
            let SnapshotSource::Tree(other) = &sources[1] else {
                panic!("a tree")
            };
            let other = TreeRoot {
                name: name.into(),
                path: b"/elsewhere".to_vec(),
                ..other.clone()
            };
            sources.push(SnapshotSource::Tree(other));
        });
        assert_eq!(loom.restore(), [""; 0], "{name}");
        assert_eq!(loom.scene.names("target").len(), 2, "{name}");
        assert_same(&disk::read(&loom.scene.path("outside")), &loom.outside);
    }
}

#[test]
fn a_link_is_made_and_never_walked_through() {
    let mut loom = Loom::new();
    let outside = loom.scene.path("outside");
    let link = EntryKind::Symlink(outside.to_str().unwrap().into());
    let inner = loom.file(b"inner");
    let below = loom.directory(vec![entry("file", inner)]);
    let root = loom.directory(vec![
        entry("a", link.clone()),
        entry("b", EntryKind::Directory(below)),
    ]);
    loom.put(root, |_| ());
    assert_eq!(loom.restore(), [""; 0]);
    // Now the other way round: what was a link is a directory, and the link stands there.
    let inner = loom.file(b"inner");
    let below = loom.directory(vec![entry("file", inner)]);
    let root = loom.directory(vec![entry("a", EntryKind::Directory(below)), entry("b", link)]);
    loom.put(root, |_| ());
    let delete = |restore: &mut levault::ops::restore::Restore| {
        restore.overwrite = OverwriteMode::Always;
        restore.extra_entries = ExtraEntries::Delete;
    };
    loom.scene.try_restore(delete).unwrap();
    assert_eq!(fs::read(loom.scene.path("target/a/file")).unwrap(), b"inner");
    assert!(loom.scene.path("target/b").is_symlink());
    assert_same(&disk::read(&loom.scene.path("outside")), &loom.outside);
}

#[test]
fn a_database_has_one_place_and_must_be_one() {
    let mut loom = Loom::new();
    let root = loom.directory(vec![
        entry("db", EntryKind::Database(0)),
        entry("far", EntryKind::Database(u32::MAX)),
        entry("none", EntryKind::Database(7)),
        entry("tree", EntryKind::Database(1)),
        entry("twice", EntryKind::Database(0)),
    ]);
    loom.put(root, |_| ());
    let problems = loom.restore();
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(
        problems
            .iter()
            .any(|problem| problem.contains("more than one place"))
    );
    assert_eq!(loom.scene.names("target"), ["db"]);
    assert_eq!(common::scan(&loom.scene.path("target/db")).unwrap().len(), 50);
}

#[test]
fn a_database_within_itself_and_databases_without_end_are_refused() {
    let mut loom = Loom::new();
    let root = loom.directory(vec![entry("db", EntryKind::Database(0))]);
    let own = loom.directory(vec![entry("again", EntryKind::Database(0))]);
    loom.put(root, |sources| {
        if let SnapshotSource::Database(database) = &mut sources[0] {
            database.beside = Some(own);
        }
    });
    let problems = loom.restore();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(common::scan(&loom.scene.path("target/db")).unwrap().len(), 50);

    loom.clear();
    let root = loom.directory(vec![entry("db", EntryKind::Database(0))]);
    let besides: Vec<_> = (2..102)
        .map(|next| loom.directory(vec![entry("in", EntryKind::Database(next))]))
        .collect();
    loom.put(root, |sources| {
        let first = sources[0].clone();
        for (n, beside) in besides.into_iter().enumerate() {
            let mut source = first.clone();
            if let SnapshotSource::Database(database) = &mut source {
                database.name = format!("root/db/{n}");
                database.path = format!("/root/db/{n}").into_bytes();
                database.beside = Some(beside);
            }
            match n {
                0 => {
                    if let SnapshotSource::Database(database) = &mut sources[0] {
                        database.beside = match source {
                            SnapshotSource::Database(other) => other.beside,
                            SnapshotSource::Tree(_) => None,
                        };
                    }
                }
                _ => sources.push(source),
            }
        }
    });
    let problems = loom.restore();
    assert!(
        problems.iter().any(|problem| problem.contains("without end")),
        "{problems:?}"
    );
    assert_eq!(common::scan(&loom.scene.path("target/db/in")).unwrap().len(), 50);
}

#[test]
fn what_lies_beside_a_database_cannot_pass_for_part_of_it() {
    let mut loom = Loom::new();
    let root = loom.directory(vec![entry("db", EntryKind::Database(0))]);
    let mut beside = Vec::new();
    for name in ["CURRENT", "MANIFEST-000099", "000099.log", "000001.ldb", "LOCK"] {
        let file = loom.file(name.as_bytes());
        beside.push(entry(name, file));
    }
    let fine = loom.file(b"fine");
    beside.push(entry("fine", fine));
    let beside = loom.directory(beside);
    loom.put(root, |sources| {
        if let SnapshotSource::Database(database) = &mut sources[0] {
            database.beside = Some(beside);
        }
    });
    let problems = loom.restore();
    assert_eq!(problems.len(), 5, "{problems:?}");
    assert_eq!(common::scan(&loom.scene.path("target/db")).unwrap().len(), 50);
    assert!(!loom.scene.path("target/db/000099.log").exists());
    assert_eq!(fs::read(loom.scene.path("target/db/fine")).unwrap(), b"fine");
}

#[test]
fn directories_without_end_are_told_and_the_rest_is_there() {
    let mut loom = Loom::new();
    let mut inner = loom.directory(vec![]);
    for _ in 0..2100 {
        inner = loom.directory(vec![entry("d", EntryKind::Directory(inner))]);
    }
    let good = loom.file(b"good");
    let root = loom.directory(vec![
        entry("deep", EntryKind::Directory(inner)),
        entry("good", good),
    ]);
    loom.put(root, |_| ());
    let problems = loom.restore();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("without end"));
    assert_eq!(fs::read(loom.scene.path("target/good")).unwrap(), b"good");
}

#[test]
fn names_of_one_file_are_believed_only_with_one_content() {
    let mut loom = Loom::new();
    let (one, other) = (loom.file(b"one"), loom.file(b"other"));
    let linked = |name: &str, kind: EntryKind| {
        let mut entry = entry(name, kind);
        entry.meta.hard_link = Some(7);
        entry
    };
    let root = loom.directory(vec![
        linked("a", one.clone()),
        linked("b", other),
        linked("c", EntryKind::Fifo),
        linked("d", one),
    ]);
    loom.put(root, |_| ());
    assert_eq!(loom.restore(), [""; 0]);
    let inode = |name: &str| {
        fs::symlink_metadata(loom.scene.path(&format!("target/{name}")))
            .unwrap()
            .ino()
    };
    assert_eq!(fs::read(loom.scene.path("target/b")).unwrap(), b"other");
    assert_eq!(inode("a"), inode("d"));
    assert!(inode("a") != inode("b") && inode("b") != inode("c"));
}

#[test]
fn holes_are_no_reason_to_leave_bytes_out() {
    let mut loom = Loom::new();
    let bytes = [noise(1, 5000), vec![0; 5000], noise(2, 5000)].concat();
    let mut entries = Vec::new();
    for (n, holes) in [
        vec![(0, 15_000)],
        vec![(4000, 8000)],
        vec![(14_000, u64::MAX - 14_000)],
        vec![(20_000, 5)],
        vec![(5000, 5000), (u64::MAX - 1, 1)],
    ]
    .into_iter()
    .enumerate()
    {
        let kind = loom.file(&bytes);
        let mut entry = entry(&n.to_string(), kind);
        entry.meta.holes = holes;
        entries.push(entry);
    }
    let root = loom.directory(entries);
    loom.put(root, |_| ());
    assert_eq!(loom.restore(), [""; 0]);
    for n in 0..5 {
        let back = fs::read(loom.scene.path(&format!("target/{n}"))).unwrap();
        assert!(back == bytes, "{n}");
    }
}

/// A list blob that names the one below it a thousand times, over and over: a few blobs that say any length.
fn bomb(loom: &mut Loom, chunk: &[u8], levels: u8) -> (EntryKind, u64) {
    let mut id = loom.blob(BlobKind::Data, chunk.to_vec());
    let mut bytes = chunk.len() as u64;
    let mut list = Vec::new();
    for depth in 0..=levels {
        let count = if depth == levels { 1 } else { 1000 };
        list = encoded_list(depth, count, id, bytes);
        bytes *= count;
        if depth < levels {
            id = loom.blob(BlobKind::List, list.clone());
        }
    }
    let list = ChunkList::decode(&mut levault::codec::Reader::new(&list)).unwrap();
    (EntryKind::File(list), bytes)
}

fn encoded_list(depth: u8, count: u64, id: BlobId, bytes: u64) -> Vec<u8> {
    let mut out = Vec::new();
    levault::codec::put_varint(&mut out, count * bytes);
    levault::codec::put_varint(&mut out, u64::from(depth));
    levault::codec::put_varint(&mut out, count);
    for _ in 0..count {
        levault::codec::put_varint(&mut out, bytes);
        out.extend_from_slice(&id.0);
    }
    out
}

#[test]
fn a_file_that_a_few_blobs_make_endless_is_refused_before_the_disk_is_full() {
    let mut loom = Loom::new();
    let (tiny, _) = bomb(&mut loom, b"x", 3);
    let (large, bytes) = bomb(&mut loom, &noise(1, 200_000), 4);
    assert!(bytes > 1 << 50);
    let (wide, bytes) = bomb(&mut loom, &noise(2, 200_000), 3);
    assert!(bytes > 100 << 40);
    let (hollow, bytes) = bomb(&mut loom, &[0; 256 << 10], 4);
    let mut hollow = entry("hollow", hollow);
    hollow.meta.holes = vec![(0, bytes)];
    let good = loom.file(b"good");
    let root = loom.directory(vec![
        entry("good", good),
        hollow,
        entry("large", large),
        entry("tiny", tiny),
        entry("wide", wide),
    ]);
    loom.put(root, |_| ());
    let problems = loom.restore();
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert_eq!(loom.scene.names("target"), ["good"]);
}

#[test]
fn a_file_whose_chunks_are_lost_or_lie_is_told_and_the_rest_is_there() {
    let mut loom = Loom::new();
    let lost =
        |id: BlobId, bytes| EntryKind::File(ChunkList::from_chunks(vec![ChunkRef { id, bytes }]).unwrap());
    let real = loom.blob(BlobKind::Data, b"twelve bytes".to_vec());
    let good = loom.file(b"good");
    let root = loom.directory(vec![
        entry("absent", lost(BlobId([9; 32]), 100)),
        entry("good", good),
        entry("longer", lost(real, 13)),
        entry("lost", EntryKind::Directory(BlobId([8; 32]))),
        entry("shorter", lost(real, 11)),
    ]);
    loom.put(root, |_| ());
    let problems = loom.restore();
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert_eq!(loom.scene.names("target"), ["good", "lost"]);
    fs::write(loom.scene.path("target/lost/mine"), "mine").unwrap();
    let delete = |restore: &mut levault::ops::restore::Restore| {
        restore.overwrite = OverwriteMode::Always;
        restore.extra_entries = ExtraEntries::Delete;
    };
    loom.scene.try_restore(delete).unwrap();
    assert_eq!(
        loom.scene.names("target/lost"),
        ["mine"],
        "nobody knows what is in that directory"
    );
}
