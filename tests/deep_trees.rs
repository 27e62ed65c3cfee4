//! Goal: no tree of a repository, however deep and however often its parts are named, brings an operation down: each ends,
//! in bounded memory, with what it can say. Method: a chain of twenty thousand directories, and sixty directories that
//! each hold the next one twice, stored by hand; every operation on small stacks. And sources deeper than any path.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "common/mod.rs"]
mod common;
#[path = "support/mod.rs"]
mod support;

use std::process::Command;
use std::sync::Arc;

use levault::blob::BlobKind;
use levault::chunk::{ChunkList, ChunkRef};
use levault::clock::UnixNanos;
use levault::engine::tree::SnapshotView;
use levault::error::{ErrorKind, Result};
use levault::id::{BlobId, ObjectId};
use levault::ops::archive::{self, ArchiveContext};
use levault::ops::backup::Backup;
use levault::ops::check::{Check, CheckFinding, ReadData};
use levault::ops::copy::Copy;
use levault::ops::diff::{FileComparison, FileDiffOutcome};
use levault::ops::find;
use levault::ops::prune::Prune;
use levault::ops::repair::RepairMode;
use levault::ops::repair::repair_files::LostPart;
use levault::ops::repair::snapshots::{RepairSnapshots, RepairedSnapshot};
use levault::ops::restore::{ExtraEntries, OverwriteMode, Restore};
use levault::ops::stats;
use levault::pattern::{CaseSensitivity, Pattern, Patterns};
use levault::repo::{BlobReader, BlobWriter, Repo, StoredSnapshot, WriteMode};
use levault::report::OperationReport;
use levault::run::LeafCutter;
use levault::snapshot::{
    DirectoryBuilder, EntryKind, FileMetadata, Snapshot, SnapshotSource, TreeEntry, TreeRoot,
};
use levault::storage::MemoryStorage;

/// Far less than any thread has.
const STACK: usize = 1 << 20;

/// Files, directories, bytes.
type Counts = (u64, u64, u64);

struct Loom {
    repo: Repo,
    stored: u64,
}

fn entry(name: &str, kind: EntryKind) -> TreeEntry {
    TreeEntry {
        name: name.into(),
        kind,
        meta: FileMetadata {
            mode: Some(0o700),
            ..FileMetadata::default()
        },
    }
}

impl Loom {
    fn new() -> Self {
        let repo = common::create(Arc::new(MemoryStorage::default())).unwrap();
        Self { repo, stored: 0 }
    }

    fn weave(&self, make: impl FnOnce(&mut BlobWriter) -> BlobId) -> BlobId {
        let report = OperationReport::default();
        let mut writer = BlobWriter::start(&self.repo, &report, WriteMode::StoreNew).unwrap();
        let id = make(&mut writer);
        writer.finish().unwrap();
        id
    }

    fn directory(&self, writer: &mut BlobWriter, entries: Vec<TreeEntry>) -> BlobId {
        let secret = self.repo.domain_keys().chunker_secret().expose();
        let mut builder = DirectoryBuilder::new(LeafCutter::new(secret));
        for entry in entries {
            builder
                .push(entry, &mut |kind, plain| writer.add_one(kind, plain))
                .unwrap();
        }
        builder
            .finish(&mut |kind, plain| writer.add_one(kind, plain))
            .unwrap()
    }

    fn put(&mut self, root: BlobId, (files, directories, bytes): Counts) -> ObjectId {
        self.stored += 1;
        let snapshot = Snapshot {
            domain: self.repo.domain_keys().id(),
            counter: self.stored,
            previous: None,
            host: "host".into(),
            user: "user".into(),
            time: UnixNanos(self.stored as i64),
            time_end: UnixNanos(self.stored as i64),
            tags: Vec::new(),
            program: "test".into(),
            sources: vec![SnapshotSource::Tree(TreeRoot {
                name: "t".into(),
                path: b"/t".to_vec(),
                root,
                files,
                directories,
                bytes,
            })],
            original: None,
            missing: Default::default(),
            inside: None,
        };
        self.repo.put_snapshot(&snapshot).unwrap()
    }

    /// So many directories in directories, the innermost with a file that `seed` tells from others.
    fn chain(&self, levels: u64, seed: u8) -> BlobId {
        self.weave(|writer| {
            let mut kind = file(writer, &[seed]);
            for _ in 0..levels {
                kind = EntryKind::Directory(self.directory(writer, vec![entry("d", kind)]));
            }
            self.directory(writer, vec![entry("t", kind)])
        })
    }

    /// Directories each of which holds the one below it twice.
    fn bomb(&self, levels: u32, seed: u8) -> (BlobId, Counts) {
        let root = self.weave(|writer| {
            let leaf = file(writer, &[seed]);
            let mut below = self.directory(writer, vec![entry("f", leaf)]);
            for _ in 0..levels {
                let twice = ["a", "b"].map(|name| entry(name, EntryKind::Directory(below)));
                below = self.directory(writer, twice.into());
            }
            self.directory(writer, vec![entry("t", EntryKind::Directory(below))])
        });
        let leaves = 1 << levels;
        (root, (leaves, 2 * leaves - 1, leaves))
    }

    fn snapshot(&self, id: &ObjectId) -> StoredSnapshot {
        self.repo.select(&id.to_hex()).unwrap()
    }

    fn check(&self) -> Vec<CheckFinding> {
        let check = Check { read: ReadData::All };
        check
            .run(&self.repo, &OperationReport::default())
            .unwrap()
            .findings
    }

    /// What every operation that walks a snapshot as a person sees it has to say.
    fn looks(&self, id: &ObjectId, other: &ObjectId) -> Vec<(&'static str, Vec<String>)> {
        let (stored, other) = (self.snapshot(id), self.snapshot(other));
        let lookup = self.repo.lookup().unwrap();
        let reader = BlobReader::new(&self.repo, &lookup);
        let mut said = Vec::new();
        let mut look = |what, act: &dyn Fn(&OperationReport) -> Result<()>| {
            let report = OperationReport::default();
            act(&report).unwrap();
            said.push((what, report.problems()));
        };
        look("ls", &|report| {
            let view = SnapshotView::new(&stored.snapshot, &reader);
            for node in view.walk(view.resolve_source(0)?.node) {
                if let Err(error) = node {
                    report.problem(error.to_string());
                }
            }
            Ok(())
        });
        look("find", &|report| {
            let patterns = Patterns::new(&[Pattern::word("nothing", CaseSensitivity::Matters)])?;
            let snapshots = std::slice::from_ref(&stored);
            find::find_named_files(&self.repo, snapshots, &patterns, report, &mut |_| Ok(()))
        });
        look("tar", &|report| {
            let ground = ArchiveContext {
                repo: &self.repo,
                stored: &stored,
                reader: &reader,
                report,
            };
            archive::archive_snapshot(ground, std::io::sink())
        });
        look("plan", &|report| {
            let dir = tempfile::tempdir().unwrap();
            let restore = Restore::new(dir.path().join("target"));
            restore.plan(&self.repo, &stored, report, &mut |_| ())
        });
        look("restore", &|report| {
            let dir = support::memory();
            let restore = Restore::new(dir.path().join("target"));
            let done = restore.run(&self.repo, &stored, report).map(drop);
            // Deeper than a recursion of the standard library should go.
            let gone = Command::new("rm")
                .arg("-rf")
                .arg(dir.path().join("target"))
                .status();
            assert!(gone.unwrap().success());
            done
        });
        look("diff", &|report| {
            let files = FileComparison::new(&other, &stored, &reader, report)?;
            files.compare_snapshots(&mut FileDiffOutcome::default(), &mut |_| Ok(()))
        });
        said
    }

    /// Operations that go by blobs and not by paths: they come to an end with no complaint.
    fn counts(&self) {
        stats::stats(&self.repo, None, &OperationReport::default()).unwrap();
        let prune = Prune {
            dry_run: true,
            ..Prune::default()
        };
        let plan = prune.run(&self.repo, &OperationReport::default()).unwrap().plan;
        assert!(plan.dead.is_empty(), "all of it is needed");
    }

    fn repair(&self, ids: &[ObjectId], mode: RepairMode) -> Vec<RepairedSnapshot> {
        let repair = RepairSnapshots {
            snapshots: ids.iter().map(ObjectId::to_hex).collect(),
            mode,
        };
        repair
            .run(&self.repo, &OperationReport::default())
            .unwrap()
            .repaired
    }

    fn copy(&self) -> (Self, Vec<String>) {
        let to = Self::new();
        let report = OperationReport::default();
        let copied = Copy::default().run(&self.repo, &to.repo, &report, &mut |_| ());
        let refused = copied.unwrap().refused.into_iter();
        (to, refused.map(|refused| refused.why).collect())
    }
}

fn file(writer: &mut BlobWriter, bytes: &[u8]) -> EntryKind {
    let id = writer.add_one(BlobKind::Data, bytes.to_vec()).unwrap();
    let bytes = bytes.len() as u64;
    EntryKind::File(ChunkList::from_chunks(vec![ChunkRef { id, bytes }]).unwrap())
}

fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK);
    thread.spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_chain_of_directories_without_end_is_told_and_harms_nothing() {
    on_a_small_stack(|| {
        let levels = 20_000;
        let mut loom = Loom::new();
        let root = loom.chain(levels, 1);
        let id = loom.put(root, (1, levels, 1));
        let other = loom.chain(levels, 2);
        let other = loom.put(other, (1, levels, 1));
        let findings = loom.check();
        let told = |finding: &CheckFinding| finding.what.contains("directories in directories without end");
        assert_eq!(
            findings.iter().filter(|finding| told(finding)).count(),
            2,
            "{findings:?}"
        );
        loom.counts();
        for (what, said) in loom.looks(&id, &other) {
            let ends = said.iter().any(|said| said.contains("without end"));
            assert!(ends && said.len() == 1, "{what}: {said:?}");
        }
        let (_, refused) = loom.copy();
        assert!(
            refused.len() == 2 && refused[0].contains("without end"),
            "{refused:?}"
        );
        let repaired = loom.repair(&[id, other], RepairMode::Apply);
        assert_eq!(repaired[0].trees[0].lost[0].what, LostPart::Entries);
        assert_eq!(loom.check(), [], "what is left of it is as any tree");
    });
}

#[test]
fn a_tree_of_more_places_than_there_are_atoms_to_store_them_ends_where_its_snapshot_says() {
    on_a_small_stack(|| {
        let mut loom = Loom::new();
        let (root, counts) = loom.bomb(60, 1);
        let honest = loom.put(root, counts);
        assert_eq!(
            loom.check(),
            [],
            "every blob of it is there, and its counts are right"
        );
        loom.counts();
        let (to, refused) = loom.copy();
        assert_eq!(refused, [""; 0]);
        assert_eq!(to.check(), []);
        assert_eq!(loom.repair(&[honest], RepairMode::DryRun), []);
        // Whoever walks it all the same can be stopped.
        let report = OperationReport::default();
        let restore = Restore::new("/nowhere/target");
        let mut seen = 0;
        let planned = restore.plan(&loom.repo, &loom.snapshot(&honest), &report, &mut |_| {
            seen += 1;
            if seen == 500 {
                report.stop();
            }
        });
        assert_eq!(planned.unwrap_err().kind(), ErrorKind::Interrupted);
    });
}

#[test]
fn what_passes_the_counts_of_its_snapshot_is_not_restored_without_end() {
    on_a_small_stack(|| {
        let mut loom = Loom::new();
        let (one, _) = loom.bomb(60, 1);
        let (two, _) = loom.bomb(60, 2);
        for (counts, what) in [
            ((100, 1 << 40, 1 << 40), "100 files"),
            ((1 << 40, 200, 1 << 40), "200 directories"),
            ((1 << 40, 1 << 40, 50), "50 bytes"),
        ] {
            let (one, two) = (loom.put(one, counts), loom.put(two, counts));
            for (act, said) in loom.looks(&one, &two) {
                let ends = said
                    .iter()
                    .any(|said| said.contains(&format!("tree t states {what}, and has more")));
                assert!(ends && said.len() == 1, "{act} {what}: {said:?}");
            }
        }
        let findings = loom.check();
        let states = |finding: &CheckFinding| finding.what.starts_with("tree t states ");
        assert_eq!(
            findings.iter().filter(|finding| states(finding)).count(),
            6,
            "{findings:?}"
        );
    });
}

#[test]
fn what_a_snapshot_was_not_read_to_the_end_for_is_not_deleted() {
    on_a_small_stack(|| {
        let mut loom = Loom::new();
        let (root, _) = loom.bomb(60, 1);
        let id = loom.put(root, (100, 1 << 40, 1 << 40));
        let dir = support::memory();
        let target = dir.path().join("target");
        std::fs::create_dir_all(target.join("a")).unwrap();
        let strangers = [target.join("z"), target.join("a/z")];
        strangers
            .iter()
            .for_each(|path| std::fs::write(path, "z").unwrap());
        let restore = Restore {
            overwrite: OverwriteMode::Always,
            extra_entries: ExtraEntries::Delete,
            ..Restore::new(&target)
        };
        let report = OperationReport::default();
        restore.run(&loom.repo, &loom.snapshot(&id), &report).unwrap();
        assert!(
            report.problems()[0].contains("and has more"),
            "{:?}",
            report.problems()
        );
        assert!(strangers.iter().all(|path| path.exists()));
    });
}

#[test]
fn a_file_whose_list_names_itself_over_and_over_is_looked_at_once() {
    on_a_small_stack(|| {
        let mut loom = Loom::new();
        let root = loom.weave(|writer| {
            let id = writer.add_one(BlobKind::Data, vec![7]).unwrap();
            let list = |below: BlobId, bytes, depth: u8| {
                let mut plain = Vec::new();
                varint(&mut plain, 2 * bytes);
                varint(&mut plain, u64::from(depth));
                varint(&mut plain, 2);
                for _ in 0..2 {
                    varint(&mut plain, bytes);
                    plain.extend_from_slice(&below.0);
                }
                plain
            };
            let (mut below, mut bytes) = (id, 1);
            for depth in 0..39 {
                below = writer.add_one(BlobKind::List, list(below, bytes, depth)).unwrap();
                bytes *= 2;
            }
            let whole = list(below, bytes, 39);
            let mut reader = levault::codec::Reader::new(&whole);
            let list = ChunkList::decode(&mut reader).unwrap();
            assert_eq!(list.bytes(), 1 << 40);
            loom.directory(writer, vec![entry("t", EntryKind::File(list))])
        });
        let id = loom.put(root, (1, 0, 1 << 40));
        assert_eq!(loom.check(), []);
        loom.counts();
        assert_eq!(loom.repair(&[id], RepairMode::DryRun), []);
    });
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[test]
fn of_a_source_that_no_path_reaches_the_end_of_all_else_is_saved() {
    on_a_small_stack(|| {
        use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
        let dir = support::memory();
        let top = dir.path().join("source");
        std::fs::create_dir_all(top.join("z")).unwrap();
        std::fs::write(top.join("z/file"), "all else").unwrap();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        let mut at = open(&top, flags, Mode::empty()).unwrap();
        for _ in 0..3_000 {
            mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = openat(&at, "d", flags, Mode::empty()).unwrap();
        }
        let loom = Loom::new();
        let report = OperationReport::default();
        let saved = Backup::new(vec![top.clone()]).run(&loom.repo, &report).unwrap();
        assert_eq!(report.problems().len(), 1, "{:?}", report.problems());
        assert_eq!(loom.check(), []);
        let stored = loom.snapshot(&saved.snapshot.unwrap());
        let SnapshotSource::Tree(tree) = &stored.snapshot.sources[0] else {
            panic!("a tree")
        };
        assert!(tree.files == 1 && tree.directories > 1_900, "{tree:?}");
        let gone = Command::new("rm").arg("-rf").arg(&top).status();
        assert!(gone.unwrap().success());
    });
}
