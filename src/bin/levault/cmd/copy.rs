//! `copy`: copies snapshots of another repository into this one.

use std::sync::Arc;

use levault::engine::snapshot_filter::SnapshotFilter;
use levault::engine::tag_list::TagList;
use levault::error::{ErrorKind, Result};
use levault::ops::copy::{CopiedSnapshot, Copy, CopyOutcome, CopyPlan, CopyStep, ListedRepository};
use levault::repo::{Repo, StoredSnapshot};
use levault::storage::LocalStorage;
use serde_json::json;

use crate::args::{CopyArgs, SourceArgs};
use crate::command_context::{CommandContext, usage};
use crate::exit_status::ExitStatus;
use crate::format::{bytes, time};
use crate::output::print_line;
use crate::password;
use crate::progress::watch;

/// Copies what is missing, oldest first.
pub fn run(run: &CommandContext, args: &CopyArgs) -> Result<ExitStatus> {
    // Before anything is opened: words that are no path lead nowhere.
    run.repository()?;
    let from = source(run, &args.source)?;
    let to = destination(run, args, &from)?;
    if *from.id() == *to.id() && from.storage_reader().describe() == to.storage_reader().describe() {
        return Err(usage("source and destination are one repository"));
    }
    if args.ids.iter().any(|words| words.starts_with("latest")) {
        run.warn_of_clocks(&from.catalog()?);
    }
    let wish = Copy {
        snapshots: args.ids.clone(),
        filter: SnapshotFilter {
            hosts: args.filter.host.clone(),
            tags: args
                .filter
                .tag
                .iter()
                .map(|words| TagList::parse(words))
                .collect(),
            databases: super::forget::names(&args.filter.database),
        },
    };
    if args.dry_run {
        dry_run(run, &wish, &from, &to)
    } else {
        copy(run, &wish, &from, &to)
    }
}

/// The repository that the `--from-` settings name, unlocked.
pub fn source(run: &CommandContext, args: &SourceArgs) -> Result<Repo> {
    let place = run.source_repository(args)?;
    let storage = LocalStorage::open(&place)?;
    let password = password::read_source(args)?;
    let mut settings = run.settings()?;
    settings.pack_bytes = None;
    Repo::open(Arc::new(storage), &password, settings)
}

fn destination(run: &CommandContext, args: &CopyArgs, from: &Repo) -> Result<Repo> {
    match run.open() {
        Err(error) if error.kind() == ErrorKind::NoRepository && args.init => {
            let repo = super::init::create_repository(run, Some(from))?;
            super::init::print_created(run, &repo, None)?;
            Ok(repo)
        }
        opened => opened,
    }
}

fn dry_run(run: &CommandContext, wish: &Copy, from: &Repo, to: &Repo) -> Result<ExitStatus> {
    let (source, there) = (
        ListedRepository::load(from, run.report)?,
        ListedRepository::load(to, run.report)?,
    );
    let plan = wish.plan(from, &source, to, &there)?;
    print_plan(run, &plan)?;
    run.print_notices();
    let unreadable = &source.catalog.unreadable;
    unreadable.iter().for_each(|unread| run.output.warn(&unread.what));
    Ok(if unreadable.is_empty() {
        ExitStatus::Done
    } else {
        ExitStatus::Incomplete
    })
}

fn print_plan(run: &CommandContext, plan: &CopyPlan) -> Result<()> {
    for step in &plan.steps {
        if let CopyStep::Copy(stored) = step {
            run.output.write_json(&json!({"message_type": "plan", "action": "copy",
                "snapshot_id": stored.id.to_hex(), "time": crate::format::time_exact(stored.snapshot.time)}))?;
            run.output
                .print(format!("would copy {}", snapshot_text(stored)))?;
        }
    }
    run.output.write_json(
        &json!({"message_type": "summary", "dry_run": true, "to_copy": plan.missing,
        "already_there": plan.there}),
    )?;
    run.output.print(format!(
        "would copy {} snapshots; {} are there",
        plan.missing, plan.there
    ))
}

fn snapshot_text(stored: &StoredSnapshot) -> String {
    let names: Vec<_> = stored
        .snapshot
        .sources
        .iter()
        .map(|source| source.name())
        .collect();
    let snapshot = &stored.snapshot;
    format!(
        "{} of {} ({}: {})",
        stored.id.short(),
        time(snapshot.time),
        snapshot.host,
        names.join(", ")
    )
}

fn copy(run: &CommandContext, wish: &Copy, from: &Repo, to: &Repo) -> Result<ExitStatus> {
    let begun = std::time::Instant::now();
    let mut said = Ok(());
    let mut each = |copied: CopiedSnapshot| {
        // What cannot be told is no reason to leave the rest behind.
        said = print_copied(run, copied);
    };
    let outcome = watch(run.output, run.report, || {
        wish.run(from, to, run.report, &mut each)
    })?;
    said?;
    print_outcome(run, &outcome, begun.elapsed().as_secs_f64())?;
    Ok(if outcome.refused.is_empty() && outcome.unreadable.is_empty() {
        ExitStatus::Done
    } else {
        ExitStatus::Incomplete
    })
}

fn print_copied(run: &CommandContext, copied: CopiedSnapshot) -> Result<()> {
    match (run.output.json, run.output.quiet) {
        (true, _) => run.output.write_json(
            &json!({"message_type": "copied", "snapshot_id": copied.to.to_hex(),
            "original_id": copied.from.to_hex()}),
        ),
        (false, true) => Ok(()),
        (false, false) => print_line(&format!(
            "snapshot {} is copied as {}",
            copied.from.short(),
            copied.to.short()
        )),
    }
}

fn print_outcome(run: &CommandContext, outcome: &CopyOutcome, seconds: f64) -> Result<()> {
    run.print_notices();
    outcome.unreadable.iter().for_each(|what| run.output.warn(what));
    for refused in &outcome.refused {
        run.output.warn(&format!(
            "snapshot {} is not copied: {}",
            refused.snapshot.short(),
            refused.why
        ));
    }
    let report = run.report;
    let refused = outcome.refused.iter();
    run.output.write_json(&json!({
        "message_type": "summary",
        "dry_run": false,
        "copied": outcome.copied.iter().map(|copied| json!({"snapshot_id": copied.to.to_hex(),
            "original_id": copied.from.to_hex()})).collect::<Vec<_>>(),
        "already_there": outcome.there,
        "refused": refused.map(|refused| json!({"original_id": refused.snapshot.to_hex(), "why": refused.why}))
            .collect::<Vec<_>>(),
        "unreadable": outcome.unreadable,
        "notes": outcome.notes,
        "data_blobs": report.blobs_new.get(),
        "data_added": report.bytes_added.get(),
        "data_added_packed": report.bytes_added_packed.get(),
        "seconds_elapsed": seconds,
    }))?;
    run.output.print(format!(
        "{} snapshots copied, {} were there{}; {} added ({} stored)",
        outcome.copied.len(),
        outcome.there,
        match outcome.refused.len() {
            0 => String::new(),
            count => format!(", {count} lack something in the source (`levault check` there says what)"),
        },
        bytes(report.bytes_added.get()),
        bytes(report.bytes_added_packed.get())
    ))
}
