//! Goal: what is in one repository comes to be in another, whole, once, whatever dies meanwhile; and nothing that is
//! wrong comes along. Method: copies between repositories in memory, judged by models, by `check` and by restores.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;
mod support;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use levault::clock::UnixNanos;
use levault::compress::Compression;
use levault::error::Result;
use levault::facts::{About, Note, Said};
use levault::id::ObjectId;
use levault::keys::SlotCost;
use levault::ops::backup::Backup;
use levault::ops::check::{Check, ReadData};
use levault::ops::copy::{Copied, Copy, CopyOutcome};
use levault::ops::forget::Filter;
use levault::ops::prune::Prune;
use levault::repo::{NewRepo, Repo, Settings};
use levault::report::Report;
use levault::snapshot::Original;
use levault::storage::fault::Faulty;
use levault::storage::{Listed, MemoryStorage, ObjectKind, ObjectName, Storage, Traced};

use common::Model;
use support::tool::{Ended, Tool, files_below};

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

/// A note about a snapshot.
fn note(repo: &Repo, id: ObjectId, said: Said, when: i64) {
    let about = About::Snapshot { id, said };
    let when = UnixNanos(when);
    repo.put_note(&Note { when, about }).unwrap();
}

#[test]
fn a_new_increment_is_copied_without_reading_what_it_stands_on() {
    let mut source = Source::new(3);
    let (_, to) = fresh();
    copy(&source.repo, &to).unwrap();
    source.next(3);
    let (report, traced) = (Report::default(), Arc::new(Traced::new(source.storage.clone())));
    let from = source.repo.over(traced.clone());
    let outcome = Copy::default().run(&from, &to, &report, &mut |_| ()).unwrap();
    assert_eq!((outcome.copied.len(), outcome.there), (1, 3));
    assert!(report.records.get() < 100, "{} records", report.records.get());
    assert!(
        report.bytes_added.get() < 50_000,
        "{} bytes",
        report.bytes_added.get()
    );
    let packs = pack_bytes(&traced);
    assert!(packs < 200_000, "{packs} bytes of packs");
    holds(&to, &source.states);
    clean(&to);
}

/// Bytes that were read of packs.
fn pack_bytes(traced: &Traced<Arc<MemoryStorage>>) -> u64 {
    let calls = traced.take_calls();
    let of_packs = calls.iter().filter(|call| call.kind == ObjectKind::Pack);
    of_packs.map(|call| call.bytes).sum()
}

#[test]
fn of_a_new_base_only_the_leaves_that_changed_are_read() {
    for in_one_copy in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("db");
        let (storage, repo) = fresh();
        let mut states = vec![common::fill(&db, 30_000, 200)];
        common::backup(&repo, &db).unwrap();
        let (_, to) = fresh();
        if !in_one_copy {
            copy(&repo, &to).unwrap();
        }
        common::write(&db, &[(common::key(5), Some(common::value(99, 300)))]);
        states.push(common::scan(&db).unwrap());
        // Without pins everything is read, and the result is a base.
        let whole = Backup {
            pinning: levault::ops::backup::Pinning::None,
            ..Backup::new(vec![db])
        };
        whole.run(&repo, &Report::default()).unwrap();
        let (report, traced) = (Report::default(), Arc::new(Traced::new(storage)));
        let from = repo.over(traced.clone());
        Copy::default().run(&from, &to, &report, &mut |_| ()).unwrap();
        let all = storage_bytes(&repo);
        let (read, least) = (pack_bytes(&traced), if in_one_copy { all } else { 0 });
        assert!(
            read < least * 12 / 10 + all / 5,
            "{read} of {all} bytes were read, at once: {in_one_copy}"
        );
        holds(&to, &states);
        clean(&to);
    }
}

fn storage_bytes(repo: &Repo) -> u64 {
    let packs = repo.storage().list(ObjectKind::Pack).unwrap();
    packs.iter().map(|pack| pack.len).sum()
}

#[test]
fn a_destination_that_cuts_as_the_source_does_shares_what_is_backed_up_with_what_is_copied() {
    for like in [true, false] {
        let source = Source::new(1);
        let storage = Arc::new(MemoryStorage::default());
        let (new, password) = (
            NewRepo {
                cost: SlotCost::cheap(),
                ..NewRepo::default()
            },
            common::password(),
        );
        let to = match like {
            true => Repo::create_like(storage, &password, new, common::settings(), &source.repo),
            false => Repo::create(storage, &password, new, common::settings()),
        };
        let to = to.unwrap();
        copy(&source.repo, &to).unwrap();
        let native = common::backup(&to, &source.db()).unwrap();
        assert_eq!(native.blobs_new == 0, like, "{} new blobs", native.blobs_new);
        // Long values are cut by the destination's secret in either case.
        assert!(native.bytes_added < 700_000, "{}", native.bytes_added);
        clean(&to);
        let digest = |id: &ObjectId| to.snapshot(id).unwrap().databases().next().unwrap().set_digest;
        let both = ids(&to);
        assert_eq!(
            digest(&both[0]),
            digest(&both[1]),
            "the digest is that of a backup"
        );
    }
}

#[test]
fn packs_and_compression_are_the_destinations_own() {
    let source = Source::new(3);
    let storage = Arc::new(MemoryStorage::default());
    let settings = Settings {
        pack_bytes: Some(16 << 20),
        compression: Compression::Off,
        ..common::settings()
    };
    let new = NewRepo {
        cost: SlotCost::cheap(),
        ..NewRepo::default()
    };
    let to = Repo::create(storage, &common::password(), new, settings).unwrap();
    copy(&source.repo, &to).unwrap();
    assert!(storage_bytes(&to) > storage_bytes(&source.repo) * 12 / 10);
    holds(&to, &source.states);
    clean(&to);
}

#[test]
fn a_database_that_is_kept_as_files_is_copied_file_by_file_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("db");
    common::fill(&db, 8000, 300);
    let (_, repo) = fresh();
    let physical = Backup {
        physical: true,
        ..Backup::new(vec![db.clone()])
    };
    physical.run(&repo, &Report::default()).unwrap();
    let (_, to) = fresh();
    copy(&repo, &to).unwrap();
    common::write(&db, &[(b"one".to_vec(), Some(b"more".to_vec()))]);
    physical.run(&repo, &Report::default()).unwrap();
    let report = Report::default();
    Copy::default().run(&repo, &to, &report, &mut |_| ()).unwrap();
    assert!(
        report.bytes_added.get() < storage_bytes(&to) / 2,
        "{}",
        report.bytes_added.get()
    );
    let target = dir.path().join("back");
    common::restore(&to, "latest", &target).unwrap();
    assert!(common::scan(&target).unwrap() == common::scan(&db).unwrap());
    clean(&to);
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
        let outcome = copy(&repo.over(broken.clone()), &to).unwrap();
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
fn notes_go_along_and_the_destinations_own_word_stands() {
    let source = Source::new(3);
    let here = ids(&source.repo);
    note(&source.repo, here[0], Said::Pin, 1);
    note(&source.repo, here[1], Said::Tags(vec!["a".into(), "b".into()]), 1);
    let (_, to) = fresh();
    copy(&source.repo, &to).unwrap();
    let there = ids(&to);
    let standing = || to.notes().unwrap().standing();
    assert!(standing().is_pinned(&there[0]) && !standing().is_pinned(&there[1]));
    assert_eq!(to.snapshot(&there[1]).unwrap().tags, ["a", "b"]);
    // What is found later is told later; what the destination said itself is not overruled.
    note(&source.repo, here[2], Said::Suspect("it differs".into()), 2);
    note(&to, there[0], Said::Unpin, i64::MAX);
    copy(&source.repo, &to).unwrap();
    assert_eq!(standing().suspect(&there[2]), Some("it differs"));
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
    let mut told: Vec<Copied> = Vec::new();
    some.run(&source.repo, &to, &Report::default(), &mut |copied| {
        told.push(copied)
    })
    .unwrap();
    assert_eq!(
        told.iter().map(|copied| copied.from).collect::<Vec<_>>(),
        ids(&source.repo)[1..]
    );
    let nobody = Copy {
        filter: Filter {
            hosts: vec!["nobody".into()],
            ..Filter::default()
        },
        ..Copy::default()
    };
    let outcome = nobody
        .run(&source.repo, &to, &Report::default(), &mut |_| ())
        .unwrap();
    assert_eq!((outcome.copied.len(), outcome.there), (0, 0));
}

/// Does something once, right before the first put of an object of a kind.
struct BeforePut<F> {
    inner: Arc<MemoryStorage>,
    kind: ObjectKind,
    done: AtomicBool,
    act: F,
}

impl<F: Fn() + Send + Sync> Storage for BeforePut<F> {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        if name.kind == self.kind && !self.done.swap(true, Ordering::SeqCst) {
            (self.act)();
        }
        self.inner.put_new(name, bytes)
    }
    fn get(&self, name: ObjectName, max: u64) -> Result<Vec<u8>> {
        self.inner.get(name, max)
    }
    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.inner.get_range(name, offset, len)
    }
    fn stat(&self, name: ObjectName) -> Result<Listed> {
        self.inner.stat(name)
    }
    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.inner.list(kind)
    }
    fn delete(&self, name: ObjectName) -> Result<()> {
        self.inner.delete(name)
    }
    fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.inner.heal(name, bytes)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[test]
fn a_backup_and_a_prune_in_the_destination_meanwhile_cost_nothing() {
    for kind in [ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot] {
        let source = Source::new(2);
        let (storage, to) = fresh();
        copy(&source.repo, &to).unwrap();
        // The copies are let go: their packs are nobody's, and a new copy counts on them.
        ids(&to).into_iter().for_each(|id| common::forget(&to, id));
        let other = source.dir.path().join("other");
        common::fill(&other, 500, 100);
        let beside = to.clone();
        let meanwhile = BeforePut {
            inner: storage,
            kind,
            done: AtomicBool::new(false),
            act: move || {
                common::backup(&beside, &other).unwrap();
                let outcome = Prune::default().run(&beside, &Report::default()).unwrap();
                drop(outcome);
            },
        };
        let watched = to.over(Arc::new(meanwhile));
        let outcome = copy(&source.repo, &watched).unwrap();
        assert_eq!(outcome.copied.len(), 2, "{kind:?}");
        let copied: Vec<_> = outcome.copied.iter().map(|copied| copied.to).collect();
        for (id, state) in copied.iter().zip(&source.states) {
            assert!(common::records(&to, &id.to_hex()).unwrap() == *state, "{kind:?}");
        }
        clean(&to);
    }
}

/// The tool with a second repository as its source.
fn copy_with(tool: &Tool, from: &PathBuf, args: &[&str]) -> Ended {
    let mut command = tool.command();
    command.env("LEVAULT_FROM_PASSWORD", support::tool::PASSWORD);
    Ended::of(
        command
            .args(["copy", "--json", "--from-repo"])
            .arg(from)
            .args(args),
    )
}

#[test]
fn the_tool_copies_makes_a_place_for_it_and_says_what_it_did() {
    let (source, tool) = (Tool::new(), Tool::bare());
    let db = source.path("db");
    let model = common::fill(&db, 500, 100);
    source.backup(&db).ok();
    let from = source.repository();
    copy_with(&tool, &from, &[]).exits(10);
    let first = copy_with(&tool, &from, &["--init"]).ok().summary();
    assert_eq!(first["copied"].as_array().unwrap().len(), 1);
    let before = (tool.repository_files(), files_below(&from));
    assert_eq!(
        copy_with(&tool, &from, &["-n"]).ok().summary()["already_there"],
        1
    );
    assert_eq!(copy_with(&tool, &from, &[]).ok().summary()["already_there"], 1);
    assert!(
        (tool.repository_files(), files_below(&from)) == before,
        "nothing was written"
    );
    tool.restore("latest", &tool.path("back")).ok();
    assert!(common::scan(&tool.path("back")).unwrap() == model);
    tool.run(["check", "--read-data"]).ok();
    // A pack that is gone is an incomplete copy.
    let another = Tool::new();
    let (pack, _) = files_below(&from.join("packs")).remove(0);
    std::fs::remove_file(pack).unwrap();
    let summary = copy_with(&another, &from, &[]).exits(3).summary();
    assert_eq!(summary["refused"].as_array().unwrap().len(), 1);
}

#[test]
fn the_tool_refuses_what_is_not_named_or_not_meant() {
    let (source, tool) = (Tool::new(), Tool::new());
    let from = source.repository();
    tool.run(["copy"]).exits(2);
    copy_with(&tool, &tool.repository(), &[]).exits(2);
    let mut wrong = tool.command();
    wrong
        .env("LEVAULT_FROM_PASSWORD", "wrong")
        .args(["copy", "--from-repo"])
        .arg(&from);
    Ended::of(&mut wrong).exits(12);
    let mut alone = Tool::bare().command();
    alone.env("LEVAULT_FROM_PASSWORD", support::tool::PASSWORD);
    Ended::of(alone.args(["init", "--from-repo"]).arg(&from)).exits(2);
    Ended::of(alone.arg("--copy-chunker-params")).ok();
}
