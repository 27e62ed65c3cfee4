//! Plans which run files serve which segments.
//!
//! Decides, from what is listed and what the run files say of themselves, which file answers for which segment
//! and which files are merged. Pure: facts in, plan out.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::merge_segments::SegmentRenumbering;
use super::run_file::RunSegment;
use crate::id::ObjectId;

/// Rows that a merge may always take along: small runs are not worth a lookup each.
const SMALL_RUN_ROWS: u64 = 1024;

/// What is known: the segment tables of all runs, those loaded just now as the last one.
pub(super) struct CacheContents<'a> {
    /// Ids of listed segments, sorted.
    pub(super) listed: &'a [ObjectId],
    pub(super) tables: Vec<&'a [RunSegment]>,
}

impl CacheContents<'_> {
    /// Listed segments that no table mentions: not even their supersedes are known.
    pub(super) fn missing_segments(&self) -> Vec<ObjectId> {
        let known: HashSet<_> = self.segments().map(|(_, segment)| segment.id).collect();
        self.listed
            .iter()
            .filter(|id| !known.contains(*id))
            .copied()
            .collect()
    }

    /// Listed segments that count and whose entries no run holds.
    pub(super) fn missing(&self) -> Vec<ObjectId> {
        let owners = self.segment_owners();
        self.live_segments()
            .filter(|id| !owners.contains_key(id))
            .collect()
    }

    /// Listed segments that no other listed one supersedes. (A chain A ← B ← C leaves C: what B supersedes
    /// counts although B is superseded itself.)
    fn live_segments(&self) -> impl Iterator<Item = ObjectId> {
        let listed: HashSet<_> = self.listed.iter().collect();
        let speaking = self
            .segments()
            .filter(|(_, segment)| listed.contains(&segment.id));
        let superseded: HashSet<ObjectId> = speaking
            .flat_map(|(_, segment)| segment.supersedes.iter().copied())
            .collect();
        self.listed
            .iter()
            .copied()
            .filter(move |id| !superseded.contains(id))
    }

    /// Of each live segment that is held anywhere, the one table that answers for it.
    fn segment_owners(&self) -> HashMap<ObjectId, usize> {
        let mut holders = HashMap::new();
        for (table, segment) in self.segments().filter(|(_, segment)| segment.is_held) {
            holders.entry(segment.id).or_insert(table);
        }
        self.live_segments()
            .filter_map(|id| Some((id, *holders.get(&id)?)))
            .collect()
    }

    fn segments(&self) -> impl Iterator<Item = (usize, &RunSegment)> {
        let tables = self.tables.iter().enumerate();
        tables.flat_map(|(number, table)| table.iter().map(move |segment| (number, segment)))
    }

    /// What to do with every table.
    pub(super) fn plan(&self) -> CachePlan {
        let listed: HashSet<_> = self.listed.iter().collect();
        let owners = self.segment_owners();
        let is_live = |number: usize, segment: &RunSegment| owners.get(&segment.id) == Some(&number);
        let counts = self
            .tables
            .iter()
            .enumerate()
            .map(|(number, table)| LiveRowCount {
                live: table
                    .iter()
                    .filter(|segment| is_live(number, segment))
                    .map(|segment| segment.rows)
                    .sum(),
                all: table.iter().map(|segment| segment.rows).sum(),
            });
        let merged = runs_to_merge(
            &counts.collect::<Vec<_>>(),
            self.tables.last().is_some_and(|fresh| !fresh.is_empty()),
        );
        let fate = |(number, table): (usize, &&[RunSegment])| {
            let live = table.iter().map(|segment| is_live(number, segment));
            match (
                merged[number],
                table.iter().any(|segment| listed.contains(&segment.id)),
            ) {
                (true, _) => RunFileAction::Merged,
                (false, true) => RunFileAction::Kept { live: live.collect() },
                (false, false) => RunFileAction::Dropped,
            }
        };
        CachePlan {
            fates: self.tables.iter().enumerate().map(fate).collect(),
            merged: self.merged_table(&merged, &owners, &listed),
            owners,
        }
    }

    /// The segment table of the merged run: live segments that one of its inputs answers for, and superseded
    /// ones by name only, so that they are not loaded again at the next start.
    fn merged_table(
        &self,
        merged: &[bool],
        owners: &HashMap<ObjectId, usize>,
        listed: &HashSet<&ObjectId>,
    ) -> BTreeMap<ObjectId, RunSegment> {
        let mut table = BTreeMap::new();
        for (number, segment) in self.segments().filter(|(number, _)| merged[*number]) {
            let owner = owners.get(&segment.id);
            let is_wanted = owner.is_none_or(|owner| *owner == number) && listed.contains(&segment.id);
            if is_wanted {
                let is_held = owner.is_some();
                table.insert(
                    segment.id,
                    RunSegment {
                        is_held,
                        ..segment.clone()
                    },
                );
            }
        }
        table
    }
}

/// What becomes of one run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RunFileAction {
    /// Stays, and answers for these of its segments.
    Kept { live: Vec<bool> },
    /// Goes into the merged run.
    Merged,
    /// Nothing in it is listed any more.
    Dropped,
}

/// What is to be done.
pub(super) struct CachePlan {
    /// For each table of the facts.
    pub(super) fates: Vec<RunFileAction>,
    merged: BTreeMap<ObjectId, RunSegment>,
    owners: HashMap<ObjectId, usize>,
}

impl CachePlan {
    /// The new run's segments, in the order of their numbers.
    pub(super) fn merged_segments(&self) -> Vec<RunSegment> {
        self.merged.values().cloned().collect()
    }

    /// Numbers in the new run for the segments of one table.
    pub(super) fn segment_numbers(&self, number: usize, table: &[RunSegment]) -> SegmentRenumbering {
        let positions: HashMap<_, _> = self.merged.keys().zip(0u32..).collect();
        let new_number = |segment: &RunSegment| {
            let is_owned = self.owners.get(&segment.id) == Some(&number);
            is_owned.then(|| positions.get(&segment.id).copied()).flatten()
        };
        table.iter().map(new_number).collect::<Vec<_>>().into()
    }
}

/// How many rows of a run still count.
#[derive(Clone, Copy)]
struct LiveRowCount {
    live: u64,
    all: u64,
}

/// The freshly loaded table, which is the last, must go into a run, if there is any. What is merged takes along
/// every run less than four times as large, smallest first, so that each row is rewritten about log₄ times and
/// a lookup asks about log₄ runs. A run of which over a quarter is dead is rewritten in any case.
fn runs_to_merge(runs: &[LiveRowCount], has_fresh: bool) -> Vec<bool> {
    let mut merged: Vec<bool> = runs.iter().map(|run| run.live * 4 < run.all * 3).collect();
    if let Some(fresh) = merged.last_mut() {
        *fresh = has_fresh;
    }
    if !merged.contains(&true) {
        return merged;
    }
    let chosen = runs.iter().zip(&merged).filter(|(_, merged)| **merged);
    let mut rows: u64 = chosen.map(|(run, _)| run.live).sum();
    let mut by_size: Vec<usize> = (0..runs.len().saturating_sub(1))
        .filter(|number| !merged[*number])
        .collect();
    by_size.sort_by_key(|number| runs[*number].live);
    for number in by_size {
        if runs[number].live >= 4 * rows.max(SMALL_RUN_ROWS) {
            break;
        }
        merged[number] = true;
        rows += runs[number].live;
    }
    merged
}

/// The live flags of a run just merged: all that it holds.
pub(super) fn held_flags(segments: &[RunSegment]) -> Vec<bool> {
    segments.iter().map(|segment| segment.is_held).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(live: u64, all: u64) -> LiveRowCount {
        LiveRowCount { live, all }
    }

    #[test]
    fn a_merge_takes_small_runs_along_and_leaves_large_ones() {
        assert_eq!(runs_to_merge(&[], false), []);
        assert_eq!(runs_to_merge(&[rows(10, 10), rows(0, 0)], false), [false, false]);
        assert_eq!(
            runs_to_merge(&[rows(9_000_000, 9_000_000), rows(10, 10)], true),
            [false, true]
        );
        let tiers = [
            rows(1_000_000, 1_000_000),
            rows(100_000, 100_000),
            rows(20_000, 20_000),
            rows(6_000, 6_000),
        ];
        assert_eq!(runs_to_merge(&tiers, true), [false, true, true, true]);
        assert_eq!(
            runs_to_merge(&[rows(4_095, 4_095), rows(0, 0)], true),
            [true, true]
        );
    }

    #[test]
    fn a_run_that_is_mostly_dead_is_rewritten() {
        assert_eq!(
            runs_to_merge(&[rows(740_000, 1_000_000), rows(0, 0)], false),
            [true, false]
        );
        assert_eq!(
            runs_to_merge(&[rows(760_000, 1_000_000), rows(1, 1)], true),
            [false, true]
        );
    }
}
