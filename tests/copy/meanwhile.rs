//! Deaths, and others at work meanwhile.

use super::common::hooked::Hooked;
use super::*;

#[test]
fn a_source_or_a_destination_that_dies_at_its_nth_call_costs_nothing_but_time() {
    let source = Source::new(3);
    for of_source in [true, false] {
        let mut failed = 0;
        for call in 1.. {
            let (storage, to) = fresh();
            let behind = if of_source { &source.storage } else { &storage };
            let faulty = Arc::new(FaultyStorage::new(Arc::clone(behind)).dead_from(call));
            let dying: Arc<dyn Storage> = faulty.clone();
            let result = if of_source {
                copy(&source.repo.with_storage(dying), &to)
            } else {
                copy(&source.repo, &to.with_storage(dying))
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

const HOUR: i64 = 3600 * 1_000_000_000;

/// What is in the destination when the copy begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum There {
    /// Copies that were forgotten: their packs are nobody's, and a new copy counts on them.
    Forgotten,
    /// The snapshot before, whose runs a new copy takes over; it is forgotten meanwhile.
    Parent,
}

/// At any call of the destination three days pass, in which others back up, forget, and prune through.
#[test]
fn whatever_a_destination_loses_meanwhile_no_copy_rests_on() {
    let source = Source::new(2);
    for there in [There::Forgotten, There::Parent] {
        let clock = Arc::new(ManualClock::new(UnixNanos(1_700_000_000_000_000_000)));
        let storage = Arc::new(MemoryStorage::with_clock(clock.clone()));
        let to = common::create(storage.clone()).unwrap().with_clock(clock.clone());
        let before = Copy {
            snapshots: match there {
                There::Forgotten => vec![],
                There::Parent => vec!["latest~1".into()],
            },
            ..Copy::default()
        };
        before
            .run(&source.repo, &to, &OperationReport::default(), &mut |_| ())
            .unwrap();
        if there == There::Forgotten {
            ids(&to).into_iter().for_each(|id| common::forget(&to, id));
        }
        clock.advance(24 * HOUR);
        let other = source.dir.path().join(format!("{there:?}"));
        common::fill(&other, 500, 100);
        let mut begun_again = 0;
        for call in 1.. {
            let (notices, calls) = at_call(&source, &to, &storage, &clock, &other, call);
            begun_again += notices;
            if calls < call {
                break;
            }
        }
        assert!(begun_again > 3, "{there:?}: {begun_again}");
    }
}

/// How often the copy began again, and how many calls it made.
fn at_call(
    source: &Source,
    to: &Repo,
    storage: &MemoryStorage,
    clock: &Arc<ManualClock>,
    other: &std::path::Path,
    call: u64,
) -> (usize, u64) {
    let storage = Arc::new(storage.snapshot());
    let to = to.with_storage(storage.clone());
    let (beside, later) = (to.clone(), Arc::clone(clock));
    let backup = Backup {
        databases: levault::ops::backup::DatabaseBackupOptions {
            pinning: levault::ops::backup::PinMode::None,
            ..Default::default()
        },
        ..Backup::new(vec![other.to_path_buf()])
    };
    let prune = |repo: &Repo| {
        Prune::default().run(repo, &OperationReport::default()).unwrap();
    };
    let (meanwhile, calls) = Hooked::at_call(&storage, call, move || {
        backup.run(&beside, &OperationReport::default()).unwrap();
        let copies = beside.snapshots().unwrap().into_iter();
        let copies = copies.filter(|stored| stored.snapshot.original.is_some());
        copies.for_each(|stored| common::forget(&beside, stored.id));
        prune(&beside);
        later.advance(73 * HOUR);
        prune(&beside);
    });
    let report = OperationReport::default();
    let mut copied = Vec::new();
    Copy::default()
        .run(
            &source.repo,
            &to.with_storage(meanwhile.clone()),
            &report,
            &mut |one| copied.push(one),
        )
        .unwrap_or_else(|error| panic!("call {call}: {error}"));
    clock.advance(73 * HOUR);
    prune(&to);
    let counting = ids(&to);
    let here = ids(&source.repo);
    for one in copied.iter().filter(|one| counting.contains(&one.to)) {
        let place = here.iter().position(|id| *id == one.from).unwrap();
        let found = common::records(&to, &one.to.to_hex());
        assert!(found.unwrap() == source.states[place], "call {call}");
    }
    clean(&to);
    (report.notices().len(), calls.load(Ordering::SeqCst))
}
