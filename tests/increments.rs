//! Goal: after every backup, increment or not, the snapshot is exactly the database, whatever its owner and the people
//! around it did since the last one. Method: random lives of databases written by C++ LevelDB, a backup each round into
//! one repository in memory, a naive map beside it, and C++ LevelDB as the judge of what the map cannot know.
//!
//! LEVAULT_INCREMENTS_SEED=N runs the one life of that seed; LEVAULT_INCREMENTS_SEEDS=N runs so many, and
//! LEVAULT_INCREMENTS_FIRST says from which on.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;
#[path = "increments/life.rs"]
mod life;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use levault::ops::backup::{Backup, Scope};
use levault::repo::Repo;
use levault::report::Report;
use levault::storage::MemoryStorage;
use life::{Known, Life, Random};
use support::oracle::{Model, Oracle, model_of};
use support::tool::Tool;

const SEEDS: u64 = 20;
const ROUNDS: u32 = 40;

/// How often what happened.
#[derive(Debug, Default)]
struct Tally {
    rounds: u32,
    acts: BTreeMap<&'static str, u32>,
    ways: BTreeMap<String, u32>,
}

struct Bench {
    repo: Repo,
    life: Life,
    /// Snapshots, and what each must hold.
    past: Vec<(String, Model)>,
    trail: Vec<&'static str>,
    seed: u64,
}

impl Bench {
    fn new(oracle: Oracle, seed: u64) -> Self {
        Self {
            repo: common::create(Arc::new(MemoryStorage::default())).expect("make a repository"),
            life: Life::new(oracle, seed),
            past: Vec::new(),
            trail: Vec::new(),
            seed,
        }
    }

    fn fail(&self, what: &str) -> ! {
        panic!(
            "{what}: LEVAULT_INCREMENTS_SEED={}, after {:?}",
            self.seed, self.trail
        );
    }

    fn round(&mut self, tally: &mut Tally) {
        let (act, mut known) = match self.life.random.below(16) {
            0 => (self.restore_an_old_one(), Known::Yes),
            _ => self.life.act(),
        };
        self.trail.push(act);
        tally.rounds += 1;
        *tally.acts.entry(act).or_default() += 1;
        if self.life.random.below(5) == 0 {
            known = Known::No;
        }
        if known == Known::No {
            let read = self.life.read();
            if act != "power loss" && read != self.life.model {
                self.fail("C++ LevelDB and the map do not agree");
            }
            self.life.model = read;
        }
        let id = match self.life.random.below(4) {
            0 => self.back_up_a_busy_one(tally),
            _ => {
                let id = back_up(&self.repo, &self.life, tally);
                if records(&self.repo, &id) != self.life.model {
                    self.fail("the snapshot is not the database");
                }
                id
            }
        };
        self.check_an_old_one();
        self.past.push((id, self.life.model.clone()));
    }

    fn back_up_a_busy_one(&mut self, tally: &mut Tally) -> String {
        self.trail.push("(while the owner writes)");
        let (repo, db) = (&self.repo, self.life.db.clone());
        let (outcome, states) = self
            .life
            .while_it_writes(|| Backup::new(vec![db]).run(repo, &Report::default()));
        let outcome = outcome.expect("back up");
        count(&outcome, tally);
        let id = outcome.snapshot.expect("a snapshot").to_hex();
        let found = records(&self.repo, &id);
        if !states.contains(&found) {
            self.fail("the snapshot is no state of the database");
        }
        // The next increment stands on this one.
        self.past.push((id, found));
        let id = back_up(&self.repo, &self.life, tally);
        if records(&self.repo, &id) != self.life.model {
            self.fail("the snapshot behind a busy one is not the database");
        }
        id
    }

    fn restore_an_old_one(&mut self) -> &'static str {
        let index = self.life.random.below(self.past.len() as u64) as usize;
        let Some((id, model)) = self.past.get(index).cloned() else {
            return "nothing";
        };
        let repo = &self.repo;
        self.life.replace(model, |db| {
            common::restore(repo, &id, db).expect("restore");
        });
        if self.life.random.below(2) == 0 {
            self.life.write(30);
        }
        "restore"
    }

    /// Snapshots of the past stay what they were.
    fn check_an_old_one(&mut self) {
        let index = self.life.random.below(4 * self.past.len() as u64) as usize;
        if let Some((id, model)) = self.past.get(index)
            && records(&self.repo, id) != *model
        {
            self.fail("an old snapshot has changed");
        }
    }
}

fn back_up(repo: &Repo, life: &Life, tally: &mut Tally) -> String {
    let outcome = common::backup(repo, &life.db).expect("back up");
    count(&outcome, tally);
    outcome.snapshot.expect("a snapshot").to_hex()
}

/// How each backup read the database.
fn count(outcome: &levault::ops::backup::BackupOutcome, tally: &mut Tally) {
    for database in &outcome.databases {
        assert!(
            database.damage.is_empty(),
            "damage where there is none: {:?}",
            database.damage
        );
        assert!(database.disagreement.is_none(), "{:?}", database.disagreement);
        let way = match &database.scope {
            Scope::Changes { audited: false, .. } => "changes".to_owned(),
            Scope::Changes { audited: true, .. } => "changes, audited".to_owned(),
            Scope::Whole { why: None } => "whole".to_owned(),
            Scope::Whole { why: Some(why) } => format!("whole: {}", plain(why)),
        };
        *tally.ways.entry(way).or_default() += 1;
    }
}

/// Without numbers and names, so that like reasons are counted together.
fn plain(why: &str) -> String {
    why.split(' ')
        .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn records(repo: &Repo, id: &str) -> Model {
    common::records(repo, id).expect("read a snapshot")
}

fn asked(name: &str) -> Option<u64> {
    let words = std::env::var(name).ok()?;
    Some(words.parse().expect("a number"))
}

fn seeds() -> Vec<u64> {
    if let Some(seed) = asked("LEVAULT_INCREMENTS_SEED") {
        return vec![seed];
    }
    let first = asked("LEVAULT_INCREMENTS_FIRST").unwrap_or(0);
    (first..first + asked("LEVAULT_INCREMENTS_SEEDS").unwrap_or(SEEDS)).collect()
}

#[test]
fn every_increment_is_the_database_as_a_naive_map_and_cpp_leveldb_say() {
    let mut tally = Tally::default();
    for seed in seeds() {
        let Some(oracle) = Oracle::start() else { return };
        let mut bench = Bench::new(oracle, seed);
        for _ in 0..ROUNDS {
            bench.round(&mut tally);
        }
    }
    eprintln!("{tally:#?}");
    let increments = tally.ways.get("changes").copied().unwrap_or_default();
    assert!(increments > tally.rounds / 3, "{increments} increments");
}

/// The judge sees a snapshot that is one write behind.
#[test]
fn the_judge_sees_a_snapshot_that_is_not_the_database() {
    let Some(oracle) = Oracle::start() else { return };
    let mut bench = Bench::new(oracle, 1);
    let id = back_up(&bench.repo, &bench.life, &mut Tally::default());
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
    let (tool, mut random) = (Tool::new(), Random(7));
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
