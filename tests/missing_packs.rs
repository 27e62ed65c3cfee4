//! Packs that are indexed and not there: an error if a snapshot that counts cannot do without, else a notice. And checks
//! of some snapshots alone.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use levault::id::ObjectId;
use levault::ops::backup::{Backup, PinMode};
use levault::ops::check::{Check, CheckOutcome, ReadData};
use levault::repo::Repo;
use levault::report::OperationReport;
use levault::storage::{MemoryStorage, ObjectKind, ObjectName, Storage};

struct Scene {
    dir: tempfile::TempDir,
    storage: Arc<MemoryStorage>,
    repo: Repo,
}

impl Scene {
    fn new() -> Self {
        let storage = Arc::new(MemoryStorage::default());
        Self {
            dir: tempfile::tempdir().unwrap(),
            repo: common::create(storage.clone()).unwrap(),
            storage,
        }
    }

    /// Another database, so that the snapshot shares nothing with others. Its packs.
    fn backup(&self, name: &str, from: u32) -> (ObjectId, Vec<ObjectId>) {
        let before = self.packs();
        let db = self.db(name);
        let changes: Vec<_> = (from..from + 80)
            .map(|i| (common::key(i), Some(common::value(i, 200))))
            .collect();
        common::write(&db, &changes);
        let mut backup = Backup::new(vec![db]);
        backup.databases.pinning = PinMode::None;
        let id = backup
            .run(&self.repo, &OperationReport::default())
            .unwrap()
            .snapshot
            .unwrap();
        let packs = self.packs().into_iter().filter(|pack| !before.contains(pack));
        (id, packs.collect())
    }

    fn db(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn packs(&self) -> Vec<ObjectId> {
        let listed = self.storage.list(ObjectKind::Pack).unwrap();
        listed.iter().map(|listed| listed.name.id).collect()
    }

    fn lose(&self, packs: &[ObjectId]) {
        let lose = |id: &ObjectId| {
            self.storage
                .delete(ObjectName::new(ObjectKind::Pack, *id))
                .unwrap()
        };
        packs.iter().for_each(lose);
    }

    fn check(&self, read: ReadData) -> CheckOutcome {
        Check { read }
            .run(&self.repo, &OperationReport::default())
            .unwrap()
    }

    fn check_for(&self, id: ObjectId, read: ReadData) -> CheckOutcome {
        let stored = self.repo.select(&id.to_hex()).unwrap();
        Check { read }
            .run_for(&self.repo, &[stored], &OperationReport::default())
            .unwrap()
    }
}

fn paths(packs: &[ObjectId]) -> Vec<String> {
    let path = |id: &ObjectId| ObjectName::new(ObjectKind::Pack, *id).path();
    packs.iter().map(path).collect()
}

fn objects(outcome: &CheckOutcome) -> (Vec<String>, Vec<String>) {
    let findings = outcome.findings.iter().map(|finding| finding.object.clone());
    let notices = outcome.notices.iter().map(|notice| notice.object.clone());
    (findings.collect(), notices.collect())
}

#[test]
fn a_missing_pack_that_no_snapshot_needs_is_a_notice_and_one_that_is_needed_an_error() {
    for read in [ReadData::None, ReadData::All] {
        let scene = Scene::new();
        scene.backup("one", 0);
        let (second, packs) = scene.backup("two", 5000);
        assert!(!packs.is_empty());
        scene.lose(&packs);
        let outcome = scene.check(read);
        let found: Vec<_> = outcome
            .findings
            .iter()
            .filter(|found| found.what == "is missing")
            .collect();
        assert_eq!(found.len(), packs.len(), "{:?}", outcome.findings);
        let hanging = format!("snapshot {}", second.short());
        let hangs = outcome
            .findings
            .iter()
            .flat_map(|found| &found.affects)
            .any(|text| text.contains(&hanging));
        assert!(hangs, "{:?}", outcome.findings);
        common::forget(&scene.repo, second);
        let (findings, notices) = objects(&scene.check(read));
        assert_eq!((findings, notices), (vec![], paths(&packs)));
        // While something else cannot be walked, it may be what was missed.
        let (_, others) = scene.backup("three", 9000);
        scene.lose(&others);
        let (findings, _) = objects(&scene.check(read));
        assert!(
            paths(&packs).iter().all(|path| findings.contains(path)),
            "{findings:?}"
        );
    }
}

#[test]
fn a_missing_pack_whose_blobs_have_other_copies_is_a_notice() {
    let scene = Scene::new();
    let (_, first) = scene.backup("one", 0);
    // The same content once more, in packs of its own: a backup that did not know of the first ones.
    let kept: Vec<_> = first
        .iter()
        .map(|id| ObjectName::new(ObjectKind::Pack, *id))
        .collect();
    let bytes: Vec<_> = kept
        .iter()
        .map(|name| scene.storage.get(*name, 1 << 30).unwrap())
        .collect();
    scene.lose(&first);
    let (_, second) = scene.backup("one", 0);
    assert!(!second.is_empty(), "stored again");
    for (name, bytes) in kept.iter().zip(&bytes) {
        scene.storage.put_new(*name, bytes).unwrap();
    }
    assert_eq!(objects(&scene.check(ReadData::All)), (vec![], vec![]));
    scene.lose(&first);
    for read in [ReadData::None, ReadData::All] {
        let outcome = scene.check(read);
        assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
        assert_eq!(objects(&outcome).1, paths(&first));
        assert!(
            outcome.notices[0].what.contains("other copies"),
            "{:?}",
            outcome.notices
        );
    }
    assert_eq!(common::records(&scene.repo, "latest~1").unwrap().len(), 80);
}

#[test]
fn a_check_of_some_snapshots_reads_their_packs_and_nobody_elses() {
    let scene = Scene::new();
    let (first, ones) = scene.backup("one", 0);
    let (second, twos) = scene.backup("two", 5000);
    let outcome = scene.check_for(first, ReadData::All);
    assert_eq!(outcome.packs_read, ones.len() as u64);
    assert_eq!((outcome.packs, outcome.snapshots), (ones.len() as u64, 1));
    scene.lose(&twos);
    assert_eq!(objects(&scene.check_for(first, ReadData::All)), (vec![], vec![]));
    assert!(!scene.check_for(second, ReadData::None).findings.is_empty());
    // One byte of what it rests on.
    let name = ObjectName::new(ObjectKind::Pack, ones[0]);
    scene.storage.corrupt(name, |bytes| bytes[200] ^= 1);
    let outcome = scene.check_for(first, ReadData::All);
    assert!(
        objects(&outcome).0.contains(&name.path()),
        "{:?}",
        outcome.findings
    );
}
