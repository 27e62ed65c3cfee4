//! Prints what a policy keeps and forgets, with reasons.

use levault::error::Result;
use levault::ops::forget::{ForgetInput, GroupPlan, KeepReason, PolicyCalendar};
use levault::repo::CurrentNotes;
use levault::repo::StoredSnapshot;
use serde_json::{Value, json};

use super::super::print_node::put_paths;
use super::super::snapshots;
use super::ForgetResult;
use crate::command_context::CommandContext;
use crate::format::{bytes, time};
use crate::output::print_line;

/// Group by group what is kept, why, and what is not.
pub fn plans(
    run: &CommandContext,
    plans: &[GroupPlan],
    known: &ForgetInput,
    calendar: &PolicyCalendar,
) -> Result<()> {
    if run.output.json {
        let all: Vec<_> = plans.iter().map(|plan| plan_json(plan, &known.notes)).collect();
        return print_line(&Value::from(all).to_string());
    }
    let zone = calendar.zone.iana_name().unwrap_or("this machine's time zone");
    run.output
        .print(format!("hours, days and weeks are those of {zone}"))?;
    plans
        .iter()
        .try_for_each(|plan| plan_text(run, plan, &known.notes))
}

/// How it ended.
pub fn end(run: &CommandContext, done: &ForgetResult, dry_run: bool) -> Result<()> {
    let verb = if dry_run { "would be" } else { "are" };
    run.output
        .print(format!("{} snapshots {verb} forgotten", done.forgotten))?;
    if done.forgotten > 0 && !dry_run {
        run.output
            .print("`levault undelete` lists them, and brings them back until a prune takes their data")
    } else {
        Ok(())
    }
}

fn plan_text(run: &CommandContext, plan: &GroupPlan, notes: &CurrentNotes) -> Result<()> {
    run.output.print(format!("\nsnapshots of {}:", plan.group))?;
    run.output.print(format!("keep {}:", plan.keep.len()))?;
    for (stored, reasons) in &plan.keep {
        let why = reasons
            .iter()
            .map(KeepReason::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        run.output.print(format!("{}  {why}", row(stored, notes)))?;
    }
    run.output.print(format!("forget {}:", plan.remove.len()))?;
    plan.remove
        .iter()
        .try_for_each(|stored| run.output.print(row(stored, notes)))
}

fn row(stored: &StoredSnapshot, notes: &CurrentNotes) -> String {
    let snapshot = &stored.snapshot;
    let suspect = if notes.suspect_note(&stored.id).is_some() {
        "  SUSPECT"
    } else {
        ""
    };
    let incomplete = if snapshot.is_incomplete() {
        "  INCOMPLETE"
    } else {
        ""
    };
    format!(
        "  {}  {}  {:<10}  {:>10}{suspect}{incomplete}",
        stored.id.short(),
        time(snapshot.time),
        snapshot.tags.join(","),
        bytes(snapshot.bytes()),
    )
}

fn plan_json(plan: &GroupPlan, notes: &CurrentNotes) -> Value {
    let snapshot = |stored: &StoredSnapshot| snapshots::to_json(stored, notes);
    let reason = |(stored, reasons): &(StoredSnapshot, Vec<KeepReason>)| {
        let matches: Vec<_> = reasons.iter().map(KeepReason::to_string).collect();
        json!({"snapshot": snapshot(stored), "matches": matches})
    };
    let mut value = json!({
        "tags": plan.group.tags,
        "domain": plan.group.domain.0,
        "host": plan.group.host.as_deref().unwrap_or_default(),
        "keep": plan.keep.iter().map(|(stored, _)| snapshot(stored)).collect::<Vec<_>>(),
        "remove": plan.remove.iter().map(snapshot).collect::<Vec<_>>(),
        "reasons": plan.keep.iter().map(reason).collect::<Vec<_>>(),
    });
    if let Value::Object(object) = &mut value {
        match &plan.group.paths {
            Some(paths) => put_paths(
                object,
                "paths",
                &paths.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            ),
            None => drop(object.insert("paths".into(), Value::Null)),
        }
    }
    value
}
