//! Tells races from damage, and schedules retries.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::time::{Duration, Instant};

use super::directory_fingerprint::DirectoryFingerprint;
use super::no_capture_error;
use crate::error::{Error, Result};
use crate::leveldb::file_name::log_name;
use crate::leveldb::log_cut_point::SequenceGap;

/// A fault is damage when so many tries met it ...
const SIGHTINGS_MIN: u32 = 3;

/// ... over so long, in which nobody was at work on the files: an owner's race is over in milliseconds, but a machine
/// may stand still for longer.
pub(super) const SIGHTING_DURATION_MIN: Duration = Duration::from_millis(1500);

/// Fewest tries, however long each takes.
const TRIES_MIN: u32 = 5;

/// Longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_millis(64);

/// Why a try was in vain.
pub(super) enum RetryCause {
    /// The owner went on; what it changed.
    Race(OwnerChange),
    /// Not explained by anything the owner wrote: a race still, unless it stays.
    SuspectedDamage(SuspectedDamage),
    /// A file that says which files count cannot be read; an error if it stays.
    Unreadable(Error),
}

/// What the owner changed under a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OwnerChange {
    Directory,
    Repair,
    Current,
    Manifest,
    Table,
    Log,
    Sequence,
}

impl fmt::Display for OwnerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "the directory was another",
            Self::Repair => "a repair had set a file aside",
            Self::Current => "CURRENT was another",
            Self::Manifest => "the MANIFEST was another",
            Self::Table => "a table was gone or another",
            Self::Log => "a log was gone",
            Self::Sequence => "a log was missed",
        })
    }
}

/// Something that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SuspectedDamage {
    MissingTable(u64),
    MissingLog(u64),
    /// A table has so many bytes, and others by the MANIFEST.
    TableLength(u64, u64),
    Gap(SequenceGap),
}

impl SuspectedDamage {
    /// The number of the file that is missing.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::MissingTable(number) | Self::MissingLog(number) => Some(*number),
            Self::TableLength(..) | Self::Gap(_) => None,
        }
    }
}

impl fmt::Display for SuspectedDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTable(number) => write!(f, "table {number} was gone"),
            Self::MissingLog(number) => write!(f, "{} was gone", log_name(*number)),
            Self::TableLength(number, len) => {
                write!(f, "table {number} had {len} bytes, other than by the MANIFEST")
            }
            Self::Gap(gap) => write!(
                f,
                "sequence numbers {} to {} were in no log",
                gap.from,
                gap.to - 1
            ),
        }
    }
}

/// How often something was met, and for how long while nobody was at work.
struct DamageSightings {
    count: u32,
    since: Instant,
    last: Instant,
    surroundings: DirectoryFingerprint,
}

impl DamageSightings {
    fn first(now: Instant, surroundings: DirectoryFingerprint) -> Self {
        Self {
            count: 1,
            since: now,
            last: now,
            surroundings,
        }
    }

    /// One more; from the beginning if it may be another's doing that it was met at all.
    fn add(&mut self, now: Instant, surroundings: DirectoryFingerprint, is_anew: bool) {
        if is_anew {
            *self = Self::first(now, surroundings);
        } else {
            self.count += 1;
            self.last = now;
            self.surroundings = surroundings;
        }
    }

    fn are_confirmed(&self) -> bool {
        self.count >= SIGHTINGS_MIN && self.last.duration_since(self.since) >= SIGHTING_DURATION_MIN
    }
}

/// All setbacks so far.
#[derive(Default)]
pub(super) struct RetryHistory {
    count: u32,
    owner_changes: BTreeMap<OwnerChange, u32>,
    suspected: BTreeMap<SuspectedDamage, DamageSightings>,
    unreadable: Option<(String, DamageSightings)>,
}

impl RetryHistory {
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Counts it; an error when a file stays unreadable. `look` tells what is there.
    pub fn record(&mut self, setback: RetryCause, look: impl FnOnce() -> DirectoryFingerprint) -> Result<()> {
        self.count += 1;
        match setback {
            RetryCause::Race(moved) => *self.owner_changes.entry(moved).or_default() += 1,
            RetryCause::SuspectedDamage(fault) => self.record_suspected(fault, look()),
            RetryCause::Unreadable(error) => return self.record_unreadable(error, look()),
        }
        Ok(())
    }

    fn record_suspected(&mut self, fault: SuspectedDamage, around: DirectoryFingerprint) {
        let now = Instant::now();
        match self.suspected.entry(fault) {
            Entry::Vacant(new) => drop(new.insert(DamageSightings::first(now, around))),
            Entry::Occupied(mut met) => {
                let met = met.get_mut();
                let is_anew = around.is_rebuilt_since(&met.surroundings);
                met.add(now, around, is_anew);
            }
        }
    }

    fn record_unreadable(&mut self, error: Error, around: DirectoryFingerprint) -> Result<()> {
        let (now, text) = (Instant::now(), error.to_string());
        let met = match self.unreadable.take().filter(|(met, _)| *met == text) {
            None => DamageSightings::first(now, around),
            Some((_, mut met)) => {
                let is_anew = around != met.surroundings;
                met.add(now, around, is_anew);
                met
            }
        };
        if met.are_confirmed() {
            return Err(error);
        }
        self.unreadable = Some((text, met));
        Ok(())
    }

    /// True when the fault stayed, and so is the database's own.
    pub fn is_confirmed(&self, fault: &SuspectedDamage) -> bool {
        self.suspected
            .get(fault)
            .is_some_and(DamageSightings::are_confirmed)
    }

    pub fn final_error(&self, elapsed: Duration) -> Error {
        let faults = self
            .suspected
            .iter()
            .map(|(fault, met)| format!("{fault} ({} times)", met.count));
        let moved = self
            .owner_changes
            .iter()
            .map(|(moved, times)| format!("{moved} ({times} times)"));
        let unreadable = self.unreadable.iter().map(|(text, _)| text.clone());
        let what: Vec<_> = moved.chain(faults.take(8)).chain(unreadable).collect();
        no_capture_error(format!(
            "no consistent cut in {} tries and {:.1} s: {}",
            self.count,
            elapsed.as_secs_f64(),
            what.join(", ")
        ))
    }
}

/// When to try again, and when no more.
pub(super) struct RetrySchedule {
    begin: Instant,
    timeout: Duration,
    tries: u32,
}

impl RetrySchedule {
    pub fn new(begin: Instant, timeout: Duration) -> Self {
        Self {
            begin,
            timeout,
            tries: 0,
        }
    }

    /// Sleeps a random while that grows, so as not to keep step with the owner; false when enough was tried.
    pub fn pause(&mut self) -> bool {
        self.tries += 1;
        if self.tries >= TRIES_MIN && self.begin.elapsed() >= self.timeout {
            return false;
        }
        let longest = Duration::from_micros(500 << self.tries.min(10)).min(PAUSE_MAX);
        std::thread::sleep(longest.mul_f64(random_fraction()));
        true
    }
}

/// From 0 to 1; without a random source the pauses are merely regular.
fn random_fraction() -> f64 {
    let mut byte = [128];
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}
