//! `quarantine`: lists unreadable objects, and sets them aside.

use levault::error::Result;
use levault::ops::quarantine::{self, NewerFormatMode, UnreadableObject};
use serde_json::json;

use crate::args::{QuarantineArgs, QuarantineCommand};
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;

/// Lists, sets aside, or takes back.
pub fn run(run: &CommandContext, args: &QuarantineArgs) -> Result<ExitStatus> {
    let repo = run.open()?;
    let objects = match &args.verb {
        QuarantineCommand::List => quarantine::list_unreadable(&repo)?,
        QuarantineCommand::Add(args) => {
            let newer = if args.newer {
                NewerFormatMode::Included
            } else {
                NewerFormatMode::Refused
            };
            quarantine::add(&repo, &args.these.ids, newer)?
        }
        QuarantineCommand::Remove(args) => quarantine::remove(&repo, &args.ids)?,
    };
    objects.iter().try_for_each(|object| print_object(run, object))?;
    Ok(ExitStatus::Done)
}

fn print_object(run: &CommandContext, object: &UnreadableObject) -> Result<()> {
    run.output.write_json(&json!({
        "message_type": "unread_object",
        "object": object.path(),
        "domain": object.domain.map(|domain| domain.0),
        "what": object.what,
        "quarantined": object.is_quarantined,
    }))?;
    let state = if object.is_quarantined {
        "set aside"
    } else {
        "not set aside"
    };
    run.output
        .print(format!("{}: {state}; {}", object.path(), object.what))
}
