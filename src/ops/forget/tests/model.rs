//! A slow planner that shares nothing with the other: it looks at one snapshot at a time, and at the calendar by hand.

use super::*;

const DAY: i64 = 86_400 * 1_000_000_000;

/// Year, month and day of a number of days since 1970, counted off one by one.
fn civil(days: i64) -> (i64, i64, i64) {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut left, mut year) = (days, 1970);
    while left >= 365 + i64::from(leap(year)) {
        left -= 365 + i64::from(leap(year));
        year += 1;
    }
    let february = 28 + i64::from(leap(year));
    for (month, len) in (1..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
        if left < len {
            return (year, month, left + 1);
        }
        left -= len;
    }
    unreachable!()
}

fn slot(rhythm: CalendarPeriod, at: UnixNanos) -> i64 {
    let days = at.0.div_euclid(DAY);
    let (year, month, _) = civil(days);
    match rhythm {
        CalendarPeriod::Hourly => at.0.div_euclid(DAY / 24),
        CalendarPeriod::Daily => days,
        // The first day of 1970 was a Thursday.
        CalendarPeriod::Weekly => (days + 3).div_euclid(7),
        CalendarPeriod::Monthly => year * 12 + month,
        CalendarPeriod::QuarterYearly => year * 4 + (month + 2) / 3,
        CalendarPeriod::Yearly => year,
    }
}

fn newer(a: &PolicyCandidate, b: &PolicyCandidate) -> bool {
    (a.time, a.id) > (b.time, b.id)
}

/// `it` is the one of `all` that stands for its slot.
fn stands(it: &PolicyCandidate, all: &[&PolicyCandidate], rhythm: CalendarPeriod) -> bool {
    let mates = all
        .iter()
        .filter(|other| slot(rhythm, other.time) == slot(rhythm, it.time));
    let against = |one: &PolicyCandidate| 2 * u8::from(one.suspect) + u8::from(one.incomplete);
    let better = |other: &&&PolicyCandidate| match against(other).cmp(&against(it)) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Greater => false,
        std::cmp::Ordering::Equal => newer(other, it),
    };
    mates.filter(better).count() == 0
}

/// `it` is the oldest that nobody doubts, or the oldest.
fn is_oldest(it: &PolicyCandidate, all: &[&PolicyCandidate]) -> bool {
    let better = |other: &&&PolicyCandidate| match (it.suspect, other.suspect) {
        (true, false) => true,
        (false, true) => false,
        _ => newer(it, other),
    };
    all.iter().filter(better).count() == 0
}

fn keeps_by_number(
    it: &PolicyCandidate,
    all: &[&PolicyCandidate],
    rhythm: CalendarPeriod,
    number: KeepCount,
) -> bool {
    let trusted = all
        .iter()
        .filter(|other| !other.suspect && stands(other, all, rhythm));
    let slots = trusted
        .clone()
        .filter(|other| slot(rhythm, other.time) > slot(rhythm, it.time))
        .count();
    let short = trusted.count() < number.count();
    number.count() > 0 && (stands(it, all, rhythm) && slots < number.count() || short && is_oldest(it, all))
}

fn keeps(it: &PolicyCandidate, all: &[&PolicyCandidate], policy: &RetentionPolicy, now: UnixNanos) -> bool {
    let tagged = it.protected || policy.tags.iter().any(|tags| tags.fits(&it.tags));
    if policy.is_empty() || tagged || it.time > now {
        return tagged || !policy.is_empty();
    }
    let all: Vec<_> = all.iter().copied().filter(|other| other.time <= now).collect();
    keeps_now(it, &all, policy, now) || is_newest_complete(it, &all)
}

/// `it` is complete, and all that are newer are not.
fn is_newest_complete(it: &PolicyCandidate, all: &[&PolicyCandidate]) -> bool {
    let is_complete = |one: &PolicyCandidate| !one.suspect && !one.incomplete;
    let mut above = all.iter().filter(|other| newer(other, it)).peekable();
    is_complete(it) && above.peek().is_some() && !above.any(|other| is_complete(other))
}

fn keeps_now(
    it: &PolicyCandidate,
    all: &[&PolicyCandidate],
    policy: &RetentionPolicy,
    now: UnixNanos,
) -> bool {
    let latest = all
        .iter()
        .map(|other| other.time)
        .filter(|time| *time <= now)
        .max();
    let reached = |other: &PolicyCandidate, reach: KeepDuration| {
        let nanos = i64::from(reach.days) * DAY + i64::from(reach.hours) * DAY / 24;
        latest.is_none_or(|latest| other.time.0 > latest.0 - nanos)
    };
    let before = all
        .iter()
        .filter(|other| newer(other, it) && !other.suspect)
        .count();
    let within = |(rhythm, reach): (&CalendarPeriod, &KeepDuration)| {
        let some: Vec<_> = all
            .iter()
            .copied()
            .filter(|other| reached(other, *reach))
            .collect();
        let whole = some.len() == all.len() && is_oldest(it, all);
        !reach.is_none() && (reached(it, *reach) && stands(it, &some, *rhythm) || whole)
    };
    before < policy.last.count()
        || !policy.within.is_none() && reached(it, policy.within)
        || policy
            .slots
            .iter()
            .any(|(rhythm, number)| keeps_by_number(it, all, *rhythm, *number))
        || policy.slots_within.iter().any(within)
}

/// Numbers that depend on a seed alone.
struct Dice(blake3::OutputReader);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    fn below(&mut self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % bound
    }
}

/// Crowded together or spread over years, with some that are special.
fn candidates(dice: &mut Dice) -> Vec<PolicyCandidate> {
    let spread = [3, 40, 400, 4000][dice.below(4) as usize];
    let start = 15_000 * DAY;
    let one = |number: usize, dice: &mut Dice| PolicyCandidate {
        time: UnixNanos(start + dice.below(spread * 48) as i64 * (DAY / 48)),
        tags: if dice.below(9) == 0 {
            vec!["a".into()]
        } else {
            Vec::new()
        },
        protected: dice.below(12) == 0,
        suspect: dice.below(5) == 0,
        incomplete: dice.below(3) == 0,
        ..candidate(number, UnixNanos(0))
    };
    (0..dice.below(30) as usize)
        .map(|number| one(number, dice))
        .collect()
}

fn rules(dice: &mut Dice) -> RetentionPolicy {
    let mut rules = String::new();
    for rhythm in [
        "last",
        "hourly",
        "daily",
        "weekly",
        "monthly",
        "quarter-yearly",
        "yearly",
    ] {
        if dice.below(4) == 0 {
            let number = dice.below(6);
            rules += &match number {
                5 => format!("{rhythm} unlimited;"),
                number => format!("{rhythm} {number};"),
            };
        }
        if rhythm != "last" && dice.below(8) == 0 {
            rules += &format!("within-{rhythm} {}d{}h;", dice.below(100), dice.below(50));
        }
    }
    if dice.below(6) == 0 {
        rules += &format!("within {}d;", dice.below(30));
    }
    if dice.below(6) == 0 {
        rules += "tag a;";
    }
    policy(&rules)
}

#[test]
fn the_planner_decides_as_the_slow_one_on_random_snapshots() {
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let (all, policy) = (candidates(&mut dice), rules(&mut dice));
        let now = UnixNanos(15_000 * DAY + dice.below(5_000) as i64 * DAY);
        let calendar = PolicyCalendar {
            now,
            zone: TimeZone::UTC,
        };
        let them: Vec<_> = all.iter().collect();
        let slow = (0..all.len()).filter(|number| keeps(&all[*number], &them, &policy, now));
        let fast: Vec<_> = kept(&all, &policy, &calendar)
            .into_iter()
            .map(|(number, _)| number)
            .collect();
        assert_eq!(fast, slow.collect::<Vec<_>>(), "seed {seed}: {policy}");
    }
}
