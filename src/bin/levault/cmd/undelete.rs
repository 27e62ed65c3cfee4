//! `undelete`: forgotten snapshots that are still stored, and the way back for them.

use levault::error::Result;
use levault::facts::{ForgottenSince, Why};
use levault::ops::undelete::{select, undelete};
use levault::repo::{Catalog, ForgottenSnapshot, Repo};
use serde_json::{Value, json};

use super::Run;
use crate::advice::Ending;
use crate::args::UndeleteArgs;
use crate::output::{print_line, time, time_exact};

/// Lists them, or brings back those that are named.
pub fn run(run: &Run, args: &UndeleteArgs) -> Result<Ending> {
    let repo = run.open()?;
    let catalog = repo.catalog()?;
    run.tell_unread(&catalog);
    if args.ids.is_empty() {
        list(run, &catalog)
    } else {
        bring_back(run, &repo, &catalog, &args.ids)
    }
}

fn list(run: &Run, catalog: &Catalog) -> Result<Ending> {
    if run.output.json {
        let all: Vec<_> = catalog.forgotten.iter().map(to_json).collect();
        return print_line(&Value::from(all).to_string()).map(|()| Ending::Done);
    }
    for forgotten in &catalog.forgotten {
        run.output.say(row(forgotten))?;
    }
    run.output.say(format!(
        "{} forgotten snapshots are still stored",
        catalog.forgotten.len()
    ))?;
    Ok(Ending::Done)
}

/// One that cannot be brought back does not keep the others; all of them failing is a failure.
fn bring_back(run: &Run, repo: &Repo, catalog: &Catalog, ids: &[String]) -> Result<Ending> {
    let mut failed = Vec::new();
    for words in ids {
        match select(catalog, words).and_then(|forgotten| back(run, repo, forgotten)) {
            Ok(()) => {}
            Err(error) if ids.len() == 1 => return Err(error),
            Err(error) => failed.push(error),
        }
    }
    failed
        .iter()
        .for_each(|error| run.output.warn(&error.to_string()));
    match failed.len() {
        0 => Ok(Ending::Done),
        all if all == ids.len() => Err(failed.remove(0)),
        _ => Ok(Ending::Incomplete),
    }
}

fn back(run: &Run, repo: &Repo, forgotten: &ForgottenSnapshot) -> Result<()> {
    undelete(repo, forgotten, run.report)?;
    run.output
        .emit(&json!({"message_type": "undeleted", "snapshot_id": forgotten.id.to_hex()}))?;
    run.output.say(format!(
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
        why(since)
    )
}

fn why(since: &ForgottenSince) -> String {
    match (since.why, since.words.as_str()) {
        (Why::ByHand, "") => "by hand".into(),
        (Why::Damaged, "") => "for its damage".into(),
        (Why::Policy, words) => format!("by policy {words}"),
        (_, words) => format!("by hand: {words}"),
    }
}

fn to_json(forgotten: &ForgottenSnapshot) -> Value {
    let snapshot = forgotten.snapshot.as_ref();
    let kind = match forgotten.since.why {
        Why::ByHand => "by_hand",
        Why::Policy => "policy",
        Why::Damaged => "damaged",
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
