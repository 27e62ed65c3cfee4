//! Goal: a host's increments are exact, and it stands on nothing that may go. Method: the owner forgets and prunes between
//! them, the host's memory is lost, and every state comes back.

use levault::ops::backup::ReadScope;
use levault::ops::prune::Prune;

use super::*;

fn prune_at_once(owner: &Repo) {
    let prune = Prune {
        grace: std::time::Duration::ZERO,
        unsafe_grace: true,
        ..Prune::default()
    };
    let report = OperationReport::default();
    prune.run(owner, &report).unwrap();
    assert!(report.problems().is_empty(), "{:?}", report.problems());
}

fn is_whole(outcome: &BackupOutcome) -> bool {
    matches!(outcome.databases[0].scope, ReadScope::Whole { .. })
}

fn change(db: &Path, round: u32) {
    let changes: Vec<_> = (0..5)
        .map(|i| {
            (
                common::key(round * 3 + i),
                (i > 0).then(|| common::value(round * 100 + i, 200)),
            )
        })
        .collect();
    common::write(db, &changes);
}

#[test]
fn thirty_increments_come_back_each_and_a_full_scan_renews_the_stack() {
    let mut scene = Scene::new();
    let host = scene.host("web");
    let db = scene.path("db");
    common::fill(&db, 3000, 200);
    let (mut whole, mut states) = (0, Vec::new());
    for round in 0..30 {
        change(&db, round);
        let outcome = backup(&host, &db);
        whole += u32::from(is_whole(&outcome));
        states.push((outcome, common::scan(&db).unwrap()));
    }
    assert_eq!(
        whole, 2,
        "the first, and one when the stack was as deep as it may be"
    );
    for (outcome, model) in &states {
        assert_eq!(records(&scene.owner, outcome), *model);
    }
    scene.check_finds_nothing();
    let counters: Vec<_> = scene.owner.snapshots().unwrap();
    let mut counters: Vec<_> = counters.iter().map(|stored| stored.snapshot.counter).collect();
    counters.sort_unstable();
    assert_eq!(counters, (1..=30).collect::<Vec<_>>());
}

/// Its parent was forgotten and swept. What it rested on is gone or not, and the host tells by packs alone.
#[test]
fn a_host_whose_parent_was_swept_reads_everything_and_comes_back() {
    let mut scene = Scene::new();
    let host = scene.host("web");
    let db = scene.path("db");
    common::fill(&db, 1000, 300);
    let first = backup(&host, &db);
    common::forget(&scene.owner, first.snapshot.unwrap());
    prune_at_once(&scene.owner);
    prune_at_once(&scene.owner);
    assert_eq!(scene.objects(ObjectKind::Pack).len(), 0, "nothing is left of it");
    change(&db, 1);
    let second = backup(&host, &db);
    assert!(is_whole(&second));
    assert_eq!(records(&scene.owner, &second), common::scan(&db).unwrap());
    scene.check_finds_nothing();
    let snapshot = scene.owner.snapshot(&second.snapshot.unwrap()).unwrap();
    assert_eq!((snapshot.counter, snapshot.previous), (2, first.snapshot));
    change(&db, 2);
    assert!(!is_whole(&backup(&host, &db)));
}

/// Forgotten and not pruned yet: the host cannot know, and need not. All that it rests on is proven unmarked.
#[test]
fn an_increment_on_a_forgotten_parent_keeps_what_it_needs_through_a_prune() {
    let mut scene = Scene::new();
    let host = scene.host("web");
    let db = scene.path("db");
    common::fill(&db, 1000, 300);
    let first = backup(&host, &db);
    common::forget(&scene.owner, first.snapshot.unwrap());
    change(&db, 1);
    let second = backup(&host, &db);
    assert!(!is_whole(&second));
    prune_at_once(&scene.owner);
    prune_at_once(&scene.owner);
    assert_eq!(records(&scene.owner, &second), common::scan(&db).unwrap());
    scene.check_finds_nothing();
}

/// Marked between two backups: the second stores anew what it would have rested on.
#[test]
fn a_host_stands_on_no_marked_pack() {
    let mut scene = Scene::new();
    let host = scene.host("web");
    let db = scene.path("db");
    common::fill(&db, 1000, 300);
    let first = backup(&host, &db);
    let mut packs: Vec<_> = scene.objects(ObjectKind::Pack);
    packs.sort_by_key(|(name, _)| name.id);
    let packs = packs
        .iter()
        .map(|(name, bytes)| levault::annotations::MarkedPack {
            pack: name.id,
            len: bytes.len() as u64,
        });
    let mark = levault::annotations::DeletionMark {
        when: scene.owner.clock().now(),
        packs: packs.collect(),
        replaces: None,
    };
    scene.owner.put_mark(&mark).unwrap();
    change(&db, 1);
    let second = backup(&host, &db);
    assert!(is_whole(&second));
    assert!(second.bytes_added > first.bytes_added / 2, "stored again");
}

/// The memory is beside the cache, and may go at any time.
#[test]
fn a_host_that_forgot_everything_reads_everything_and_counts_on() {
    let mut scene = Scene::new();
    let host = scene.host("web");
    let db = scene.path("db");
    common::fill(&db, 300, 300);
    for round in 0..3 {
        change(&db, round);
        backup(&host, &db);
    }
    std::fs::remove_dir_all(scene.path("cache-web")).unwrap();
    change(&db, 5);
    let after = backup(&host, &db);
    assert!(is_whole(&after));
    assert_eq!(records(&scene.owner, &after), common::scan(&db).unwrap());
    let snapshot = scene.owner.snapshot(&after.snapshot.unwrap()).unwrap();
    assert_eq!((snapshot.counter, snapshot.previous), (4, None));
    scene.check_finds_nothing();
}

/// Every byte of the memory matters, and what is damaged is as good as gone.
#[test]
fn a_damaged_memory_costs_a_full_scan_and_nothing_else() {
    let mut scene = Scene::new();
    let host = scene.host("web");
    let db = scene.path("db");
    common::fill(&db, 300, 300);
    backup(&host, &db);
    let dirs = std::fs::read_dir(scene.path("cache-web")).unwrap();
    let dir = dirs
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with("-host"))
        .unwrap();
    let file = std::fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read(&file).unwrap();
    for at in [0, 16, 47, 48, good.len() / 2, good.len() - 1] {
        let mut turned = good.clone();
        turned[at] ^= 1;
        std::fs::write(&file, &turned).unwrap();
        change(&db, at as u32);
        let dry = Backup {
            dry_run: true,
            ..Backup::new(vec![db.clone()])
        };
        let outcome = dry.run_as_host(&host, &OperationReport::default()).unwrap();
        assert!(is_whole(&outcome), "byte {at}");
    }
    std::fs::write(&file, &good).unwrap();
    assert!(!is_whole(&backup(&host, &db)));
}

#[test]
fn a_host_skips_no_snapshot() {
    let mut scene = Scene::new();
    let host = scene.host("web");
    let db = scene.path("db");
    common::fill(&db, 10, 10);
    let mut backup = Backup::new(vec![db]);
    backup.skip_if_unchanged = true;
    let error = backup
        .run_as_host(&host, &OperationReport::default())
        .unwrap_err();
    assert_eq!(error.kind(), levault::error::ErrorKind::Usage);
}
