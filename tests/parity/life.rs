//! A backup stores it, a burst heals by it, a prune takes it away.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use levault::clock::{ManualClock, UnixNanos};
use levault::error::{Error, ErrorKind};
use levault::ops::add_parity::AddParity;
use levault::ops::backup::{Backup, PinMode};
use levault::ops::prune::Prune;
use levault::storage::StorageVerb;

use super::common::hooked::Hooked;
use super::*;

#[test]
fn any_burst_of_the_share_heals_byte_for_byte_and_check_says_how() {
    let scene = Scene::new("5%");
    is_covered(&*scene.storage, "a backup");
    scene.is_sound();
    let (name, pack) = scene.pack();
    let burst = share("5%").of(pack.len() as u64) as usize;
    for start in (0..pack.len() - burst).step_by(1999).chain([pack.len() - burst]) {
        scene
            .storage
            .corrupt(name, |bytes| flip(bytes, start..start + burst));
        let outcome = scene.heal();
        assert!(outcome.unhealed.is_empty(), "{start}: {:?}", outcome.unhealed);
        assert_eq!(outcome.healed.len(), 1, "{start}");
        assert!(scene.storage.get(name, u64::MAX).unwrap() == pack, "{start}");
        assert!(scene.heal().healed.is_empty(), "{start}: healed twice");
    }
    for change in [
        |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 700),
        |bytes: &mut Vec<u8>| bytes.extend([7; 5000]),
        |bytes: &mut Vec<u8>| {
            bytes.retain({
                let mut at = 0;
                move |_| {
                    at += 1;
                    at != 20_000
                }
            })
        },
        |bytes: &mut Vec<u8>| flip(bytes, 20_000..21_000),
    ] {
        scene.storage.corrupt(name, change);
        let findings = scene.check().findings;
        let of_pack: Vec<_> = findings
            .iter()
            .filter(|found| found.object == name.path())
            .collect();
        assert!(!of_pack.is_empty());
        let advice = format!("levault repair heal {} --apply", name.id.short());
        assert!(
            of_pack.iter().all(|found| found.helps.contains(&advice)),
            "{of_pack:?}"
        );
        assert_eq!(scene.heal().healed[0].object, name);
        assert!(scene.storage.get(name, u64::MAX).unwrap() == pack);
        scene.is_sound();
    }
}

#[test]
fn what_is_beyond_the_parity_stays_as_it_is_and_is_told() {
    let scene = Scene::new("5%");
    let (name, pack) = scene.pack();
    scene
        .storage
        .corrupt(name, |bytes| flip(bytes, 0..pack.len() / 5));
    let damaged = scene.storage.get(name, u64::MAX).unwrap();
    let outcome = scene.heal();
    assert!(outcome.healed.is_empty());
    assert!(
        outcome.unhealed[0].what.contains("parity for"),
        "{:?}",
        outcome.unhealed
    );
    assert!(scene.storage.get(name, u64::MAX).unwrap() == damaged);
    let findings = scene.check().findings;
    assert!(
        findings.iter().all(|found| !found.helps.contains("repair heal")),
        "{findings:?}"
    );
    scene.storage.delete(name).unwrap();
    let outcome = scene.heal();
    assert!(
        outcome.unhealed[0].what.contains("is missing"),
        "{:?}",
        outcome.unhealed
    );
}

#[test]
fn parity_of_all_of_a_pack_brings_back_one_that_is_gone() {
    let scene = Scene::new("100%");
    let (name, pack) = scene.pack();
    scene.storage.delete(name).unwrap();
    let advice = format!("repair heal {}", name.id.short());
    assert!(
        scene
            .check()
            .findings
            .iter()
            .any(|found| found.helps.contains(&advice))
    );
    assert_eq!(scene.heal().healed[0].object, name);
    assert!(scene.storage.get(name, u64::MAX).unwrap() == pack);
    scene.is_sound();
}

#[test]
fn a_swept_pack_is_not_brought_back_by_parity_that_was_left() {
    let scene = Scene::new("100%");
    let (name, _) = scene.pack();
    for segment in scene.names(ObjectKind::Index) {
        scene.storage.delete(segment).unwrap();
    }
    scene.storage.delete(name).unwrap();
    assert!(scene.heal().healed.is_empty());
    assert_eq!(
        heal(&*scene.storage, &[name.id]).healed.len(),
        1,
        "but by name it is"
    );
}

/// A disk with a bad stretch: no read that touches it succeeds, until the object is written anew.
fn bad_sector(storage: &Arc<MemoryStorage>, name: ObjectName, stretch: Range<u64>) -> Hooked {
    let is_bad = Arc::new(AtomicBool::new(true));
    let healed = is_bad.clone();
    let disk = Hooked::before(storage, move |asked| {
        let reads =
            matches!(asked.verb, StorageVerb::Get | StorageVerb::GetRange) && asked.name == Some(name);
        let touches = asked.bytes.start < stretch.end && stretch.start < asked.bytes.end;
        if reads && touches && is_bad.load(Ordering::SeqCst) {
            Err(Error::new(ErrorKind::Io, "input/output error"))
        } else {
            Ok(())
        }
    });
    disk.behind(move |asked| {
        if (asked.verb, asked.name) == (StorageVerb::Heal, Some(name)) {
            healed.store(false, Ordering::SeqCst);
        }
    })
}

#[test]
fn what_a_disk_cannot_read_is_as_good_as_wrong() {
    let scene = Scene::new("40%");
    for kind in [ObjectKind::Pack, ObjectKind::Parity] {
        let listed = scene.storage.list(kind).unwrap();
        let object = listed.iter().max_by_key(|listed| listed.len).unwrap();
        let bad = bad_sector(&scene.storage, object.name, object.len / 2..object.len / 2 + 512);
        assert!(bad.get(object.name, u64::MAX).is_err());
        let outcome = heal(&bad, &[]);
        assert!(outcome.unhealed.is_empty(), "{:?}", outcome.unhealed);
        assert!(
            outcome.healed[0].what.contains("input/output error"),
            "{:?}",
            outcome.healed
        );
        assert!(heal(&bad, &[]).healed.is_empty());
        assert!(bad.get(object.name, u64::MAX).is_ok());
    }
}

#[test]
fn damaged_parity_is_seen_and_made_again_from_its_pack() {
    let scene = Scene::new("5%");
    for name in scene.names(ObjectKind::Parity) {
        let good = scene.storage.get(name, u64::MAX).unwrap();
        for at in (0..good.len()).step_by(211).chain([good.len() - 1]) {
            scene.storage.corrupt(name, |bytes| flip(bytes, at..at + 1));
            let findings = scene.check().findings;
            assert_eq!(findings.len(), 1, "byte {at}: {findings:?}");
            assert_eq!(findings[0].object, name.path());
            assert_eq!(scene.heal().healed[0].object, name, "byte {at}");
            assert!(scene.storage.get(name, u64::MAX).unwrap() == good, "byte {at}");
        }
        // Neither head: whose it is, nobody can tell; but it is the one that the pack has.
        scene.storage.corrupt(name, |bytes| bytes.fill(0));
        assert!(scene.heal().unhealed[0].what.contains("add-parity"));
        assert_eq!(scene.check().findings.len(), 1);
        assert_eq!(add(&scene.repo, None).replaced, 0);
        assert!(scene.storage.get(name, u64::MAX).unwrap() == good);
    }
    scene.is_sound();
    // One that nothing makes again under its name is of no use, and goes.
    let lost = scene.names(ObjectKind::Parity)[0];
    scene.storage.corrupt(lost, |bytes| bytes.fill(0));
    assert_eq!(
        add(&scene.repo, Some(share("80%"))).replaced,
        scene.names(ObjectKind::Parity).len() as u64
    );
    assert!(scene.storage.stat(lost).is_err());
    scene.is_sound();
}

#[test]
fn a_pack_and_its_parity_damaged_at_once_heal_both() {
    let scene = Scene::new("20%");
    let (name, pack) = scene.pack();
    scene
        .storage
        .corrupt(name, |bytes| flip(bytes, 9_000..9_000 + pack.len() / 20));
    for parity in scene.names(ObjectKind::Parity) {
        scene.storage.corrupt(parity, |bytes| {
            let third = bytes.len() / 3;
            flip(bytes, 0..third);
        });
    }
    let outcome = scene.heal();
    assert!(outcome.unhealed.is_empty(), "{:?}", outcome.unhealed);
    assert_eq!(outcome.healed.len(), 1 + scene.names(ObjectKind::Parity).len());
    scene.is_sound();
}

fn add(repo: &Repo, share: Option<ParityShare>) -> levault::ops::add_parity::AddParityOutcome {
    let add = AddParity {
        share,
        dry_run: false,
    };
    add.run(repo, &OperationReport::default()).unwrap()
}

#[test]
fn packs_without_parity_get_it_later_and_more_of_it_takes_the_place_of_less() {
    let storage = Arc::new(MemoryStorage::default());
    let repo = common::create(storage.clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("db");
    common::fill(&db, 400, 300);
    common::backup(&repo, &db).unwrap();
    let objects = || storage.list(ObjectKind::Parity).unwrap();
    assert!(objects().is_empty());
    assert_eq!(repo.parity_share().unwrap(), None);

    let dry = AddParity {
        share: None,
        dry_run: true,
    };
    let planned = dry.run(&repo, &OperationReport::default()).unwrap();
    assert!(planned.packs_without > 0 && planned.bytes > 0);
    assert!(objects().is_empty() && repo.parity_share().unwrap().is_none());
    assert_eq!(add(&repo, None), planned);
    is_covered(&*storage, "added");
    assert_eq!(
        objects().iter().map(|listed| listed.len).sum::<u64>(),
        planned.bytes
    );
    assert_eq!(add(&repo, None).packs_without, 0);

    // From now on backups store it, by whichever process.
    common::write(&db, &[(b"more".to_vec(), Some(common::value(1, 50_000)))]);
    common::backup(&common::open(storage.clone()).unwrap(), &db).unwrap();
    is_covered(&*storage, "a backup after it");

    let small: Vec<_> = objects().iter().map(|listed| listed.name).collect();
    let more = add(&repo, Some(share("80%")));
    assert_eq!(more.replaced, small.len() as u64);
    assert!(objects().iter().all(|listed| !small.contains(&listed.name)));
    is_covered(&*storage, "more of it");
    assert_eq!(
        add(&repo, Some(share("5%"))).packs_without,
        0,
        "less is there already"
    );

    repo.put_parity_share(None).unwrap();
    common::write(&db, &[(b"yet more".to_vec(), Some(common::value(2, 50_000)))]);
    let before = objects().len();
    common::backup(&repo, &db).unwrap();
    assert_eq!(objects().len(), before, "none any more");
}

#[test]
fn a_damaged_pack_gets_no_parity() {
    let storage = Arc::new(MemoryStorage::default());
    let repo = common::create(storage.clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    common::fill(&dir.path().join("db"), 400, 300);
    common::backup(&repo, &dir.path().join("db")).unwrap();
    let packs = storage.list(ObjectKind::Pack).unwrap();
    let pack = packs.iter().max_by_key(|pack| pack.len).unwrap().name;
    storage.corrupt(pack, |bytes| flip(bytes, 5_000..5_001));
    let added = add(&repo, None);
    assert_eq!(added.damaged, [pack.id]);
    let status = status(
        StorageReader::new(&*storage),
        ParityReadMode::All,
        &OperationReport::default(),
    )
    .unwrap();
    assert_eq!(status.packs_with_parity, status.packs - 1);
}

#[test]
fn a_prune_takes_the_parity_of_what_it_deletes_and_what_it_stores_again_has_its_own() {
    const HOUR: i64 = 3600 * 1_000_000_000;
    let clock = Arc::new(ManualClock::new(UnixNanos(1_700_000_000_000_000_000)));
    let storage = Arc::new(MemoryStorage::with_clock(clock.clone()));
    let repo = common::create(storage.clone()).unwrap().with_clock(clock.clone());
    repo.put_parity_share(Some(ParityShare::DEFAULT)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("db");
    let save = |from: u32, to: u32| {
        let changes: Vec<_> = (from..to)
            .map(|i| {
                (
                    format!("{:08}", i % 2000).into_bytes(),
                    Some(common::value(i, 900)),
                )
            })
            .collect();
        common::write(&db, &changes);
        let mut backup = Backup::new(vec![db.clone()]);
        backup.databases.pinning = PinMode::None;
        let saved = backup.run(&repo, &OperationReport::default()).unwrap();
        clock.advance(24 * HOUR);
        saved.snapshot.unwrap()
    };
    let first = save(0, 2000);
    save(2000, 2700);
    common::forget(&repo, first);
    let prune = |dry_run| {
        let prune = Prune {
            dry_run,
            ..Prune::default()
        };
        prune.run(&repo, &OperationReport::default()).unwrap()
    };
    let marked = prune(false);
    assert!(!marked.plan.repack.is_empty(), "{marked:?}");
    assert_eq!(marked.parity_deleted, 0);
    is_covered(&*storage, "stored again");
    clock.advance(73 * HOUR);
    let count = |kind| storage.list(kind).unwrap().len();
    let before = count(ObjectKind::Parity);
    let planned = prune(true);
    assert_eq!(count(ObjectKind::Parity), before);
    let swept = prune(false);
    assert!(!swept.swept.packs.is_empty(), "{swept:?}");
    assert_eq!(swept.parity_deleted, swept.swept.packs.len() as u64);
    assert_eq!(planned.parity_deleted, swept.parity_deleted);
    assert_eq!(count(ObjectKind::Parity), count(ObjectKind::Pack));
    is_covered(&*storage, "swept");

    // A sweep that died before its last step, or a program that knows no parity.
    let stranger = levault::parity::encode(b"a pack that went", ParityShare::DEFAULT).unwrap();
    let name = ObjectName::of_content(ObjectKind::Parity, &stranger);
    storage.put_new(name, &stranger).unwrap();
    let check = Check { read: ReadData::All }
        .run(&repo, &OperationReport::default())
        .unwrap();
    assert!(check.findings.is_empty(), "{:?}", check.findings);
    assert_eq!(prune(false).parity_deleted, 1);
    assert!(storage.get(name, u64::MAX).is_err());
}
