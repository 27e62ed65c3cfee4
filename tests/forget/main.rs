//! Forgetting and bringing back, through the library. What a policy keeps is tested in src/ops/forget, what several
//! forgettings mean together in src/facts, the tool's words in tests/retention.rs.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "../common/mod.rs"]
mod common;

mod meanwhile;
mod policy;
mod readers;
mod undelete;

use std::path::PathBuf;
use std::sync::Arc;

use common::hooked::Hooked;
use levault::annotations::{CountedSnapshot, ForgetReason, ForgetRecord, Note, NoteSubject, SnapshotNote};
use levault::clock::UnixNanos;
use levault::engine::snapshot_filter::SnapshotFilter;
use levault::error::{ErrorKind, Result};
use levault::id::ObjectId;
use levault::ops::backup::{Backup, BackupOutcome, ReadScope};
use levault::ops::check::{Check, CheckOutcome, ReadData};
use levault::ops::forget::{
    ForgetInput, ForgetSelection, GroupBy, KeepCount, MinimumKept, PolicyCalendar, PolicySelection,
    RetentionPolicy, choose_snapshots, forget,
};
use levault::ops::undelete::{select_forgotten, undelete};
use levault::repo::{OWN_DOMAIN, Repo};
use levault::report::OperationReport;
use levault::storage::{MemoryStorage, ObjectKind, ObjectName, Storage, StorageVerb};

/// A database, a repository in memory, and its snapshots, oldest first.
struct Scene {
    dir: tempfile::TempDir,
    storage: Arc<MemoryStorage>,
    repo: Repo,
    ids: Vec<ObjectId>,
}

impl Scene {
    fn new(snapshots: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Arc::new(MemoryStorage::default());
        let repo = common::create(storage.clone()).unwrap();
        let ids = Vec::new();
        let mut scene = Self {
            dir,
            storage,
            repo,
            ids,
        };
        common::fill(&scene.db(), 200, 100);
        for _ in 0..snapshots {
            scene.change();
            let id = scene.backup(&scene.repo).snapshot.unwrap();
            scene.ids.push(id);
        }
        scene
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    /// One record more.
    fn change(&self) {
        let number = 1000 + self.ids.len() as u32;
        common::write(
            &self.db(),
            &[(common::key(number), Some(common::value(number, 50)))],
        );
    }

    fn backup(&self, repo: &Repo) -> BackupOutcome {
        common::backup(repo, &self.db()).unwrap()
    }

    fn counted(&self, number: usize) -> CountedSnapshot {
        CountedSnapshot {
            id: self.ids[number],
            domain: OWN_DOMAIN,
            counter: self.repo.snapshot(&self.ids[number]).unwrap().counter,
        }
    }

    fn forget(&self, number: usize) {
        common::forget(&self.repo, self.ids[number]);
    }

    fn undelete(&self, number: usize) -> Result<()> {
        let catalog = self.repo.catalog().unwrap();
        let forgotten = select_forgotten(&catalog, &self.ids[number].to_hex())?;
        undelete(&self.repo, forgotten, &OperationReport::default())
    }

    fn counting(&self) -> Vec<ObjectId> {
        let snapshots = self.repo.snapshots().unwrap();
        snapshots.iter().map(|stored| stored.id).collect()
    }

    fn check(&self) -> CheckOutcome {
        let check = Check { read: ReadData::All };
        check.run(&self.repo, &OperationReport::default()).unwrap()
    }

    fn is_sound(&self) {
        let findings = self.check().findings;
        assert!(findings.is_empty(), "{findings:?}");
    }

    fn sweep(&self, number: usize) {
        let name = ObjectName::new(ObjectKind::Snapshot, self.ids[number]);
        self.storage.delete(name).unwrap();
    }

    fn plan(&self, wish: &PolicySelection) -> Result<ForgetSelection> {
        let known = ForgetInput::load(&self.repo)?;
        let calendar = PolicyCalendar {
            now: self.repo.clock().now(),
            zone: jiff::tz::TimeZone::UTC,
        };
        let plans = wish.plan(&known, &calendar)?;
        Ok(choose_snapshots(&plans, &wish.policy))
    }
}

fn by_hand(snapshot: CountedSnapshot) -> ForgetSelection {
    ForgetSelection {
        snapshots: vec![snapshot],
        why: ForgetReason::ByHand,
        words: String::new(),
    }
}

fn keep_last(count: u32) -> PolicySelection {
    PolicySelection {
        policy: RetentionPolicy {
            last: KeepCount::Of(count),
            ..RetentionPolicy::default()
        },
        ..PolicySelection::default()
    }
}

fn note(repo: &Repo, when: i64, id: ObjectId, said: SnapshotNote) {
    let about = NoteSubject::Snapshot { id, said };
    let when = UnixNanos(when);
    repo.put_note(&Note { when, about }).unwrap();
}

fn why_whole(outcome: &BackupOutcome) -> &str {
    match &outcome.databases[0].scope {
        ReadScope::Whole { why: Some(why) } => why,
        other => panic!("{other:?}"),
    }
}
