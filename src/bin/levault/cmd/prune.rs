//! `prune`: frees space.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use levault::error::Result;
use levault::ops::prune::{Prune, PruneOutcome};
use levault::repo::Repo;
use serde_json::json;

use super::CommandContext;
use crate::exit_status::ExitStatus;
use crate::output::bytes;

#[derive(Args, Clone, Debug)]
pub struct PruneArgs {
    #[command(flatten)]
    how: PruneOptions,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// How much is given back, and when.
#[derive(Args, Clone, Debug)]
pub struct PruneOptions {
    /// Unused space that may stay: a part of the repository (5%), a size (500M), or unlimited
    #[arg(long, value_name = "LIMIT", default_value = "5%")]
    max_unused: MaxUnusedArg,
    /// Store at most so much again (K, M, G, T)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_repack_size: Option<u64>,
    /// How long a pack stays after it was found to be of no use (h or d)
    #[arg(long, value_name = "TIME", default_value = "72h", value_parser = time)]
    grace: Duration,
    /// Allow a grace under 6 hours: nothing else may use the repository meanwhile
    #[arg(long)]
    unsafe_grace: bool,
    /// Store packs again that are sealed under an older epoch of keys than the newest
    #[arg(long)]
    repack_outdated: bool,
}

#[derive(Clone, Copy, Debug)]
enum MaxUnusedArg {
    /// Of all that is stored.
    Share(f64),
    Bytes(u64),
    Unlimited,
}

/// Sweeps what is ripe, marks what is dead.
pub fn run(run: &CommandContext, args: &PruneArgs) -> Result<ExitStatus> {
    let repo = run.open()?;
    prune(run, &repo, &args.how, args.dry_run)?;
    Ok(if run.report.problems().is_empty() {
        ExitStatus::Done
    } else {
        ExitStatus::Incomplete
    })
}

/// Stores everything again that is sealed under an older epoch, with the usual limits.
pub fn repack_outdated(run: &CommandContext) -> Result<()> {
    let how = PruneOptions {
        max_unused: MaxUnusedArg::Share(0.05),
        max_repack_size: None,
        grace: levault::ops::prune::GRACE_DEFAULT,
        unsafe_grace: false,
        repack_outdated: true,
    };
    prune(run, &run.open()?, &how, false)
}

/// The same, on a repository that is open.
pub fn prune(run: &CommandContext, repo: &Repo, args: &PruneOptions, dry_run: bool) -> Result<()> {
    let mut prune = Prune {
        repack_bytes_max: args.max_repack_size.unwrap_or(u64::MAX),
        grace: args.grace,
        unsafe_grace: args.unsafe_grace,
        repack_outdated: args.repack_outdated,
        dry_run,
        ..Prune::default()
    };
    match args.max_unused {
        MaxUnusedArg::Share(share) => prune.unused_share_max = share / (1.0 - share),
        MaxUnusedArg::Bytes(bytes) => (prune.unused_share_max, prune.unused_bytes_max) = (0.0, bytes),
        MaxUnusedArg::Unlimited => prune.unused_bytes_max = u64::MAX,
    }
    let outcome = prune.run(repo, run.report)?;
    print_outcome(run, args, dry_run, &outcome)?;
    for problem in run.report.problems() {
        run.output.warn(&problem);
    }
    Ok(())
}

fn print_outcome(
    run: &CommandContext,
    args: &PruneOptions,
    dry_run: bool,
    outcome: &PruneOutcome,
) -> Result<()> {
    let PruneOutcome { swept, plan, .. } = outcome;
    run.output.write_json(&json!({
        "message_type": "summary",
        "dry_run": dry_run,
        "packs_deleted": swept.packs.len(),
        "bytes_deleted": swept.bytes(),
        "snapshots_deleted": swept.snapshots.iter().map(|id| id.to_hex()).collect::<Vec<_>>(),
        "snapshots_stored_again": outcome.rebased.iter().map(|stack| stack.snapshot.to_hex()).collect::<Vec<_>>(),
        "bad_notes_deleted": swept.bad.len(),
        "packs_dead": plan.dead.len(),
        "packs_repacked": plan.repack.len(),
        "bytes_repacked": plan.repack_bytes,
        "packs_needed_again": plan.unmark.len() + swept.unmark.len(),
        "bytes_before": plan.bytes_before,
        "bytes_used": plan.bytes_used,
        "bytes_unused_after": plan.bytes_unused_after,
        "audits_deleted": outcome.audits_superseded.len(),
        "packs_marked": outcome.packs_marked,
        "bytes_marked": outcome.bytes_marked,
        "parity_deleted": outcome.parity_deleted,
        "parity_bytes_deleted": outcome.parity_bytes_deleted,
        "grace_seconds": args.grace.as_secs(),
    }))?;
    let would = if dry_run { "would be " } else { "" };
    let say = |line: String| run.output.print(line);
    say(format!(
        "{would}deleted     {:>12}  {} packs, {} forgotten snapshots",
        bytes(swept.bytes()),
        swept.packs.len(),
        swept.snapshots.len()
    ))?;
    if !outcome.rebased.is_empty() {
        let again: u64 = outcome.rebased.iter().map(|stack| stack.shown).sum();
        say(format!(
            "{would}stored anew {:>11}  of records in {} stacks that hide many",
            bytes(again),
            outcome.rebased.len()
        ))?;
    }
    if outcome.parity_deleted > 0 {
        let size = bytes(outcome.parity_bytes_deleted);
        say(format!(
            "{would}deleted     {size:>12}  {} parity objects of packs that are gone",
            outcome.parity_deleted
        ))?;
    }
    say(format!(
        "{would}stored again{:>11}  of {} packs; {} packs hold nothing that is needed",
        bytes(plan.repack_bytes),
        plan.repack.len(),
        plan.dead.len()
    ))?;
    say(format!(
        "in use      {:>12}  and {} unused",
        bytes(plan.bytes_used),
        bytes(plan.bytes_unused_after)
    ))?;
    match (outcome.packs_marked, dry_run) {
        (0, _) | (_, true) => Ok(()),
        (packs, false) => say(format!(
            "marked      {:>12}  {packs} packs go with the first prune that is {} hours later",
            bytes(outcome.bytes_marked),
            args.grace.as_secs().div_ceil(3600)
        )),
    }
}

impl FromStr for MaxUnusedArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let Some(percent) = text.strip_suffix('%') else {
            return size(text).map(Self::Bytes);
        };
        let share = percent.parse::<f64>().map_err(|error| error.to_string())? / 100.0;
        if (0.0..1.0).contains(&share) {
            Ok(Self::Share(share))
        } else {
            Err("want 0% to below 100%".into())
        }
    }
}

/// A number of bytes: `500M`, `2G`.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].trim_end_matches(['i', 'B', 'b']) {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        other => return Err(format!("{other} is no unit: K, M, G or T")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is no number"))?;
    number.checked_mul(1 << unit).ok_or_else(|| "too large".into())
}

/// A time: `72h`, `3d`, `0`.
pub fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" if digits == "0" => 0,
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("want a number and a unit: s, m, h or d".into()),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is no number"))?;
    let seconds = number.checked_mul(unit).filter(|seconds| *seconds < 1 << 32);
    seconds.map(Duration::from_secs).ok_or_else(|| "too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_times_and_shares_are_read() {
        assert_eq!(
            (size("12"), size("2K"), size("3GiB")),
            (Ok(12), Ok(2048), Ok(3 << 30))
        );
        assert!(
            ["", "x", "5X", "-1", "99999999999T"]
                .iter()
                .all(|wrong| size(wrong).is_err())
        );
        assert_eq!(time("3d"), Ok(Duration::from_secs(259_200)));
        assert_eq!(time("0"), Ok(Duration::ZERO));
        assert!(
            ["", "5", "h", "1w", "99999999999d"]
                .iter()
                .all(|wrong| time(wrong).is_err())
        );
        assert!(matches!("7.5%".parse(), Ok(MaxUnusedArg::Share(share)) if share == 0.075));
        assert!("100%".parse::<MaxUnusedArg>().is_err());
    }
}
