//! `restore`: restores a snapshot into directories.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use levault::error::Result;
use levault::ops::restore::{
    DatabaseRestoreOutcome, ExtraEntries, OverwriteMode, PlannedAction, PlannedEntry, Restore,
    RestoreOutcome, TreeRestoreOutcome, VerifyMode,
};
use levault::pattern::{CaseSensitivity, Pattern, Patterns, Selector};
use levault::repo::{Repo, StoredSnapshot};
use levault::snapshot::SnapshotSource;
use serde_json::json;

use super::open_snapshot::OpenSnapshot;
use super::print_node::with_path;
use super::{forbidden_paths, select_keys};
use crate::args::{IncludeArgs, OverwriteArg, RestoreArgs, VerifyArg};
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::bytes;
use crate::progress::watch;

/// Restores, or prints what would be done.
pub fn run(run: &CommandContext, args: &RestoreArgs) -> Result<ExitStatus> {
    let opened = run.open_place(&args.pick.place)?;
    let restore = Restore {
        database: args.pick.db.as_ref().map(|name| name.as_bytes().into()),
        address: args.pick.place.address.clone(),
        selector: selector(&args.parts)?,
        selection: select_keys::selection(&args.selection)?,
        overwrite: overwrite(args.overwrite),
        extra_entries: if args.delete {
            ExtraEntries::Delete
        } else {
            ExtraEntries::Keep
        },
        verify: match args.verify {
            VerifyArg::Full => VerifyMode::Full,
            VerifyArg::None => VerifyMode::None,
        },
        with_uncertain: args.with_uncertain,
        forbidden: run.forbidden_paths(),
        delete_reach: forbidden_paths::delete_reach(args.unsafe_allow_delete),
        ..Restore::new(&args.target)
    };
    if args.dry_run {
        plan(run, &opened, &restore)
    } else {
        forbidden_paths::announce_removal(run, &opened.repo, &opened.stored, &restore)?;
        self::restore(run, &opened.repo, &opened.stored, &restore)
    }
}

fn overwrite(arg: Option<OverwriteArg>) -> OverwriteMode {
    match arg {
        None => OverwriteMode::Refuse,
        Some(OverwriteArg::Never) => OverwriteMode::Never,
        Some(OverwriteArg::IfNewer) => OverwriteMode::IfNewer,
        Some(OverwriteArg::IfChanged) => OverwriteMode::IfChanged,
        Some(OverwriteArg::Always) => OverwriteMode::Always,
    }
}

fn selector(args: &IncludeArgs) -> Result<Selector> {
    let patterns = |matters: &[OsString], ignored: &[OsString]| {
        let matters = matters
            .iter()
            .map(|word| Pattern::word(word.as_bytes(), CaseSensitivity::Matters));
        let ignored = ignored
            .iter()
            .map(|word| Pattern::word(word.as_bytes(), CaseSensitivity::Ignored));
        Patterns::new(&matters.chain(ignored).collect::<Vec<_>>())
    };
    Ok(Selector {
        include: patterns(&args.include, &args.iinclude)?,
        exclude: patterns(&args.exclude, &args.iexclude)?,
    })
}

/// Restores and tells of it.
pub fn restore(
    run: &CommandContext,
    repo: &Repo,
    snapshot: &StoredSnapshot,
    restore: &Restore,
) -> Result<ExitStatus> {
    let restored = watch(run.output, run.report, || restore.run(repo, snapshot, run.report))?;
    for outcome in &restored.databases {
        print_outcome(run, outcome)?;
    }
    print_tree(run, restore, &restored.tree)?;
    run.print_notices();
    let ending = run.print_problems();
    run.output.write_json(&summary(snapshot, restore, &restored))?;
    match restored.tree.mismatched {
        0 => Ok(ending),
        _ => Ok(ExitStatus::Disagreement),
    }
}

fn summary(snapshot: &StoredSnapshot, restore: &Restore, restored: &RestoreOutcome) -> serde_json::Value {
    let (databases, tree) = (&restored.databases, &restored.tree);
    let in_databases: u64 = databases.iter().map(|outcome| outcome.bytes).sum();
    let is_read_back = restore.verify == VerifyMode::Full && tree.mismatched == 0;
    json!({
        "message_type": "summary",
        "snapshot_id": snapshot.id.to_hex(),
        "records": databases.iter().map(|outcome| outcome.records).sum::<u64>(),
        "total_bytes": in_databases + tree.bytes + tree.bytes_same,
        "databases": databases.iter().map(of_database).collect::<Vec<_>>(),
        "files_restored": tree.files,
        "files_skipped": tree.files_same + tree.left_unchanged,
        "files_deleted": tree.removed,
        "directories": tree.directories,
        "others_restored": tree.others,
        "bytes_restored": tree.bytes,
        "bytes_skipped": tree.bytes_same,
        "problems": tree.problems,
        "snapshot_incomplete": snapshot.snapshot.is_incomplete(),
        "mismatched": tree.mismatched,
        "verified": is_read_back && databases.iter().all(|outcome| outcome.verified),
    })
}

fn of_database(outcome: &DatabaseRestoreOutcome) -> serde_json::Value {
    let rewritten = outcome.rewritten.map(|rewritten| {
        json!({
            "records_put": rewritten.puts,
            "records_deleted": rewritten.deletions,
            "bytes_written": rewritten.bytes_written,
            "bytes_linked": rewritten.bytes_linked,
        })
    });
    let value = json!({"db": outcome.name, "unchanged": outcome.unchanged, "in_place": rewritten});
    with_path(value, "target", outcome.target.as_os_str().as_bytes())
}

/// What a plan comes to.
#[derive(Default)]
struct PlanCounts {
    things: u64,
    bytes: u64,
    left: u64,
    removed: u64,
}

impl PlanCounts {
    fn add(&mut self, planned: &PlannedEntry) {
        match planned.action {
            PlannedAction::Remove => self.removed += 1,
            PlannedAction::Leave => self.left += 1,
            PlannedAction::Restore | PlannedAction::Compare | PlannedAction::Refresh => {
                self.things += 1;
                self.bytes += planned.bytes;
            }
        }
    }
}

/// What trees are said to hold, before all that they are found to hold.
fn warn_of_stated_size(run: &CommandContext, opened: &OpenSnapshot) -> Result<()> {
    let trees = opened.stored.snapshot.sources.iter();
    let trees = trees.filter_map(|source| match source {
        SnapshotSource::Tree(tree) => Some(tree),
        SnapshotSource::Database(_) => None,
    });
    for tree in trees {
        run.output.detail(format!(
            "the snapshot states {} files, {} directories, {} of {}",
            tree.files,
            tree.directories,
            bytes(tree.bytes),
            tree.name
        ))?;
    }
    Ok(())
}

fn plan(run: &CommandContext, opened: &OpenSnapshot, restore: &Restore) -> Result<ExitStatus> {
    warn_of_stated_size(run, opened)?;
    let (mut counts, mut told) = (PlanCounts::default(), Ok(()));
    let mut each = |planned: PlannedEntry| {
        counts.add(&planned);
        if told.is_ok() {
            told = print_planned(run, restore, &planned);
        }
        if told.is_err() {
            run.report.stop();
        }
    };
    let planned = restore.plan(&opened.repo, &opened.stored, run.report, &mut each);
    told?;
    planned?;
    run.output.write_json(&json!({
        "message_type": "summary",
        "dry_run": true,
        "things": counts.things,
        "total_bytes": counts.bytes,
        "left": counts.left,
        "files_deleted": counts.removed,
    }))?;
    run.output.print(format!(
        "would restore {} things ({}), leave {}, remove {}",
        counts.things,
        bytes(counts.bytes),
        counts.left,
        counts.removed
    ))?;
    Ok(run.print_problems())
}

fn print_planned(run: &CommandContext, restore: &Restore, planned: &PlannedEntry) -> Result<()> {
    if let Some(database) = &planned.database {
        run.output.write_json(
            &json!({"message_type": "plan", "db": database.name, "target": planned.target,
            "records": database.records, "total_bytes": planned.bytes}),
        )?;
        let selected = if restore.selection.is_all() {
            ""
        } else {
            "the selected keys of "
        };
        return run.output.print(format!(
            "would restore {selected}{} ({} records, {}) to {}",
            database.name,
            database.records,
            bytes(planned.bytes),
            planned.target
        ));
    }
    let (word, words) = match planned.action {
        PlannedAction::Restore => ("restore", "restore"),
        PlannedAction::Compare => ("compare", "compare and, if it is another, replace"),
        PlannedAction::Refresh => ("refresh", "set the attributes of"),
        PlannedAction::Leave => ("leave", "leave"),
        PlannedAction::Remove => ("remove", "remove"),
    };
    run.output.write_json(
        &json!({"message_type": "verbose_status", "action": word, "item": planned.target,
        "size": planned.bytes}),
    )?;
    run.output.detail(format!("would {words} {}", planned.target))
}

fn print_tree(run: &CommandContext, restore: &Restore, tree: &TreeRestoreOutcome) -> Result<()> {
    if *tree == TreeRestoreOutcome::default() {
        return Ok(());
    }
    let verified = match (restore.verify, tree.mismatched) {
        (VerifyMode::Full, 0) => "read back and verified".to_owned(),
        (VerifyMode::Full, others) => format!("read back: {others} of them are not what was saved"),
        (VerifyMode::None, _) => "not verified".to_owned(),
    };
    run.output.print(format!(
        "restored {} files ({}), {} directories and {} links and others to {}, {verified}",
        tree.files,
        bytes(tree.bytes),
        tree.directories,
        tree.others,
        restore.target.display()
    ))?;
    if tree.files_same + tree.left_unchanged > 0 {
        let same = format!("{} files were there already", tree.files_same);
        run.output.print(format!(
            "{same}; {} things were left as they were",
            tree.left_unchanged
        ))?;
    }
    match tree.removed {
        0 => Ok(()),
        removed => run
            .output
            .print(format!("removed {removed} that the snapshot does not have")),
    }
}

fn print_outcome(run: &CommandContext, outcome: &DatabaseRestoreOutcome) -> Result<()> {
    if outcome.unchanged {
        let (name, target) = (&outcome.name, outcome.target.display());
        return run.output.print(if outcome.verified {
            format!("{name}: {target} holds it already, and was left as it was")
        } else {
            format!("{name}: {target} is newer, and was left as it was, unread")
        });
    }
    let verified = if outcome.verified {
        "read back and verified"
    } else {
        "not verified"
    };
    let in_place = outcome.rewritten.map_or(String::new(), |rewritten| {
        format!(
            " in place ({} records put, {} deleted, {} written)",
            rewritten.puts,
            rewritten.deletions,
            bytes(rewritten.bytes_written)
        )
    });
    let what = if outcome.as_files {
        "as files".to_owned()
    } else {
        format!("{} records", outcome.records)
    };
    run.output.print(format!(
        "restored {} ({what}, {}) to {}{in_place}, {verified}",
        outcome.name,
        bytes(outcome.bytes),
        outcome.target.display()
    ))
}
