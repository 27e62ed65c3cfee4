//! Plans which snapshots a policy keeps, and why.
//!
//! Snapshots and a policy → which are kept, and why. Pure.
//!
//! Every rule looks at all snapshots, newest first, and a snapshot that one rule keeps is kept. A rule with a calendar
//! keeps the newest of each slot (each day, each week) and counts slots that have any, not slots that went by.
//!
//! A *suspect* snapshot does not stand for a slot that has another one, and where it is alone in its slot it is kept and
//! not counted: a policy that asks for seven days gives seven days that nobody doubts, if there are so many.
//!
//! An *incomplete* snapshot does not stand for a slot that has a complete one either, but it counts: where something can
//! never be read, all are incomplete, and must be forgotten all the same. The newest complete one is kept besides.
//!
//! One whose time is *ahead of now* is kept and not counted by any rule: which clock was wrong is not known here.

use std::collections::BTreeMap;
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::policy::{CalendarPeriod, KeepCount, KeepDuration, RetentionPolicy};
use crate::clock::UnixNanos;
use crate::id::ObjectId;
use crate::repo::is_beyond_skew;

/// A snapshot, as far as a policy looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyCandidate {
    /// Its name.
    pub id: ObjectId,
    /// When it began.
    pub time: UnixNanos,
    /// The tags that hold of it.
    pub tags: Vec<String>,
    /// Every policy keeps it.
    pub protected: bool,
    /// A later full scan did not agree with it.
    pub suspect: bool,
    /// It lacks something of what was to be saved.
    pub incomplete: bool,
}

/// What time it is, and where the days begin.
#[derive(Clone, Debug)]
pub struct PolicyCalendar {
    /// The time now.
    pub now: UnixNanos,
    /// The zone whose hours and days are meant.
    pub zone: TimeZone,
}

/// What becomes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepDecision {
    /// Its name.
    pub id: ObjectId,
    /// Why it is kept; it is forgotten if nothing is here.
    pub reasons: Vec<KeepReason>,
}

/// Why a snapshot is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepReason {
    /// Its time is later than now.
    Ahead,
    /// It is the newest that lacks nothing.
    Complete,
    /// Its owner protected it.
    Protected,
    /// Other snapshots of its domain could not be read, so no policy is applied to it.
    Unread,
    /// The policy names it.
    Id,
    /// It has these tags.
    Tag(String),
    /// It is one of the newest.
    Last,
    /// It is newer than this before the latest.
    Within(KeepDuration),
    /// It is the newest of a slot.
    Slot {
        /// Of which calendar rule.
        rhythm: CalendarPeriod,
        /// Which slot.
        slot: String,
        /// Where the rule has a reach and no number.
        within: Option<KeepDuration>,
    },
    /// It is the oldest, and the rule has not had as many as it asks for.
    Oldest {
        /// Of which calendar rule.
        rhythm: CalendarPeriod,
        /// Where the rule has a reach and no number.
        within: Option<KeepDuration>,
    },
}

/// Decides on each of `candidates`, newest first.
pub fn plan(
    candidates: &[PolicyCandidate],
    policy: &RetentionPolicy,
    calendar: &PolicyCalendar,
) -> Vec<KeepDecision> {
    let planner = ForgetPlanner::new(candidates, calendar);
    let mut reasons = KeepReasons::new();
    planner.own_reason(policy, &mut reasons);
    if !policy.is_empty() {
        planner.protected_reasons(&mut reasons);
    }
    planner.last(policy.last, &mut reasons);
    planner.within(policy.within, &mut reasons);
    for (rhythm, number) in &policy.slots {
        planner.slots(*rhythm, *number, &mut reasons);
    }
    for (rhythm, reach) in &policy.slots_within {
        planner.slots_within(*rhythm, *reach, &mut reasons);
    }
    planner.decide(reasons)
}

/// By place in the order, newest first.
type KeepReasons = BTreeMap<usize, Vec<KeepReason>>;

struct ForgetPlanner<'a> {
    /// Newest first, each with its time in the calendar's zone.
    sorted: Vec<(&'a PolicyCandidate, Zoned)>,
    /// The latest that is not in the future; `None` if there is none.
    latest: Option<Zoned>,
    /// So many of the first are ahead of now; no rule looks at them.
    ahead: usize,
}

impl<'a> ForgetPlanner<'a> {
    fn new(candidates: &'a [PolicyCandidate], calendar: &PolicyCalendar) -> Self {
        let at = |candidate: &'a PolicyCandidate| (candidate, zoned(candidate.time, &calendar.zone));
        let mut sorted: Vec<_> = candidates.iter().map(at).collect();
        sorted.sort_by_key(|(candidate, _)| std::cmp::Reverse((candidate.time, candidate.id)));
        let past = sorted
            .iter()
            .find(|(candidate, _)| candidate.time <= calendar.now);
        let latest = past.map(|(_, at)| at.clone());
        let is_ahead = |(candidate, _): &&(&PolicyCandidate, _)| is_beyond_skew(candidate.time, calendar.now);
        let ahead = sorted.iter().take_while(is_ahead).count();
        Self {
            sorted,
            latest,
            ahead,
        }
    }

    /// Snapshots of a wrong clock, and the newest that is complete, if it is not the newest.
    fn protected_reasons(&self, reasons: &mut KeepReasons) {
        for place in 0..self.ahead {
            reasons.entry(place).or_default().push(KeepReason::Ahead);
        }
        let is_complete = |place: &usize| self.rank(*place) == (false, false);
        let complete = (self.ahead..self.sorted.len()).find(is_complete);
        if let Some(place) = complete.filter(|place| *place > self.ahead) {
            reasons.entry(place).or_default().push(KeepReason::Complete);
        }
    }

    /// What a snapshot is kept for whatever the others are.
    fn own_reason(&self, policy: &RetentionPolicy, reasons: &mut KeepReasons) {
        for (place, (candidate, _)) in self.sorted.iter().enumerate() {
            let protected = candidate.protected.then_some(KeepReason::Protected);
            let named = policy.ids.contains(&candidate.id).then_some(KeepReason::Id);
            let tagged = policy.tags.iter().filter(|tags| tags.fits(&candidate.tags));
            let tagged = tagged.map(|tags| KeepReason::Tag(tags.to_string()));
            let all: Vec<_> = protected.into_iter().chain(named).chain(tagged).collect();
            reasons.entry(place).or_default().extend(all);
        }
    }

    fn last(&self, number: KeepCount, reasons: &mut KeepReasons) {
        let mut left = number.count();
        for (place, (candidate, _)) in self.sorted.iter().enumerate().skip(self.ahead) {
            if left == 0 {
                break;
            }
            reasons.entry(place).or_default().push(KeepReason::Last);
            left -= usize::from(!candidate.suspect);
        }
    }

    fn within(&self, reach: KeepDuration, reasons: &mut KeepReasons) {
        for place in self.ahead..self.is_slot_reached(reach) {
            reasons.entry(place).or_default().push(KeepReason::Within(reach));
        }
    }

    fn slots(&self, rhythm: CalendarPeriod, number: KeepCount, reasons: &mut KeepReasons) {
        let mut left = number.count();
        let mut kept = Vec::new();
        for (slot, places) in self.slot_keys(rhythm, self.sorted.len()) {
            if left == 0 {
                break;
            }
            let place = self.slot_key(&places);
            kept.push((place, slot));
            left -= usize::from(!self.sorted[place].0.suspect);
        }
        let oldest = if left > 0 { self.oldest_reason() } else { None };
        keep(rhythm, None, kept, oldest, reasons);
    }

    fn slots_within(&self, rhythm: CalendarPeriod, reach: KeepDuration, reasons: &mut KeepReasons) {
        let reached = self.is_slot_reached(reach);
        let slots = self.slot_keys(rhythm, reached).into_iter();
        let kept = slots
            .map(|(slot, places)| (self.slot_key(&places), slot))
            .collect();
        let oldest = self.oldest_reason().filter(|_| reached == self.sorted.len());
        keep(rhythm, Some(reach), kept, oldest, reasons);
    }

    /// How many, newest first, are less than `reach` older than the latest, or ahead of it.
    fn is_slot_reached(&self, reach: KeepDuration) -> usize {
        if reach.is_none() {
            return 0;
        }
        let from = self
            .latest
            .as_ref()
            .and_then(|latest| reach.subtract_duration(latest));
        let older = |(_, at): &(_, Zoned)| from.as_ref().is_some_and(|from| at <= from);
        self.sorted
            .iter()
            .take_while(|candidate| !older(candidate))
            .count()
    }

    /// Places by slot, both newest first, of the first `count`.
    fn slot_keys(&self, rhythm: CalendarPeriod, count: usize) -> Vec<(String, Vec<usize>)> {
        let mut slots: Vec<(String, Vec<usize>)> = Vec::new();
        for (place, (_, at)) in self.sorted[..count].iter().enumerate().skip(self.ahead) {
            let slot = rhythm.slot(at);
            match slots.last_mut() {
                Some((last, places)) if *last == slot => places.push(place),
                _ => slots.push((slot, vec![place])),
            }
        }
        slots
    }

    /// The newest of those with the least against them.
    fn slot_key(&self, places: &[usize]) -> usize {
        let best = places.iter().min_by_key(|place| self.rank(**place));
        best.copied().unwrap_or_default()
    }

    /// What is against a snapshot: that it is suspect, and then that it is incomplete.
    fn rank(&self, place: usize) -> (bool, bool) {
        let candidate = self.sorted[place].0;
        (candidate.suspect, candidate.incomplete)
    }

    /// The oldest that nobody doubts, or the oldest.
    fn oldest_reason(&self) -> Option<usize> {
        let considered = &self.sorted[self.ahead..];
        let trusted = considered.iter().rposition(|(candidate, _)| !candidate.suspect);
        let place = trusted.or(considered.len().checked_sub(1))?;
        Some(self.ahead + place)
    }

    fn decide(&self, mut reasons: KeepReasons) -> Vec<KeepDecision> {
        let decide = |(place, (candidate, _)): (usize, &(&PolicyCandidate, _))| KeepDecision {
            id: candidate.id,
            reasons: reasons.remove(&place).unwrap_or_default(),
        };
        self.sorted.iter().enumerate().map(decide).collect()
    }
}

fn keep(
    rhythm: CalendarPeriod,
    within: Option<KeepDuration>,
    kept: Vec<(usize, String)>,
    oldest: Option<usize>,
    reasons: &mut KeepReasons,
) {
    let oldest = oldest.filter(|oldest| kept.iter().all(|(place, _)| place != oldest));
    for (place, slot) in kept {
        let reason = KeepReason::Slot { rhythm, slot, within };
        reasons.entry(place).or_default().push(reason);
    }
    if let Some(place) = oldest {
        let reason = KeepReason::Oldest { rhythm, within };
        reasons.entry(place).or_default().push(reason);
    }
}

fn zoned(at: UnixNanos, zone: &TimeZone) -> Zoned {
    let timestamp = Timestamp::from_nanosecond(i128::from(at.0));
    timestamp.unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone.clone())
}

impl KeepDecision {
    /// True if the snapshot is kept.
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reach = |within: &Option<KeepDuration>| {
            within.map(|reach| format!(" within {reach}")).unwrap_or_default()
        };
        match self {
            Self::Ahead => f.write_str("its time is later than now"),
            Self::Complete => f.write_str("newest complete"),
            Self::Protected => f.write_str("protected"),
            Self::Unread => f.write_str("others of its domain could not be read"),
            Self::Id => f.write_str("id"),
            Self::Tag(tags) => write!(f, "tag {tags}"),
            Self::Last => f.write_str("last"),
            Self::Within(within) => write!(f, "within {within}"),
            Self::Slot { rhythm, slot, within } => write!(f, "{rhythm}{} {slot}", reach(within)),
            Self::Oldest { rhythm, within } => write!(f, "oldest {rhythm}{}", reach(within)),
        }
    }
}
