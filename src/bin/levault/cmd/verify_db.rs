//! `verify-db`: what is wrong with a database.

use std::time::Duration;

use levault::error::Result;
use levault::ops::verify_db::{VerifyOutcome, verify_db};
use levault::source::{Capture, Damage, HeldBy};
use serde_json::{Value, json};

use super::Run;
use super::backup::{damage_json, damage_text, dialect};
use crate::advice::Ending;
use crate::args::VerifyDbArgs;
use crate::output::{bytes, time_exact};
use crate::progress::watch;

/// Reads everything, then lists what is wrong.
pub fn run(run: &Run, args: &VerifyDbArgs) -> Result<Ending> {
    let how = Capture {
        hold: HeldBy::Descriptors,
        patience: Duration::from_secs(args.patience.capture_timeout),
        ..Capture::default()
    };
    let outcome = watch(run.output, run.report, || verify_db(&args.path, &how, run.report))?;
    tell(run, args, &outcome)?;
    match outcome.is_sound() {
        true => Ok(Ending::Done),
        false => Ok(Ending::SourceDamaged),
    }
}

fn tell(run: &Run, args: &VerifyDbArgs, outcome: &VerifyOutcome) -> Result<()> {
    let path = args.path.display().to_string();
    let scan = &outcome.scan;
    for damage in &scan.damage {
        say_damage(run, &path, damage);
    }
    run.output.emit(&json!({
        "message_type": "summary",
        "path": path,
        "sound": outcome.is_sound(),
        "comparator": outcome.shape.comparator,
        "dialect": dialect(outcome.dialect()),
        "ordered": outcome.is_ordered,
        "records": scan.records,
        "uncertain": scan.uncertain,
        "key_bytes": scan.key_bytes,
        "value_bytes": scan.value_bytes,
        "tables": scan.tables,
        "table_entries": scan.table_entries,
        "log_entries": scan.log_entries,
        "bytes_read": scan.bytes_read,
        "last_seq": outcome.cut.as_ref().map(|cut| cut.last_sequence.to_string()),
        "captured_at": outcome.cut.as_ref().map(|cut| time_exact(cut.time)),
        "retries": outcome.cut.as_ref().map(|cut| cut.retries),
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
    if !outcome.is_ordered {
        run.output.warn(&format!(
            "the order of comparator {:?} is not known: tables and logs were checked one by one only",
            outcome.shape.comparator
        ));
    }
    run.output.say(format!(
        "{path}: {} records, {} tables, {} read: {}",
        scan.records,
        scan.tables,
        bytes(scan.bytes_read),
        match scan.damage.len() {
            0 => "sound".to_owned(),
            count => format!("{count} findings"),
        }
    ))
}

/// One finding, for people.
pub fn say_damage(run: &Run, name: &str, damage: &Damage) {
    run.output
        .warn(&format!("{name}: {}", damage_text(&damage.clone().into())));
}

/// One finding, for programs.
pub fn source_damage_json(damage: &Damage) -> Value {
    damage_json(&damage.clone().into())
}
