//! What made a try fail, whether that is a race or damage, and how long to go on.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::no_cut;
use crate::error::{Error, Result};
use crate::leveldb::log_cut::Gap;
use crate::leveldb::name::log_name;

/// A fault is damage when so many tries met it, each after the owner had every chance to have explained it.
const SIGHTINGS: u32 = 3;

/// Fewest tries, however long each takes.
const TRIES_MIN: u32 = 5;

/// Longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_millis(64);

/// Why a try was in vain.
pub(super) enum Setback {
    /// The owner went on; what it changed.
    Race(Moved),
    /// Not explained by anything the owner wrote: a race still, unless it stays.
    Fault(Fault),
    /// A file that says which files count cannot be read; an error if it stays.
    Unreadable(Error),
}

/// What the owner changed under a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moved {
    Current,
    Manifest,
    Table,
    Log,
    Sequence,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "CURRENT was another",
            Self::Manifest => "the MANIFEST was another",
            Self::Table => "a table was gone",
            Self::Log => "a log was gone",
            Self::Sequence => "a log was missed",
        })
    }
}

/// Something that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    NoTable(u64),
    NoLog(u64),
    Gap(Gap),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable(number) => write!(f, "table {number} was gone"),
            Self::NoLog(number) => write!(f, "{} was gone", log_name(*number)),
            Self::Gap(gap) => write!(
                f,
                "sequence numbers {} to {} were in no log",
                gap.from,
                gap.to - 1
            ),
        }
    }
}

/// All setbacks so far.
#[derive(Default)]
pub(super) struct Setbacks {
    count: u32,
    moved: BTreeMap<Moved, u32>,
    faults: BTreeMap<Fault, u32>,
    unreadable: Option<(String, u32)>,
}

impl Setbacks {
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Counts it; an error when a file stays unreadable.
    pub fn note(&mut self, setback: Setback) -> Result<()> {
        self.count += 1;
        match setback {
            Setback::Race(moved) => *self.moved.entry(moved).or_default() += 1,
            Setback::Fault(fault) => *self.faults.entry(fault).or_default() += 1,
            Setback::Unreadable(error) => {
                let text = error.to_string();
                let before = self.unreadable.take().filter(|(known, _)| *known == text);
                let times = before.map_or(1, |(_, times)| times + 1);
                if times >= SIGHTINGS {
                    return Err(error);
                }
                self.unreadable = Some((text, times));
            }
        }
        Ok(())
    }

    /// True when the fault stayed, and so is the database's own.
    pub fn stays(&self, fault: &Fault) -> bool {
        self.faults.get(fault).is_some_and(|times| *times >= SIGHTINGS)
    }

    pub fn give_up(&self, elapsed: Duration) -> Error {
        let faults = self
            .faults
            .iter()
            .map(|(fault, times)| format!("{fault} ({times} times)"));
        let moved = self
            .moved
            .iter()
            .map(|(moved, times)| format!("{moved} ({times} times)"));
        let unreadable = self.unreadable.iter().map(|(text, _)| text.clone());
        let what: Vec<_> = moved.chain(faults.take(8)).chain(unreadable).collect();
        no_cut(format!(
            "no consistent cut in {} tries and {:.1} s: {}",
            self.count,
            elapsed.as_secs_f64(),
            what.join(", ")
        ))
    }
}

/// When to try again, and when no more.
pub(super) struct Patience {
    begin: Instant,
    patience: Duration,
    tries: u32,
}

impl Patience {
    pub fn new(begin: Instant, patience: Duration) -> Self {
        Self {
            begin,
            patience,
            tries: 0,
        }
    }

    /// Sleeps a random while that grows, so as not to keep step with the owner; false when enough was tried.
    pub fn pause(&mut self) -> bool {
        self.tries += 1;
        if self.tries >= TRIES_MIN && self.begin.elapsed() >= self.patience {
            return false;
        }
        let longest = Duration::from_micros(500 << self.tries.min(10)).min(PAUSE_MAX);
        std::thread::sleep(longest.mul_f64(random_share()));
        true
    }
}

/// From 0 to 1; without a random source the pauses are merely regular.
fn random_share() -> f64 {
    let mut byte = [128];
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}
