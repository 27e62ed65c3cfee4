//! Forgetting and bringing back: through the library, and as the tool's users meet it. What a policy keeps is tested in
//! src/ops/forget, what several forgettings mean together in src/facts.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;
mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use levault::clock::UnixNanos;
use levault::error::{Kind, Result};
use levault::facts::{About, CountedSnapshot, Forgetting, Note, Said, Why};
use levault::id::ObjectId;
use levault::ops::backup::{Backup, BackupOutcome, Scope};
use levault::ops::check::{Check, CheckOutcome, ReadData};
use levault::ops::forget::{
    ByPolicy, Calendar, Chosen, Filter, GroupBy, Known, Leave, Number, Policy, chosen, forget,
};
use levault::ops::undelete::{select, undelete};
use levault::repo::{OWN_DOMAIN, Repo};
use levault::report::Report;
use levault::storage::{Listed, MemoryStorage, ObjectKind, ObjectName, Storage, Verb};

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

    fn undelete(&self, number: usize) -> Result<ObjectId> {
        let catalog = self.repo.catalog().unwrap();
        let forgotten = select(&catalog, &self.ids[number].to_hex())?;
        undelete(&self.repo, forgotten, &Report::default())
    }

    fn counting(&self) -> Vec<ObjectId> {
        let snapshots = self.repo.snapshots().unwrap();
        snapshots.iter().map(|stored| stored.id).collect()
    }

    fn check(&self) -> CheckOutcome {
        let check = Check { read: ReadData::All };
        check.run(&self.repo, &Report::default()).unwrap()
    }

    fn is_sound(&self) {
        let findings = self.check().findings;
        assert!(findings.is_empty(), "{findings:?}");
    }

    fn sweep(&self, number: usize) {
        let name = ObjectName::new(ObjectKind::Snapshot, self.ids[number]);
        self.storage.delete(name).unwrap();
    }

    fn plan(&self, wish: &ByPolicy) -> Result<Chosen> {
        let known = Known::load(&self.repo)?;
        let calendar = Calendar {
            now: self.repo.clock().now(),
            zone: jiff::tz::TimeZone::UTC,
        };
        let plans = wish.plan(&known, &calendar)?;
        Ok(chosen(&plans, &wish.policy))
    }
}

fn by_hand(snapshot: CountedSnapshot) -> Chosen {
    Chosen {
        snapshots: vec![snapshot],
        why: Why::ByHand,
        words: String::new(),
    }
}

fn keep_last(count: u32) -> ByPolicy {
    ByPolicy {
        policy: Policy {
            last: Number::Of(count),
            ..Policy::default()
        },
        ..ByPolicy::default()
    }
}

fn note(repo: &Repo, when: i64, id: ObjectId, said: Said) {
    let about = About::Snapshot { id, said };
    let when = UnixNanos(when);
    repo.put_note(&Note { when, about }).unwrap();
}

fn why_whole(outcome: &BackupOutcome) -> &str {
    match &outcome.databases[0].scope {
        Scope::Whole { why: Some(why) } => why,
        other => panic!("{other:?}"),
    }
}

// What a forgotten snapshot is to readers, writers and deleters.

#[test]
fn a_forgotten_snapshot_is_not_listed_and_can_be_had_by_its_whole_id() {
    let scene = Scene::new(3);
    let newest = common::records(&scene.repo, "latest").unwrap();
    scene.forget(2);
    assert_eq!(scene.counting(), scene.ids[..2]);
    assert_eq!(scene.repo.select("latest").unwrap().id, scene.ids[1]);
    let hex = scene.ids[2].to_hex();
    let error = scene.repo.select(&hex[..8]).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("levault undelete"), "{error}");
    assert_eq!(common::records(&scene.repo, &hex).unwrap(), newest);
    let catalog = scene.repo.catalog().unwrap();
    assert_eq!(catalog.forgotten.len(), 1);
    let since = &catalog.forgotten(&scene.ids[2]).unwrap().since;
    assert_eq!((since.why, since.counted), (Why::ByHand, scene.counted(2)));
    assert!(since.modified.is_some());
    let all: Vec<_> = catalog.all().map(|(id, _)| id).collect();
    assert_eq!(all, scene.ids);
}

#[test]
fn check_passes_over_what_is_forgotten() {
    let scene = Scene::new(2);
    scene.forget(0);
    let outcome = scene.check();
    assert_eq!((outcome.snapshots, outcome.forgotten), (1, 1));
    assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
    let name = ObjectName::new(ObjectKind::Snapshot, scene.ids[0]);
    scene.storage.corrupt(name, |bytes| bytes[200] ^= 1);
    scene.is_sound();
    assert!(scene.repo.catalog().unwrap().forgotten[0].snapshot.is_none());
    assert!(scene.repo.catalog_to_delete_by().is_ok());
}

#[test]
fn counters_go_on_behind_forgotten_snapshots_and_behind_swept_ones() {
    let mut scene = Scene::new(2);
    scene.forget(1);
    scene.change();
    let third = scene.backup(&scene.repo).snapshot.unwrap();
    let snapshot = scene.repo.snapshot(&third).unwrap();
    assert_eq!((snapshot.counter, snapshot.previous), (3, Some(scene.ids[1])));
    scene.ids.push(third);
    scene.forget(2);
    scene.sweep(1);
    scene.sweep(2);
    let fourth = scene.backup(&scene.repo).snapshot.unwrap();
    let snapshot = scene.repo.snapshot(&fourth).unwrap();
    assert_eq!((snapshot.counter, snapshot.previous), (4, Some(third)));
    scene.is_sound();
}

#[test]
fn a_gap_that_no_forgetting_explains_is_found() {
    let scene = Scene::new(4);
    scene.forget(1);
    scene.sweep(1);
    scene.is_sound();
    scene.sweep(2);
    let findings = scene.check().findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].what.contains("counter 4 follows 1"), "{findings:?}");
    // Nor does one that was undone.
    let scene = Scene::new(3);
    scene.forget(1);
    scene.undelete(1).unwrap();
    scene.sweep(1);
    assert_eq!(scene.check().findings.len(), 1);
}

#[test]
fn notes_on_a_snapshot_that_was_forgotten_and_swept_are_nothing_to_tell_of() {
    let scene = Scene::new(2);
    note(&scene.repo, 1, scene.ids[0], Said::Tags(vec!["a".into()]));
    note(&scene.repo, 1, scene.ids[0], Said::Suspect("x".into()));
    assert_eq!(scene.check().notices.len(), 1);
    scene.forget(0);
    assert!(scene.check().notices.is_empty());
    scene.sweep(0);
    assert!(scene.check().notices.is_empty());
}

#[test]
fn a_damaged_snapshot_can_be_forgotten_by_its_whole_id_and_then_stops_nobody() {
    let scene = Scene::new(3);
    let name = ObjectName::new(ObjectKind::Snapshot, scene.ids[1]);
    scene.storage.corrupt(name, |bytes| bytes[200] ^= 1);
    assert_eq!(
        scene.repo.catalog_to_delete_by().unwrap_err().kind(),
        Kind::Corrupt
    );
    let known = Known::load(&scene.repo).unwrap();
    assert!(known.named(&scene.repo, &scene.ids[1].short()).is_err());
    let (snapshot, why) = known.named(&scene.repo, &scene.ids[1].to_hex()).unwrap().unwrap();
    assert_eq!((snapshot.counter, why), (0, Why::Damaged));
    let chosen = Chosen {
        why,
        ..by_hand(snapshot)
    };
    forget(&scene.repo, &chosen).unwrap();
    scene.is_sound();
    scene.sweep(1);
    scene.is_sound();
    assert!(scene.repo.catalog_to_delete_by().is_ok());
}

#[test]
fn a_forgetting_that_cannot_be_read_stops_deleters_and_hides_nothing() {
    let scene = Scene::new(2);
    scene.forget(0);
    let name = scene.storage.list(ObjectKind::Forgotten).unwrap()[0].name;
    scene.storage.corrupt(name, |bytes| bytes[150] ^= 1);
    let catalog = scene.repo.catalog().unwrap();
    assert_eq!(catalog.snapshots.len(), 2);
    assert_eq!(
        (catalog.unread[0].id, catalog.unread[0].kind),
        (name.id, Kind::Corrupt)
    );
    assert_eq!(
        scene.repo.catalog_to_delete_by().unwrap_err().kind(),
        Kind::Corrupt
    );
    let findings = scene.check().findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].object, name.path());
    // A prune that can read it may have marked what an increment would stand on.
    scene.change();
    let outcome = scene.backup(&scene.repo);
    assert!(
        why_whole(&outcome).contains("cannot be told"),
        "{}",
        why_whole(&outcome)
    );
}

#[test]
fn what_somebody_else_put_among_the_forgettings_keeps_nobody_from_reading() {
    let scene = Scene::new(1);
    for bytes in [&b"not an object"[..], b""] {
        let name = ObjectName::of_content(ObjectKind::Forgotten, bytes);
        scene.storage.put_new(name, bytes).unwrap();
    }
    assert_eq!(scene.counting(), scene.ids);
    assert_eq!(scene.repo.catalog().unwrap().unread.len(), 2);
    assert!(
        scene
            .repo
            .forgotten()
            .unwrap()
            .complete(&scene.repo.notes().unwrap())
            .is_err()
    );
}

#[test]
fn a_note_that_cannot_be_read_stops_deleters_and_policies() {
    let scene = Scene::new(2);
    note(&scene.repo, 1, scene.ids[0], Said::Pin);
    let name = scene.storage.list(ObjectKind::Note).unwrap()[0].name;
    scene.storage.corrupt(name, |bytes| bytes[150] ^= 1);
    assert_eq!(
        scene.repo.catalog_to_delete_by().unwrap_err().kind(),
        Kind::Corrupt
    );
    assert_eq!(scene.plan(&keep_last(1)).unwrap_err().kind(), Kind::Corrupt);
}

// Increments.

#[test]
fn an_increment_does_not_stand_on_a_forgotten_snapshot() {
    let scene = Scene::new(2);
    scene.forget(1);
    scene.change();
    let outcome = scene.backup(&scene.repo);
    assert!(
        why_whole(&outcome).contains("is forgotten"),
        "{}",
        why_whole(&outcome)
    );
    assert_eq!(
        common::records(&scene.repo, "latest").unwrap(),
        common::scan(&scene.db()).unwrap()
    );
    scene.is_sound();
    // And the next one stands on that.
    scene.change();
    assert!(matches!(
        scene.backup(&scene.repo).databases[0].scope,
        Scope::Changes { .. }
    ));
}

/// A storage in which something happens once, behind the first of these calls about objects of a kind.
struct Once<F> {
    inner: Arc<MemoryStorage>,
    behind: (Verb, ObjectKind),
    done: AtomicBool,
    act: F,
}

impl<F: Fn() + Send + Sync> Once<F> {
    fn new(inner: &Arc<MemoryStorage>, behind: (Verb, ObjectKind), act: F) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            behind,
            done: AtomicBool::new(false),
            act,
        })
    }

    fn called(&self, verb: Verb, kind: ObjectKind) {
        if self.behind == (verb, kind) && !self.done.swap(true, Ordering::SeqCst) {
            (self.act)();
        }
    }
}

impl<F: Fn() + Send + Sync> Storage for Once<F> {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.inner.put_new(name, bytes)?;
        self.called(Verb::Put, name.kind);
        Ok(())
    }
    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let listed = self.inner.list(kind)?;
        self.called(Verb::List, kind);
        Ok(listed)
    }
    fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>> {
        self.inner.get(name, len_max)
    }
    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.inner.get_range(name, offset, len)
    }
    fn stat(&self, name: ObjectName) -> Result<Listed> {
        self.inner.stat(name)
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
fn a_backup_whose_parent_is_forgotten_meanwhile_begins_again_and_reads_everything() {
    let scene = Scene::new(2);
    scene.change();
    let (other, chosen) = (scene.repo.clone(), by_hand(scene.counted(1)));
    let storage = Once::new(&scene.storage, (Verb::Put, ObjectKind::Pack), move || {
        forget(&other, &chosen).unwrap();
    });
    let report = Report::default();
    let outcome = Backup::new(vec![scene.db()])
        .run(&scene.repo.over(storage), &report)
        .unwrap();
    assert!(
        why_whole(&outcome).contains("is forgotten"),
        "{}",
        why_whole(&outcome)
    );
    let notices = report.notices();
    assert!(
        notices.iter().any(|notice| notice.contains("begun again")),
        "{notices:?}"
    );
    assert_eq!(
        common::records(&scene.repo, "latest").unwrap(),
        common::scan(&scene.db()).unwrap()
    );
    scene.is_sound();
}

#[test]
fn nothing_is_unchanged_since_a_forgotten_snapshot() {
    let scene = Scene::new(1);
    scene.forget(0);
    let backup = Backup {
        skip_if_unchanged: true,
        ..Backup::new(vec![scene.db()])
    };
    let outcome = backup.run(&scene.repo, &Report::default()).unwrap();
    assert!(outcome.snapshot.is_some() && outcome.unchanged_since.is_none());
}

#[test]
fn nothing_is_unchanged_since_a_snapshot_that_is_forgotten_meanwhile() {
    let scene = Scene::new(1);
    let (other, chosen) = (scene.repo.clone(), by_hand(scene.counted(0)));
    let storage = Once::new(&scene.storage, (Verb::List, ObjectKind::Pack), move || {
        forget(&other, &chosen).unwrap();
    });
    let backup = Backup {
        skip_if_unchanged: true,
        ..Backup::new(vec![scene.db()])
    };
    let repo = scene.repo.over(storage);
    let outcome = backup.run(&repo, &Report::default()).unwrap();
    assert!(outcome.snapshot.is_some() && outcome.unchanged_since.is_none());
    assert_eq!(scene.counting(), [outcome.snapshot.unwrap()]);
}

#[test]
fn a_snapshot_that_is_swept_while_the_catalog_is_read_is_not_missed() {
    for forgotten_before in [true, false] {
        let scene = Scene::new(2);
        let (other, chosen) = (scene.repo.clone(), by_hand(scene.counted(0)));
        if forgotten_before {
            scene.forget(0);
        }
        let name = ObjectName::new(ObjectKind::Snapshot, scene.ids[0]);
        // Behind the listing of forgettings: what it says of the snapshot is older than the sweep.
        let storage = Once::new(&scene.storage, (Verb::List, ObjectKind::Forgotten), move || {
            forget(&other, &chosen).unwrap();
            other.storage().delete(name).unwrap();
        });
        let repo = scene.repo.over(storage);
        let snapshots = repo.snapshots().unwrap();
        assert_eq!(snapshots.len(), 1, "{forgotten_before}");
        assert_eq!(snapshots[0].id, scene.ids[1]);
        scene.is_sound();
    }
}

#[test]
fn check_takes_a_snapshot_that_is_swept_meanwhile_for_no_damage() {
    let scene = Scene::new(2);
    let (other, chosen) = (scene.repo.clone(), by_hand(scene.counted(0)));
    let name = ObjectName::new(ObjectKind::Snapshot, scene.ids[0]);
    let storage = Once::new(&scene.storage, (Verb::List, ObjectKind::Forgotten), move || {
        forget(&other, &chosen).unwrap();
        other.storage().delete(name).unwrap();
    });
    let check = Check { read: ReadData::None };
    let outcome = check.run(&scene.repo.over(storage), &Report::default()).unwrap();
    assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
}

#[test]
fn snapshots_are_proven_to_count_not_only_to_be_listed() {
    let scene = Scene::new(2);
    scene
        .repo
        .prove_snapshots(&scene.ids.iter().copied().collect())
        .unwrap();
    scene.forget(0);
    let prove = |number: usize| scene.repo.prove_snapshots(&[scene.ids[number]].into());
    assert_eq!(prove(0).unwrap_err().kind(), Kind::Busy);
    prove(1).unwrap();
    scene.sweep(1);
    assert_eq!(prove(1).unwrap_err().kind(), Kind::Busy);
}

// Bringing back.

#[test]
fn undelete_brings_back_what_was_forgotten_and_it_can_be_forgotten_again() {
    let scene = Scene::new(2);
    for _ in 0..3 {
        scene.forget(0);
        assert_eq!(scene.counting(), scene.ids[1..]);
        scene.undelete(0).unwrap();
        assert_eq!(scene.counting(), scene.ids);
        assert_eq!(scene.undelete(0).unwrap_err().kind(), Kind::NotFound);
    }
    scene.is_sound();
}

#[test]
fn a_clock_that_is_ahead_elsewhere_does_not_make_forget_and_undelete_void() {
    let scene = Scene::new(2);
    let ahead = i64::MAX / 2;
    let forgetting = Forgetting {
        when: UnixNanos(ahead),
        why: Why::ByHand,
        words: "from the future".into(),
        snapshots: vec![scene.counted(0)],
    };
    scene.repo.put_forgotten(&forgetting).unwrap();
    scene.undelete(0).unwrap();
    assert_eq!(scene.counting(), scene.ids);
    scene.forget(0);
    assert_eq!(scene.counting(), scene.ids[1..]);
}

#[test]
fn undelete_refuses_a_snapshot_that_is_not_whole_any_more() {
    let scene = Scene::new(2);
    scene.forget(0);
    for listed in scene.storage.list(ObjectKind::Pack).unwrap() {
        scene.storage.delete(listed.name).unwrap();
    }
    let error = scene.undelete(0).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("is not whole any more"), "{error}");
    assert_eq!(scene.counting(), scene.ids[1..]);
    assert!(scene.storage.list(ObjectKind::Note).unwrap().is_empty());
}

#[test]
fn what_goes_while_undelete_writes_its_note_is_found_out_and_the_snapshot_is_forgotten_again() {
    for what in [ObjectKind::Pack, ObjectKind::Snapshot] {
        let scene = Scene::new(1);
        scene.forget(0);
        let storage = scene.storage.clone();
        let taking = Once::new(&scene.storage, (Verb::Put, ObjectKind::Note), move || {
            for listed in storage.list(what).unwrap() {
                storage.delete(listed.name).unwrap();
            }
        });
        let catalog = scene.repo.catalog().unwrap();
        let repo = scene.repo.over(taking);
        let error = undelete(&repo, &catalog.forgotten[0], &Report::default()).unwrap_err();
        assert!(error.to_string().contains("forgotten again"), "{error}");
        assert!(scene.repo.forgotten_now().unwrap().of(&scene.ids[0]).is_some());
        assert!(scene.counting().is_empty());
    }
}

#[test]
fn two_forgets_at_once_forget_and_one_undelete_undoes_both() {
    let scene = Scene::new(2);
    let chosen = by_hand(scene.counted(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| forget(&scene.repo, &chosen).unwrap());
        }
    });
    assert_eq!(scene.storage.list(ObjectKind::Forgotten).unwrap().len(), 2);
    assert_eq!(scene.counting(), scene.ids[1..]);
    scene.undelete(0).unwrap();
    assert_eq!(scene.counting(), scene.ids);
}

// By policy.

#[test]
fn a_policy_forgets_what_it_does_not_keep_and_its_words_are_kept() {
    let scene = Scene::new(4);
    note(&scene.repo, 1, scene.ids[1], Said::Pin);
    let chosen = scene.plan(&keep_last(1)).unwrap();
    assert_eq!(chosen.snapshots.len(), 2);
    forget(&scene.repo, &chosen).unwrap();
    assert_eq!(scene.counting(), [scene.ids[1], scene.ids[3]]);
    let catalog = scene.repo.catalog().unwrap();
    let since = &catalog.forgotten[0].since;
    assert_eq!((since.why, &*since.words), (Why::Policy, "keep-last 1"));
    assert!(scene.plan(&keep_last(1)).unwrap().snapshots.is_empty());
}

#[test]
fn groups_are_decided_on_apart_and_by_the_tags_that_hold_now() {
    let scene = Scene::new(3);
    note(&scene.repo, 1, scene.ids[0], Said::Tags(vec!["a".into()]));
    assert_eq!(scene.plan(&keep_last(1)).unwrap().snapshots, [scene.counted(1)]);
    let together = ByPolicy {
        group_by: "".parse().unwrap(),
        ..keep_last(1)
    };
    assert_eq!(scene.plan(&together).unwrap().snapshots.len(), 2);
    let tagged = ByPolicy {
        filter: Filter {
            tags: vec![levault::ops::forget::TagList::parse("a")],
            ..Filter::default()
        },
        leave: Leave::None,
        ..ByPolicy::default()
    };
    assert_eq!(scene.plan(&tagged).unwrap().snapshots, [scene.counted(0)]);
    for wrong in ["hosts", "host,day"] {
        assert_eq!(wrong.parse::<GroupBy>().unwrap_err().kind(), Kind::Usage);
    }
}

#[test]
fn a_policy_that_says_nothing_or_would_leave_nothing_of_a_group_is_refused() {
    let scene = Scene::new(2);
    let refused = |wish: &ByPolicy| scene.plan(wish).unwrap_err().kind();
    assert_eq!(refused(&keep_last(0)), Kind::Usage);
    let mut nothing_fits = ByPolicy::default();
    nothing_fits
        .policy
        .tags
        .push(levault::ops::forget::TagList::parse("none has it"));
    assert_eq!(refused(&nothing_fits), Kind::Usage);
    nothing_fits.leave = Leave::None;
    assert_eq!(scene.plan(&nothing_fits).unwrap().snapshots.len(), 2);
    // All of everything is nobody's wish.
    nothing_fits.policy = Policy::default();
    assert_eq!(refused(&nothing_fits), Kind::Usage);
    note(&scene.repo, 1, scene.ids[0], Said::Pin);
    nothing_fits.filter.databases.push("db".into());
    assert_eq!(scene.plan(&nothing_fits).unwrap().snapshots, [scene.counted(1)]);
}

#[test]
fn what_cannot_be_stored_is_told_snapshot_by_snapshot() {
    struct Full(Arc<MemoryStorage>);
    let scene = Scene::new(2);
    let full = Full(scene.storage.clone());
    impl Storage for Full {
        fn put_new(&self, _: ObjectName, _: &[u8]) -> Result<()> {
            Err(levault::error::Error::new(Kind::Full, "no room"))
        }
        fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>> {
            self.0.get(name, len_max)
        }
        fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
            self.0.get_range(name, offset, len)
        }
        fn stat(&self, name: ObjectName) -> Result<Listed> {
            self.0.stat(name)
        }
        fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
            self.0.list(kind)
        }
        fn delete(&self, name: ObjectName) -> Result<()> {
            self.0.delete(name)
        }
        fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
            self.0.heal(name, bytes)
        }
        fn describe(&self) -> String {
            self.0.describe()
        }
    }
    let outcome = forget(&scene.repo.over(Arc::new(full)), &by_hand(scene.counted(0))).unwrap();
    assert!(outcome.forgotten.is_empty());
    assert_eq!(
        (outcome.failed[0].0, outcome.failed[0].1.kind()),
        (scene.ids[0], Kind::Full)
    );
}
