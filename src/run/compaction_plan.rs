//! Plans which runs of a stack are compacted.
//!
//! Which runs of a stack to make one of: a pure plan over their sizes.
//!
//! Runs are sorted into *tiers* by size, each eight times the one below. When eight runs of a tier stand at the newest end of
//! the stack, with none but smaller ones behind them, they and those are folded into one. So a record is
//! written again once a tier: about three times over a thousand equal increments, and not a thousand times. This is
//! size-tiered compaction as Cassandra and RocksDB ("universal") have it, on runs that are adjacent in age only.
//!
//! Sizes that never gather into tiers are bounded by [`STACK_RUNS_MAX`]. When all deltas together pass half of the base the
//! base is due for renewal: the database is read in full, which costs no more than folding and checks the stack besides.

/// Runs of a stack at most. Readers hold a leaf of each; formats allow more.
pub const STACK_RUNS_MAX: usize = 24;

/// Runs of one tier that are folded into one.
pub const FAN_IN: usize = 8;

/// Runs that are left when there are more than [`STACK_RUNS_MAX`].
const RUNS_LEFT: usize = 2 * STACK_RUNS_MAX / 3;

/// What to do with a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionPlan {
    /// Nothing.
    Leave,
    /// Make one run of so many, the newest ones.
    Newest(usize),
    /// Read the database in full and begin with a new base.
    Renew,
}

/// Plans for a stack, oldest run first: the base, then deltas. Sizes are canonical bytes.
pub fn plan(sizes: &[u64]) -> CompactionPlan {
    let Some((&base, deltas)) = sizes.split_first() else {
        return CompactionPlan::Leave;
    };
    let changed: u64 = deltas.iter().fold(0, |sum, size| sum.saturating_add(*size));
    if changed > base / 2 && deltas.len() > 1 {
        return CompactionPlan::Renew;
    }
    let gathered = (0..=tier(u64::MAX)).rev().find_map(|at| merged_size(deltas, at));
    match gathered {
        Some(newest) => CompactionPlan::Newest(newest),
        None if sizes.len() > STACK_RUNS_MAX => CompactionPlan::Newest(sizes.len() - RUNS_LEFT),
        None => CompactionPlan::Leave,
    }
}

/// Length of the newest end of the stack that holds no tier above `at`, if enough of it is of that tier.
fn merged_size(deltas: &[u64], at: u32) -> Option<usize> {
    let end = deltas.iter().rev().take_while(|size| tier(**size) <= at);
    let (len, of_tier) = end.fold((0, 0), |(len, of_tier), size| {
        (len + 1, of_tier + usize::from(tier(*size) == at))
    });
    (of_tier >= FAN_IN).then_some(len)
}

/// 0 for up to 8 bytes, 1 for up to 64, ...
fn tier(size: u64) -> u32 {
    size.max(1).ilog2() / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays increments of these sizes; greatest number of runs, bytes written by folds, renewals.
    fn play(base: u64, increments: impl Iterator<Item = u64>) -> (usize, u64, usize) {
        let (mut stack, mut most, mut folded, mut renewals) = (vec![base], 0, 0, 0);
        for size in increments {
            stack.push(size);
            match plan(&stack) {
                CompactionPlan::Leave => {}
                CompactionPlan::Newest(count) => {
                    assert!((2..stack.len()).contains(&count));
                    let sum: u64 = stack.drain(stack.len() - count..).sum();
                    folded += sum;
                    stack.push(sum);
                }
                CompactionPlan::Renew => {
                    stack = vec![base];
                    renewals += 1;
                }
            }
            most = most.max(stack.len());
        }
        (most, folded, renewals)
    }

    #[test]
    fn a_thousand_equal_increments_are_written_again_less_than_four_times() {
        let (most, folded, renewals) = play(10_000_000, std::iter::repeat_n(1_000, 1_000));
        assert!(most <= STACK_RUNS_MAX, "{most} runs");
        assert!(folded < 4_000_000, "{folded} bytes folded of 1,000,000");
        assert_eq!(renewals, 0);
    }

    #[test]
    fn stacks_of_any_sizes_stay_below_the_bound() {
        for seed in 1..200_u64 {
            let sizes = (0..400).scan(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), |x, _| {
                *x ^= *x << 13;
                *x ^= *x >> 7;
                *x ^= *x << 17;
                Some(1 << (*x % 30))
            });
            let (most, ..) = play(1 << 50, sizes);
            assert!(most <= STACK_RUNS_MAX, "seed {seed}: {most} runs");
        }
    }

    #[test]
    fn descending_sizes_that_never_gather_are_folded_at_the_bound() {
        let stack: Vec<u64> = (0..=STACK_RUNS_MAX as u32).map(|at| 1 << (60 - at)).collect();
        assert_eq!(
            plan(&stack[..STACK_RUNS_MAX]),
            CompactionPlan::Renew,
            "together they pass half of the base"
        );
        let stack: Vec<u64> = std::iter::once(u64::MAX)
            .chain((0..STACK_RUNS_MAX as u32).map(|at| 1 << (50 - 2 * at)))
            .collect();
        assert_eq!(plan(&stack), CompactionPlan::Newest(stack.len() - RUNS_LEFT));
    }

    #[test]
    fn a_base_is_renewed_when_the_deltas_pass_half_of_it() {
        assert_eq!(plan(&[100, 30, 20]), CompactionPlan::Leave);
        assert_eq!(plan(&[100, 30, 21]), CompactionPlan::Renew);
        assert_eq!(
            plan(&[0, 5]),
            CompactionPlan::Leave,
            "one delta on an empty base stands"
        );
        assert_eq!(plan(&[]), CompactionPlan::Leave);
    }
}
