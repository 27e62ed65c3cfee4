//! What checks remember: audits through the library, checks in budgets, checks without a key, and prune's hand on both.
//! The codec and what audits mean together are tested in src/facts, the planner in src/ops/check.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use levault::clock::{Clock, ManualClock, UnixNanos};
use levault::envelope::ObjectClass;
use levault::error::Kind;
use levault::facts::{Audit, Audited, Found, How};
use levault::id::ObjectId;
use levault::ops::check::{Check, CheckOutcome, Finding, KeylessCheck, ReadData};
use levault::ops::prune::Prune;
use levault::repo::{Repo, Vault};
use levault::report::Report;
use levault::storage::fault::{Fault, Faulty};
use levault::storage::{Listed, MemoryStorage, ObjectKind, ObjectName, Storage};

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
        let repo = common::create(storage.clone()).unwrap().by_clock(clock.clone());
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

    /// Each pack that is read takes a minute.
    fn slow(&self) -> Arc<dyn Storage> {
        let clock = self.clock.clone();
        Arc::new(Slow {
            inner: self.storage.clone(),
            clock,
        })
    }

    fn vault(&self) -> Vault {
        let vault = Vault::open(self.storage.clone()).unwrap();
        vault.by_clock(self.clock.clone())
    }

    fn keyless(&self, read: ReadData) -> CheckOutcome {
        keyless(&self.vault(), read)
    }

    fn last(&self, how: How, pack: &ObjectId) -> Option<(UnixNanos, Found)> {
        let stored = self.repo.audits(self.packs()).unwrap();
        assert!(stored.unread.is_empty(), "{:?}", stored.unread);
        stored.audits.last(how, pack).map(|last| (last.when, last.found))
    }

    fn damage(&self, pack: ObjectId) {
        let name = ObjectName::new(ObjectKind::Pack, pack);
        assert!(self.storage.corrupt(name, |bytes| bytes[150] ^= 1));
    }

    fn prune(&self) -> Vec<ObjectId> {
        let outcome = Prune::default().run(&self.repo, &Report::default());
        outcome.unwrap().audits_superseded
    }
}

fn check(repo: &Repo, read: ReadData) -> CheckOutcome {
    Check { read }.run(repo, &Report::default()).unwrap()
}

fn keyless(vault: &Vault, read: ReadData) -> CheckOutcome {
    KeylessCheck { read }.run(vault, &Report::default()).unwrap()
}

fn stalest(budget_minutes: Option<u64>, days: Option<u64>) -> ReadData {
    ReadData::Stalest {
        age_max: days.map(|days| Duration::from_secs(days * 86_400)),
        budget: budget_minutes.map(|minutes| Duration::from_secs(minutes * 60)),
    }
}

fn audited(id: ObjectId, when: UnixNanos) -> Audited {
    Audited {
        class: ObjectClass::Pack,
        id,
        found: Found::Right,
        when,
    }
}

fn audit(how: How, id: ObjectId, when: UnixNanos) -> Audit {
    Audit {
        how,
        objects: vec![audited(id, when)],
    }
}

fn none(findings: &[Finding]) {
    assert!(findings.is_empty(), "{findings:?}");
}

/// Turns the clock on whenever a pack is read whole.
struct Slow {
    inner: Arc<MemoryStorage>,
    clock: Arc<ManualClock>,
}

impl Storage for Slow {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> levault::error::Result<()> {
        self.inner.put_new(name, bytes)
    }
    fn get(&self, name: ObjectName, len_max: u64) -> levault::error::Result<Vec<u8>> {
        if name.kind == ObjectKind::Pack {
            self.clock.advance(MINUTE);
        }
        self.inner.get(name, len_max)
    }
    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> levault::error::Result<Vec<u8>> {
        self.inner.get_range(name, offset, len)
    }
    fn stat(&self, name: ObjectName) -> levault::error::Result<Listed> {
        self.inner.stat(name)
    }
    fn list(&self, kind: ObjectKind) -> levault::error::Result<Vec<Listed>> {
        self.inner.list(kind)
    }
    fn delete(&self, name: ObjectName) -> levault::error::Result<()> {
        self.inner.delete(name)
    }
    fn heal(&self, name: ObjectName, bytes: &[u8]) -> levault::error::Result<()> {
        self.inner.heal(name, bytes)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

// Budgets.

#[test]
fn a_check_remembers_what_it_read_and_a_plain_one_reads_nothing() {
    let scene = Scene::new(3);
    let plain = scene.check(ReadData::None);
    none(&plain.findings);
    assert_eq!((scene.audits(), plain.packs_read), (0, 0));
    let verified = plain.verified.within(Duration::from_secs(86_400));
    assert_eq!((verified.bytes_opened, verified.oldest), (0, None));
    assert_eq!(verified.packs_unverified, scene.packs().len() as u64);

    let began = scene.clock.now();
    none(&scene.check(ReadData::All).findings);
    assert_eq!(scene.audits(), 1);
    for pack in scene.packs() {
        assert_eq!(scene.last(How::Opened, &pack), Some((began, Found::Right)));
    }
    scene.clock.advance(10 * DAY);
    let plain = scene.check(ReadData::None);
    let verified = |days: u64| plain.verified.within(Duration::from_secs(days * 86_400));
    assert_eq!(verified(10).bytes_opened, verified(10).bytes);
    assert!(verified(10).bytes > 0 && verified(10).bytes_hashed == 0);
    assert_eq!((verified(9).bytes_opened, verified(9).oldest), (0, Some(began)));
}

#[test]
fn a_budget_goes_on_where_the_last_one_ended_until_all_is_read() {
    let scene = Scene::new(5);
    let repo = scene.repo.over(scene.slow());
    let packs = scene.packs().len() as u64;
    assert!(packs >= 5);
    let (mut left, mut rounds) = (packs, 0);
    while left > 0 {
        let outcome = check(&repo, stalest(Some(2), Some(30)));
        none(&outcome.findings);
        assert_eq!(outcome.packs_read, left.min(2), "two minutes, a pack each");
        left -= outcome.packs_read;
        assert_eq!(outcome.packs_left, left);
        rounds += 1;
    }
    assert_eq!(rounds, packs.div_ceil(2));
    // All are fresh; after a month the ones read first are due first.
    let outcome = check(&repo, stalest(Some(2), Some(30)));
    assert_eq!((outcome.packs_read, outcome.packs_left), (0, 0));
    let within = outcome.verified.within(Duration::from_secs(86_400));
    assert_eq!(within.bytes_opened, within.bytes);
    scene.clock.advance(31 * DAY);
    let first = scene.packs()[0];
    let began = scene.clock.now();
    assert_eq!(check(&repo, stalest(Some(1), Some(30))).packs_read, 1);
    assert_eq!(scene.last(How::Opened, &first), Some((began, Found::Right)));
}

#[test]
fn a_check_that_is_stopped_remembers_what_it_read_until_then() {
    let scene = Scene::new(4);
    let report = Arc::new(Report::default());
    struct Stop(Arc<MemoryStorage>, Arc<Report>);
    // Stops when the second pack is read.
    impl Storage for Stop {
        fn put_new(&self, name: ObjectName, bytes: &[u8]) -> levault::error::Result<()> {
            self.0.put_new(name, bytes)
        }
        fn get(&self, name: ObjectName, len_max: u64) -> levault::error::Result<Vec<u8>> {
            if name.kind == ObjectKind::Pack && self.1.bytes_done.get() > 0 {
                self.1.stop();
            }
            self.0.get(name, len_max)
        }
        fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> levault::error::Result<Vec<u8>> {
            self.0.get_range(name, offset, len)
        }
        fn stat(&self, name: ObjectName) -> levault::error::Result<Listed> {
            self.0.stat(name)
        }
        fn list(&self, kind: ObjectKind) -> levault::error::Result<Vec<Listed>> {
            self.0.list(kind)
        }
        fn delete(&self, name: ObjectName) -> levault::error::Result<()> {
            self.0.delete(name)
        }
        fn heal(&self, name: ObjectName, bytes: &[u8]) -> levault::error::Result<()> {
            self.0.heal(name, bytes)
        }
        fn describe(&self) -> String {
            self.0.describe()
        }
    }
    let storage = Arc::new(Stop(scene.storage.clone(), report.clone()));
    let stopped = Check { read: ReadData::All }.run(&scene.repo.over(storage), &report);
    assert_eq!(stopped.unwrap_err().kind(), Kind::Interrupted);
    let read = scene
        .packs()
        .iter()
        .filter(|pack| scene.last(How::Opened, pack).is_some())
        .count();
    assert_eq!(read, 2);
}

// Damage.

#[test]
fn damage_is_remembered_as_damage_until_the_pack_is_read_and_right() {
    let scene = Scene::new(4);
    none(&scene.check(ReadData::All).findings);
    let pack = scene.packs()[1];
    let good = scene
        .storage
        .get(ObjectName::new(ObjectKind::Pack, pack), 1 << 30)
        .unwrap();
    scene.damage(pack);
    scene.clock.advance(DAY);
    assert!(!scene.check(ReadData::All).findings.is_empty());
    assert_eq!(scene.last(How::Opened, &pack).unwrap().1, Found::Wrong);
    for other in scene.packs().iter().filter(|other| **other != pack) {
        assert_eq!(scene.last(How::Opened, other).unwrap().1, Found::Right);
    }
    scene.clock.advance(DAY);
    // Not forgotten by a check that would read nothing of its own.
    let plain = scene.check(ReadData::None);
    assert!(!plain.findings.is_empty());
    assert_eq!(plain.packs_read, 1);
    let fresh = scene.check(stalest(Some(60), Some(30)));
    assert!(!fresh.findings.is_empty());
    // Brought back: read again, found right, and that is the end of it.
    scene
        .storage
        .heal(ObjectName::new(ObjectKind::Pack, pack), &good)
        .unwrap();
    none(&scene.check(ReadData::None).findings);
    let plain = scene.check(ReadData::None);
    none(&plain.findings);
    assert_eq!(plain.packs_read, 0);
}

#[test]
fn damaged_packs_do_not_eat_every_budget_and_none_of_them_is_passed_over_in_silence() {
    let scene = Scene::new(12);
    let packs = scene.packs();
    let damaged = &packs[..6];
    damaged.iter().for_each(|pack| scene.damage(*pack));
    let repo = scene.repo.over(scene.slow());
    assert!(!check(&repo, stalest(None, None)).findings.is_empty());
    scene.clock.advance(DAY);
    let began = scene.clock.now();
    let outcome = check(&repo, stalest(Some(8), None));
    assert_eq!(outcome.packs_read, 8);
    let read_now = |pack: &&ObjectId| scene.last(How::Opened, pack).unwrap().0 >= began;
    assert_eq!(
        damaged.iter().filter(read_now).count(),
        2,
        "a quarter of the time"
    );
    for pack in damaged {
        let path = ObjectName::new(ObjectKind::Pack, *pack).path();
        assert!(
            outcome.findings.iter().any(|finding| finding.object == path),
            "{path}"
        );
    }
}

// What audits are worth.

#[test]
fn an_audit_of_the_future_counts_for_nothing_and_is_told() {
    let scene = Scene::new(2);
    let pack = scene.packs()[0];
    let future = UnixNanos(scene.clock.now().0 + DAY);
    scene.repo.put_audit(&audit(How::Opened, pack, future)).unwrap();
    scene
        .vault()
        .put_audit(&audit(How::Hashed, pack, future))
        .unwrap();
    let stored = scene.repo.audits(scene.packs()).unwrap();
    assert_eq!(stored.unread.len(), 2);
    assert_eq!(stored.audits.last(How::Opened, &pack), None);
    assert_eq!(stored.audits.last(How::Hashed, &pack), None);
    let outcome = scene.check(stalest(None, Some(30)));
    none(&outcome.findings);
    assert_eq!(outcome.packs_read, scene.packs().len() as u64);
    assert_eq!(outcome.notices.len(), 2, "{:?}", outcome.notices);
    assert_eq!(scene.prune(), [], "our clock may be the wrong one");
}

#[test]
fn a_keyless_audit_is_never_a_keyed_one() {
    let scene = Scene::new(3);
    none(&scene.keyless(ReadData::All).findings);
    let outcome = scene.check(stalest(None, Some(30)));
    assert_eq!(
        outcome.packs_read,
        scene.packs().len() as u64,
        "hashed is not opened"
    );
    let outcome = Scene::check(&scene, ReadData::None);
    let within = outcome.verified.within(Duration::from_secs(86_400));
    assert_eq!((within.bytes_opened, within.bytes_hashed), (within.bytes, 0));

    // Neither can one be made to say so.
    let pack = scene.packs()[0];
    let wrong = audit(How::Opened, pack, scene.clock.now());
    assert_eq!(scene.vault().put_audit(&wrong).unwrap_err().kind(), Kind::Usage);
    let body = levault::facts::audit::encode(&wrong).unwrap();
    let mut bytes = vec![0; 120];
    bytes[..8].copy_from_slice(b"levault\x1a");
    bytes[8..11].copy_from_slice(&[ObjectClass::Audit as u8, 1, 255]);
    bytes[20..24].copy_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    refused(&scene, &bytes);
    // The same bytes as a hashed one are taken: it is the word that is refused, not the form.
    bytes[121] = 1;
    let name = ObjectName::of_content(ObjectKind::Audit, &bytes);
    scene.storage.put_new(name, &bytes).unwrap();
    assert!(scene.repo.audits(scene.packs()).unwrap().unread.is_empty());
}

/// The repository makes nothing of these bytes, and says so.
fn refused(scene: &Scene, bytes: &[u8]) {
    let name = ObjectName::of_content(ObjectKind::Audit, bytes);
    scene.storage.put_new(name, bytes).unwrap();
    let stored = scene.repo.audits(scene.packs()).unwrap();
    assert_eq!(stored.unread.len(), 1, "{:?}", stored.unread);
    assert_eq!(stored.unread[0].id, name.id);
    let findings = scene.check(ReadData::None).findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].object, name.path());
    scene.storage.delete(name).unwrap();
}

#[test]
fn another_repositorys_audit_and_one_under_a_domain_key_are_refused() {
    let scene = Scene::new(1);
    let other = Scene::new(1);
    let now = scene.clock.now();
    let theirs = other
        .repo
        .put_audit(&audit(How::Opened, scene.packs()[0], now))
        .unwrap();
    let name = ObjectName::new(ObjectKind::Audit, theirs);
    refused(&scene, &other.storage.get(name, 1 << 20).unwrap());

    let ours = scene
        .repo
        .put_audit(&audit(How::Opened, scene.packs()[0], now))
        .unwrap();
    let name = ObjectName::new(ObjectKind::Audit, ours);
    let bytes = scene.storage.get(name, 1 << 20).unwrap();
    scene.storage.delete(name).unwrap();
    for scheme in [1, 2, 3, 4] {
        let mut forged = bytes.clone();
        forged[10] = scheme;
        if matches!(scheme, 2..=3) {
            forged[12..16].fill(0);
        }
        refused(&scene, &forged);
    }
    for at in [60, 100, bytes.len() - 1] {
        let mut forged = bytes.clone();
        forged[at] ^= 1;
        refused(&scene, &forged);
    }
}

#[test]
fn a_foreign_epochs_audit_is_never_taken_under_a_domain_key() {
    // Sealed by the domain's index key, which a write-only host holds.
    let scene = Scene::new(1);
    let domain = scene.repo.domain_keys();
    let header = levault::envelope::Header {
        class: ObjectClass::Audit,
        scheme: levault::envelope::KeyScheme::Domain,
        epoch: levault::id::EpochId(0),
        domain: domain.id(),
        clear_len: 0,
        ephemeral: [0; 32],
        salt: [7; 32],
        commitment: [0; 32],
    };
    let plain = levault::facts::audit::encode(&audit(How::Opened, scene.packs()[0], scene.clock.now()));
    let sealed = levault::envelope::seal_one(header, domain.index_key().expose(), &[], &plain.unwrap());
    refused(&scene, &sealed.unwrap());
}

// Storage that does not take them.

#[test]
fn a_store_that_takes_no_audit_makes_a_notice_and_no_error() {
    for fault in [
        Fault::Full,
        Fault::BeforeEffect,
        Fault::TornWrite,
        Fault::LostReply,
    ] {
        let scene = Scene::new(2);
        let counted = Arc::new(Faulty::new(scene.storage.snapshot()));
        check(&scene.repo.over(counted.clone()), ReadData::All);
        for call in 1..=counted.calls() {
            let storage = Arc::new(scene.storage.snapshot());
            let faulty = Arc::new(Faulty::new(storage.clone()).fail_at(call, fault));
            let outcome = Check { read: ReadData::All }.run(&scene.repo.over(faulty), &Report::default());
            let stored = storage.list(ObjectKind::Audit).unwrap();
            let reader = scene.repo.over(storage.clone());
            let known = reader.audits(scene.packs()).unwrap();
            // Torn ones say nothing; whole ones say only what was read and right.
            assert!(known.unread.len() <= usize::from(fault == Fault::TornWrite));
            match outcome {
                Ok(outcome) if outcome.findings.is_empty() => {
                    let told = outcome.notices.iter().any(|notice| notice.object == "audits");
                    let lost = stored.is_empty() || !known.unread.is_empty();
                    assert!(told || !lost, "{fault:?} at {call}: {:?}", outcome.notices);
                }
                _ => {}
            }
            let again = check(&reader, stalest(None, Some(30)));
            let torn = known.unread.len();
            assert_eq!(
                again.findings.len(),
                torn,
                "{fault:?} at {call}: {:?}",
                again.findings
            );
            let within = again.verified.within(Duration::from_secs(86_400));
            assert_eq!(within.bytes_opened, within.bytes, "{fault:?} at {call}");
        }
    }
}

#[test]
fn two_checks_at_once_both_count() {
    let scene = Scene::new(6);
    std::thread::scope(|scope| {
        for part in [1, 2] {
            let scene = &scene;
            scope.spawn(move || none(&scene.check(ReadData::Part { part, of: 2 }).findings));
        }
    });
    let outcome = scene.check(ReadData::None);
    none(&outcome.findings);
    let within = outcome.verified.within(Duration::from_secs(86_400));
    assert_eq!(within.bytes_opened, within.bytes);
}

// Prune.

#[test]
fn prune_drops_audits_that_say_nothing_any_more_and_check_merges_many() {
    let scene = Scene::new(3);
    for _ in 0..20 {
        scene.clock.advance(MINUTE);
        scene.check(ReadData::Bytes(1));
        scene
            .vault()
            .put_audit(&audit(How::Hashed, scene.packs()[0], scene.clock.now()))
            .unwrap();
    }
    let before = scene.repo.audits(scene.packs()).unwrap().audits;
    let gone = scene.prune();
    assert!(scene.audits() <= scene.packs().len() + 1, "{}", scene.audits());
    assert_eq!(gone.len() + scene.audits(), 40);
    let after = scene.repo.audits(scene.packs()).unwrap().audits;
    for pack in scene.packs() {
        for how in [How::Opened, How::Hashed] {
            assert_eq!(after.last(how, &pack), before.last(how, &pack));
        }
    }
    assert_eq!(scene.prune(), []);
    none(&scene.check(ReadData::None).findings);
    none(&scene.keyless(ReadData::None).findings);
}
