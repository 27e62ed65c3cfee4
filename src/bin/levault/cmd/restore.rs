//! `restore`: a snapshot's databases back into directories.

use levault::error::Result;
use levault::ops::restore::{Overwrite, Restore, RestoreOutcome, Verify};
use levault::repo::{Repo, StoredSnapshot};
use serde_json::json;

use super::{Run, select};
use crate::advice::Ending;
use crate::args::{OverwriteArg, RestoreArgs, VerifyArg};
use crate::output::bytes;
use crate::progress::watch;

/// Restores, or prints what would be done.
pub fn run(run: &Run, args: &RestoreArgs) -> Result<Ending> {
    let opened = run.open_place(&args.pick.place)?;
    let database = match args.pick.place.address.is_empty() {
        true => args.pick.db.clone(),
        false => Some(opened.database(&args.pick)?.name.clone()),
    };
    let restore = Restore {
        database,
        target: args.target.clone(),
        selection: select::selection(&args.selection)?,
        overwrite: match args.overwrite {
            OverwriteArg::Never => Overwrite::Never,
            OverwriteArg::IfChanged => Overwrite::IfChanged,
            OverwriteArg::Always => Overwrite::Always,
        },
        verify: match args.verify {
            VerifyArg::Full => Verify::Full,
            VerifyArg::None => Verify::None,
        },
        with_uncertain: args.with_uncertain,
    };
    if args.dry_run {
        return plan(run, &restore, &restore.plan(&opened.stored)?);
    }
    self::restore(run, &opened.repo, &opened.stored, &restore)
}

/// Restores and tells of it.
pub fn restore(run: &Run, repo: &Repo, snapshot: &StoredSnapshot, restore: &Restore) -> Result<Ending> {
    let outcomes = watch(run.output, run.report, || restore.run(repo, snapshot, run.report))?;
    for outcome in &outcomes {
        tell(run, outcome)?;
    }
    for problem in run.report.problems() {
        run.output.warn(&problem);
    }
    run.output.emit(&json!({
        "message_type": "summary",
        "snapshot_id": snapshot.id.to_hex(),
        "records": outcomes.iter().map(|outcome| outcome.records).sum::<u64>(),
        "total_bytes": outcomes.iter().map(|outcome| outcome.bytes).sum::<u64>(),
        "databases": outcomes.iter().map(of_database).collect::<Vec<_>>(),
        "verified": outcomes.iter().all(|outcome| outcome.verified),
    }))?;
    match run.report.problems().is_empty() {
        true => Ok(Ending::Done),
        false => Ok(Ending::Incomplete),
    }
}

fn of_database(outcome: &RestoreOutcome) -> serde_json::Value {
    let rewritten = outcome.rewritten.map(|rewritten| {
        json!({
            "records_put": rewritten.puts,
            "records_deleted": rewritten.deletions,
            "bytes_written": rewritten.bytes_written,
            "bytes_linked": rewritten.bytes_linked,
        })
    });
    json!({"db": outcome.name, "unchanged": outcome.unchanged, "in_place": rewritten})
}

fn plan(run: &Run, restore: &Restore, plan: &[levault::ops::restore::Step]) -> Result<Ending> {
    let selected = match restore.selection.is_all() {
        true => "",
        false => "the selected keys of ",
    };
    for step in plan {
        run.output.emit(
            &json!({"message_type": "plan", "db": step.name, "target": step.target.display().to_string(),
            "records": step.records, "total_bytes": step.bytes}),
        )?;
        run.output.say(format!(
            "would restore {selected}{} ({} records, {}) to {}",
            step.name,
            step.records,
            bytes(step.bytes),
            step.target.display()
        ))?;
    }
    Ok(Ending::Done)
}

fn tell(run: &Run, outcome: &RestoreOutcome) -> Result<()> {
    if outcome.unchanged {
        let (name, target) = (&outcome.name, outcome.target.display());
        return run.output.say(format!(
            "{name}: {target} holds it already, and was left as it is"
        ));
    }
    let verified = if outcome.verified {
        "read back and verified"
    } else {
        "not verified"
    };
    let in_place = outcome.rewritten.map_or(String::new(), |rewritten| {
        format!(
            " in place ({} records put, {} deleted, {} written)",
            rewritten.puts,
            rewritten.deletions,
            bytes(rewritten.bytes_written)
        )
    });
    run.output.say(format!(
        "restored {} ({} records, {}) to {}{in_place}, {verified}",
        outcome.name,
        outcome.records,
        bytes(outcome.bytes),
        outcome.target.display()
    ))
}
