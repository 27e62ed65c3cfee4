//! Plans the order in which packs are read, stalest first.
//!
//! Which packs are read, and in which order: pure.
//!
//! What was found wrong the last time comes first and has a place of its own: it is read again until it is right, and
//! must not take all of a budget each time.

use std::time::Duration;

use crate::annotations::AuditResult;
use crate::clock::UnixNanos;
use crate::id::ObjectId;

/// Packs found wrong last time that are read again by a check with no budget that does not read everything.
pub const AGAIN_MAX: usize = 32;

/// Packs found wrong last time may take one part in so many of a budget.
const AGAIN_SHARE: i64 = 4;

/// A pack, and when it was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackAge {
    /// Its name.
    pub id: ObjectId,
    /// Its length, bytes.
    pub len: u64,
    /// When reading it last began, and how it was found; `None` if nobody ever did.
    pub last: Option<(UnixNanos, AuditResult)>,
}

/// Packs in the order in which they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadPlan {
    /// Found wrong when they were last read.
    pub again: Vec<PackAge>,
    /// The others.
    pub others: Vec<PackAge>,
}

/// The stalest first: never read ones, then by age, ties by name. With `age_max` only those at least so old; what was
/// found wrong is read whatever its age.
pub fn plan(packs: &[PackAge], age_max: Option<Duration>, now: UnixNanos) -> ReadPlan {
    let is_due = |pack: &PackAge| match (pack.last, age_max) {
        (Some((when, AuditResult::Right)), Some(age_max)) => age(when, now) >= age_max,
        _ => true,
    };
    let mut due: Vec<_> = packs.iter().copied().filter(is_due).collect();
    due.sort_by_key(|pack| (pack.last.map(|(when, _)| when), pack.id));
    let (again, others) = due.into_iter().partition(was_damaged);
    ReadPlan { again, others }
}

/// These, in the order given, and of what was found wrong besides at most [`AGAIN_MAX`].
pub fn plan_pack(packs: &[PackAge], is_chosen: impl Fn(&ObjectId) -> bool) -> ReadPlan {
    let (others, left): (Vec<_>, Vec<_>) = packs.iter().copied().partition(|pack| is_chosen(&pack.id));
    let again = left.into_iter().filter(was_damaged).take(AGAIN_MAX).collect();
    ReadPlan { again, others }
}

/// True if it was wrong when it was last read.
pub fn was_damaged(pack: &PackAge) -> bool {
    matches!(pack.last, Some((_, AuditResult::Wrong)))
}

/// Time since then; none if the clock was turned back.
pub fn age(when: UnixNanos, now: UnixNanos) -> Duration {
    let nanos = now.0.saturating_sub(when.0);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

impl ReadPlan {
    /// Bytes of all of it.
    pub fn bytes(&self) -> u64 {
        self.again.iter().chain(&self.others).map(|pack| pack.len).sum()
    }
}

/// Goes through a plan: says which pack is next until the time is used up.
pub struct ReadProgress {
    plan: ReadPlan,
    begun: UnixNanos,
    /// Nanoseconds.
    budget: Option<i64>,
    again: usize,
    others: usize,
}

impl ReadProgress {
    /// Begins now.
    pub fn new(plan: ReadPlan, budget: Option<Duration>, now: UnixNanos) -> Self {
        Self {
            plan,
            begun: now,
            budget: budget.map(|budget| i64::try_from(budget.as_nanos()).unwrap_or(i64::MAX)),
            again: 0,
            others: 0,
        }
    }

    /// The next pack. What was wrong has its share of the time first, and what is left over last; one pack is always
    /// read, or a budget shorter than a pack takes would never get anywhere: one that was wrong, and one other.
    pub fn next(&mut self, now: UnixNanos) -> Option<PackAge> {
        let budget = self.budget.unwrap_or(i64::MAX);
        let used = now.0.saturating_sub(self.begun.0);
        let wrong = self.plan.again.get(self.again).copied();
        let other = self.plan.others.get(self.others).copied();
        let in_share = self.others == 0 && (used < budget / AGAIN_SHARE || self.again == 0);
        match (wrong, other) {
            (Some(wrong), _) if in_share || other.is_none() && used < budget => {
                self.again += 1;
                Some(wrong)
            }
            (_, Some(other)) if used < budget || self.others == 0 => {
                self.others += 1;
                Some(other)
            }
            _ => None,
        }
    }

    /// Those whose turn did not come.
    pub fn bytes_left(&self) -> impl Iterator<Item = &PackAge> {
        self.plan.again[self.again..]
            .iter()
            .chain(&self.plan.others[self.others..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400 * 1_000_000_000;
    const NOW: UnixNanos = UnixNanos(1000 * DAY);

    fn days(days: i64) -> Duration {
        Duration::from_nanos((days * DAY) as u64)
    }

    fn pack(number: u8, last: Option<(i64, AuditResult)>) -> PackAge {
        PackAge {
            id: ObjectId([number; 32]),
            len: 10,
            last: last.map(|(days_ago, found)| (UnixNanos(NOW.0 - days_ago * DAY), found)),
        }
    }

    fn numbers(packs: &[PackAge]) -> Vec<u8> {
        packs.iter().map(|pack| pack.id.0[0]).collect()
    }

    #[test]
    fn the_stalest_come_first_never_read_ones_before_all_and_wrong_ones_apart() {
        let (right, wrong) = (AuditResult::Right, AuditResult::Wrong);
        type Row = (
            &'static str,
            Vec<PackAge>,
            Option<Duration>,
            &'static [u8],
            &'static [u8],
        );
        let all = || {
            vec![
                pack(1, Some((3, right))),
                pack(2, None),
                pack(3, Some((40, right))),
                pack(4, Some((3, right))),
                pack(5, None),
                pack(6, Some((1, wrong))),
                pack(7, Some((90, wrong))),
            ]
        };
        let table: Vec<Row> = vec![
            ("nothing there", vec![], None, &[], &[]),
            ("no age", all(), None, &[7, 6], &[2, 5, 3, 1, 4]),
            ("older than 30 days", all(), Some(days(30)), &[7, 6], &[2, 5, 3]),
            (
                "just as old counts",
                all(),
                Some(days(3)),
                &[7, 6],
                &[2, 5, 3, 1, 4],
            ),
            (
                "nothing is old",
                vec![pack(1, Some((3, right)))],
                Some(days(4)),
                &[],
                &[],
            ),
            (
                "read in our future is not old",
                vec![pack(1, Some((-1, right)))],
                Some(days(1)),
                &[],
                &[],
            ),
        ];
        for (what, packs, age_max, again, others) in table {
            let plan = plan(&packs, age_max, NOW);
            assert_eq!(numbers(&plan.again), again, "{what}");
            assert_eq!(numbers(&plan.others), others, "{what}");
        }
    }

    /// What is read if each pack takes `each` days of a budget.
    fn read(plan: &ReadPlan, budget: Option<Duration>, each: i64) -> (Vec<u8>, Vec<u8>) {
        let mut progress = ReadProgress::new(plan.clone(), budget, NOW);
        let (mut read, mut now) = (Vec::new(), NOW);
        while let Some(pack) = progress.next(now) {
            read.push(pack);
            now.0 += each * DAY;
        }
        (
            numbers(&read),
            numbers(&progress.bytes_left().copied().collect::<Vec<_>>()),
        )
    }

    #[test]
    fn a_budget_ends_between_packs_and_what_is_wrong_has_a_quarter_of_it() {
        let some = |numbers: std::ops::Range<u8>| numbers.map(|number| pack(number, None)).collect();
        let plan = |again, others| ReadPlan {
            again: some(again),
            others: some(others),
        };
        type Row = (
            &'static str,
            ReadPlan,
            Option<Duration>,
            &'static [u8],
            &'static [u8],
        );
        let table: [Row; 8] = [
            ("no budget", plan(1..3, 3..6), None, &[1, 2, 3, 4, 5], &[]),
            (
                "none begins after it",
                plan(0..0, 3..9),
                Some(days(4)),
                &[3, 4, 5, 6],
                &[7, 8],
            ),
            ("one at least", plan(0..0, 3..6), Some(days(0)), &[3], &[4, 5]),
            (
                "one of each at least",
                plan(1..3, 3..6),
                Some(days(0)),
                &[1, 3],
                &[2, 4, 5],
            ),
            (
                "a quarter",
                plan(1..9, 10..20),
                Some(days(8)),
                &[1, 2, 10, 11, 12, 13, 14, 15],
                &[3, 4, 5, 6, 7, 8, 16, 17, 18, 19],
            ),
            (
                "what is left over",
                plan(1..9, 10..12),
                Some(days(8)),
                &[1, 2, 10, 11, 3, 4, 5, 6],
                &[7, 8],
            ),
            (
                "only wrong ones",
                plan(1..9, 0..0),
                Some(days(4)),
                &[1, 2, 3, 4],
                &[5, 6, 7, 8],
            ),
            ("nothing", plan(0..0, 0..0), Some(days(4)), &[], &[]),
        ];
        for (what, plan, budget, wanted, left) in table {
            assert_eq!(read(&plan, budget, 1), (wanted.to_vec(), left.to_vec()), "{what}");
        }
    }

    #[test]
    fn what_was_wrong_is_read_again_beside_what_was_chosen() {
        let wrong = Some((1, AuditResult::Wrong));
        let packs = [
            pack(1, None),
            pack(2, wrong),
            pack(3, wrong),
            pack(4, Some((1, AuditResult::Right))),
        ];
        let plan = plan_pack(&packs, |id| id.0[0] == 3);
        assert_eq!((numbers(&plan.again), numbers(&plan.others)), (vec![2], vec![3]));
        let many: Vec<_> = (0..100).map(|number| pack(number, wrong)).collect();
        assert_eq!(plan_pack(&many, |_| false).again.len(), AGAIN_MAX);
        assert_eq!(
            plan_pack(&many, |_| true).others.len(),
            100,
            "all, if all are asked for"
        );
    }
}
