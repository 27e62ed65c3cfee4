//! `undelete`: lists forgotten snapshots, and brings them back.

use levault::error::Result;
use levault::ops::undelete::{select_forgotten, undelete};
use levault::repo::{ForgetEvent, ForgetReason};
use levault::repo::{ForgottenSnapshot, Repo, SnapshotCatalog};
use serde_json::{Value, json};

use crate::args::UndeleteArgs;
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::{time, time_exact};
use crate::output::print_line;

/// Lists them, or brings back those that are named.
pub fn run(run: &CommandContext, args: &UndeleteArgs) -> Result<ExitStatus> {
    let repo = run.open()?;
    let catalog = repo.catalog()?;
    run.warn_of_unread(&catalog);
    if args.ids.is_empty() {
        list(run, &catalog)
    } else {
        bring_back_all(run, &repo, &catalog, &args.ids)
    }
}

fn list(run: &CommandContext, catalog: &SnapshotCatalog) -> Result<ExitStatus> {
    if run.output.json {
        let all: Vec<_> = catalog.forgotten.iter().map(to_json).collect();
        return print_line(&Value::from(all).to_string()).map(|()| ExitStatus::Done);
    }
    for forgotten in &catalog.forgotten {
        run.output.print(row(forgotten))?;
    }
    run.output.print(format!(
        "{} forgotten snapshots are still stored",
        catalog.forgotten.len()
    ))?;
    Ok(ExitStatus::Done)
}

/// One that cannot be brought back does not keep the others; all of them failing is a failure.
fn bring_back_all(
    run: &CommandContext,
    repo: &Repo,
    catalog: &SnapshotCatalog,
    ids: &[String],
) -> Result<ExitStatus> {
    let mut failed = Vec::new();
    for words in ids {
        match select_forgotten(catalog, words).and_then(|forgotten| undelete_one(run, repo, forgotten)) {
            Ok(()) => {}
            Err(error) if ids.len() == 1 => return Err(error),
            Err(error) => failed.push(error),
        }
    }
    failed
        .iter()
        .for_each(|error| run.output.warn(&error.to_string()));
    match failed.len() {
        0 => Ok(ExitStatus::Done),
        all if all == ids.len() => Err(failed.remove(0)),
        _ => Ok(ExitStatus::Incomplete),
    }
}

fn undelete_one(run: &CommandContext, repo: &Repo, forgotten: &ForgottenSnapshot) -> Result<()> {
    undelete(repo, forgotten, run.report)?;
    run.output
        .write_json(&json!({"message_type": "undeleted", "snapshot_id": forgotten.id.to_hex()}))?;
    run.output.print(format!(
        "snapshot {} is back, and all it needs is there",
        forgotten.id.short()
    ))
}

fn row(forgotten: &ForgottenSnapshot) -> String {
    let made = match &forgotten.snapshot {
        Some(snapshot) => format!("{} of {}", time(snapshot.time), snapshot.host),
        None => "damaged, and cannot be brought back".to_owned(),
    };
    let since = &forgotten.since;
    format!(
        "{}  {made}, forgotten {} {}",
        forgotten.id.short(),
        time(since.when),
        reason_text(since)
    )
}

fn reason_text(since: &ForgetEvent) -> String {
    match (since.why, since.words.as_str()) {
        (ForgetReason::ByHand, "") => "by hand".into(),
        (ForgetReason::Damaged, "") => "for its damage".into(),
        (ForgetReason::Policy, words) => format!("by policy {words}"),
        (_, words) => format!("by hand: {words}"),
    }
}

fn to_json(forgotten: &ForgottenSnapshot) -> Value {
    let snapshot = forgotten.snapshot.as_ref();
    let kind = match forgotten.since.why {
        ForgetReason::ByHand => "by_hand",
        ForgetReason::Policy => "policy",
        ForgetReason::Damaged => "damaged",
    };
    json!({
        "id": forgotten.id.to_hex(),
        "short_id": forgotten.id.short(),
        "time": snapshot.map(|snapshot| time_exact(snapshot.time)),
        "hostname": snapshot.map(|snapshot| &snapshot.host),
        "tags": snapshot.map(|snapshot| &snapshot.tags),
        "forgotten": time_exact(forgotten.since.when),
        "why": kind,
        "words": forgotten.since.words,
    })
}
