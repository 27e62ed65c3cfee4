//! `rescue`: rebuilds a damaged database.

use std::os::unix::ffi::OsStrExt;

use levault::engine::file_list_source::FileListSource;
use levault::error::Result;
use levault::ops::rescue::{KeySpan, Rescue, RescueMode, RescueOutcome, SpanOutcome, UncertainRecords};
use serde_json::{Map, Value, json};

use super::verify_db::{print_damage, source_damage_json};
use crate::args::RescueArgs;
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::{key_text, put_bytes, time, time_exact};
use crate::progress::watch;

/// Reads, decides, tells; writes with `--apply`.
pub fn run(run: &CommandContext, args: &RescueArgs) -> Result<ExitStatus> {
    let rescue = Rescue {
        directory: args.directory.clone(),
        output: args.output.clone(),
        snapshot: args.snapshot.clone(),
        database: args.db.as_ref().map(|name| name.as_bytes().to_vec()),
        uncertain: if args.with_uncertain {
            UncertainRecords::Keep
        } else {
            UncertainRecords::LeaveOut
        },
        act: if args.apply {
            RescueMode::Write
        } else {
            RescueMode::Tell
        },
    };
    run.refuse_forbidden(&args.output)?;
    let repo = run.open()?;
    if args.snapshot.is_none() {
        run.warn_of_clocks(&repo.catalog()?);
    }
    let outcome = watch(run.output, run.report, || rescue.run(&repo, run.report))?;
    print_outcome(run, args, &outcome)?;
    Ok(exit_status(&outcome))
}

/// What was supplied may be stale: that is not the same as nothing lost.
fn exit_status(outcome: &RescueOutcome) -> ExitStatus {
    match (outcome.is_whole(), outcome.is_supplied()) {
        (true, _) => ExitStatus::Done,
        (false, true) => ExitStatus::Incomplete,
        (false, false) => ExitStatus::SourceDamaged,
    }
}

fn print_outcome(run: &CommandContext, args: &RescueArgs, outcome: &RescueOutcome) -> Result<()> {
    let directory = args.directory.display().to_string();
    for damage in &outcome.damage {
        print_damage(run, &directory, damage);
    }
    if let Some(what) = files_text(&outcome.files) {
        run.output.warn(&format!("{directory}: {what}"));
    }
    if let Some((first, last)) = outcome.lost_writes {
        run.output.warn(&format!(
            "{directory}: writes {first} to {last} are lost; they came behind the newest snapshot, and what they \
             overwrote or deleted is as it was before them"
        ));
    }
    for span in &outcome.spans {
        print_span(run, span)?;
    }
    run.output.write_json(&summary(args, outcome))?;
    run.output.print(match (outcome.written, outcome.is_whole()) {
        (true, _) => format!(
            "{}: {} records written and read back, {} of them the directory's own",
            args.output.display(),
            outcome.records,
            outcome.own
        ),
        (false, true) => "nothing is lost; --apply would write a sound copy".to_owned(),
        (false, false) => format!(
            "{} records could be had, {} of them the directory's own; --apply writes them to {}",
            outcome.records,
            outcome.own,
            args.output.display()
        ),
    })
}

fn files_text(files: &FileListSource) -> Option<String> {
    match files {
        FileListSource::Manifest => None,
        FileListSource::NewestManifest(name) => Some(format!("CURRENT is lost; read by {name}")),
        FileListSource::AllFiles(why) => Some(format!(
            "{why}: all tables and logs are read, and only what is newer than the snapshot is taken from them"
        )),
    }
}

fn print_span(run: &CommandContext, outcome: &SpanOutcome) -> Result<()> {
    for (snapshot, why) in &outcome.passed_over {
        run.output.detail(format!(
            "  {}: snapshot {} cannot help: {why}",
            span_text(&outcome.span),
            snapshot.short()
        ))?;
    }
    let tally = &outcome.tally;
    run.output.print(match &outcome.supply {
        Some(supply) => format!(
            "{}: {} records from snapshot {} of {} (writes since then may be lost), {} of the directory's own are certain, \
             {} newer, {} left out",
            span_text(&outcome.span),
            tally.supplied,
            supply.snapshot.short(),
            time(supply.time),
            tally.certain,
            tally.newer,
            tally.left_out
        ),
        None => format!(
            "{}: no snapshot has it whole; {} of the directory's own records are certain, {} kept although uncertain, {} \
             left out",
            span_text(&outcome.span),
            tally.certain,
            tally.kept,
            tally.left_out
        ),
    })
}

fn span_text(span: &KeySpan) -> String {
    match (&span.smallest, &span.largest) {
        (None, None) => "all keys".to_owned(),
        (smallest, largest) => {
            let text = |key: &Option<Vec<u8>>| key.as_ref().map_or("...".to_owned(), |key| key_text(key));
            format!("keys {} to {}", text(smallest), text(largest))
        }
    }
}

fn summary(args: &RescueArgs, outcome: &RescueOutcome) -> Value {
    let files = match &outcome.files {
        FileListSource::Manifest => json!({"by": "manifest"}),
        FileListSource::NewestManifest(name) => json!({"by": "newest_manifest", "manifest": name}),
        FileListSource::AllFiles(why) => json!({"by": "all_files", "why": why}),
    };
    json!({
        "message_type": "summary",
        "path": args.directory.display().to_string(),
        "output": args.output.display().to_string(),
        "written": outcome.written,
        "whole": outcome.is_whole(),
        "supplied": outcome.is_supplied(),
        "files": files,
        "records": outcome.records,
        "own_records": outcome.own,
        "lost_first_seq": outcome.lost_writes.map(|(first, _)| first.to_string()),
        "lost_last_seq": outcome.lost_writes.map(|(_, last)| last.to_string()),
        "source_damage": outcome.damage.iter().map(source_damage_json).collect::<Vec<_>>(),
        "ranges": outcome.spans.iter().map(span_json).collect::<Vec<_>>(),
    })
}

fn span_json(outcome: &SpanOutcome) -> Value {
    let mut span = Map::new();
    for (name, key) in [
        ("smallest", &outcome.span.smallest),
        ("largest", &outcome.span.largest),
    ] {
        if let Some(key) = key {
            put_bytes(&mut span, name, key);
        }
    }
    let (supply, tally) = (&outcome.supply, &outcome.tally);
    let passed_over = outcome.passed_over.iter();
    let passed_over = passed_over.map(|(id, why)| json!({"snapshot_id": id.to_hex(), "why": why}));
    let rest = json!({
        "snapshot_id": supply.as_ref().map(|supply| supply.snapshot.to_hex()),
        "snapshot_time": supply.as_ref().map(|supply| time_exact(supply.time)),
        "passed_over": passed_over.collect::<Vec<_>>(),
        "from_snapshot": tally.supplied,
        "certain": tally.certain,
        "newer": tally.newer,
        "kept_uncertain": tally.kept,
        "left_out": tally.left_out,
    });
    span.extend(rest.as_object().cloned().unwrap_or_default());
    Value::Object(span)
}
