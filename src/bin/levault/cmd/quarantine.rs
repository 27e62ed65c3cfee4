//! `quarantine`: objects that cannot be read, and which of them are set aside.

use clap::{Args, Subcommand};
use levault::error::Result;
use levault::ops::quarantine::{self, Newer, UnreadObject};
use serde_json::json;

use super::Run;
use crate::advice::Ending;

#[derive(Args)]
pub struct QuarantineArgs {
    #[command(subcommand)]
    verb: QuarantineVerb,
}

#[derive(Subcommand)]
enum QuarantineVerb {
    /// List the snapshots and index segments that cannot be read
    List,
    /// Set some of them aside: from then on they are passed over, and stop no prune
    Add(AddArgs),
    /// Take some back
    Remove(TheseArgs),
}

#[derive(Args)]
struct TheseArgs {
    /// Ids or the beginnings of them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

#[derive(Args)]
struct AddArgs {
    #[command(flatten)]
    these: TheseArgs,
    /// Also what claims to be of a later levault, which none of yours is: a prune deletes what it may need
    #[arg(long)]
    newer: bool,
}

/// Lists, sets aside, or takes back.
pub fn run(run: &Run, args: &QuarantineArgs) -> Result<Ending> {
    let repo = run.open()?;
    let objects = match &args.verb {
        QuarantineVerb::List => quarantine::unread(&repo)?,
        QuarantineVerb::Add(args) => {
            let newer = if args.newer {
                Newer::Included
            } else {
                Newer::Refused
            };
            quarantine::add(&repo, &args.these.ids, newer)?
        }
        QuarantineVerb::Remove(args) => quarantine::remove(&repo, &args.ids)?,
    };
    objects.iter().try_for_each(|object| tell(run, object))?;
    Ok(Ending::Done)
}

fn tell(run: &Run, object: &UnreadObject) -> Result<()> {
    run.output.emit(&json!({
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
        .say(format!("{}: {state}; {}", object.path(), object.what))
}
