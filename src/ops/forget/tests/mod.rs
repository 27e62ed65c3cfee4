//! The planner on what the documents of restic and borg show, on what only levault has, and beside a slow one.

mod model;
mod table;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::*;
use crate::engine::tag_list::TagList;

/// A policy in the words of its flags: `daily 4, within 7d, within-weekly 1m, tag a,b` would be hard to split, so rules
/// are told apart by `;`.
fn policy(words: &str) -> RetentionPolicy {
    let mut policy = RetentionPolicy::default();
    for rule in words.split(';').map(str::trim).filter(|rule| !rule.is_empty()) {
        let (name, value) = rule.split_once(' ').unwrap_or((rule, ""));
        match name {
            "last" => policy.last = value.parse().unwrap(),
            "within" => policy.within = value.parse().unwrap(),
            "tag" => policy.tags.push(TagList::parse(value)),
            "id" => policy.ids.push(id(value.parse().unwrap())),
            name => match name.strip_prefix("within-") {
                Some(name) => drop(policy.slots_within.insert(rhythm(name), value.parse().unwrap())),
                None => drop(policy.slots.insert(rhythm(name), value.parse().unwrap())),
            },
        }
    }
    policy
}

fn rhythm(name: &str) -> CalendarPeriod {
    use CalendarPeriod::{Daily, Hourly, Monthly, QuarterYearly, Weekly, Yearly};
    let all = [Hourly, Daily, Weekly, Monthly, QuarterYearly, Yearly];
    all.into_iter().find(|rhythm| rhythm.to_string() == name).unwrap()
}

fn id(number: usize) -> ObjectId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    ObjectId(bytes)
}

/// Snapshots of these times (`2026-11-24T10:00`, in UTC), numbered in this order, none of them special.
fn at<T: AsRef<str>>(times: &[T]) -> Vec<PolicyCandidate> {
    let times = times.iter().enumerate();
    times
        .map(|(number, time)| candidate(number, nanos(time.as_ref())))
        .collect()
}

fn candidate(number: usize, time: UnixNanos) -> PolicyCandidate {
    PolicyCandidate {
        id: id(number),
        time,
        tags: Vec::new(),
        protected: false,
        suspect: false,
        incomplete: false,
    }
}

fn nanos(time: &str) -> UnixNanos {
    let time: DateTime = time.parse().unwrap();
    let at = time.to_zoned(TimeZone::UTC).unwrap().timestamp();
    UnixNanos(at.as_nanosecond().try_into().unwrap())
}

fn utc(now: &str) -> PolicyCalendar {
    PolicyCalendar {
        now: nanos(now),
        zone: TimeZone::UTC,
    }
}

/// The numbers of those that are kept, ascending, each with its reasons.
fn kept(
    candidates: &[PolicyCandidate],
    policy: &RetentionPolicy,
    calendar: &PolicyCalendar,
) -> Vec<(usize, String)> {
    let mut kept: Vec<_> = plan(candidates, policy, calendar)
        .into_iter()
        .filter(KeepDecision::is_kept)
        .map(|decision| {
            let number = candidates
                .iter()
                .position(|candidate| candidate.id == decision.id);
            let reasons: Vec<_> = decision.reasons.iter().map(KeepReason::to_string).collect();
            (number.unwrap(), reasons.join(", "))
        })
        .collect();
    kept.sort();
    kept
}

fn numbers(candidates: &[PolicyCandidate], rules: &str, calendar: &PolicyCalendar) -> Vec<usize> {
    let kept = kept(candidates, &policy(rules), calendar);
    kept.into_iter().map(|(number, _)| number).collect()
}

/// A snapshot at noon on each day.
fn daily(from: &str, until: &str) -> Vec<String> {
    let [from, until]: [jiff::civil::Date; 2] = [from.parse().unwrap(), until.parse().unwrap()];
    let days = from
        .series(jiff::Span::new().days(1))
        .take_while(|day| *day <= until);
    days.map(|day| format!("{day}T12:00")).collect()
}
