//! `repair add-parity` and `repair heal`: makes parity, and heals packs by it.

use levault::engine::heal_packs::{Heal, HealOutcome, find_pack};
use levault::error::Result;
use levault::ops::add_parity::{AddParity, AddParityOutcome};
use levault::storage::{HealableStorage, LocalStorage, StorageReader};
use serde_json::{Value, json};

use crate::args::{AddParityArgs, HealArgs, ParityRequest};
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::bytes;
use crate::output::print_error;
use crate::progress::watch;

/// Parity beside packs that lack it.
pub fn add(run: &CommandContext, args: &AddParityArgs) -> Result<ExitStatus> {
    let repo = run.open()?;
    let share = match args.share {
        Some(ParityRequest::None) => return stop(run, &repo, args.apply),
        Some(ParityRequest::Share(share)) => Some(share),
        None => None,
    };
    let add = AddParity {
        share,
        dry_run: !args.apply,
    };
    let added = watch(run.output, run.report, || add.run(&repo, run.report))?;
    run.output.write_json(&added_json(&added, !args.apply))?;
    let size = bytes(added.bytes);
    let line = if args.apply {
        format!("{size} of parity stored beside {} packs", added.packs_without)
    } else {
        format!(
            "{size} of parity would be stored beside {} packs; --apply does it",
            added.packs_without
        )
    };
    run.output.print(format!(
        "{line}; {} packs in all, {} of each",
        added.packs, added.share
    ))?;
    for id in &added.damaged {
        run.output.warn(&format!(
            "pack {} is damaged and got none; see `levault check --read-data`",
            id.short()
        ));
    }
    Ok(if added.damaged.is_empty() {
        ExitStatus::Done
    } else {
        ExitStatus::Incomplete
    })
}

/// What there is stays; what is stored from now on gets none.
fn stop(run: &CommandContext, repo: &levault::repo::Repo, apply: bool) -> Result<ExitStatus> {
    if apply {
        repo.put_parity_share(None)?;
    }
    run.output
        .write_json(&json!({"message_type": "summary", "dry_run": !apply, "share": null}))?;
    run.output.print(if apply {
        "no more parity is stored; what there is stays as long as its packs"
    } else {
        "no more parity would be stored; --apply does it"
    })?;
    Ok(ExitStatus::Done)
}

fn added_json(added: &AddParityOutcome, dry_run: bool) -> Value {
    json!({
        "message_type": "summary",
        "dry_run": dry_run,
        "share": added.share.to_string(),
        "packs": added.packs,
        "packs_without": added.packs_without,
        "parity_bytes": added.bytes,
        "parity_replaced": added.replaced,
        "packs_damaged": added.damaged.iter().map(|id| id.to_hex()).collect::<Vec<_>>(),
    })
}

/// Packs put right by it.
pub fn heal(run: &CommandContext, args: &HealArgs) -> Result<ExitStatus> {
    let storage = LocalStorage::open(&run.repository()?)?;
    let packs = args.packs.iter();
    let heal = Heal {
        packs: packs
            .map(|words| find_pack(StorageReader::new(&storage), words, run.report))
            .collect::<Result<_>>()?,
        dry_run: !args.apply,
    };
    let outcome = watch(run.output, run.report, || {
        heal.run(HealableStorage::new(&storage), run.report)
    })?;
    print_healed(run, args.apply, &outcome)?;
    // What could be healed and was not is damaged still.
    let is_well = outcome.unhealed.is_empty() && (args.apply || outcome.healed.is_empty());
    Ok(if is_well {
        ExitStatus::Done
    } else {
        ExitStatus::CheckFailed
    })
}

fn print_healed(run: &CommandContext, apply: bool, outcome: &HealOutcome) -> Result<()> {
    let word = if apply { "healed" } else { "can be healed" };
    for healed in &outcome.healed {
        let (object, what) = (healed.object.path(), &healed.what);
        run.output.write_json(
            &json!({"message_type": "healed", "object": object, "what": what, "dry_run": !apply}),
        )?;
        run.output.print(format!("{word}: {object}: {what}"))?;
    }
    for hopeless in &outcome.unhealed {
        let (object, what) = (hopeless.object.path(), &hopeless.what);
        run.output
            .write_json(&json!({"message_type": "error", "object": object, "what": what}))?;
        if !run.output.json {
            print_error(&format!("error: {object}: {what}"));
        }
    }
    run.output.write_json(&json!({
        "message_type": "summary",
        "dry_run": !apply,
        "packs": outcome.packs,
        "bytes_read": outcome.bytes_read,
        "healed": outcome.healed.len(),
        "num_errors": outcome.unhealed.len(),
    }))?;
    run.output.print(format!(
        "read {} packs, {}; {} {word}, {} cannot be",
        outcome.packs,
        bytes(outcome.bytes_read),
        outcome.healed.len(),
        outcome.unhealed.len()
    ))?;
    if apply || outcome.healed.is_empty() {
        Ok(())
    } else {
        run.output.print("--apply heals them")
    }
}
