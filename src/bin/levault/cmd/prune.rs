//! `prune`: frees space.

use levault::error::Result;
use levault::ops::prune::{Prune, PruneOutcome};
use levault::repo::Repo;
use serde_json::json;

use crate::args::{MaxUnusedArg, PruneArgs, PruneOptions};
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::bytes;

/// Sweeps what is ripe, marks what is dead.
pub fn run(run: &CommandContext, args: &PruneArgs) -> Result<ExitStatus> {
    let repo = run.open()?;
    prune(run, &repo, &args.how, args.dry_run)?;
    Ok(if run.report.problems().is_empty() {
        ExitStatus::Done
    } else {
        ExitStatus::Incomplete
    })
}

/// Stores everything again that is sealed under an older epoch, with the usual limits.
pub fn repack_outdated(run: &CommandContext) -> Result<()> {
    let how = PruneOptions {
        max_unused: MaxUnusedArg::Share(0.05),
        max_repack_size: None,
        grace: levault::ops::prune::GRACE_DEFAULT,
        unsafe_grace: false,
        repack_outdated: true,
    };
    prune(run, &run.open()?, &how, false)
}

/// The same, on a repository that is open.
pub fn prune(run: &CommandContext, repo: &Repo, args: &PruneOptions, dry_run: bool) -> Result<()> {
    let mut prune = Prune {
        repack_bytes_max: args.max_repack_size.unwrap_or(u64::MAX),
        grace: args.grace,
        unsafe_grace: args.unsafe_grace,
        repack_outdated: args.repack_outdated,
        dry_run,
        ..Prune::default()
    };
    match args.max_unused {
        MaxUnusedArg::Share(share) => prune.unused_share_max = share / (1.0 - share),
        MaxUnusedArg::Bytes(bytes) => (prune.unused_share_max, prune.unused_bytes_max) = (0.0, bytes),
        MaxUnusedArg::Unlimited => prune.unused_bytes_max = u64::MAX,
    }
    let outcome = prune.run(repo, run.report)?;
    print_outcome(run, args, dry_run, &outcome)?;
    for problem in run.report.problems() {
        run.output.warn(&problem);
    }
    Ok(())
}

fn print_outcome(
    run: &CommandContext,
    args: &PruneOptions,
    dry_run: bool,
    outcome: &PruneOutcome,
) -> Result<()> {
    let PruneOutcome { swept, plan, .. } = outcome;
    run.output.write_json(&json!({
        "message_type": "summary",
        "dry_run": dry_run,
        "packs_deleted": swept.packs.len(),
        "bytes_deleted": swept.bytes(),
        "snapshots_deleted": swept.snapshots.iter().map(|id| id.to_hex()).collect::<Vec<_>>(),
        "snapshots_stored_again": outcome.rebased.iter().map(|stack| stack.snapshot.to_hex()).collect::<Vec<_>>(),
        "bad_notes_deleted": swept.bad.len(),
        "packs_dead": plan.dead.len(),
        "packs_repacked": plan.repack.len(),
        "bytes_repacked": plan.repack_bytes,
        "packs_needed_again": plan.unmark.len() + swept.unmark.len(),
        "bytes_before": plan.bytes_before,
        "bytes_used": plan.bytes_used,
        "bytes_unused_after": plan.bytes_unused_after,
        "audits_deleted": outcome.audits_superseded.len(),
        "packs_marked": outcome.packs_marked,
        "bytes_marked": outcome.bytes_marked,
        "parity_deleted": outcome.parity_deleted,
        "parity_bytes_deleted": outcome.parity_bytes_deleted,
        "grace_seconds": args.grace.as_secs(),
    }))?;
    let would = if dry_run { "would be " } else { "" };
    let say = |line: String| run.output.print(line);
    say(format!(
        "{would}deleted     {:>12}  {} packs, {} forgotten snapshots",
        bytes(swept.bytes()),
        swept.packs.len(),
        swept.snapshots.len()
    ))?;
    if !outcome.rebased.is_empty() {
        let again: u64 = outcome.rebased.iter().map(|stack| stack.shown).sum();
        say(format!(
            "{would}stored anew {:>11}  of records in {} stacks that hide many",
            bytes(again),
            outcome.rebased.len()
        ))?;
    }
    if outcome.parity_deleted > 0 {
        let size = bytes(outcome.parity_bytes_deleted);
        say(format!(
            "{would}deleted     {size:>12}  {} parity objects of packs that are gone",
            outcome.parity_deleted
        ))?;
    }
    say(format!(
        "{would}stored again{:>11}  of {} packs; {} packs hold nothing that is needed",
        bytes(plan.repack_bytes),
        plan.repack.len(),
        plan.dead.len()
    ))?;
    say(format!(
        "in use      {:>12}  and {} unused",
        bytes(plan.bytes_used),
        bytes(plan.bytes_unused_after)
    ))?;
    match (outcome.packs_marked, dry_run) {
        (0, _) | (_, true) => Ok(()),
        (packs, false) => say(format!(
            "marked      {:>12}  {packs} packs go with the first prune that is {} hours later",
            bytes(outcome.bytes_marked),
            args.grace.as_secs().div_ceil(3600)
        )),
    }
}
