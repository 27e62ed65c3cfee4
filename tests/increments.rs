//! Goal: after every backup, increment or not, the snapshot is exactly the database, whatever its owner and the people
//! around it did since the last one. Method: random lives of databases written by C++ LevelDB or goleveldb, a backup each
//! round into one repository in memory, a naive map beside it, and the owner's LevelDB as the judge of what the map
//! cannot know; at a life's end others read what the last backup restores.
//!
//! Long runs are `scripts/soak increments` and `increments-go`; there LEVAULT_INCREMENTS_SEED=N runs the one life of that
//! seed, LEVAULT_INCREMENTS_SEEDS=N so many, and LEVAULT_INCREMENTS_FIRST says from which on.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "increments/bench.rs"]
mod bench;
mod common;
#[path = "increments/life.rs"]
mod life;
#[path = "increments/random.rs"]
mod random;
mod support;

use std::ops::Range;
use std::time::Duration;

use bench::{Bench, Tally, records};
use life::Life;
use random::Random;
use support::oracle::{Oracle, model_of};
use support::tool::Tool;

const ROUNDS: u32 = 40;

/// So many rounds of each life, and the end: `owners` starts the owner first, then those who read what is restored.
fn live(seeds: Range<u64>, owners: &dyn Fn() -> Option<Vec<Oracle>>) {
    let mut tally = Tally::default();
    for seed in seeds {
        let Some(mut judges) = owners() else { return };
        let mut bench = Bench::new(judges.remove(0), seed);
        for _ in 0..ROUNDS {
            bench.round(&mut tally);
        }
        bench.end(&mut judges);
    }
    eprintln!("{tally:#?}");
    for (exit, count) in &tally.exits {
        eprintln!("{count} backups ended with {exit}, each compared with the map: none wrong");
    }
    let increments = tally.ways.get("changes").copied().unwrap_or_default();
    assert!(increments > tally.rounds / 3, "{increments} increments");
}

fn cpp() -> Option<Vec<Oracle>> {
    Some(vec![Oracle::start()?, Oracle::start()?])
}

fn go() -> Option<Vec<Oracle>> {
    Some(vec![Oracle::start_go()?, Oracle::start_go()?, Oracle::start()?])
}

#[test]
fn every_increment_is_the_database_as_a_naive_map_and_cpp_leveldb_say_in_lives_0_to_4() {
    live(0..5, &cpp);
}

#[test]
fn every_increment_is_the_database_as_a_naive_map_and_cpp_leveldb_say_in_lives_5_to_9() {
    live(5..10, &cpp);
}

#[test]
fn every_increment_is_the_database_as_a_naive_map_and_cpp_leveldb_say_in_lives_10_to_14() {
    live(10..15, &cpp);
}

#[test]
fn every_increment_is_the_database_as_a_naive_map_and_cpp_leveldb_say_in_lives_15_to_19() {
    live(15..20, &cpp);
}

fn asked(name: &str) -> Option<u64> {
    let words = std::env::var(name).ok()?;
    Some(words.parse().expect("a number"))
}

fn asked_seeds() -> Range<u64> {
    if let Some(seed) = asked("LEVAULT_INCREMENTS_SEED") {
        return seed..seed + 1;
    }
    let first = asked("LEVAULT_INCREMENTS_FIRST").unwrap_or(0);
    first..first + asked("LEVAULT_INCREMENTS_SEEDS").unwrap_or(20)
}

#[test]
#[ignore = "long: scripts/soak increments"]
fn soak_of_lives_written_by_cpp_leveldb() {
    live(asked_seeds(), &cpp);
}

#[test]
#[ignore = "long, and wants Go: scripts/soak increments-go"]
fn soak_of_lives_written_by_goleveldb() {
    live(asked_seeds(), &go);
}

/// goleveldb commits a transaction while an older memtable is written to its table: the log is live, and not newer than the
/// transaction's table. Then the log's value is written again: a change, although both logs have it.
#[test]
fn a_transaction_committed_beside_a_flush_is_not_taken_for_the_older_log_entry() {
    let Some(oracle) = Oracle::start_go() else { return };
    let mut bench = Bench::new(oracle, 16);
    let mut tally = Tally::default();
    for _ in 0..4 {
        bench.back_up_beside_a_flush(&mut tally);
    }
    assert_eq!(tally.exits, [(0, 12)].into());
    assert!(tally.ways["changes"] >= 8 && tally.spot_checked > 40, "{tally:?}");
}

#[test]
fn every_increment_is_the_database_as_a_naive_map_and_goleveldb_say_in_life_0() {
    live(0..1, &go);
}

/// The judge sees a snapshot that is one write behind.
#[test]
fn the_judge_sees_a_snapshot_that_is_not_the_database() {
    let Some(oracle) = Oracle::start() else { return };
    let mut bench = Bench::new(oracle, 1);
    let id = bench.back_up(&mut Tally::default());
    assert!(records(&bench.repo, &id) == bench.life.model);
    while records(&bench.repo, &id) == bench.life.model {
        bench.life.write(3);
    }
    assert!(bench.life.read() == bench.life.model);
}

/// The tool is killed at a random moment; the next run is right, and what the killed one left does no harm.
#[test]
fn a_backup_behind_killed_ones_is_the_database() {
    let Some(oracle) = Oracle::start() else { return };
    let mut life = Life::new(oracle, 7);
    let (tool, mut random) = (Tool::in_memory(), Random(7));
    tool.backup(&life.db).ok();
    for round in 0..12 {
        for _ in 0..1 + random.below(3) {
            life.write(60);
            let mut child = tool.command().arg("backup").arg(&life.db).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(random.below(120)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        life.write(20);
        tool.backup(&life.db).ok();
        let dump = tool.run(["dump", "latest", "--format", "raw"]).ok();
        assert!(model_of(&dump.stdout) == life.model, "round {round}");
    }
    tool.run(["check"]).ok();
}
