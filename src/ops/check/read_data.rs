//! Selects how much pack data a check reads.

use std::collections::HashSet;
use std::time::Duration;

use crate::clock::UnixNanos;
use crate::id::ObjectId;

use super::read_plan::{self, PackAge, ReadPlan};

/// How much pack data is read. What was found wrong last time is read besides, at most 32 packs, so that an error once
/// found is told until it is gone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReadData {
    /// Directories only.
    None,
    /// Every byte.
    All,
    /// The `part`-th of `of` parts, 1 to `of`: which is which never changes.
    Part {
        /// Which part.
        part: u32,
        /// Of how many.
        of: u32,
    },
    /// This share of all packs, 0 to 1, at random.
    Share(f64),
    /// Packs of about so many bytes together, at random.
    Bytes(u64),
    /// What was not read for longest, by the audits.
    Stalest {
        /// Only what was last read so long ago; all if `None`.
        age_max: Option<Duration>,
        /// No pack is begun when this is over, but one is read; to the end if `None`.
        budget: Option<Duration>,
    },
}

impl ReadData {
    /// What of it falls to a part of the repository that has `bytes` of `all`.
    pub(super) fn subset(self, bytes: u64, all: u64) -> Self {
        let share = bytes as f64 / all.max(1) as f64;
        match self {
            Self::Bytes(wanted) => Self::Bytes((wanted as f64 * share).ceil() as u64),
            Self::Stalest {
                age_max,
                budget: Some(budget),
            } => Self::Stalest {
                age_max,
                budget: Some(budget.mul_f64(share.min(1.0))),
            },
            other => other,
        }
    }

    /// How long reading may take.
    pub(super) fn budget(self) -> Option<Duration> {
        match self {
            Self::Stalest { budget, .. } => budget,
            _ => None,
        }
    }
}

/// The packs that are read, in order.
pub(super) fn plan(packs: &[PackAge], read: ReadData, now: UnixNanos) -> ReadPlan {
    match read {
        ReadData::Stalest { age_max, .. } => read_plan::plan(packs, age_max, now),
        _ => {
            let chosen = chosen(packs, read);
            read_plan::plan_pack(packs, |id| chosen.contains(id))
        }
    }
}

fn chosen(packs: &[PackAge], read: ReadData) -> HashSet<ObjectId> {
    let ids = packs.iter().map(|pack| pack.id);
    match read {
        ReadData::None | ReadData::Stalest { .. } => HashSet::new(),
        ReadData::All => ids.collect(),
        ReadData::Part { part, of } => ids.filter(|id| u32::from(id.0[0]) % of == part - 1).collect(),
        ReadData::Share(share) => shuffle(packs, (share * total(packs) as f64).ceil() as u64),
        ReadData::Bytes(bytes) => shuffle(packs, bytes),
    }
}

fn total(packs: &[PackAge]) -> u64 {
    packs.iter().map(|pack| pack.len).sum()
}

/// Packs in an order nobody can foresee, until they hold `bytes`.
fn shuffle(packs: &[PackAge], bytes: u64) -> HashSet<ObjectId> {
    let mut seed = [0; 32];
    // Without random numbers the order is the same every time; nothing worse.
    let _ = getrandom::fill(&mut seed);
    let mut packs: Vec<_> = packs.iter().collect();
    packs.sort_by_key(|pack| *blake3::keyed_hash(&seed, &pack.id.0).as_bytes());
    let mut left = bytes;
    let enough = |pack: &&&PackAge| {
        let more = left > 0;
        left = left.saturating_sub(pack.len);
        more
    };
    packs.iter().take_while(enough).map(|pack| pack.id).collect()
}
