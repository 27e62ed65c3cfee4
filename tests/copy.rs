//! Goal: what is in one repository comes to be in another, whole, once, whatever dies meanwhile; and nothing that is
//! wrong comes along. Method: copies between repositories in memory, judged by models, by `check` and by restores.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;

use std::path::Path;
use std::sync::Arc;

use levault::compress::Compression;
use levault::error::{Error, Kind, Result};
use levault::facts::{About, Note, Said};
use levault::id::ObjectId;
use levault::keys::SlotCost;
use levault::ops::backup::Backup;
use levault::ops::check::{Check, ReadData};
use levault::ops::copy::{Copied, Copy, CopyOutcome};
use levault::ops::forget::Filter;
use levault::repo::{NewRepo, Repo, Settings};
use levault::report::Report;
use levault::snapshot::{Content, Original};
use levault::storage::fault::{Fault, Faulty};
use levault::storage::{MemoryStorage, ObjectKind, ObjectName, Storage};

use common::Model;

/// A repository in memory.
fn fresh() -> (Arc<MemoryStorage>, Repo) {
    let storage = Arc::new(MemoryStorage::default());
    let repo = common::create(storage.clone()).unwrap();
    (storage, repo)
}

fn copy(from: &Repo, to: &Repo) -> Result<CopyOutcome> {
    Copy::default().run(from, to, &Report::default(), &mut |_| ())
}

fn clean(repo: &Repo) {
    let check = Check { read: ReadData::All };
    let findings = check.run(repo, &Report::default()).unwrap().findings;
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

    fn snapshots(&self) -> Vec<ObjectId> {
        ids(&self.repo)
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
    for (id, model) in ids(&to).iter().zip(&source.states) {
        let target = source.dir.path().join(id.short());
        common::restore(&to, &id.to_hex(), &target).unwrap();
        assert!(common::scan(&target).unwrap() == *model);
    }
    let before = to.storage().list(ObjectKind::Pack).unwrap();
    let again = copy(&source.repo, &to).unwrap();
    assert_eq!((again.copied.len(), again.there), (0, 5));
    assert_eq!(to.storage().list(ObjectKind::Pack).unwrap(), before);
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
        let original = Original {
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

#[test]
fn a_source_or_a_destination_that_dies_at_its_nth_call_costs_nothing_but_time() {
    let source = Source::new(3);
    for of_source in [true, false] {
        let mut failed = 0;
        for call in 1.. {
            let (storage, to) = fresh();
            let behind = if of_source { &source.storage } else { &storage };
            let faulty = Arc::new(Faulty::new(Arc::clone(behind)).dead_from(call));
            let dying: Arc<dyn Storage> = faulty.clone();
            let result = match of_source {
                true => copy(&source.repo.over(dying), &to),
                false => copy(&source.repo, &to.over(dying)),
            };
            let what = format!("call {call} of the source: {of_source}");
            clean(&to);
            let whole = result.is_ok_and(|outcome| outcome.refused.is_empty());
            failed += u32::from(!whole);
            let outcome = copy(&source.repo, &to).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(outcome.copied.len() + outcome.there, 3, "{what}");
            holds(&to, &source.states);
            clean(&to);
            if faulty.calls() < call {
                assert!(whole && failed > 10, "{what}: {failed}");
                break;
            }
        }
    }
}
