//! `diff`: what differs between two snapshots, record by record.

use std::io::{BufWriter, Write};

use levault::error::{Act, Result};
use levault::ops::diff::{self, Change, DiffOutcome, State, Tally};
use levault::run::{Difference, Payload};
use serde_json::{Map, Value, json};

use super::{Run, select};
use crate::advice::Ending;
use crate::args::DiffArgs;
use crate::output::{bytes, key_text, put_bytes};

/// Lists and counts the records that differ.
pub fn run(run: &Run, args: &DiffArgs) -> Result<Ending> {
    let selection = select::selection(&args.selection)?;
    let repo = run.open()?;
    let [old, new] = [repo.select(&args.old)?, repo.select(&args.new)?];
    let states = [
        State::of(&old, args.db.as_deref())?,
        State::of(&new, args.db.as_deref())?,
    ];
    let mut out = BufWriter::new(std::io::stdout().lock());
    let outcome = diff::diff(
        &repo,
        states[0],
        states[1],
        &selection,
        run.report,
        &mut |difference| {
            let line = match (args.counts || run.output.quiet, run.output.json) {
                (true, _) => return Ok(()),
                (false, true) => to_json(difference).to_string(),
                (false, false) => line(difference),
            };
            writeln!(out, "{line}").act(|| "write to standard output")
        },
    )?;
    out.flush().act(|| "write to standard output")?;
    drop(out);
    tell(run, states, &outcome)?;
    Ok(run.tell_problems())
}

fn modifier(difference: &Difference<'_>) -> &'static str {
    match Change::of(difference) {
        Change::Added => "+",
        Change::Changed => "M",
        Change::Removed => "-",
    }
}

fn line(difference: &Difference<'_>) -> String {
    let size = |value: &Payload<'_>| bytes(value.value_bytes());
    let sizes: Vec<_> = [&difference.old, &difference.new]
        .into_iter()
        .flatten()
        .map(size)
        .collect();
    let (sign, key) = (modifier(difference), key_text(difference.key));
    format!("{sign}  {key}  ({})", sizes.join(" to "))
}

fn to_json(difference: &Difference<'_>) -> Value {
    let mut object = Map::new();
    object.insert("message_type".into(), "change".into());
    object.insert("modifier".into(), modifier(difference).into());
    put_bytes(&mut object, "key", difference.key);
    for (name, value) in [("old_size", &difference.old), ("new_size", &difference.new)] {
        if let Some(value) = value {
            object.insert(name.into(), value.value_bytes().into());
        }
    }
    object.into()
}

fn tell(run: &Run, [old, new]: [State; 2], outcome: &DiffOutcome) -> Result<()> {
    let tally = |tally: &Tally| json!({"records": tally.records, "bytes": tally.bytes});
    run.output.emit(&json!({
        "message_type": "summary",
        "source_snapshot": old.snapshot.id.to_hex(),
        "target_snapshot": new.snapshot.id.to_hex(),
        "db": new.database.name,
        "added": tally(&outcome.added),
        "changed": tally(&outcome.changed),
        "removed": tally(&outcome.removed),
    }))?;
    let count = |tally: &Tally| format!("{} ({})", tally.records, bytes(tally.bytes));
    run.output.say(format!(
        "{}: added {}, changed {}, removed {}",
        new.database.name,
        count(&outcome.added),
        count(&outcome.changed),
        count(&outcome.removed)
    ))
}
