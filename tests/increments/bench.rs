//! One life, a backup after each of its acts, and the comparison of the two.

use std::collections::BTreeMap;
use std::sync::Arc;

use levault::error::Result;
use levault::ops::backup::{Backup, BackupOutcome, ReadScope};
use levault::repo::Repo;
use levault::report::OperationReport;
use levault::storage::MemoryStorage;

use crate::common;
use crate::life::{Known, Life, copy_tree};
use crate::support::oracle::{Model, Oracle};

/// How often what happened.
#[derive(Debug, Default)]
pub struct Tally {
    pub rounds: u32,
    pub acts: BTreeMap<&'static str, u32>,
    pub ways: BTreeMap<String, u32>,
    /// Backups by the code that the tool would end with.
    pub exits: BTreeMap<u8, u32>,
    /// Keys of increments that were read again.
    pub spot_checked: u64,
}

pub struct Bench {
    pub repo: Repo,
    pub life: Life,
    /// Snapshots, and what each must hold.
    past: Vec<(String, Model)>,
    trail: Vec<&'static str>,
    seed: u64,
}

impl Bench {
    pub fn new(oracle: Oracle, seed: u64) -> Self {
        Self {
            repo: common::create(Arc::new(MemoryStorage::default())).expect("make a repository"),
            life: Life::new(oracle, seed),
            past: Vec::new(),
            trail: Vec::new(),
            seed,
        }
    }

    /// The directory is left for who asks why.
    fn fail(&self, what: &str) -> ! {
        let kept = std::env::temp_dir().join(format!("levault-life-{}", self.seed));
        let _ = std::fs::remove_dir_all(&kept);
        copy_tree("-a", self.life.dir.path(), &kept);
        let (seed, trail, kept) = (self.seed, &self.trail, kept.display());
        panic!("{what}: LEVAULT_INCREMENTS_SEED={seed}, after {trail:?}; all of it is in {kept}");
    }

    pub fn round(&mut self, tally: &mut Tally) {
        let (act, known) = match self.life.random.below(16) {
            0 => (self.restore_an_old_one(), Known::Yes),
            _ => self.life.act(),
        };
        self.trail.push(act);
        tally.rounds += 1;
        *tally.acts.entry(act).or_default() += 1;
        if known == Known::No {
            self.life.model = self.life.read();
        } else if self.life.random.below(5) == 0 && self.life.read() != self.life.model {
            self.fail("the owner's LevelDB and the map do not agree");
        }
        let id = match self.life.random.below(4) {
            0 => self.back_up_a_busy_one(tally),
            1 if self.life.oracle.is_goleveldb() => self.back_up_beside_a_flush(tally),
            _ => {
                let id = self.back_up(tally);
                if records(&self.repo, &id) != self.life.model {
                    self.fail("the snapshot is not the database");
                }
                id
            }
        };
        self.check_an_old_one();
        self.past.push((id, self.life.model.clone()));
    }

    /// A backup of the database as it lies there; its snapshot.
    pub fn back_up(&self, tally: &mut Tally) -> String {
        self.counted(common::backup(&self.repo, &self.life.db), tally)
    }

    fn counted(&self, outcome: Result<BackupOutcome>, tally: &mut Tally) -> String {
        let outcome = outcome.unwrap_or_else(|error| self.fail(&error.to_string()));
        if let Err(wrong) = count(&outcome, tally) {
            self.fail(&wrong);
        }
        outcome.snapshot.expect("a snapshot").to_hex()
    }

    fn back_up_a_busy_one(&mut self, tally: &mut Tally) -> String {
        self.trail.push("(while the owner writes)");
        let (repo, db) = (&self.repo, self.life.db.clone());
        let (outcome, states) = self
            .life
            .while_it_writes(|| Backup::new(vec![db]).run(repo, &OperationReport::default()));
        let id = self.counted(outcome, tally);
        let found = records(&self.repo, &id);
        if !states.contains(&found) {
            self.fail("the snapshot is no state of the database");
        }
        // The next increment stands on this one.
        self.past.push((id, found));
        let id = self.back_up(tally);
        if records(&self.repo, &id) != self.life.model {
            self.fail("the snapshot behind a busy one is not the database");
        }
        id
    }

    /// goleveldb: three backups, while a log with older entries is live beside a transaction's table, when the old values
    /// are written again, and behind it.
    pub fn back_up_beside_a_flush(&mut self, tally: &mut Tally) -> String {
        self.trail.push("(transactions beside a flush)");
        let written_over = self.life.commit_while_it_flushes();
        self.back_up_and_compare(tally);
        self.life.write_back_while_it_flushes(written_over);
        self.back_up_and_compare(tally);
        self.life.end_flush();
        self.back_up_and_compare(tally)
    }

    fn back_up_and_compare(&mut self, tally: &mut Tally) -> String {
        let id = self.back_up(tally);
        if records(&self.repo, &id) != self.life.model {
            self.fail("the snapshot is not the database");
        }
        self.past.push((id.clone(), self.life.model.clone()));
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

    /// The last snapshot is restored, and others read it.
    pub fn end(&mut self, judges: &mut [Oracle]) {
        let Some((id, model)) = self.past.last() else {
            return;
        };
        for (index, judge) in judges.iter_mut().enumerate() {
            let target = self.life.dir.path().join(format!("restored-{index}"));
            common::restore(&self.repo, id, &target).expect("restore");
            if judge.dump_strictly(&target) != *model {
                self.fail("what is restored is not the database");
            }
        }
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

/// How each backup read the database; what is wrong, if anything is.
fn count(outcome: &BackupOutcome, tally: &mut Tally) -> std::result::Result<(), String> {
    for database in &outcome.databases {
        let exit = match database {
            database if database.disagreement.is_some() => 24,
            database if !database.damage.is_empty() => 22,
            _ => 0,
        };
        *tally.exits.entry(exit).or_default() += 1;
        if let ReadScope::Changes { spot_checked, .. } = database.scope {
            tally.spot_checked += spot_checked;
        }
        if exit != 0 {
            return Err(format!("{:?} {:?}", database.damage, database.disagreement));
        }
        let way = match &database.scope {
            ReadScope::Changes { audited: false, .. } => "changes".to_owned(),
            ReadScope::Changes { audited: true, .. } => "changes, audited".to_owned(),
            ReadScope::Whole { why: None } => "whole".to_owned(),
            ReadScope::Whole { why: Some(why) } => format!("whole: {}", plain(why)),
        };
        *tally.ways.entry(way).or_default() += 1;
    }
    Ok(())
}

/// Without numbers and names, so that like reasons are counted together.
fn plain(why: &str) -> String {
    why.split(' ')
        .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
        .collect::<Vec<_>>()
        .join(" ")
}

pub fn records(repo: &Repo, id: &str) -> Model {
    common::records(repo, id).expect("read a snapshot")
}
