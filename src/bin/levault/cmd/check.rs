//! `check`: prints findings, the snapshots they affect, and remedies.

use std::sync::Arc;
use std::time::Duration;

use levault::error::Result;
use levault::ops::check::{
    Check, CheckFinding, CheckNotice, CheckOutcome, KeylessCheck, ReadData, VerifiedWithin,
};
use levault::repo::KeylessRepo;
use levault::storage::LocalStorage;
use serde_json::{Value, json};

use crate::args::CheckArgs;
use crate::command_context::{CommandContext, usage};
use crate::exit_status::{self, ExitStatus};
use crate::format::{bytes, size, time, time_exact};
use crate::output::print_error;
use crate::progress::watch;

/// What is reported as verified lately, unless `--max-age` says otherwise.
const LATELY: Duration = Duration::from_secs(30 * 86_400);

/// Checks, then says what was found; never "done" with an error.
pub fn run(run: &CommandContext, args: &CheckArgs) -> Result<ExitStatus> {
    let read = read_data(args)?;
    let outcome = check(run, args, read)?;
    for finding in &outcome.findings {
        print_finding(run, finding)?;
    }
    for notice in &outcome.notices {
        print_notice(run, notice)?;
    }
    run.output.write_json(&summary(&outcome, args))?;
    print_outcome(run, args, &outcome)?;
    if outcome.findings.is_empty() {
        run.output
            .print("no errors were found")
            .map(|()| ExitStatus::Done)
    } else {
        let count = outcome.findings.len();
        run.output
            .print(format!("{count} errors were found; {}", exit_status::FOUND))?;
        Ok(ExitStatus::CheckFailed)
    }
}

fn check(run: &CommandContext, args: &CheckArgs, read: ReadData) -> Result<CheckOutcome> {
    if args.keyless {
        let vault = KeylessRepo::open(Arc::new(LocalStorage::open(&run.repository()?)?))?;
        return watch(run.output, run.report, || {
            KeylessCheck { read }.run(&vault, run.report)
        });
    }
    let repo = run.open()?;
    let check = Check { read };
    if args.snapshots.is_empty() {
        return watch(run.output, run.report, || check.run(&repo, run.report));
    }
    let chosen = args.snapshots.iter().map(|words| repo.select(words));
    let chosen = chosen.collect::<Result<Vec<_>>>()?;
    watch(run.output, run.report, || {
        check.run_for(&repo, &chosen, run.report)
    })
}

fn read_data(args: &CheckArgs) -> Result<ReadData> {
    match (&args.read_data_subset, args.read_data, args.budget, args.max_age) {
        (Some(words), ..) => subset(words),
        (None, true, ..) => Ok(ReadData::All),
        (None, false, None, None) => Ok(ReadData::None),
        (None, false, budget, age_max) => Ok(ReadData::Stalest { age_max, budget }),
    }
}

fn verified_recently(args: &CheckArgs) -> Duration {
    args.max_age.unwrap_or(LATELY)
}

fn print_outcome(run: &CommandContext, args: &CheckArgs, outcome: &CheckOutcome) -> Result<()> {
    let say = |line: String| run.output.print(line);
    let (snapshots, packs) = (outcome.snapshots, outcome.packs);
    let read = bytes(outcome.bytes_read);
    if args.keyless {
        say(format!(
            "checked {snapshots} snapshots and {packs} packs without a key; read {read} of pack data"
        ))?
    } else {
        say(format!(
            "checked {snapshots} snapshots, {packs} packs, {} blobs; read {read} of pack data",
            outcome.blobs
        ))?
    }
    if !args.snapshots.is_empty() {
        say("other snapshots, and packs that these do not rest on, were not looked at".into())?;
    }
    if outcome.forgotten > 0 {
        say(format!(
            "{} forgotten snapshots were passed over",
            outcome.forgotten
        ))?;
    }
    if outcome.packs_left > 0 {
        say(format!(
            "{} packs are left for the next check with a budget",
            outcome.packs_left
        ))?;
    }
    verified_lines(args, outcome).into_iter().try_for_each(say)
}

/// How much was verified lately.
fn verified_lines(args: &CheckArgs, outcome: &CheckOutcome) -> Vec<String> {
    let (longest, within) = (
        verified_recently(args),
        outcome.verified.within(verified_recently(args)),
    );
    if within.bytes == 0 {
        return Vec::new();
    }
    let share = |part: u64| percent(part, within.bytes);
    let mut lines = vec![if args.keyless {
        format!(
            "within {}, {} % of pack data was hashed and right, by keyless checks",
            days(longest),
            share(within.bytes_hashed)
        )
    } else {
        format!(
            "within {}, {} % of pack data was opened and right; {} % more was only hashed, keyless",
            days(longest),
            share(within.bytes_opened),
            share(within.bytes_hashed)
        )
    }];
    if let Some(oldest) = within.oldest {
        lines.push(format!("the oldest of that was read on {}", time(oldest)));
    }
    lines
}

/// Rounded down: what is not all is never called so.
fn percent(part: u64, of: u64) -> String {
    let tenths = (u128::from(part) * 1000)
        .checked_div(u128::from(of))
        .unwrap_or(1000);
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn days(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds % 86_400 == 0 => format!("{} days", seconds / 86_400),
        seconds if seconds % 3600 == 0 => format!("{} hours", seconds / 3600),
        seconds => format!("{seconds} seconds"),
    }
}

fn print_finding(run: &CommandContext, finding: &CheckFinding) -> Result<()> {
    run.output.write_json(&finding_json(finding))?;
    if run.output.json {
        return Ok(());
    }
    print_error(&format!("error: {}: {}", finding.object, finding.what));
    for hanging in &finding.affects {
        print_error(&format!("  affects {hanging}"));
    }
    print_error(&format!("  {}", finding.helps));
    Ok(())
}

/// Told like a finding, and no error: exit code and count are those of the findings alone.
fn print_notice(run: &CommandContext, notice: &CheckNotice) -> Result<()> {
    run.output.write_json(&notice_json(notice))?;
    if run.output.json {
        return Ok(());
    }
    let since = notice
        .since
        .map(|at| format!(" (since {})", time(at)))
        .unwrap_or_default();
    print_error(&format!("notice: {}: {}{since}", notice.object, notice.what));
    print_error(&format!("  {}", notice.helps));
    Ok(())
}

fn notice_json(notice: &CheckNotice) -> Value {
    json!({"message_type": "notice", "object": notice.object, "what": notice.what,
        "since": notice.since.map(time_exact), "helps": notice.helps})
}

fn finding_json(finding: &CheckFinding) -> Value {
    json!({"message_type": "error", "object": finding.object, "what": finding.what,
        "affects": finding.affects, "helps": finding.helps})
}

fn summary(outcome: &CheckOutcome, args: &CheckArgs) -> Value {
    json!({
        "message_type": "summary",
        "num_errors": outcome.findings.len(),
        "num_notices": outcome.notices.len(),
        "keyless": args.keyless,
        "is_whole": args.snapshots.is_empty(),
        "snapshots": outcome.snapshots,
        "forgotten": outcome.forgotten,
        "packs": outcome.packs,
        "blobs": outcome.blobs,
        "bytes_read": outcome.bytes_read,
        "packs_read": outcome.packs_read,
        "packs_with_parity": outcome.packs_with_parity,
        "packs_left": outcome.packs_left,
        "verified": verified_json(outcome.verified.within(verified_recently(args)), verified_recently(args)),
    })
}

fn verified_json(within: VerifiedWithin, longest: Duration) -> Value {
    json!({
        "max_age_seconds": longest.as_secs(),
        "total_bytes": within.bytes,
        "bytes_opened": within.bytes_opened,
        "bytes_hashed_only": within.bytes_hashed,
        "packs_unverified": within.packs_unverified,
        "oldest": within.oldest.map(time_exact),
    })
}

fn subset(words: &str) -> Result<ReadData> {
    let wrong = || {
        usage(format!(
            "subset {words}: want n/t, a percentage like 5% or a size like 2G"
        ))
    };
    if let Some((part, of)) = words.split_once('/') {
        let (part, of): (u32, u32) = (
            part.parse().map_err(|_| wrong())?,
            of.parse().map_err(|_| wrong())?,
        );
        return if part >= 1 && part <= of {
            Ok(ReadData::Part { part, of })
        } else {
            Err(wrong())
        };
    }
    if let Some(percent) = words.strip_suffix('%') {
        let percent: f64 = percent.parse().map_err(|_| wrong())?;
        return if percent > 0.0 && percent <= 100.0 {
            Ok(ReadData::Share(percent / 100.0))
        } else {
            Err(wrong())
        };
    }
    if words.ends_with(|last: char| last.is_ascii_digit()) {
        Err(wrong())
    } else {
        size(words).map(ReadData::Bytes).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_down_and_times_read_as_people_say_them() {
        assert_eq!(percent(999_999, 1_000_000), "99.9");
        assert_eq!((percent(5, 5), percent(0, 0)), ("100.0".into(), "100.0".into()));
        assert_eq!(days(LATELY), "30 days");
        assert_eq!(days(Duration::from_secs(7200)), "2 hours");
    }

    #[test]
    fn subsets_are_parts_shares_or_sizes() {
        assert!(matches!(subset("2/7"), Ok(ReadData::Part { part: 2, of: 7 })));
        assert!(matches!(subset("5%"), Ok(ReadData::Share(share)) if (share - 0.05).abs() < 1e-9));
        assert!(matches!(subset("2G"), Ok(ReadData::Bytes(bytes)) if bytes == 2 << 30));
        for wrong in ["", "0/3", "4/3", "101%", "0%", "5", "G", "x%", "é"] {
            assert!(subset(wrong).is_err(), "{wrong}");
        }
    }
}
