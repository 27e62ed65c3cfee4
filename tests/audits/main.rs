//! What checks remember: audits through the library, checks in budgets, checks without a key, and prune's hand on both.
//! The codec and what audits mean together are tested in src/facts, the planner in src/ops/check.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "../common/mod.rs"]
mod common;

mod budget;
mod damage;
mod slow;
mod store;
mod worth;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use levault::annotations::{Audit, AuditMethod, AuditResult, AuditedObject};
use levault::clock::{Clock, ManualClock, UnixNanos};
use levault::envelope::ObjectClass;
use levault::error::ErrorKind;
use levault::id::ObjectId;
use levault::ops::check::{Check, CheckFinding, CheckOutcome, KeylessCheck, ReadData};
use levault::ops::prune::Prune;
use levault::repo::{KeylessRepo, Repo};
use levault::report::OperationReport;
use levault::storage::faulty_storage::{FaultyStorage, InjectedFault};
use levault::storage::{MemoryStorage, ObjectKind, ObjectName, Storage};
use slow::{slow, stopping};

const MINUTE: i64 = 60 * 1_000_000_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// A repository of several packs on a clock that is turned by hand.
struct Scene {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    storage: Arc<MemoryStorage>,
    repo: Repo,
    ids: Vec<ObjectId>,
}

impl Scene {
    /// One snapshot a pack, or more packs.
    fn new(snapshots: u32) -> Self {
        let clock = Arc::new(ManualClock::new(UnixNanos(1_700_000_000_000_000_000)));
        let storage = Arc::new(MemoryStorage::with_clock(clock.clone()));
        let repo = common::create(storage.clone()).unwrap().with_clock(clock.clone());
        let mut scene = Self {
            dir: tempfile::tempdir().unwrap(),
            clock,
            storage,
            repo,
            ids: Vec::new(),
        };
        for number in 0..snapshots {
            let changes: Vec<_> = (number * 50..number * 50 + 60)
                .map(|i| (common::key(i), Some(common::value(i + 1, 200))))
                .collect();
            common::write(&scene.db(), &changes);
            let saved = common::backup(&scene.repo, &scene.db()).unwrap();
            scene.ids.push(saved.snapshot.unwrap());
        }
        scene
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    fn packs(&self) -> Vec<ObjectId> {
        let listed = self.storage.list(ObjectKind::Pack).unwrap();
        listed.iter().map(|pack| pack.name.id).collect()
    }

    fn audits(&self) -> usize {
        self.storage.list(ObjectKind::Audit).unwrap().len()
    }

    fn check(&self, read: ReadData) -> CheckOutcome {
        check(&self.repo, read)
    }

    /// Each pack that is read takes so long.
    fn slow(&self, minutes: i64) -> Arc<dyn Storage> {
        let clock = self.clock.clone();
        slow(&self.storage, clock, minutes)
    }

    fn vault(&self) -> KeylessRepo {
        let vault = KeylessRepo::open(self.storage.clone()).unwrap();
        vault.with_clock(self.clock.clone())
    }

    fn keyless(&self, read: ReadData) -> CheckOutcome {
        keyless(&self.vault(), read)
    }

    fn last(&self, how: AuditMethod, pack: &ObjectId) -> Option<(UnixNanos, AuditResult)> {
        let stored = self.repo.audits(self.packs()).unwrap();
        assert!(stored.unread.is_empty(), "{:?}", stored.unread);
        stored.audits.last(how, pack).map(|last| (last.when, last.found))
    }

    fn damage(&self, pack: ObjectId) {
        let name = ObjectName::new(ObjectKind::Pack, pack);
        assert!(self.storage.corrupt(name, |bytes| bytes[150] ^= 1));
    }

    fn prune(&self) -> Vec<ObjectId> {
        let outcome = Prune::default().run(&self.repo, &OperationReport::default());
        outcome.unwrap().audits_superseded
    }
}

fn check(repo: &Repo, read: ReadData) -> CheckOutcome {
    Check { read }.run(repo, &OperationReport::default()).unwrap()
}

fn keyless(vault: &KeylessRepo, read: ReadData) -> CheckOutcome {
    KeylessCheck { read }
        .run(vault, &OperationReport::default())
        .unwrap()
}

fn stalest(budget_minutes: Option<u64>, days: Option<u64>) -> ReadData {
    ReadData::Stalest {
        age_max: days.map(|days| Duration::from_secs(days * 86_400)),
        budget: budget_minutes.map(|minutes| Duration::from_secs(minutes * 60)),
    }
}

fn audited(id: ObjectId, when: UnixNanos) -> AuditedObject {
    AuditedObject {
        class: ObjectClass::Pack,
        id,
        found: AuditResult::Right,
        when,
    }
}

fn audit(how: AuditMethod, id: ObjectId, when: UnixNanos) -> Audit {
    Audit {
        how,
        objects: vec![audited(id, when)],
    }
}

fn none(findings: &[CheckFinding]) {
    assert!(findings.is_empty(), "{findings:?}");
}
