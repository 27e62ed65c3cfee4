//! `capture`: copies a live database consistently.

use std::time::Duration;

use levault::error::Result;
use levault::ops::capture::{CaptureOutcome, TableCopyMode, capture};
use levault::source::CaptureOptions;
use serde_json::json;

use super::verify_db::{print_damage, source_damage_json};
use crate::args::CaptureArgs;
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::{bytes, time_exact};
use crate::progress::watch;

/// Copies, then says what was copied.
pub fn run(run: &CommandContext, args: &CaptureArgs) -> Result<ExitStatus> {
    let how = CaptureOptions {
        timeout: Duration::from_secs(args.patience.capture_timeout),
        ..CaptureOptions::default()
    };
    run.refuse_forbidden(&args.target)?;
    let tables = if args.link {
        TableCopyMode::Linked
    } else {
        TableCopyMode::Copied
    };
    let outcome = watch(run.output, run.report, || {
        capture(&args.source, &args.target, &how, tables, run.report)
    })?;
    print_outcome(run, args, &outcome)?;
    if outcome.damage.is_empty() {
        Ok(ExitStatus::Done)
    } else {
        Ok(ExitStatus::SourceDamaged)
    }
}

fn print_outcome(run: &CommandContext, args: &CaptureArgs, outcome: &CaptureOutcome) -> Result<()> {
    let cut = &outcome.capture_details;
    for damage in &outcome.damage {
        print_damage(run, &args.source.display().to_string(), damage);
    }
    run.output.write_json(&json!({
        "message_type": "summary",
        "target": args.target.display().to_string(),
        "files": outcome.files,
        "bytes": outcome.bytes,
        "files_linked": outcome.linked,
        "captured_at": time_exact(cut.time),
        "capture_seconds": cut.duration.as_secs_f64(),
        "retries": cut.retries,
        "held_by": cut.held_by.to_string(),
        "last_seq": cut.last_sequence.to_string(),
        "unsynced_bytes": cut.unsynced_bytes,
        "source_damage": outcome.damage.iter().map(source_damage_json).collect::<Vec<_>>(),
    }))?;
    run.output.print(format!(
        "captured {} files, {} ({} linked), up to sequence number {}, at {} in {:.1} ms by {}, {} retries",
        outcome.files,
        bytes(outcome.bytes),
        outcome.linked,
        cut.last_sequence,
        time_exact(cut.time),
        cut.duration.as_secs_f64() * 1e3,
        cut.held_by,
        cut.retries,
    ))
}
