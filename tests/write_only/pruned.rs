//! Goal: a prune gives back what no snapshot of a domain needs, and takes nothing of another one; and a host finds what is
//! left.

use levault::clock::{ManualClock, UnixNanos};
use levault::crypto::OsEntropy;
use levault::ops::backup::PinMode;
use levault::ops::prune::{Prune, PruneOutcome};
use levault::pack::PackBuilder;
use levault::snapshot::{DatabaseContent, SnapshotSource};

use super::*;

fn prune(owner: &Repo, report: &OperationReport) -> PruneOutcome {
    let prune = Prune {
        grace: std::time::Duration::ZERO,
        unsafe_grace: true,
        unused_share_max: 0.0,
        ..Prune::default()
    };
    prune.run(owner, report).unwrap()
}

fn full(host: &WriteOnlyRepo, db: &Path) -> BackupOutcome {
    let backup = Backup {
        databases: levault::ops::backup::DatabaseBackupOptions {
            pinning: PinMode::None,
            ..Default::default()
        },
        ..Backup::new(vec![db.to_path_buf()])
    };
    backup.run_as_host(host, &OperationReport::default()).unwrap()
}

fn bytes(scene: &Scene) -> u64 {
    let listed = scene.storage.list(ObjectKind::Pack).unwrap();
    listed.iter().map(|pack| pack.len).sum()
}

/// Owner, `web` and `mail` save the same; half of it changes; what was before is forgotten in one domain only.
#[test]
fn a_prune_takes_one_domains_dead_data_and_its_host_finds_the_rest() {
    let mut scene = Scene::new();
    let (web, mail) = (scene.host("web"), scene.host("mail"));
    let db = scene.path("db");
    common::fill(&db, 2000, 400);
    let before = common::scan(&db).unwrap();
    let first = [
        common::backup(&scene.owner, &db).unwrap(),
        full(&web, &db),
        full(&mail, &db),
    ];
    let changes: Vec<_> = (0..2000)
        .step_by(2)
        .map(|i| (common::key(i), Some(common::value(i + 9999, 400))))
        .collect();
    common::write(&db, &changes);
    let now = common::scan(&db).unwrap();
    let second = full(&web, &db);
    common::forget(&scene.owner, first[1].snapshot.unwrap());
    let stored = bytes(&scene);
    let report = OperationReport::default();
    let outcome = prune(&scene.owner, &report);
    prune(&scene.owner, &report);
    assert!(report.problems().is_empty(), "{:?}", report.problems());
    assert!(outcome.swept.packs.iter().map(|pack| pack.len).sum::<u64>() > 0);
    assert!(bytes(&scene) < stored);
    assert_eq!(records(&scene.owner, &second), now);
    for kept in [&first[0], &first[2]] {
        assert_eq!(records(&scene.owner, kept), before);
    }
    scene.check_finds_nothing();
    let third = full(&web, &db);
    assert_eq!(third.blobs_new, 0, "the host finds what the owner moved");
    assert_eq!(records(&scene.owner, &third), now);
}

/// Live blobs out of a wasteful pack: the owner's new pack is of the host's domain, and so is its segment.
#[test]
fn what_a_prune_moves_stays_in_its_domain() {
    let mut scene = Scene::new();
    let web = scene.host("web");
    let db = scene.path("db");
    common::fill(&db, 4000, 400);
    let first = full(&web, &db);
    let changes: Vec<_> = (0..2000)
        .map(|i| (common::key(i * 2), Some(common::value(i + 99_999, 400))))
        .collect();
    // Few enough that some leaves stay as they were, wherever this repository cuts.
    common::write(&db, &changes[..8]);
    let second = full(&web, &db);
    common::forget(&scene.owner, first.snapshot.unwrap());
    let report = OperationReport::default();
    let outcome = prune(&scene.owner, &report);
    assert!(report.problems().is_empty(), "{:?}", report.problems());
    assert!(outcome.plan.repack_bytes > 0, "{outcome:?}");
    prune(&scene.owner, &report);
    let heads = scene.objects(ObjectKind::Pack);
    let heads = heads
        .iter()
        .map(|(_, bytes)| levault::envelope::Header::decode(bytes).unwrap());
    let schemes: Vec<_> = heads.map(|head| (head.domain, head.scheme)).collect();
    assert!(schemes.iter().all(|(domain, _)| *domain == web.domain()));
    assert!(
        schemes
            .iter()
            .any(|(_, scheme)| *scheme == levault::envelope::KeyScheme::Epoch)
    );
    assert_eq!(records(&scene.owner, &second), common::scan(&db).unwrap());
    assert_eq!(full(&web, &db).blobs_new, 0);
    scene.check_finds_nothing();
}

/// A killed host's pack is no segment's; a living one's may look the same for hours.
#[test]
fn a_hosts_leftovers_go_with_the_grace_and_not_before() {
    let mut scene = Scene::new();
    let web = scene.host("web");
    let db = scene.path("db");
    common::fill(&db, 300, 300);
    let kept = full(&web, &db);
    let holder = levault::keys::KeyAccess::Host(Arc::new(scene.credential(web.domain())));
    let builder = PackBuilder::sealed_for(&holder, web.domain(), Vec::new(), &mut OsEntropy).unwrap();
    let left = scene.put(ObjectKind::Pack, &builder.finish().unwrap().bytes);
    Prune::default()
        .run(&scene.owner, &OperationReport::default())
        .unwrap();
    assert!(scene.storage.stat(left).is_ok());
    assert!(scene.owner.marks().unwrap().is_empty());
    prune(&scene.owner, &OperationReport::default());
    assert!(scene.storage.stat(left).is_err());
    assert_eq!(records(&scene.owner, &kept), common::scan(&db).unwrap());
}

/// A host's snapshot that needs what is nowhere stops the prune of that domain, and is told; others' garbage goes.
#[test]
fn what_one_host_broke_keeps_no_other_domain_from_its_space() {
    let mut scene = Scene::new();
    let (web, mail) = (scene.host("web"), scene.host("mail"));
    let db = scene.path("db");
    common::fill(&db, 300, 300);
    let of_web = full(&web, &db);
    let of_mail = full(&mail, &db);
    let mut broken = scene.owner.snapshot(&of_web.snapshot.unwrap()).unwrap();
    let SnapshotSource::Database(root) = &mut broken.sources[0] else {
        panic!()
    };
    let DatabaseContent::Logical { runs, .. } = &mut root.content else {
        panic!()
    };
    runs[0].root.as_mut().unwrap().top.id.0[0] ^= 1;
    broken.counter = 2;
    let credential = scene.credential(web.domain());
    let plain = levault::snapshot::snapshot_codec::encode(&broken).unwrap();
    let class = levault::envelope::ObjectClass::Snapshot;
    let sealed = credential.seal_object(class, web.domain(), b"", &plain, &mut OsEntropy);
    scene.put(ObjectKind::Snapshot, &sealed.unwrap());
    common::forget(&scene.owner, of_mail.snapshot.unwrap());
    let report = OperationReport::default();
    let outcome = prune(&scene.owner, &report);
    assert_eq!(report.problems().len(), 1, "{:?}", report.problems());
    assert!(
        report.problems()[0].contains("domain 1"),
        "{:?}",
        report.problems()
    );
    assert_eq!(outcome.swept.snapshots, [of_mail.snapshot.unwrap()]);
    assert!(!outcome.swept.packs.is_empty());
    assert_eq!(records(&scene.owner, &of_web), common::scan(&db).unwrap());
}

const DAY: i64 = 24 * 3600 * 1_000_000_000;

/// Owner, `web` and `mail` on a clock that is turned by hand, and a database that all three have saved.
fn three_days_ago() -> (Scene, Arc<ManualClock>, [BackupOutcome; 3]) {
    let clock = Arc::new(ManualClock::new(UnixNanos(1_700_000_000_000_000_000)));
    let storage = Arc::new(MemoryStorage::with_clock(clock.clone()));
    let owner = common::create(storage.clone()).unwrap().with_clock(clock.clone());
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene { dir, storage, owner };
    let hosts = [scene.host("web"), scene.host("mail")].map(|host| host.with_clock(clock.clone()));
    scene.owner = scene.owner.with_clock(clock.clone());
    let db = scene.path("db");
    common::fill(&db, 300, 300);
    let own = common::backup(&scene.owner, &db).unwrap();
    let [of_web, of_mail] = hosts.each_ref().map(|host| full(host, &db));
    clock.advance(3 * DAY);
    (scene, clock, [own, of_web, of_mail])
}

/// Forgotten, marked, and brought back: its packs are its domain's, and their marks come off.
#[test]
fn a_hosts_forgotten_snapshot_comes_back() {
    let (scene, _, [_, of_web, of_mail]) = three_days_ago();
    for outcome in [&of_web, &of_mail] {
        common::forget(&scene.owner, outcome.snapshot.unwrap());
    }
    Prune::default()
        .run(&scene.owner, &OperationReport::default())
        .unwrap();
    assert_eq!(scene.owner.marks().unwrap().len(), 2, "one of each domain");
    let catalog = scene.owner.catalog().unwrap();
    let forgotten = catalog.forgotten(&of_web.snapshot.unwrap()).unwrap();
    levault::ops::undelete::undelete(&scene.owner, forgotten, &OperationReport::default()).unwrap();
    assert_eq!(
        records(&scene.owner, &of_web),
        common::scan(&scene.path("db")).unwrap()
    );
    assert_eq!(
        scene.owner.marks().unwrap().len(),
        1,
        "the other host's stay marked"
    );
}

/// What was marked in one domain goes a grace later, whatever the prunes of the others do between.
#[test]
fn marks_of_one_domain_last_through_the_passes_of_the_others() {
    let (scene, clock, [own, of_web, of_mail]) = three_days_ago();
    common::forget(&scene.owner, of_web.snapshot.unwrap());
    let mut swept = Vec::new();
    for _ in 0..10 {
        clock.advance(DAY);
        let outcome = Prune::default()
            .run(&scene.owner, &OperationReport::default())
            .unwrap();
        swept.extend(outcome.swept.packs);
    }
    assert!(!swept.is_empty(), "what the host does not need any more");
    for kept in [&own, &of_mail] {
        assert_eq!(
            records(&scene.owner, kept),
            common::scan(&scene.path("db")).unwrap()
        );
    }
    assert!(scene.owner.marks().unwrap().is_empty(), "nothing is left to do");
    scene.check_finds_nothing();
}
