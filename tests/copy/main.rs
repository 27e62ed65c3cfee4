//! Goal: what is in one repository comes to be in another, whole, once, whatever dies meanwhile; and nothing that is
//! wrong comes along. Method: copies between repositories in memory, judged by models, by `check` and by restores.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

mod cost;
mod hosts;
mod meanwhile;
mod tool;
mod trees;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use levault::annotations::{Note, NoteSubject, SnapshotNote};
use levault::clock::{ManualClock, UnixNanos};
use levault::compress::Compression;
use levault::engine::snapshot_filter::SnapshotFilter;
use levault::error::Result;
use levault::id::ObjectId;
use levault::keys::SlotCost;
use levault::ops::backup::Backup;
use levault::ops::check::{Check, ReadData};
use levault::ops::copy::{CopiedSnapshot, Copy, CopyOutcome};
use levault::ops::prune::Prune;
use levault::repo::{NewRepository, Repo, RepoSettings};
use levault::report::OperationReport;
use levault::snapshot::OriginalSnapshot;
use levault::storage::faulty_storage::FaultyStorage;
use levault::storage::{MemoryStorage, ObjectKind, Storage, TracedStorage};

use common::Model;
use support::tool::{Ended, Tool, files_below};

/// A repository in memory.
fn fresh() -> (Arc<MemoryStorage>, Repo) {
    let storage = Arc::new(MemoryStorage::default());
    let repo = common::create(storage.clone()).unwrap();
    (storage, repo)
}

fn copy(from: &Repo, to: &Repo) -> Result<CopyOutcome> {
    Copy::default().run(from, to, &OperationReport::default(), &mut |_| ())
}

fn clean(repo: &Repo) {
    let check = Check { read: ReadData::All };
    let findings = check.run(repo, &OperationReport::default()).unwrap().findings;
    assert!(findings.is_empty(), "{findings:?}");
}

/// A database that grows and changes, a snapshot of each state, and the states.
struct Source {
    dir: tempfile::TempDir,
    storage: Arc<MemoryStorage>,
    repo: Repo,
    states: Vec<Model>,
}

impl Source {
    /// With values of all lengths, one of several chunks among them.
    fn new(states: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (storage, repo) = fresh();
        let mut source = Self {
            dir,
            storage,
            repo,
            states: Vec::new(),
        };
        common::fill(&source.db(), 3000, 150);
        let long = vec![(b"long".to_vec(), Some(common::value(7, 700_000)))];
        common::write(&source.db(), &long);
        for state in 0..states {
            source.next(state);
        }
        source
    }

    fn db(&self) -> std::path::PathBuf {
        self.dir.path().join("db")
    }

    /// Changes some records and backs up.
    fn next(&mut self, state: u32) {
        let some = (0..60).map(|n| {
            let i = (state * 977 + n * 31) % 3200;
            (
                common::key(i),
                (n % 4 > 0).then(|| common::value(i + state + 1, 120 + n as usize)),
            )
        });
        let mut changes: Vec<_> = some.collect();
        if state % 3 == 1 {
            changes.push((
                b"long".to_vec(),
                Some(common::value(state, 500_000 + state as usize)),
            ));
        }
        common::write(&self.db(), &changes);
        common::backup(&self.repo, &self.db()).unwrap();
        self.states.push(common::scan(&self.db()).unwrap());
    }
}

fn ids(repo: &Repo) -> Vec<ObjectId> {
    repo.snapshots().unwrap().iter().map(|stored| stored.id).collect()
}

/// Every snapshot holds the state of its place.
fn holds(repo: &Repo, states: &[Model]) {
    let snapshots = ids(repo);
    assert_eq!(snapshots.len(), states.len());
    for (id, state) in snapshots.iter().zip(states) {
        assert!(common::records(repo, &id.to_hex()).unwrap() == *state);
    }
}

#[test]
fn all_snapshots_arrive_with_their_records_and_are_copied_once() {
    let source = Source::new(5);
    let stacks = source.repo.snapshots().unwrap();
    assert!(
        stacks
            .iter()
            .any(|stored| stored.snapshot.databases().any(|db| db.runs().count() > 2))
    );
    let (_, to) = fresh();
    let outcome = copy(&source.repo, &to).unwrap();
    assert_eq!(
        (outcome.copied.len(), outcome.there, outcome.refused.len()),
        (5, 0, 0)
    );
    holds(&to, &source.states);
    clean(&to);
    let mut oracle = support::oracle::Oracle::start();
    for (id, model) in ids(&to).iter().zip(&source.states) {
        let target = source.dir.path().join(id.short());
        common::restore(&to, &id.to_hex(), &target).unwrap();
        assert!(common::scan(&target).unwrap() == *model);
        if let Some(oracle) = &mut oracle {
            assert!(oracle.dump_strictly(&target) == *model);
        }
    }
    let before = to.raw_storage().list(ObjectKind::Pack).unwrap();
    let again = copy(&source.repo, &to).unwrap();
    assert_eq!((again.copied.len(), again.there), (0, 5));
    assert_eq!(to.raw_storage().list(ObjectKind::Pack).unwrap(), before);
    assert_eq!(ids(&to).len(), 5);
}

#[test]
fn a_copy_says_of_what_and_keeps_what_is_said() {
    let source = Source::new(3);
    let (_, to) = fresh();
    copy(&source.repo, &to).unwrap();
    let pairs = source
        .repo
        .snapshots()
        .unwrap()
        .into_iter()
        .zip(to.snapshots().unwrap());
    for (nth, (from, copied)) in pairs.enumerate() {
        let original = OriginalSnapshot {
            repository: *source.repo.id(),
            snapshot: from.id,
        };
        assert_eq!(copied.snapshot.original, Some(original));
        assert_eq!(copied.snapshot.counter, nth as u64 + 1);
        assert_eq!(
            (copied.snapshot.time, &copied.snapshot.host),
            (from.snapshot.time, &from.snapshot.host)
        );
        let databases = from.snapshot.databases().zip(copied.snapshot.databases());
        for (from, copied) in databases {
            assert_eq!((from.timeline, from.records), (copied.timeline, copied.records));
            assert_eq!(from.stream_digest, copied.stream_digest);
            assert_ne!(
                from.set_digest, copied.set_digest,
                "the key is the destination's own"
            );
        }
    }
}

/// A note about a snapshot.
fn note(repo: &Repo, id: ObjectId, said: SnapshotNote, when: i64) {
    let about = NoteSubject::Snapshot { id, said };
    let when = UnixNanos(when);
    repo.put_note(&Note { when, about }).unwrap();
}

#[test]
fn what_the_source_lacks_is_refused_and_the_rest_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, repo) = fresh();
    let mut packs_of = HashMap::new();
    for name in ["good", "bad"] {
        let db = dir.path().join(name);
        common::fill(&db, 2000 + name.len() as u32, 400);
        let before = storage.list(ObjectKind::Pack).unwrap();
        common::backup(&repo, &db).unwrap();
        let new = storage.list(ObjectKind::Pack).unwrap();
        let new: Vec<_> = new.into_iter().filter(|pack| !before.contains(pack)).collect();
        packs_of.insert(name, new);
    }
    for tampered in [true, false] {
        let broken = Arc::new(storage.snapshot());
        for pack in &packs_of["bad"] {
            let mut bytes = broken.get(pack.name, u64::MAX).unwrap();
            broken.delete(pack.name).unwrap();
            if tampered {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                broken.put_new(pack.name, &bytes).unwrap();
            }
        }
        let (_, to) = fresh();
        let outcome = copy(&repo.with_storage(broken.clone()), &to).unwrap();
        assert_eq!(
            (outcome.copied.len(), outcome.refused.len()),
            (1, 1),
            "{outcome:?}"
        );
        assert!(
            outcome.refused[0].why.starts_with("bad: "),
            "{:?}",
            outcome.refused
        );
        assert_eq!(ids(&to).len(), 1);
        clean(&to);
        // The source is healed, and the copy goes on.
        let outcome = copy(&repo, &to).unwrap();
        assert_eq!((outcome.copied.len(), outcome.there), (1, 1));
        clean(&to);
    }
}

#[test]
fn a_snapshot_whose_records_are_not_what_it_says_is_refused() {
    let source = Source::new(2);
    let stored = source.repo.snapshots().unwrap();
    for wrong_count in [true, false] {
        let mut snapshot = stored[1].snapshot.clone();
        snapshot.time = UnixNanos(snapshot.time.0 + 1);
        if let levault::snapshot::SnapshotSource::Database(database) = &mut snapshot.sources[0] {
            if wrong_count {
                database.records += 1
            } else {
                database.set_digest.0[7] ^= 1
            }
        }
        let id = source.repo.put_snapshot(&snapshot).unwrap();
        let (_, to) = fresh();
        let outcome = copy(&source.repo, &to).unwrap();
        assert_eq!((outcome.copied.len(), outcome.refused.len()), (2, 1));
        assert_eq!(outcome.refused[0].snapshot, id);
        holds(&to, &source.states);
        common::forget(&source.repo, id);
    }
}

#[test]
fn notes_go_along_and_the_destinations_own_word_stands() {
    let source = Source::new(3);
    let here = ids(&source.repo);
    note(&source.repo, here[0], SnapshotNote::Pin, 1);
    note(
        &source.repo,
        here[1],
        SnapshotNote::Tags(vec!["a".into(), "b".into()]),
        1,
    );
    let (_, to) = fresh();
    copy(&source.repo, &to).unwrap();
    let there = ids(&to);
    let standing = || to.notes().unwrap().current_notes();
    assert!(standing().is_pinned(&there[0]) && !standing().is_pinned(&there[1]));
    assert_eq!(to.snapshot(&there[1]).unwrap().tags, ["a", "b"]);
    // What is found later is told later; what the destination said itself is not overruled.
    note(
        &source.repo,
        here[2],
        SnapshotNote::Suspect("it differs".into()),
        2,
    );
    note(&to, there[0], SnapshotNote::Unpin, i64::MAX);
    copy(&source.repo, &to).unwrap();
    assert_eq!(standing().suspect_note(&there[2]), Some("it differs"));
    assert!(!standing().is_pinned(&there[0]));
    assert_eq!(copy(&source.repo, &to).unwrap().notes, 0);
}

#[test]
fn forgotten_snapshots_are_not_copied_and_copies_that_were_forgotten_come_again() {
    let source = Source::new(3);
    common::forget(&source.repo, ids(&source.repo)[0]);
    let (_, to) = fresh();
    assert_eq!(copy(&source.repo, &to).unwrap().copied.len(), 2);
    common::forget(&to, ids(&to)[0]);
    let outcome = copy(&source.repo, &to).unwrap();
    assert_eq!((outcome.copied.len(), outcome.there), (1, 1));
    holds(&to, &source.states[1..]);
    clean(&to);
}

#[test]
fn a_copy_of_a_copy_is_the_same_snapshot_and_what_comes_back_is_known() {
    let source = Source::new(2);
    let ((_, second), (_, third)) = (fresh(), fresh());
    copy(&source.repo, &second).unwrap();
    assert_eq!(copy(&second, &third).unwrap().copied.len(), 2);
    assert_eq!(copy(&source.repo, &third).unwrap().there, 2);
    assert_eq!(copy(&third, &source.repo).unwrap().there, 2);
    holds(&third, &source.states);
}

#[test]
fn only_what_is_named_and_fits_is_copied() {
    let source = Source::new(3);
    let (_, to) = fresh();
    let some = Copy {
        snapshots: vec!["latest~1".into(), "latest".into()],
        ..Copy::default()
    };
    let mut told: Vec<CopiedSnapshot> = Vec::new();
    some.run(&source.repo, &to, &OperationReport::default(), &mut |copied| {
        told.push(copied)
    })
    .unwrap();
    assert_eq!(
        told.iter().map(|copied| copied.from).collect::<Vec<_>>(),
        ids(&source.repo)[1..]
    );
    let nobody = Copy {
        filter: SnapshotFilter {
            hosts: vec!["nobody".into()],
            ..SnapshotFilter::default()
        },
        ..Copy::default()
    };
    let outcome = nobody
        .run(&source.repo, &to, &OperationReport::default(), &mut |_| ())
        .unwrap();
    assert_eq!((outcome.copied.len(), outcome.there), (0, 0));
}
