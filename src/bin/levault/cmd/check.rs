//! `check`: findings, each with what hangs on it and what helps.

use levault::error::Result;
use levault::ops::check::{Check, CheckOutcome, Finding, Notice, ReadData};
use serde_json::{Value, json};

use super::{Run, usage};
use crate::advice::Ending;
use crate::args::CheckArgs;
use crate::output::{bytes, size, time, time_exact};
use crate::progress::watch;

/// Checks, then says what was found; never "done" with an error.
pub fn run(run: &Run, args: &CheckArgs) -> Result<Ending> {
    let read = match (&args.read_data_subset, args.read_data) {
        (Some(words), _) => subset(words)?,
        (None, true) => ReadData::All,
        (None, false) => ReadData::None,
    };
    let repo = run.open()?;
    let outcome = watch(run.output, run.report, || Check { read }.run(&repo, run.report))?;
    for finding in &outcome.findings {
        tell_finding(run, finding)?;
    }
    for notice in &outcome.notices {
        tell_notice(run, notice)?;
    }
    run.output.emit(&summary(&outcome))?;
    run.output.say(format!(
        "checked {} snapshots, {} packs, {} blobs; read {} of pack data",
        outcome.snapshots,
        outcome.packs,
        outcome.blobs,
        bytes(outcome.bytes_read)
    ))?;
    if outcome.forgotten > 0 {
        run.output.say(format!(
            "{} forgotten snapshots were passed over",
            outcome.forgotten
        ))?;
    }
    match outcome.findings.is_empty() {
        true => run.output.say("no errors were found").map(|()| Ending::Done),
        false => {
            run.output
                .say(format!("{} errors were found", outcome.findings.len()))?;
            Ok(Ending::CheckFailed)
        }
    }
}

fn tell_finding(run: &Run, finding: &Finding) -> Result<()> {
    run.output.emit(&finding_json(finding))?;
    if run.output.json {
        return Ok(());
    }
    eprintln!("error: {}: {}", finding.object, finding.what);
    for hanging in &finding.affects {
        eprintln!("  affects {hanging}");
    }
    eprintln!("  {}", finding.helps);
    Ok(())
}

/// Told like a finding, and no error: exit code and count are those of the findings alone.
fn tell_notice(run: &Run, notice: &Notice) -> Result<()> {
    run.output.emit(&notice_json(notice))?;
    if run.output.json {
        return Ok(());
    }
    let since = notice
        .since
        .map(|at| format!(" (since {})", time(at)))
        .unwrap_or_default();
    eprintln!("notice: {}: {}{since}", notice.object, notice.what);
    eprintln!("  {}", notice.helps);
    Ok(())
}

fn notice_json(notice: &Notice) -> Value {
    json!({"message_type": "notice", "object": notice.object, "what": notice.what,
        "since": notice.since.map(time_exact), "helps": notice.helps})
}

fn finding_json(finding: &Finding) -> Value {
    json!({"message_type": "error", "object": finding.object, "what": finding.what,
        "affects": finding.affects, "helps": finding.helps})
}

fn summary(outcome: &CheckOutcome) -> Value {
    json!({
        "message_type": "summary",
        "num_errors": outcome.findings.len(),
        "num_notices": outcome.notices.len(),
        "snapshots": outcome.snapshots,
        "forgotten": outcome.forgotten,
        "packs": outcome.packs,
        "blobs": outcome.blobs,
        "bytes_read": outcome.bytes_read,
        "packs_read": outcome.packs_read,
        "packs_with_parity": outcome.packs_with_parity,
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
        return match part >= 1 && part <= of {
            true => Ok(ReadData::Part { part, of }),
            false => Err(wrong()),
        };
    }
    if let Some(percent) = words.strip_suffix('%') {
        let percent: f64 = percent.parse().map_err(|_| wrong())?;
        return match percent > 0.0 && percent <= 100.0 {
            true => Ok(ReadData::Share(percent / 100.0)),
            false => Err(wrong()),
        };
    }
    match words.ends_with(|last: char| last.is_ascii_digit()) {
        true => Err(wrong()),
        false => size(words).map(ReadData::Bytes).map_err(|_| wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
