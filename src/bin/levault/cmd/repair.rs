//! `repair`: prints what would be repaired; repairs with `--apply`.

use levault::error::{ErrorKind, Result};
use levault::id::ObjectId;
use levault::ops::repair::index::{IndexOutcome, RepairIndex};
use levault::ops::repair::packs::{self, PackRepairOutcome, RepairPacks};
use levault::ops::repair::repair_files::{LostFile, LostPart, PARTIAL};
use levault::ops::repair::snapshots::{
    RepairSnapshots, RepairedDatabase, RepairedSnapshot, RepairedTree, SnapshotRepairOutcome,
};
use levault::ops::repair::{RepairMode, config};
use levault::repo::Repo;
use serde_json::{Value, json};

use super::parity;
use crate::args::{RepairApplyArgs, RepairArgs, RepairCommand, RepairIndexArgs, RepairTargetArgs};
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::bytes;
use crate::progress::watch;

impl RepairApplyArgs {
    fn mode(&self) -> RepairMode {
        if self.apply {
            RepairMode::Apply
        } else {
            RepairMode::DryRun
        }
    }
}

/// Tells, and does if it is told to.
pub fn run(run: &CommandContext, args: &RepairArgs) -> Result<ExitStatus> {
    match &args.verb {
        RepairCommand::Config(args) => repair_config(run, args.mode()),
        RepairCommand::Index(args) => in_each_domain(run, &[], &|repo| repair_index(run, args, repo)),
        RepairCommand::Packs(args) => in_each_domain(run, &args.ids, &|repo| repair_packs(run, args, repo)),
        RepairCommand::Snapshots(args) => {
            in_each_domain(run, &args.ids, &|repo| repair_snapshots(run, args, repo))
        }
        RepairCommand::AddParity(args) => parity::add(run, args),
        RepairCommand::Heal(args) => parity::heal(run, args),
    }
}

/// The owner's domain, then those of write-only hosts. What is named belongs to one of them: the others do not know it.
fn in_each_domain(
    run: &CommandContext,
    ids: &[String],
    repair: &dyn Fn(&Repo) -> Result<ExitStatus>,
) -> Result<ExitStatus> {
    let repo = run.open()?;
    let (mut ended, mut unknown) = (None, None);
    for domain in repo.domains()? {
        match repair(&repo.in_domain(domain)?) {
            Err(error) if error.kind() == ErrorKind::NotFound && !ids.is_empty() => {
                unknown = unknown.or(Some(error));
            }
            Ok(ending) if ended != Some(ExitStatus::Incomplete) => ended = Some(ending),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    match (ended, unknown) {
        (None, Some(unknown)) => Err(unknown),
        (ended, _) => Ok(ended.unwrap_or(ExitStatus::Done)),
    }
}

fn in_domain(mut summary: Value, repo: &Repo) -> Value {
    summary["domain"] = repo.domain().0.into();
    summary
}

fn repair_config(run: &CommandContext, mode: RepairMode) -> Result<ExitStatus> {
    let repo = run.open()?;
    let repaired = config::run(&repo, mode)?;
    run.output.write_json(&json!({
        "message_type": "summary",
        "repair": "config",
        "dry_run": mode == RepairMode::DryRun,
        "object": repaired.as_ref().map(|repaired| repaired.object),
        "what": repaired.as_ref().map(|repaired| &repaired.what),
    }))?;
    let Some(repaired) = repaired else {
        run.output.print("config and its copy are whole")?;
        return Ok(ExitStatus::Done);
    };
    run.output
        .print(format!("{}: {}", repaired.object, repaired.what))?;
    let other = if repaired.object == "config" {
        "config.copy"
    } else {
        "config"
    };
    run.output
        .print(format!("{} put back from {other}", verb_text(mode)))?;
    print_dry_run(run, mode)?;
    Ok(ExitStatus::Done)
}

fn repair_index(run: &CommandContext, args: &RepairIndexArgs, repo: &Repo) -> Result<ExitStatus> {
    let mode = args.apply.mode();
    let repair = RepairIndex {
        read_all_packs: args.read_all_packs,
        mode,
    };
    let outcome = watch(run.output, run.report, || repair.run(repo, run.report))?;
    run.output
        .write_json(&in_domain(index_json(&outcome, mode), repo))?;
    let IndexOutcome {
        plan,
        packs,
        blobs,
        unread,
        noted,
    } = &outcome;
    if plan.is_empty() {
        run.output.print("the index says of every pack what lies in it")?;
        return Ok(ExitStatus::Done);
    }
    let did = verb_text(mode);
    let counts = [
        (plan.damaged.len(), "damaged segments", "replaced"),
        (plan.replaced.len(), "segments", "replaced by what the packs say"),
        (plan.gone.len(), "packs that are gone", "taken out of the index"),
    ];
    run.output.print(format!(
        "{packs} packs with {blobs} blobs {did} indexed from their own directories"
    ))?;
    for (count, what, verb) in counts.into_iter().filter(|(count, _, _)| *count > 0) {
        run.output.print(format!("{count} {what} {did} {verb}"))?;
    }
    if *noted > 0 {
        run.output.warn(&format!(
            "{noted} blobs that snapshots need are in no pack: back up again, then see `levault repair snapshots`"
        ));
    }
    for (_, what) in unread {
        run.output.warn(what);
    }
    if !unread.is_empty() && !plan.damaged.is_empty() {
        run.output
            .warn(
                "damaged segments stay while packs cannot be read: a whole copy of one would say what is in them; \
                 `levault repair packs ID --apply` with their ids gives them up, and then this can be run again",
            );
    }
    print_dry_run(run, mode)?;
    if unread.is_empty() && *noted == 0 {
        Ok(ExitStatus::Done)
    } else {
        Ok(ExitStatus::Incomplete)
    }
}

fn index_json(outcome: &IndexOutcome, mode: RepairMode) -> Value {
    let IndexOutcome {
        plan, blobs, unread, ..
    } = outcome;
    json!({
        "message_type": "summary",
        "repair": "index",
        "dry_run": mode == RepairMode::DryRun,
        "packs_indexed": plan.index.iter().map(|pack| pack.pack.to_hex()).collect::<Vec<_>>(),
        "blobs_indexed": blobs,
        "blobs_noted_bad": outcome.noted,
        "packs_gone": hex(&plan.gone),
        "segments_damaged": hex(&plan.damaged),
        "segments_replaced": hex(&plan.replaced),
        "packs_unread": unread.iter().map(|(id, what)| json!({"id": id.to_hex(), "what": what})).collect::<Vec<_>>(),
    })
}

fn repair_packs(run: &CommandContext, args: &RepairTargetArgs, repo: &Repo) -> Result<ExitStatus> {
    let mode = args.apply.mode();
    let repair = RepairPacks {
        packs: args.ids.clone(),
        mode,
    };
    let outcome = watch(run.output, run.report, || repair.run(repo, run.report))?;
    run.output
        .write_json(&in_domain(packs_json(&outcome, mode), repo))?;
    let say = |line: String| run.output.print(line);
    say(format!(
        "read {} packs ({})",
        outcome.packs_read,
        bytes(outcome.bytes_read)
    ))?;
    let did = verb_text(mode);
    for name in &outcome.unread {
        say(format!(
            "{} cannot be read, and {did} deleted: it says nothing",
            name.path()
        ))?;
    }
    for healed in &outcome.healed {
        say(format!(
            "{} {did} healed by its parity: {}",
            healed.object.path(),
            healed.what
        ))?;
    }
    if outcome.damaged.is_empty() {
        say("all others are whole".into())?;
        return if outcome.unread.is_empty() && outcome.healed.is_empty() {
            Ok(ExitStatus::Done)
        } else {
            print_dry_run(run, mode).map(|()| ExitStatus::Done)
        };
    }
    for pack in &outcome.damaged {
        say(format!(
            "pack {}: {} of {} blobs do not open: {}",
            pack.id.short(),
            pack.broken,
            pack.blobs,
            pack.what
        ))?;
    }
    say(format!(
        "{} blobs have a right copy in another pack",
        outcome.elsewhere
    ))?;
    say(format!(
        "{} blobs ({}) {did} stored again",
        outcome.again,
        bytes(outcome.bytes_again)
    ))?;
    say(format!(
        "{} blobs open nowhere ({} {did} noted as bad: the next backup stores again what it still has)",
        outcome.lost.len(),
        outcome.noted
    ))?;
    for (kind, count) in packs::count_by_kind(&outcome.lost) {
        run.output.detail(format!("    {count} {kind:?}"))?;
    }
    say(format!(
        "{} damaged packs {did} marked to go",
        outcome.marked.len()
    ))?;
    print_dry_run(run, mode)?;
    if outcome.lost.is_empty() {
        return Ok(ExitStatus::Done);
    }
    run.output
        .warn("what snapshots lack now is recorded by `levault repair snapshots --apply`");
    Ok(ExitStatus::Incomplete)
}

fn packs_json(outcome: &PackRepairOutcome, mode: RepairMode) -> Value {
    let damaged = outcome.damaged.iter().map(|pack| {
        json!({"id": pack.id.to_hex(), "what": pack.what, "bytes": pack.len, "blobs": pack.blobs, "blobs_broken": pack.broken})
    });
    let lost = outcome
        .lost
        .iter()
        .map(|blob| json!({"id": blob.id.to_hex(), "kind": format!("{:?}", blob.kind)}));
    let marked: Vec<_> = outcome.marked.iter().map(|marked| marked.pack).collect();
    json!({
        "message_type": "summary",
        "repair": "packs",
        "dry_run": mode == RepairMode::DryRun,
        "packs_read": outcome.packs_read,
        "bytes_read": outcome.bytes_read,
        "packs_healed": outcome.healed.iter().map(|healed| healed.object.id.to_hex()).collect::<Vec<_>>(),
        "packs_damaged": damaged.collect::<Vec<_>>(),
        "blobs_elsewhere": outcome.elsewhere,
        "blobs_stored_again": outcome.again,
        "bytes_stored_again": outcome.bytes_again,
        "blobs_lost": lost.collect::<Vec<_>>(),
        "blobs_noted_bad": outcome.noted,
        "packs_marked": hex(&marked),
        "unread_deleted": outcome.unread.iter().map(|name| name.path()).collect::<Vec<_>>(),
    })
}

fn repair_snapshots(run: &CommandContext, args: &RepairTargetArgs, repo: &Repo) -> Result<ExitStatus> {
    let mode = args.apply.mode();
    let repair = RepairSnapshots {
        snapshots: args.ids.clone(),
        mode,
    };
    let outcome = watch(run.output, run.report, || repair.run(repo, run.report))?;
    run.output
        .write_json(&in_domain(snapshots_json(&outcome, mode), repo))?;
    for repaired in &outcome.repaired {
        print_repaired(run, repaired)?;
    }
    for (id, what) in &outcome.failed {
        run.output.warn(&format!("snapshot {}: {what}", id.short()));
    }
    run.output.print(format!(
        "looked at {} snapshots: {} lost something, {} cannot be repaired",
        outcome.snapshots,
        outcome.repaired.len(),
        outcome.failed.len()
    ))?;
    if !outcome.repaired.is_empty() {
        print_dry_run(run, mode)?;
    }
    if outcome.repaired.is_empty() && outcome.failed.is_empty() {
        Ok(ExitStatus::Done)
    } else {
        Ok(ExitStatus::Incomplete)
    }
}

fn print_repaired(run: &CommandContext, repaired: &RepairedSnapshot) -> Result<()> {
    let old = repaired.id.short();
    run.output.print(match repaired.repaired_as {
        Some(new) => format!(
            "snapshot {old} is forgotten; {} has what is left of it",
            new.short()
        ),
        None => format!("snapshot {old} lost something"),
    })?;
    for database in &repaired.databases {
        run.output.print(format!(
            "    {}: {} of {} records are left, {} holes",
            database.name,
            database.records,
            database.records_before,
            database.holes.len()
        ))?;
        for hole in &database.holes {
            run.output
                .print(format!("        {}", super::backup::damage_text(hole)))?;
        }
    }
    repaired.trees.iter().try_for_each(|tree| print_tree(run, tree))
}

fn print_tree(run: &CommandContext, tree: &RepairedTree) -> Result<()> {
    run.output.print(format!(
        "    {}: {} of {} files are left",
        tree.name, tree.files, tree.files_before
    ))?;
    for lost in &tree.lost {
        let path = String::from_utf8_lossy(&lost.path);
        let what = match lost.what {
            LostPart::Entries => format!("{path}: what was in it is not known"),
            LostPart::File => format!("{path}: nothing is left of it"),
            LostPart::Bytes(lost) => {
                format!("{path}: {lost} bytes are zeros now, and it ends with {PARTIAL}")
            }
        };
        run.output.print(format!("        {what}"))?;
    }
    match tree.more {
        0 => Ok(()),
        more => run.output.print(format!("        and {more} more")),
    }
}

fn lost_json(lost: &LostFile) -> Value {
    let value = match lost.what {
        LostPart::Entries => json!({"lost": "entries"}),
        LostPart::File => json!({"lost": "file"}),
        LostPart::Bytes(bytes) => json!({"lost": "bytes", "bytes": bytes, "kept_as": PARTIAL}),
    };
    super::print_node::with_path(value, "path", &lost.path)
}

fn snapshots_json(outcome: &SnapshotRepairOutcome, mode: RepairMode) -> Value {
    let database = |database: &RepairedDatabase| {
        json!({
            "db": database.name,
            "records_before": database.records_before,
            "records": database.records,
            "holes": database.holes.iter().map(super::backup::damage_json).collect::<Vec<_>>(),
        })
    };
    let tree = |tree: &RepairedTree| {
        json!({
            "tree": tree.name,
            "files_before": tree.files_before,
            "files": tree.files,
            "lost": tree.lost.iter().map(lost_json).collect::<Vec<_>>(),
            "lost_unlisted": tree.more,
        })
    };
    let repaired = outcome.repaired.iter().map(|repaired| {
        json!({
            "snapshot_id": repaired.id.to_hex(),
            "repaired_as": repaired.repaired_as.map(|id| id.to_hex()),
            "databases": repaired.databases.iter().map(database).collect::<Vec<_>>(),
            "trees": repaired.trees.iter().map(tree).collect::<Vec<_>>(),
        })
    });
    let failed = outcome.failed.iter();
    let failed = failed.map(|(id, what)| json!({"snapshot_id": id.to_hex(), "what": what}));
    json!({
        "message_type": "summary",
        "repair": "snapshots",
        "dry_run": mode == RepairMode::DryRun,
        "snapshots": outcome.snapshots,
        "repaired": repaired.collect::<Vec<_>>(),
        "failed": failed.collect::<Vec<_>>(),
    })
}

fn hex(ids: &[ObjectId]) -> Vec<String> {
    ids.iter().map(ObjectId::to_hex).collect()
}

fn verb_text(mode: RepairMode) -> &'static str {
    match mode {
        RepairMode::Apply => "were",
        RepairMode::DryRun => "would be",
    }
}

fn print_dry_run(run: &CommandContext, mode: RepairMode) -> Result<()> {
    if mode == RepairMode::DryRun {
        run.output.print("nothing was done; --apply does it")
    } else {
        Ok(())
    }
}
