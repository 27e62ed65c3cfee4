//! Finds snapshots that were made while a clock was wrong.
//!
//! Snapshots whose times cannot be right: made while a clock was wrong, or looked at by a clock that is.
//!
//! A snapshot of 2036 would be `latest` for years, whatever is made after it. Its time alone proves nothing, since the clock
//! that it is compared with may be the one that is wrong; the domain's counter does: who made a later snapshot gave it a
//! greater counter. So a snapshot is set aside only if its time is ahead of now *and* a later one of its domain has a time that
//! is not. (Copies take counters in the order in which they are copied, and prove nothing.)

use std::collections::{BTreeMap, HashSet};

use super::{SnapshotCatalog, StoredSnapshot};
use crate::clock::UnixNanos;
use crate::id::{DomainId, ObjectId};
use crate::snapshot::Snapshot;

/// By so much may two clocks differ that both pass for right, nanoseconds.
pub const CLOCK_SKEW_MAX_NANOS: i64 = 300 * 1_000_000_000;

/// Snapshots that a warning names.
const WARNING_NAMES_MAX: usize = 3;

impl SnapshotCatalog {
    /// Those that count and are ahead of the clock by which they were listed, oldest first.
    pub fn from_the_future(&self) -> impl Iterator<Item = &StoredSnapshot> {
        let is_ahead = |stored: &&StoredSnapshot| self.is_ahead_of_clock(&stored.snapshot);
        self.snapshots.iter().filter(is_ahead)
    }

    /// What should be said of them wherever the order of snapshots matters; `None` if all is well.
    pub fn clock_warning(&self) -> Option<String> {
        let ahead: Vec<_> = self.from_the_future().collect();
        if ahead.is_empty() {
            return self.behind_warning();
        }
        let named: Vec<_> = ahead
            .iter()
            .take(WARNING_NAMES_MAX)
            .map(|stored| stored.id.short())
            .collect();
        let more = ahead.len().saturating_sub(WARNING_NAMES_MAX);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let latest = if self.clock_ahead.is_empty() {
            "`latest` may be one of them"
        } else {
            "`latest` passes over those that others were made after"
        };
        Some(format!(
            "snapshots from the future: {}{more} have a time later than now: a clock was ahead when they were made, or this one \
             is behind; {latest}, policies keep them and do not count them, and `levault forget ID` lets go of them",
            named.join(", ")
        ))
    }

    /// The last that was made, where its clock was so far behind that it does not look like the last.
    fn behind_warning(&self) -> Option<String> {
        let own = self
            .snapshots
            .iter()
            .filter(|stored| stored.snapshot.original.is_none());
        let mut last: BTreeMap<DomainId, &StoredSnapshot> = BTreeMap::new();
        for stored in own {
            let kept = last.entry(stored.snapshot.domain).or_insert(stored);
            if stored.snapshot.counter > kept.snapshot.counter {
                *kept = stored;
            }
        }
        let newest = |domain| {
            let of_domain = self
                .snapshots
                .iter()
                .filter(move |stored| stored.snapshot.domain == domain);
            of_domain.map(|stored| stored.snapshot.time).max()
        };
        let is_behind = |stored: &&StoredSnapshot| {
            let newest = newest(stored.snapshot.domain).unwrap_or(stored.snapshot.time);
            is_beyond_skew(newest, stored.snapshot.time_end.max(stored.snapshot.time))
        };
        let found = last.into_values().find(is_behind)?;
        Some(format!(
            "snapshot {} was made after all others of its kind, by a clock that was behind: by its time it is not the \
             latest, nor do policies take it for that",
            found.id.short()
        ))
    }

    /// Snapshots that are ahead, and after which others were made by a clock that was not.
    pub(super) fn find_ahead_of_clock(&self) -> HashSet<ObjectId> {
        let mut made_since: BTreeMap<DomainId, u64> = BTreeMap::new();
        let all = || {
            let forgotten = self.forgotten.iter();
            let forgotten =
                forgotten.filter_map(|forgotten| Some((forgotten.id, forgotten.snapshot.as_ref()?)));
            let counting = self.snapshots.iter().map(|stored| (stored.id, &stored.snapshot));
            counting.chain(forgotten)
        };
        for (_, snapshot) in all().filter(|(_, snapshot)| snapshot.original.is_none()) {
            if !self.is_ahead_of_clock(snapshot) {
                let newest = made_since.entry(snapshot.domain).or_default();
                *newest = snapshot.counter.max(*newest);
            }
        }
        let is_wrong = |(_, snapshot): &(ObjectId, &Snapshot)| {
            let later = made_since.get(&snapshot.domain);
            self.is_ahead_of_clock(snapshot) && later.is_some_and(|later| *later > snapshot.counter)
        };
        all().filter(is_wrong).map(|(id, _)| id).collect()
    }

    fn is_ahead_of_clock(&self, snapshot: &Snapshot) -> bool {
        self.listed_at
            .is_some_and(|now| is_beyond_skew(snapshot.time, now))
    }
}

/// True if `time` is later than `now`, by more than clocks differ.
pub fn is_beyond_skew(time: UnixNanos, now: UnixNanos) -> bool {
    time.0.saturating_sub(now.0) > CLOCK_SKEW_MAX_NANOS
}
