//! Goal: the changes between any two states of a database are exactly the difference of two naive maps, whatever the
//! owner, a repair, a restore or a rollback did between. Method: a small LevelDB in memory that follows the rules of the
//! real one lives random lives; pairs of its states go to `changes`, and counters show that the hard paths were taken.
//!
//! LEVAULT_DELTA_SEED=N runs the one life of that seed; LEVAULT_DELTA_LIVES=N runs so many.

pub(crate) mod engine;
pub(crate) mod judge;
mod random;
mod reads;

use std::collections::BTreeSet;
use std::ops::Range;

use super::changed_records::{DeltaOutcome, ages_may_differ, visit_changes};
use crate::leveldb::changed_records::fault::{self, RuleMutation};
use crate::leveldb::scan_context::ScanBudget;
use engine::{ModelEngine, ModelState};
use judge::{CollectedChanges, ModelCounters};
use random::ModelRandom;

const LIVES: u64 = 400;

pub(crate) const FAULTS: [RuleMutation; 5] = [
    RuleMutation::LogsAreNewest,
    RuleMutation::AgeIsOrder,
    RuleMutation::OneRowOnly,
    RuleMutation::NoLookup,
    RuleMutation::NoDeletions,
];

/// Hands states that follow one another in random lives to `act`, with the tables that they share.
pub(crate) fn for_each_pair(
    seeds: Range<u64>,
    act: &mut dyn FnMut(&ModelState, &ModelState, &BTreeSet<u64>),
) {
    for seed in seeds {
        let mut engine = ModelEngine::new(seed);
        for _ in 0..60 {
            engine.step();
        }
        for _ in 0..6 {
            let old = engine.state.clone();
            for _ in 0..1 + engine.random.below(8) {
                engine.step();
            }
            let new = &engine.state;
            act(&old, new, &judge::shared(&old, new));
        }
    }
}

fn small_budget() -> ScanBudget {
    ScanBudget {
        window_bytes: 100,
        large_block_bytes: 600,
        resident_bytes_max: 100_000,
        log_bytes_max: 2000,
    }
}

/// The changes handed out, and what reading them took.
fn run(
    old: &ModelState,
    new: &ModelState,
    shared: &BTreeSet<u64>,
    budget: ScanBudget,
) -> (CollectedChanges, DeltaOutcome) {
    let (old, new) = (old.database(budget), new.database(budget));
    let mut seen = CollectedChanges::default();
    let outcome = visit_changes(&old, &new, shared, &mut seen).unwrap();
    assert_eq!(outcome.damage, vec![], "nothing is damaged");
    (seen, outcome)
}

/// Shared tables as the pins would find them; fewer are as good.
fn shared(old: &ModelState, new: &ModelState, random: &mut ModelRandom) -> BTreeSet<u64> {
    let mut shared = judge::shared(old, new);
    if random.chance(10) {
        shared.retain(|_| random.chance(50));
    }
    shared
}

/// A life of so many states, each compared with the one before and with any other, both ways.
fn live(seed: u64, counters: &mut ModelCounters) {
    let mut engine = ModelEngine::new(seed);
    let mut states: Vec<ModelState> = vec![engine.state.clone()];
    for _ in 0..8 {
        let steps = match states.len() {
            1 => 30 + engine.random.below(60),
            _ => engine.random.below(8),
        };
        for _ in 0..steps {
            engine.step();
        }
        if engine.random.chance(12) {
            engine.repair();
        }
        check_scan(&engine, seed);
        let new = engine.state.clone();
        let other = states[engine.random.below(states.len() as u64) as usize].clone();
        for (old, new) in [
            (&states[states.len() - 1], &new),
            (&new, &states[states.len() - 1]),
            (&other, &new),
        ] {
            let shared = shared(old, new, &mut engine.random);
            let budget = if engine.random.chance(50) {
                small_budget()
            } else {
                ScanBudget::default()
            };
            let (seen, outcome) = run(old, new, &shared, budget);
            assert!(
                seen.changes == judge::difference(old, new),
                "LEVAULT_DELTA_SEED={seed}, state {}",
                states.len()
            );
            assert_eq!(outcome.tables_shared, shared.len() as u64);
            counters.count(old, new, &shared);
            counters.changes += seen.changes.len() as u64;
            counters.tables_read += outcome.tables_differing;
        }
        states.push(new);
    }
}

/// The full scan, the naive reading of all entries and the engine's own map agree.
fn check_scan(engine: &ModelEngine, seed: u64) {
    let mut seen = CollectedChanges::default();
    let outcome = engine.state.database(small_budget()).scan(&mut seen).unwrap();
    assert_eq!(outcome.damage, vec![], "LEVAULT_DELTA_SEED={seed}");
    let naive = judge::records(&engine.state);
    assert!(seen.records == naive, "the scan, LEVAULT_DELTA_SEED={seed}");
    let mut visible: Vec<_> = engine.visible.values().cloned().collect();
    visible.sort_by(|a, b| engine.state.order.compare(&a.0, &b.0));
    assert!(visible == naive, "the engine, LEVAULT_DELTA_SEED={seed}");
}

fn asked(name: &str) -> Option<u64> {
    let words = std::env::var(name).ok()?;
    Some(words.parse().expect("a number"))
}

#[test]
fn changes_are_the_difference_of_two_naive_maps() {
    let mut counters = ModelCounters::default();
    if let Some(seed) = asked("LEVAULT_DELTA_SEED") {
        live(seed, &mut counters);
        eprintln!("{counters:#?}");
        return;
    }
    for seed in 0..asked("LEVAULT_DELTA_LIVES").unwrap_or(LIVES) {
        live(seed, &mut counters);
    }
    eprintln!("{counters:#?}");
    let ModelCounters { pairs, seen, .. } = counters;
    let often = [
        (
            "pairs that share tables",
            pairs - counters.without_shared,
            pairs / 2,
        ),
        (
            "pairs where the lookup decides",
            counters.pairs_looked_up,
            pairs / 4,
        ),
        ("keys where the lookup decides", counters.looked_up, seen / 30),
        (
            "keys that are one shared table's in both",
            counters.same_in_both,
            seen / 200,
        ),
        (
            "deletions in shared tables",
            counters.deleted_in_shared,
            seen / 500,
        ),
        ("deletions in own files", counters.deleted_in_own, seen / 20),
        ("keys that both logs have", counters.both_in_logs, seen / 100),
        (
            "keys with an older entry in a log",
            counters.older_in_log,
            pairs / 20,
        ),
        (
            "keys whose entry in one state's log is older than a table's",
            counters.older_in_one_log,
            pairs / 100,
        ),
        ("ties", counters.ties, seen / 5000),
        ("tables moved", counters.moved_tables, pairs / 200),
        ("large values", counters.large_values, pairs / 50),
        ("idb_cmp1", counters.idb, pairs / 10),
    ];
    for (what, count, least) in often {
        assert!(count > least, "{what}: {count}, at least {least} wanted");
    }
    assert!(counters.places.len() >= 5 && counters.places.values().take(5).all(|count| *count > seen / 1000));
}

/// The judge is no rubber stamp: a table that is taken for shared and is another file must show.
#[test]
fn a_table_taken_for_the_same_file_wrongly_is_seen_to_give_wrong_changes() {
    let (mut wrong, mut tried) = (0, 0);
    for seed in 0..100 {
        let mut engine = ModelEngine::new(seed);
        for _ in 0..60 {
            engine.step();
        }
        let old = engine.state.clone();
        for _ in 0..30 {
            engine.step();
        }
        let new = &engine.state;
        let right = judge::shared(&old, new);
        let numbers = |state: &ModelState| {
            state
                .tables
                .keys()
                .map(|(_, number)| *number)
                .collect::<BTreeSet<u64>>()
        };
        let mut shared = numbers(&old);
        shared.retain(|number| numbers(new).contains(number));
        if shared != right {
            let expected = judge::difference(&old, new);
            let (old, new) = (
                old.database(ScanBudget::default()),
                new.database(ScanBudget::default()),
            );
            let mut seen = CollectedChanges::default();
            let _ = visit_changes(&old, &new, &shared, &mut seen);
            tried += 1;
            wrong += u32::from(seen.changes != expected);
        }
    }
    eprintln!("{wrong} of {tried}");
    assert!(wrong > 0 && tried > 0);
}

/// Each fault in the rule makes wrong changes in some of a few lives.
#[test]
fn the_model_sees_each_fault_of_the_rule() {
    let mut counts = FAULTS.map(|fault| (fault, 0));
    for_each_pair(0..40, &mut |old, new, shared| {
        let right = judge::difference(old, new);
        for (fault, wrong) in &mut counts {
            let (seen, _) = fault::with(*fault, || run(old, new, shared, ScanBudget::default()));
            *wrong += u32::from(seen.changes != right);
        }
    });
    eprintln!("pairs told wrong: {counts:?}");
    for (fault, wrong) in counts {
        assert!(wrong > 0, "{fault:?}");
    }
}

/// RepairDB of a directory where a rollback left tables of the lost future: two entries have one number, and which is the
/// newer is told by nothing until the owner's first edit, and by file numbers from then on.
#[test]
fn entries_of_one_number_behind_a_repair_do_not_change_unnoticed_when_the_owner_opens() {
    use crate::leveldb::database_layout::BlockCodec;
    use crate::leveldb::test_databases::op;
    let two = vec![
        (vec![op(b"k", 7, Some(b"x"))], 1, BlockCodec::None),
        (
            vec![op(b"a", 1, Some(b"")), op(b"k", 7, Some(b"y"))],
            1,
            BlockCodec::None,
        ),
    ];
    for tables in [two.clone(), two.into_iter().rev().collect()] {
        let mut old =
            ModelState::new(&crate::leveldb::comparator::Comparator::Bytewise).with_tables(0, tables);
        let new = old.clone();
        (old.log_number, old.logs) = (0, Default::default());
        let scan = |state: &ModelState| {
            let mut seen = CollectedChanges::default();
            state.database(ScanBudget::default()).scan(&mut seen).unwrap();
            seen.records
        };
        let shared = judge::shared(&old, &new);
        let (seen, _) = run(&old, &new, &shared, ScanBudget::default());
        let told = seen.changes.is_empty() == (scan(&old) == scan(&new));
        let [then, now] = [&old, &new].map(|state| state.database(ScanBudget::default()));
        assert!(told || ages_may_differ(&then, &now, &shared));
    }
}
