//! The storage fails at its n-th call, for every n of a backup with parity, of adding parity and of healing.

use levault::ops::add_parity::AddParity;
use levault::storage::faulty_storage::{FaultyStorage, InjectedFault};

use super::*;

/// What the store makes of a write that is cut off.
#[derive(Clone, Copy, PartialEq)]
enum Writes {
    /// All of it or nothing, as it promised.
    Whole,
    /// Half of it, too.
    Torn,
}

type Over = FaultyStorage<Arc<MemoryStorage>>;

/// Arms a storage with a fault at a call.
type Wrap = fn(Over, u64) -> Over;

/// Runs `act` once for every call that it makes, that call meeting a fault; then `after` with the name of the case.
fn at_every_call(
    before: &MemoryStorage,
    writes: Writes,
    act: &dyn Fn(Arc<dyn Storage>) -> bool,
    after: &dyn Fn(Arc<MemoryStorage>, bool, &str),
) {
    let faults: [(&str, Wrap); 4] = [
        ("dead", |over, call| over.dead_from(call)),
        ("lost reply", |over, call| {
            over.fail_at(call, InjectedFault::LostReply).dead_from(call + 1)
        }),
        ("torn", |over, call| {
            over.fail_at(call, InjectedFault::TornWrite).dead_from(call + 1)
        }),
        ("full", |over, call| over.fail_at(call, InjectedFault::Full)),
    ];
    for (word, fault) in faults {
        // A store that writes in place, and dies in a heal, leaves half a pack: heal rests on the promise that it does not.
        if word == "torn" && writes == Writes::Whole {
            continue;
        }
        for call in 1.. {
            let storage = Arc::new(before.snapshot());
            let faulty = Arc::new(fault(FaultyStorage::new(storage.clone()), call));
            let done = act(faulty.clone());
            after(storage, done, &format!("{word} at {call}"));
            if faulty.calls() < call {
                assert!(done && call > 5, "{word}: only {call} calls");
                break;
            }
        }
    }
}

#[test]
fn whatever_a_backup_indexes_has_parity_wherever_it_dies() {
    let scene = Scene::new("5%");
    let changes: Vec<_> = (300..500)
        .map(|i| (common::key(i), Some(common::value(i + 1, 200))))
        .collect();
    common::write(&scene.db(), &changes);
    let before = scene.storage.snapshot();
    let repo = common::open(Arc::new(before.snapshot())).unwrap();
    let backup = |storage| common::backup(&repo.with_storage(storage), &scene.db()).is_ok();
    at_every_call(&before, Writes::Torn, &backup, &|storage, done, what| {
        let repo = common::open(storage.clone()).unwrap();
        let clean = Check { read: ReadData::All }
            .run(&repo, &OperationReport::default())
            .unwrap();
        let lost: Vec<_> = clean
            .findings
            .iter()
            .filter(|found| !found.affects.is_empty())
            .collect();
        assert!(lost.is_empty(), "{what}: {lost:?}");
        if done {
            is_covered(&*storage, what);
        }
        // The next one takes up the packs that were left, and puts torn parity right.
        common::backup(&repo, &scene.db()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let indexed = repo.usable_packs(&repo.index_summary().unwrap()).unwrap();
        let parities = levault::engine::parity_listing::ListedParity::load(
            levault::storage::StorageReader::new(&*storage),
            &OperationReport::default(),
        )
        .unwrap();
        for pack in indexed.keys() {
            assert!(!parities.of_pack(pack).is_empty(), "{what}: {}", pack.short());
        }
    });
}

#[test]
fn adding_parity_may_be_stopped_anywhere_and_goes_on() {
    let scene = Scene::new("5%");
    let before = scene.storage.snapshot();
    let repo = common::open(Arc::new(before.snapshot())).unwrap();
    let add = AddParity {
        share: Some(share("80%")),
        dry_run: false,
    };
    let run = |storage| {
        add.run(&repo.with_storage(storage), &OperationReport::default())
            .is_ok()
    };
    at_every_call(&before, Writes::Torn, &run, &|storage, _, what| {
        let repo = common::open(storage.clone()).unwrap();
        let again = add.run(&repo, &OperationReport::default()).unwrap();
        assert!(again.damaged.is_empty(), "{what}");
        is_covered(&*storage, what);
        assert_eq!(
            add.run(&repo, &OperationReport::default()).unwrap().packs_without,
            0,
            "{what}"
        );
    });
}

#[test]
fn a_heal_that_dies_leaves_damage_or_the_pack_and_the_next_one_ends_it() {
    let scene = Scene::new("5%");
    let (name, pack) = scene.pack();
    let before = scene.storage.snapshot();
    before.corrupt(name, |bytes| flip(bytes, 4_000..5_000));
    let parity = scene.names(ObjectKind::Parity)[0];
    before.corrupt(parity, |bytes| flip(bytes, 0..10));
    let heals = |storage: Arc<dyn Storage>| {
        let all = Heal {
            packs: vec![],
            dry_run: false,
        };
        all.run(
            levault::storage::HealableStorage::new(&*storage),
            &OperationReport::default(),
        )
        .is_ok()
    };
    at_every_call(&before, Writes::Whole, &heals, &|storage, _, what| {
        let outcome = heal(&*storage, &[]);
        assert!(outcome.unhealed.is_empty(), "{what}: {:?}", outcome.unhealed);
        assert!(storage.get(name, u64::MAX).unwrap() == pack, "{what}");
        assert!(heal(&*storage, &[]).healed.is_empty(), "{what}");
        is_covered(&*storage, what);
    });
}
