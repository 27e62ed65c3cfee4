//! `repair`: tells what would be put right, and does it with `--apply`.

use clap::{Args, Subcommand};
use levault::error::Result;
use levault::id::ObjectId;
use levault::ops::repair::index::{IndexOutcome, RepairIndex};
use levault::ops::repair::{Mode, config};
use serde_json::{Value, json};

use super::Run;
use crate::advice::Ending;
use crate::progress::watch;

#[derive(Args)]
pub struct RepairArgs {
    #[command(subcommand)]
    verb: RepairVerb,
}

#[derive(Subcommand)]
enum RepairVerb {
    /// Put config back from its copy, or the copy from config
    Config(ApplyArgs),
    /// Make what is missing of the index from the packs
    Index(IndexArgs),
}

#[derive(Args)]
struct ApplyArgs {
    /// Do it; without this, say what would be done
    #[arg(long)]
    apply: bool,
}

#[derive(Args)]
struct IndexArgs {
    /// Believe nothing of the index: read every pack's directory
    #[arg(long)]
    read_all_packs: bool,
    #[command(flatten)]
    apply: ApplyArgs,
}

impl ApplyArgs {
    fn mode(&self) -> Mode {
        match self.apply {
            true => Mode::Apply,
            false => Mode::DryRun,
        }
    }
}

/// Tells, and does if it is told to.
pub fn run(run: &Run, args: &RepairArgs) -> Result<Ending> {
    match &args.verb {
        RepairVerb::Config(args) => repair_config(run, args.mode()),
        RepairVerb::Index(args) => repair_index(run, args),
    }
}

fn repair_config(run: &Run, mode: Mode) -> Result<Ending> {
    let repo = run.open()?;
    let repaired = config::run(&repo, mode)?;
    run.output.emit(&json!({
        "message_type": "summary",
        "repair": "config",
        "dry_run": mode == Mode::DryRun,
        "object": repaired.as_ref().map(|repaired| repaired.object),
        "what": repaired.as_ref().map(|repaired| &repaired.what),
    }))?;
    let Some(repaired) = repaired else {
        run.output.say("config and its copy are whole")?;
        return Ok(Ending::Done);
    };
    run.output
        .say(format!("{}: {}", repaired.object, repaired.what))?;
    let other = if repaired.object == "config" { "config.copy" } else { "config" };
    run.output
        .say(format!("{} put back from {other}", is_or_would_be(mode)))?;
    tell_dry(run, mode, true)?;
    Ok(Ending::Done)
}

fn repair_index(run: &Run, args: &IndexArgs) -> Result<Ending> {
    let mode = args.apply.mode();
    let repo = run.open()?;
    let repair = RepairIndex {
        read_all_packs: args.read_all_packs,
        mode,
    };
    let outcome = watch(run.output, run.report, || repair.run(&repo, run.report))?;
    run.output.emit(&index_json(&outcome, mode))?;
    let IndexOutcome { plan, blobs, unread } = &outcome;
    if plan.is_empty() {
        run.output.say("the index says of every pack what lies in it")?;
        return Ok(Ending::Done);
    }
    let did = is_or_would_be(mode);
    let counts = [
        (plan.damaged.len(), "damaged segments", "replaced"),
        (plan.replaced.len(), "segments", "replaced by what the packs say"),
        (plan.gone.len(), "packs that are gone", "taken out of the index"),
    ];
    let packs = plan.index.len() - unread.len();
    run.output.say(format!(
        "{packs} packs with {blobs} blobs {did} indexed from their own directories"
    ))?;
    for (count, what, verb) in counts.into_iter().filter(|(count, _, _)| *count > 0) {
        run.output.say(format!("{count} {what} {did} {verb}"))?;
    }
    for (_, what) in unread {
        run.output.warn(&format!("{what}; see `levault repair packs`"));
    }
    if !unread.is_empty() && !plan.damaged.is_empty() {
        run.output
            .warn("damaged segments stay while packs cannot be read: a whole copy of one may say what is in them");
    }
    tell_dry(run, mode, true)?;
    match unread.is_empty() {
        true => Ok(Ending::Done),
        false => Ok(Ending::Incomplete),
    }
}

fn index_json(outcome: &IndexOutcome, mode: Mode) -> Value {
    let IndexOutcome { plan, blobs, unread } = outcome;
    json!({
        "message_type": "summary",
        "repair": "index",
        "dry_run": mode == Mode::DryRun,
        "packs_indexed": plan.index.iter().map(|pack| pack.pack.to_hex()).collect::<Vec<_>>(),
        "blobs_indexed": blobs,
        "packs_gone": hex(&plan.gone),
        "segments_damaged": hex(&plan.damaged),
        "segments_replaced": hex(&plan.replaced),
        "packs_unread": unread.iter().map(|(id, what)| json!({"id": id.to_hex(), "what": what})).collect::<Vec<_>>(),
    })
}

fn hex(ids: &[ObjectId]) -> Vec<String> {
    ids.iter().map(ObjectId::to_hex).collect()
}

fn is_or_would_be(mode: Mode) -> &'static str {
    match mode {
        Mode::Apply => "were",
        Mode::DryRun => "would be",
    }
}

fn tell_dry(run: &Run, mode: Mode, anything: bool) -> Result<()> {
    match mode == Mode::DryRun && anything {
        true => run.output.say("nothing was done; --apply does it"),
        false => Ok(()),
    }
}
