//! `repair snapshots` of trees: what is left comes back at its place, what is lost is named, and nothing passes for what it
//! is not.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use levault::blob::BlobKind;
use levault::chunk::ChunkIterator;
use levault::engine::tree::SnapshotView;
use levault::id::{BlobId, ObjectId};
use levault::ops::repair::RepairMode;
use levault::ops::repair::repair_files::LostPart;
use levault::ops::repair::snapshots::SnapshotRepairOutcome;
use levault::ops::restore::Restore;
use levault::repo::BlobReader;
use levault::report::OperationReport;
use levault::run::BlobSource;
use levault::snapshot::{EntryKind, SnapshotSource, TreeBlob};

use super::snapshots::repair;
use crate::common;
use crate::scene::{Scene, backup};

/// Files around a database; `a/big` has several chunks.
struct Home {
    scene: Scene,
    id: ObjectId,
}

fn big() -> Vec<u8> {
    common::value(1, 1_500_000)
}

impl Home {
    fn new() -> Self {
        let mut scene = Scene::empty();
        let home = scene.dir.path().join("home");
        fs::create_dir_all(home.join("a/inner")).unwrap();
        common::fill(&home.join("db"), 50, 60);
        fs::write(home.join("a/big"), big()).unwrap();
        fs::hard_link(home.join("a/big"), home.join("twin")).unwrap();
        fs::write(home.join("a/big.levault-partial"), "taken").unwrap();
        fs::write(home.join("a/inner/deep"), "deep").unwrap();
        fs::write(home.join("a/small"), "small").unwrap();
        fs::write(home.join("z"), "last").unwrap();
        let id = backup(&scene.repo(), &home).unwrap();
        scene.ids.push(id);
        Self { scene, id }
    }

    fn source(&self) -> PathBuf {
        self.scene.dir.path().join("home")
    }

    /// The blobs of an entry: a directory's tree, a file's chunks.
    fn blobs(&self, address: &str) -> Vec<BlobId> {
        let repo = self.scene.repo();
        let snapshot = repo.snapshot(&self.id).unwrap();
        let lookup = repo.lookup().unwrap();
        let reader = BlobReader::new(&repo, &lookup);
        let found = SnapshotView::new(&snapshot, &reader)
            .resolve(address.as_bytes())
            .unwrap();
        match found.node.entry.kind {
            EntryKind::Directory(tree) => vec![tree],
            EntryKind::File(list) => ChunkIterator::new(list, &reader)
                .map(|chunk| chunk.unwrap().id)
                .collect(),
            kind => panic!("{kind:?}"),
        }
    }

    fn chunk(&self, id: &BlobId) -> Vec<u8> {
        let repo = self.scene.repo();
        let lookup = repo.lookup().unwrap();
        BlobReader::new(&repo, &lookup)
            .blob(BlobKind::Data, id)
            .unwrap()
            .to_vec()
    }

    fn tree(&self, id: &BlobId) -> TreeBlob {
        let repo = self.scene.repo();
        let lookup = repo.lookup().unwrap();
        let plain = BlobReader::new(&repo, &lookup).blob(BlobKind::Tree, id).unwrap();
        TreeBlob::decode(&plain).unwrap()
    }

    fn repair(&self) -> SnapshotRepairOutcome {
        repair(&self.scene.repo(), RepairMode::Apply).unwrap()
    }

    fn restore(&self, id: &ObjectId) -> PathBuf {
        let repo = self.scene.repo();
        let target = self.scene.dir.path().join(id.short());
        let report = OperationReport::default();
        let stored = repo.select(&id.to_hex()).unwrap();
        Restore::new(&target).run(&repo, &stored, &report).unwrap();
        // What was lost is missing from the snapshot, and every restore of it says so.
        assert_eq!(report.problems(), stored.snapshot.missing.sentences(b""));
        match target.join("home") {
            home if home.is_dir() => home,
            _ => target,
        }
    }

    /// Damaged packs stay until they are swept; no snapshot rests on them.
    fn is_sound(&self) {
        let findings = self.scene.findings().into_iter();
        let wrong: Vec<_> = findings.filter(|finding| !finding.affects.is_empty()).collect();
        assert_eq!(wrong, []);
    }

    /// The tree's lost things, and the snapshot that stands for it.
    fn repaired(&self) -> (Vec<(String, LostPart)>, ObjectId) {
        let outcome = self.repair();
        assert_eq!(outcome.failed, []);
        let [repaired] = &outcome.repaired[..] else {
            panic!("{outcome:?}")
        };
        let made = self.scene.repo().select(&repaired.repaired_as.unwrap().to_hex());
        let lost = repaired.trees.iter().flat_map(|tree| &tree.lost);
        assert_eq!(
            made.unwrap().snapshot.missing.count(),
            lost.clone().count() as u64
        );
        let lost = lost.map(|lost| (String::from_utf8(lost.path.clone()).unwrap(), lost.what));
        (lost.collect(), repaired.repaired_as.unwrap())
    }
}

#[test]
fn of_a_file_that_lost_a_chunk_the_others_come_back_at_their_places_under_a_name_that_says_so() {
    let home = Home::new();
    let chunks = home.blobs("home/a/big");
    assert!(chunks.len() > 4);
    let lost = home.chunk(&chunks[2]);
    let bytes = lost.len() as u64;
    home.scene.break_blob(&chunks[2]);
    let (told, id) = home.repaired();
    let part = |path: &str| (path.to_owned(), LostPart::Bytes(bytes));
    assert_eq!(told, [part("home/a/big"), part("home/twin")]);
    home.is_sound();

    let back = home.restore(&id);
    let at = big()
        .windows(lost.len())
        .position(|window| window == lost)
        .unwrap();
    let mut left = big();
    left[at..at + lost.len()].fill(0);
    let taken = back.join("a/big.levault-partial");
    assert_eq!(
        fs::read(taken).unwrap(),
        b"taken",
        "a file that has the name keeps it"
    );
    let partial = back.join("a/big.levault-partial.levault-partial");
    assert!(fs::read(&partial).unwrap() == left);
    assert!(fs::read(back.join("twin.levault-partial")).unwrap() == left);
    assert_eq!(fs::metadata(&partial).unwrap().nlink(), 1);
    assert!(!back.join("a/big").exists() && !back.join("twin").exists());
    assert_eq!(fs::read(back.join("a/inner/deep")).unwrap(), b"deep");
    assert_eq!(
        common::scan(&back.join("db")).unwrap(),
        common::scan(&home.source().join("db")).unwrap()
    );
    // Nothing is left to repair, and the next backup has all of it again.
    assert_eq!(home.repair().repaired, []);
    let whole = backup(&home.scene.repo(), &home.source()).unwrap();
    assert!(fs::read(home.restore(&whole).join("a/big")).unwrap() == big());
    home.is_sound();
}

#[test]
fn a_file_of_which_nothing_is_left_is_left_out_and_a_directory_without_its_list_is_empty() {
    let home = Home::new();
    for address in ["home/a/small", "home/a/inner"] {
        home.scene.break_blob(&home.blobs(address)[0]);
    }
    let (told, id) = home.repaired();
    let lost = |path: &str, what| (path.to_owned(), what);
    assert_eq!(
        told,
        [
            lost("home/a/inner", LostPart::Entries),
            lost("home/a/small", LostPart::File)
        ]
    );
    let back = home.restore(&id);
    assert!(!back.join("a/small").exists());
    assert_eq!(fs::read_dir(back.join("a/inner")).unwrap().count(), 0);
    assert!(fs::read(back.join("a/big")).unwrap() == big());
    home.is_sound();
}

#[test]
fn a_tree_without_a_root_is_an_empty_directory_that_says_so() {
    let home = Home::new();
    let snapshot = home.scene.repo().snapshot(&home.id).unwrap();
    let tree = |source: &SnapshotSource| match source {
        SnapshotSource::Tree(tree) => Some(tree.root),
        SnapshotSource::Database(_) => None,
    };
    let root = snapshot.sources.iter().find_map(tree).unwrap();
    home.scene.break_blob(&root);
    let (told, id) = home.repaired();
    assert_eq!(told, [(String::new(), LostPart::Entries)]);
    home.is_sound();
    let repo = home.scene.repo();
    let snapshot = repo.snapshot(&id).unwrap();
    let lookup = repo.lookup().unwrap();
    let reader = BlobReader::new(&repo, &lookup);
    let found = SnapshotView::new(&snapshot, &reader).resolve(b"home").unwrap();
    assert_eq!(found.node.entry.name, b"home.levault-lost");
}

#[test]
fn of_a_directory_in_parts_the_parts_behind_a_lost_one_are_there() {
    let mut home = Home::new();
    let many = home.source().join("many");
    fs::create_dir(&many).unwrap();
    for number in 0..1_500 {
        fs::write(many.join(format!("{number:0240}")), "").unwrap();
    }
    home.id = backup(&home.scene.repo(), &home.source()).unwrap();
    let tree = home.blobs("home/many")[0];
    let TreeBlob::Parts { parts, .. } = home.tree(&tree) else {
        panic!("one blob")
    };
    assert!(parts.len() > 2);
    home.scene.break_blob(&parts[1].id);
    let (told, id) = home.repaired();
    assert_eq!(told, [("home/many".to_owned(), LostPart::Entries)]);
    let repo = home.scene.repo();
    let snapshot = repo.snapshot(&id).unwrap();
    let lookup = repo.lookup().unwrap();
    let reader = BlobReader::new(&repo, &lookup);
    let found = SnapshotView::new(&snapshot, &reader)
        .resolve(b"home/many")
        .unwrap();
    let left = SnapshotView::new(&snapshot, &reader).walk(found.node).count() as u64 - 1;
    assert_eq!(left, 1_500 - parts[1].entries);
    home.is_sound();
}
