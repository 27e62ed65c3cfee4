//! Several processes on one repository: what each does, and what must be true of it all.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use levault::annotations::{CountedSnapshot, ForgetReason, ForgetRecord};
use levault::clock::{Clock, ManualClock, UnixNanos};
use levault::error::{Error, ErrorKind, Result};
use levault::id::ObjectId;
use levault::ops::backup::{Backup, PinMode};
use levault::ops::check::{Check, ReadData};
use levault::ops::forget::{self, ForgetSelection};
use levault::ops::prune::Prune;
use levault::ops::undelete;
use levault::repo::Repo;
use levault::report::OperationReport;
use levault::storage::{MemoryStorage, ObjectName};

use super::common::{self, Model};
use super::sched::{Sched, Verdict};
use super::storage::SimStorage;

pub const SECOND: i64 = 1_000_000_000;
pub const HOUR: i64 = 3600 * SECOND;

/// Processes at once.
const AT_ONCE: usize = 3;

/// Numbers that stay the same for ever.
pub struct Dice(Cell<u64>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed ^ 0x5eed))
    }

    pub fn below(&self, end: u64) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }

    pub fn once_in(&self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What is known of a snapshot that was reported.
#[derive(Clone)]
struct Reported {
    model: Model,
    state: State,
    /// Acts of forgetting it that were begun.
    forgettings: u32,
    /// Its place among all that were reported.
    number: usize,
    /// By the storage's clock.
    at: UnixNanos,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Live,
    /// Somebody began to forget it.
    Forgotten,
}

/// A database and its owner's truth.
struct Database {
    path: PathBuf,
    model: Model,
    busy: bool,
}

#[derive(Default)]
struct Known {
    reported: BTreeMap<ObjectId, Reported>,
    wrong: Vec<String>,
    /// Acts of bringing something back: until one has proven it, what it names may lack something.
    undeletes: usize,
    /// Snapshots whose undelete ended in an error that left them as they may be: who reads it forgets them again.
    in_doubt: BTreeSet<ObjectId>,
}

impl Known {
    fn undelete_begins(&mut self, id: ObjectId) -> u32 {
        self.undeletes += 1;
        self.reported[&id].forgettings
    }
}

/// How often things go wrong: one call in so many, or never.
#[derive(Clone, Copy)]
struct Weather {
    fails: u64,
    dies: u64,
    lag: i64,
}

pub struct World {
    seed: u64,
    dice: Dice,
    clock: Arc<ManualClock>,
    storage: Arc<MemoryStorage>,
    sched: Arc<Sched>,
    repo: Repo,
    databases: Vec<Database>,
    known: Arc<Mutex<Known>>,
    order: Arc<Mutex<HashMap<ObjectName, usize>>>,
    weather: Weather,
    /// Processes die in this life.
    deadly: bool,
    running: Vec<Running>,
    _dir: tempfile::TempDir,
    pub told: bool,
}

struct Running {
    process: usize,
    database: Option<usize>,
    /// It deletes: its death is what there is most to fear of.
    prunes: bool,
    thread: std::thread::JoinHandle<()>,
}

/// What a process does.
enum Job {
    Backup { database: usize, pinning: PinMode },
    Forget(Vec<ObjectId>),
    Prune { skew: i64 },
    Undelete(ObjectId),
    Read(ObjectId, Model),
}

/// The machine's clock of one process.
struct Skewed(Arc<ManualClock>, i64);

impl Clock for Skewed {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.0.now().0 + self.1)
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        levault::crypto::seed_process(seed);
        let dice = Dice::new(seed);
        let clock = Arc::new(ManualClock::new(UnixNanos(1_700_000_000 * SECOND)));
        let storage = Arc::new(MemoryStorage::with_clock(clock.clone()));
        let repo = common::create(storage.clone()).unwrap();
        // In memory where there is such a place: each life syncs hundreds of files.
        let shm = std::path::Path::new("/dev/shm");
        let dir = tempfile::tempdir_in(shm)
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let databases = (0..2).map(|number| Database {
            path: dir.path().join(format!("db{number}")),
            model: Model::new(),
            busy: false,
        });
        let weather = match dice.below(4) {
            0 => Weather {
                fails: 0,
                dies: 0,
                lag: 0,
            },
            1 => Weather {
                fails: 60,
                dies: 0,
                lag: 0,
            },
            2 => Weather {
                fails: 150,
                dies: 120,
                lag: 0,
            },
            _ => Weather {
                fails: 0,
                dies: 150,
                lag: 20 * 60 * SECOND,
            },
        };
        Self {
            seed,
            databases: databases.collect(),
            clock,
            storage,
            sched: Arc::default(),
            repo,
            known: Arc::default(),
            order: Arc::default(),
            deadly: weather.dies > 0,
            weather,
            running: Vec::new(),
            dice,
            _dir: dir,
            told: std::env::var("LEVAULT_SIM_TRACE").is_ok(),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs so many jobs, three at a time, then everything to its end, and judges.
    pub fn run(&mut self, jobs: usize) -> Vec<String> {
        let mut left = jobs;
        while left > 0 || !self.running.is_empty() {
            let begin =
                left > 0 && (self.running.is_empty() || self.running.len() < AT_ONCE && self.dice.once_in(6));
            if begin {
                left -= 1;
                if let Some(job) = self.choose() {
                    self.start(job);
                }
            } else {
                self.step()
            }
            self.pass_time();
            self.collect();
        }
        self.forget_what_is_in_doubt();
        self.judge("at the end");
        self.weather = Weather {
            fails: 0,
            dies: 0,
            lag: 0,
        };
        for _ in 0..2 {
            self.clock.advance(80 * HOUR);
            self.start(Job::Prune { skew: 0 });
            while !self.running.is_empty() {
                self.step();
                self.collect();
            }
            self.judge("after a prune in peace");
        }
        std::mem::take(&mut self.known().wrong)
    }

    /// As the errors of undeletes and `check` advise.
    fn forget_what_is_in_doubt(&self) {
        let in_doubt = self.known().in_doubt.clone();
        for id in in_doubt {
            let known = forget::ForgetInput::load(&self.repo).unwrap();
            let Ok(Some((counted, why))) = known.select_named(&self.repo, &id.to_hex()) else {
                continue;
            };
            // Another undelete may have brought it back since.
            let state = self.known().reported[&id].state;
            if state == State::Forgotten {
                let words = "its undelete failed".into();
                let snapshots = vec![counted];
                let chosen = ForgetSelection {
                    snapshots,
                    why,
                    words,
                };
                forget::forget(&self.repo, &chosen).unwrap();
            }
        }
    }

    fn pass_time(&self) {
        let nanos = match self.dice.below(60) {
            0 => self.dice.below(40 * HOUR as u64),
            1 => self.dice.below(90 * 60 * SECOND as u64),
            _ => self.dice.below(20 * SECOND as u64),
        };
        self.clock.advance(nanos as i64);
    }

    fn choose(&mut self) -> Option<Job> {
        let live = self.live();
        let any = |dice: &Dice| live.get(dice.below(live.len() as u64) as usize).cloned();
        match self.dice.below(11) {
            0..=3 => self.prepare(),
            4 | 5 => {
                let first = any(&self.dice)?.0;
                let more = any(&self.dice).map(|(id, _)| id);
                let mut ids: Vec<_> = [Some(first), more].into_iter().flatten().collect();
                ids.sort();
                ids.dedup();
                Some(Job::Forget(ids))
            }
            6..=8 => {
                // Sweeps have something to delete.
                if self.dice.once_in(2) {
                    self.ripen();
                }
                let skew = match self.dice.below(8) {
                    0 => 100 * HOUR,
                    1 => -4 * 60 * SECOND,
                    2 => 4 * 60 * SECOND,
                    _ => 0,
                };
                Some(Job::Prune { skew })
            }
            9 => {
                let known = self.known();
                let forgotten = known.reported.iter();
                let forgotten = forgotten.filter(|(_, reported)| reported.state == State::Forgotten);
                let mut ids: Vec<_> = forgotten.map(|(id, reported)| (reported.number, *id)).collect();
                ids.sort();
                let one = ids.get(self.dice.below(ids.len() as u64) as usize);
                one.map(|(_, id)| Job::Undelete(*id))
            }
            _ => any(&self.dice).map(|(id, model)| Job::Read(id, model)),
        }
    }

    /// Changes a database that nobody backs up just now.
    fn prepare(&mut self) -> Option<Job> {
        let number = self.dice.below(self.databases.len() as u64) as usize;
        if self.databases[number].busy {
            return None;
        }
        let ripe = self.dice.once_in(5) && !self.databases[number].model.is_empty();
        if ripe {
            self.ripen();
        }
        // As it was, or nearly, so that all of it is known from packs that may go.
        let count = if ripe {
            self.dice.below(2) as u32
        } else {
            1 + self.dice.below(25) as u32
        };
        let large = self.dice.once_in(3);
        let changes: Vec<_> = (0..count)
            .map(|_| {
                // Few keys and values: databases come to be what they or others were before.
                let key = common::key(self.dice.below(40) as u32);
                let version = self.dice.below(3) as u32;
                let len = if large { 3000 } else { 200 };
                (key, (self.dice.below(5) > 0).then(|| common::value(version, len)))
            })
            .collect();
        let database = &mut self.databases[number];
        if !changes.is_empty() {
            common::write(&database.path, &changes);
        }
        for (key, value) in changes {
            match value {
                Some(value) => drop(database.model.insert(key, value)),
                None => drop(database.model.remove(&key)),
            }
        }
        database.busy = true;
        let pinning = if self.dice.once_in(3) {
            PinMode::None
        } else {
            PinMode::default()
        };
        Some(Job::Backup {
            database: number,
            pinning,
        })
    }

    fn start(&mut self, job: Job) {
        let process = self.sched.enter();
        let skew = match &job {
            Job::Prune { skew } => *skew,
            _ => (self.dice.below(120) as i64 - 60) * SECOND,
        };
        let storage = SimStorage {
            process,
            inner: self.storage.clone(),
            sched: self.sched.clone(),
            clock: self.clock.clone(),
            order: self.order.clone(),
            lag: self.weather.lag,
        };
        let clock = Arc::new(Skewed(self.clock.clone(), skew));
        let repo = self.repo.with_storage(Arc::new(storage)).with_clock(clock);
        let database = match &job {
            Job::Backup { database, .. } => Some(*database),
            _ => None,
        };
        let prunes = matches!(job, Job::Prune { .. });
        let doing = Doing {
            repo,
            known: self.known.clone(),
            sched: self.sched.clone(),
            seed: self.seed,
            process,
            database: database.map(|number| {
                (
                    self.databases[number].path.clone(),
                    self.databases[number].model.clone(),
                )
            }),
            told: self.told,
            clock: self.clock.clone(),
            lag: self.weather.lag,
        };
        let sched = self.sched.clone();
        let body = move || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            let run = AssertUnwindSafe(|| pool.install(|| doing.run(&job)));
            if std::panic::catch_unwind(run).is_err() {
                doing.wrong("it panicked".into());
            }
            sched.end(process);
        };
        let thread = std::thread::spawn(body);
        self.sched.settle(process);
        self.running.push(Running {
            process,
            database,
            prunes,
            thread,
        });
    }

    fn step(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let process = self.running[self.dice.below(self.running.len() as u64) as usize].process;
        let call = self.sched.next_call(process);
        let publishes = call.is_some_and(|(call, _)| call.starts_with("put snapshots/"));
        if publishes && self.dice.once_in(2) {
            self.storm();
        }
        self.step_of(process);
    }

    /// What a writer's proof is for, just behind it: snapshots are forgotten, and prunes mark and sweep, before the new
    /// snapshot is there. All within the hour that a proof holds.
    fn storm(&mut self) {
        let forget = self.choose_forgotten();
        let skew = if self.dice.once_in(2) { 100 * HOUR } else { 0 };
        let jobs = forget
            .into_iter()
            .chain([Job::Prune { skew }, Job::Prune { skew }]);
        self.at_once(jobs.collect());
    }

    /// Much is forgotten and marked, and the grace passes before the next prune.
    fn ripen(&mut self) {
        let forget = self.choose_forgotten();
        let jobs = forget.into_iter().chain([Job::Prune { skew: 0 }]);
        self.at_once(jobs.collect());
        self.clock.advance(73 * HOUR);
    }

    fn at_once(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            self.start(job);
            let Some(process) = self.running.last().map(|running| running.process) else {
                return;
            };
            while !self.sched.has_ended(process) {
                self.step_of(process);
                self.clock.advance(SECOND);
            }
        }
    }

    fn choose_forgotten(&self) -> Option<Job> {
        let live = self.live();
        let mut ids: Vec<_> = live.into_iter().map(|(id, _)| id).collect();
        ids.retain(|_| !self.dice.once_in(3));
        ids.sort();
        (!ids.is_empty()).then_some(Job::Forget(ids))
    }

    fn live(&self) -> Vec<(ObjectId, Model)> {
        let known = self.known();
        let reported = known.reported.iter();
        let live = reported.filter(|(_, reported)| reported.state == State::Live);
        let mut live: Vec<_> = live.collect();
        live.sort_by_key(|(_, reported)| reported.number);
        live.into_iter()
            .map(|(id, reported)| (*id, reported.model.clone()))
            .collect()
    }

    fn step_of(&self, process: usize) {
        let (dice, weather, told) = (&self.dice, self.weather, self.told);
        let clock = self.clock.now();
        let died = Cell::new(false);
        let is_it = |running: &&Running| running.process == process;
        let prunes = self.running.iter().find(is_it).is_some_and(|it| it.prunes);
        self.sched.step(process, |call| {
            let changes = call.0.starts_with("put") || call.0.starts_with("delete");
            let dies = if prunes && changes {
                weather.dies / 12
            } else {
                weather.dies
            };
            let verdict = match () {
                () if weather.fails > 0 && dice.once_in(weather.fails) => {
                    [Verdict::Fails, Verdict::ReplyLost][dice.below(2) as usize]
                }
                () if dies > 0 && dice.once_in(dies) => {
                    [Verdict::Dies, Verdict::DiesAfter][dice.below(2) as usize]
                }
                () => Verdict::Go,
            };
            if told {
                eprintln!("{:.1} h process {process}: {} {verdict:?}", hours(clock), call.0);
            }
            died.set(matches!(verdict, Verdict::Dies | Verdict::DiesAfter));
            verdict
        });
        if died.get() {
            let wrong = self.judge_records("behind a death");
            self.known().wrong.extend(wrong);
        }
    }

    fn collect(&mut self) {
        let (ended, running): (Vec<_>, Vec<_>) = self
            .running
            .drain(..)
            .partition(|running| self.sched.has_ended(running.process));
        self.running = running;
        for ended in ended {
            ended.thread.join().unwrap();
            if let Some(database) = ended.database {
                self.databases[database].busy = false;
            }
        }
    }

    /// Every snapshot that was reported and that nobody began to forget restores to what it was made of: at any moment.
    fn judge_records(&self, when: &str) -> Vec<String> {
        let reported = self.known().reported.clone();
        let live = reported
            .into_iter()
            .filter(|(_, reported)| reported.state == State::Live);
        let wrong = live.filter_map(|(id, reported)| match common::records(&self.repo, &id.to_hex()) {
            Ok(found) if found == reported.model => None,
            Ok(_) => Some(format!("{} holds other records", id.short())),
            Err(error) => Some(format!("{}: {error}", id.short())),
        });
        let seed = self.seed;
        wrong.map(|what| format!("seed {seed}: {when}: {what}")).collect()
    }

    fn judge(&mut self, when: &str) {
        let mut wrong = self.judge_records(when);
        // Who dies may leave a snapshot that was never reported and is not whole: `check` tells of it, and nobody loses
        // by it.
        if !self.deadly {
            let check = Check { read: ReadData::All };
            match check.run(&self.repo, &OperationReport::default()) {
                Ok(found) => wrong.extend(
                    found
                        .findings
                        .iter()
                        .map(|finding| format!("seed {}: {when}: check: {finding:?}", self.seed)),
                ),
                Err(error) => wrong.push(format!("seed {}: {when}: check: {error}", self.seed)),
            }
        }
        self.known().wrong.extend(wrong);
    }
}

fn hours(at: UnixNanos) -> f64 {
    (at.0 - 1_700_000_000 * SECOND) as f64 / HOUR as f64
}

/// A process, from inside.
struct Doing {
    repo: Repo,
    known: Arc<Mutex<Known>>,
    sched: Arc<Sched>,
    seed: u64,
    process: usize,
    database: Option<(PathBuf, Model)>,
    told: bool,
    clock: Arc<ManualClock>,
    lag: i64,
}

impl Doing {
    fn wrong(&self, what: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .wrong
            .push(format!("seed {}: process {}: {what}", self.seed, self.process));
    }

    fn run(&self, job: &Job) {
        let (name, result) = match job {
            Job::Backup { pinning, .. } => ("backup", self.backup(*pinning)),
            Job::Forget(ids) => ("forget", self.forget(ids)),
            Job::Prune { .. } => ("prune", self.prune()),
            Job::Undelete(id) => ("undelete", self.undelete(*id)),
            Job::Read(id, model) => ("read", self.read(*id, model)),
        };
        if self.told {
            let said = result
                .as_ref()
                .map_or_else(ToString::to_string, |()| "done".into());
            eprintln!("    process {} {name}: {said}", self.process);
        }
        // A prune that takes something for lost stops before it deletes; whether it is lost the judge says.
        let stops = |kind| kind == ErrorKind::Corrupt && name == "prune";
        let is_expected = |kind| matches!(kind, ErrorKind::Busy | ErrorKind::Limit) || stops(kind);
        if let Err(error) = result
            && !self.sched.was_hurt(self.process)
            && !is_expected(error.kind())
        {
            self.wrong(format!("{name}: {error}"));
        }
    }

    fn backup(&self, pinning: PinMode) -> Result<()> {
        let (path, model) = self.database.as_ref().unwrap();
        let mut backup = Backup::new(vec![path.clone()]);
        backup.databases.pinning = pinning;
        let outcome = backup.run(&self.repo, &OperationReport::default())?;
        let id = outcome.snapshot.unwrap();
        let mut known = self.known.lock().unwrap();
        let reported = Reported {
            model: model.clone(),
            state: State::Live,
            forgettings: 0,
            number: known.reported.len(),
            at: self.clock.now(),
        };
        known.reported.insert(id, reported);
        Ok(())
    }

    fn forget(&self, ids: &[ObjectId]) -> Result<()> {
        for id in ids {
            let mut known = self.known.lock().unwrap();
            let reported = known.reported.get_mut(id).unwrap();
            reported.state = State::Forgotten;
            reported.forgettings += 1;
        }
        let counted = |id: &ObjectId| {
            let snapshot = self.repo.snapshot(id)?;
            Ok(CountedSnapshot {
                id: *id,
                domain: snapshot.domain,
                counter: snapshot.counter,
            })
        };
        self.repo.put_forget_record(&ForgetRecord {
            when: self.repo.clock().now(),
            why: ForgetReason::ByHand,
            words: "simulated".into(),
            snapshots: ids.iter().map(counted).collect::<Result<_>>()?,
        })?;
        Ok(())
    }

    /// What is said to be back counts from then on; what fails may be back or not.
    fn undelete(&self, id: ObjectId) -> Result<()> {
        let begun = self.known.lock().unwrap().undelete_begins(id);
        let catalog = self.repo.catalog()?;
        let Ok(forgotten) = undelete::select_forgotten(&catalog, &id.to_hex()) else {
            return Ok(());
        };
        let gone = |error: &Error| matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound);
        match undelete::undelete(&self.repo, forgotten, &OperationReport::default()) {
            Err(error) => {
                // Forgotten again, if it got so far: also for another that has just brought it back.
                let mut known = self.known.lock().unwrap();
                let reported = known.reported.get_mut(&id).unwrap();
                (reported.state, reported.forgettings) = (State::Forgotten, reported.forgettings + 1);
                known.in_doubt.insert(id);
                drop(known);
                if gone(&error) { Ok(()) } else { Err(error) }
            }
            Ok(()) => {
                let mut known = self.known.lock().unwrap();
                let reported = known.reported.get_mut(&id).unwrap();
                // Somebody may have forgotten it again meanwhile.
                if reported.forgettings == begun {
                    reported.state = State::Live;
                }
                Ok(())
            }
        }
    }

    fn prune(&self) -> Result<()> {
        Prune::default()
            .run(&self.repo, &OperationReport::default())
            .map(|_| ())
    }

    fn read(&self, id: ObjectId, model: &Model) -> Result<()> {
        let begun = self.clock.now().0;
        let found = common::records(&self.repo, &id.to_hex());
        let known = self.known.lock().unwrap();
        let reported = &known.reported[&id];
        // Listings may not have its segments yet (docs/ORDERING.md 8).
        let is_live = reported.state == State::Live && reported.at.0 < begun - self.lag;
        drop(known);
        match found {
            Ok(found) if found == *model => Ok(()),
            Ok(_) => {
                self.wrong(format!("{} reads as other records", id.short()));
                Ok(())
            }
            Err(error) if is_live => Err(error),
            Err(_) => Ok(()),
        }
    }
}
