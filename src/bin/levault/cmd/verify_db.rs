//! `verify-db`: prints what is wrong with a database.

use std::time::Duration;

use levault::engine::file_list_source::FileListSource;
use levault::error::Result;
use levault::ops::verify_db::{VerifyOutcome, verify_db};
use levault::source::{CaptureOptions, HoldMethod, SourceDamage};
use serde_json::{Value, json};

use super::backup::{damage_json, damage_text, dialect};
use crate::args::VerifyDbArgs;
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::{bytes, time_exact};
use crate::progress::watch;

/// Reads everything, then lists what is wrong.
pub fn run(run: &CommandContext, args: &VerifyDbArgs) -> Result<ExitStatus> {
    let how = CaptureOptions {
        hold: HoldMethod::Descriptors,
        timeout: Duration::from_secs(args.patience.capture_timeout),
        ..CaptureOptions::default()
    };
    let outcome = watch(run.output, run.report, || verify_db(&args.path, &how, run.report))?;
    print_outcome(run, args, &outcome)?;
    if outcome.is_sound() {
        Ok(ExitStatus::Done)
    } else {
        Ok(ExitStatus::SourceDamaged)
    }
}

fn print_outcome(run: &CommandContext, args: &VerifyDbArgs, outcome: &VerifyOutcome) -> Result<()> {
    let path = args.path.display().to_string();
    let scan = &outcome.scan;
    for damage in &scan.damage {
        print_damage(run, &path, damage);
    }
    run.output.write_json(&json!({
        "message_type": "summary",
        "path": path,
        "sound": outcome.is_sound(),
        "comparator": outcome.layout.comparator,
        "dialect": dialect(outcome.dialect()),
        "list_of_files": list_json(&outcome.files),
        "records_read": outcome.unread.is_none(),
        "unread": outcome.unread,
        "records": scan.records,
        "uncertain": scan.uncertain,
        "key_bytes": scan.key_bytes,
        "value_bytes": scan.value_bytes,
        "tables": scan.tables,
        "tables_read": scan.tables_read,
        "tables_of_odd_size": scan.odd_sizes,
        "table_entries": scan.table_entries,
        "log_entries": scan.log_entries,
        "bytes_read": scan.bytes_read,
        "last_seq": outcome.capture_details.as_ref().map(|cut| cut.last_sequence.to_string()),
        "captured_at": outcome.capture_details.as_ref().map(|cut| time_exact(cut.time)),
        "retries": outcome.capture_details.as_ref().map(|cut| cut.retries),
        "torn_tails": scan.torn_tails.iter().map(|tail| json!({"file": tail.file, "offset": tail.offset}))
            .collect::<Vec<_>>(),
        "source_damage": scan.damage.iter().map(source_damage_json).collect::<Vec<_>>(),
    }))?;
    for tail in &scan.torn_tails {
        run.output.detail(format!(
            "{}: ends inside a write at byte {} (normal after a crash and under a writer)",
            tail.file, tail.offset
        ))?;
    }
    if scan.odd_sizes > 0 {
        run.output.detail(format!(
            "{} tables are not as long as the MANIFEST says, and whole (some writers record another size)",
            scan.odd_sizes
        ))?;
    }
    if let Some(how) = missing_current_text(&outcome.files) {
        run.output.warn(&how);
    }
    if let Some(why) = &outcome.unread {
        run.output.warn(&format!(
            "records were not read, each file was checked by itself: {why}"
        ));
    }
    run.output
        .print(format!("{path}: {}: {}", read_text(outcome), verdict(outcome)))
}

fn missing_current_text(files: &FileListSource) -> Option<String> {
    match files {
        FileListSource::Manifest => None,
        FileListSource::NewestManifest(name) => Some(format!(
            "CURRENT cannot be used: read by {name}, the newest MANIFEST"
        )),
        FileListSource::AllFiles(_) => {
            Some("no MANIFEST can be read: all tables and logs that are there were opened".into())
        }
    }
}

fn list_json(files: &FileListSource) -> Value {
    match files {
        FileListSource::Manifest => "current".into(),
        FileListSource::NewestManifest(name) => name.clone().into(),
        FileListSource::AllFiles(_) => Value::Null,
    }
}

/// Only what code has read.
fn read_text(outcome: &VerifyOutcome) -> String {
    let scan = &outcome.scan;
    let read = format!(
        "{} of {} tables opened, {} read",
        scan.tables_read,
        scan.tables,
        bytes(scan.bytes_read)
    );
    match outcome.unread {
        None => format!("{} records, {read}", scan.records),
        Some(_) if scan.bytes_read == 0 => "nothing was read".to_owned(),
        Some(_) => format!("records not read, {read}"),
    }
}

fn verdict(outcome: &VerifyOutcome) -> String {
    match (outcome.scan.damage.len(), &outcome.unread) {
        (0, None) => "sound".to_owned(),
        (0, Some(_)) => "no damage in what was checked".to_owned(),
        (count, _) => format!("{count} findings"),
    }
}

/// One finding, for people.
pub fn print_damage(run: &CommandContext, name: &str, damage: &SourceDamage) {
    run.output
        .warn(&format!("{name}: {}", damage_text(&damage.clone().into())));
}

/// One finding, for programs.
pub fn source_damage_json(damage: &SourceDamage) -> Value {
    damage_json(&damage.clone().into())
}
