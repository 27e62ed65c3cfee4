//! `backup`: saves databases and files as one snapshot.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use levault::clock::UnixNanos;
use levault::engine::tag_list::TagList;
use levault::error::Result;
use levault::leveldb::Dialect;
use levault::ops::backup::{
    AuditDifference, AuditDisagreement, Backup, BackupHooks, BackupOutcome, ChangeCounts,
    DatabaseBackupOutcome, DatabaseStorageMode, HookEnd, PinMode, ReadScope, SqliteMode, TreeBackupOutcome,
    TreeCounts,
};
use levault::snapshot::RecordedHold;
use levault::source::exclude_rules::ExcludedItems;
use levault::source::pins::{PinMethod, PinOptions};
use serde_json::{Value, json};

use super::backup_inputs;
use super::print_node::with_path;
use crate::args::BackupArgs;
use crate::command_context::{CommandContext, usage};
use crate::exit_status::ExitStatus;
use crate::format::{bytes, key_text, put_bytes, time_exact};
use crate::progress::watch;

/// Saves, then says what was saved.
pub fn run(run: &CommandContext, args: &BackupArgs) -> Result<ExitStatus> {
    if args.name.is_some() && args.paths.len() > 1 && !args.given.is_stream() {
        return Err(usage("--name is for one PATH"));
    }
    let rules = backup_inputs::exclude_rules(&args.leave_out)?;
    let listed = backup_inputs::listed_paths(&args.given, run.report)?;
    let sqlite = sqlite_mode(args)?;
    let host = run.open_as_host()?;
    let mut backup = Backup::new(args.paths.clone());
    backup.host = args.host.clone();
    backup.tags = TagList::parse_all(&args.tag).0;
    backup.name = args.name.clone();
    backup.databases.physical = args.physical;
    backup.dry_run = args.dry_run;
    backup.full = args.full;
    backup.files.force = args.force;
    backup.files.ignore_ctime = args.ignore_ctime;
    backup.files.ignore_inode = args.ignore_inode;
    backup.files.read_concurrency = Some(args.read_concurrency);
    backup.databases.audit_every = Some(args.audit_every);
    backup.skip_if_unchanged = args.skip_if_unchanged;
    backup.databases.pinning = pin_mode(args);
    backup.hooks = BackupHooks {
        before: args.pre_hook.clone(),
        after: args.post_hook.clone(),
        until: if args.post_hook_early {
            HookEnd::Captured
        } else {
            HookEnd::Read
        },
        time_max: Duration::from_secs(args.hook_timeout),
    };
    backup.rules = rules;
    backup.listed = listed;
    backup.files.sqlite = sqlite;
    backup.databases.patience = Some(Duration::from_secs(args.patience.capture_timeout));
    let outcome = match host {
        Some(host) => watch(run.output, run.report, || {
            match backup_inputs::input_stream(args)? {
                Some((stream, name)) => backup.from_stream_as_host(&host, stream, name, run.report),
                None => backup.run_as_host(&host, run.report),
            }
        }),
        None => {
            let repo = run.open()?;
            watch(run.output, run.report, || {
                match backup_inputs::input_stream(args)? {
                    Some((stream, name)) => backup.from_stream(&repo, stream, name, run.report),
                    None => backup.run(&repo, run.report),
                }
            })
        }
    }?;
    print_outcome(run, &outcome)?;
    Ok(exit_status(run, &outcome))
}

fn sqlite_mode(args: &BackupArgs) -> Result<SqliteMode> {
    match args.sqlite_backup {
        false => Ok(SqliteMode::Files),
        true if SqliteMode::CAN_COPY => Ok(SqliteMode::Exact),
        true => Err(usage(
            "this levault was built without SQLite: build it with `cargo install --path . --features sqlite`",
        )),
    }
}

fn pin_mode(args: &BackupArgs) -> PinMode {
    let by = if args.pin_copy {
        PinMethod::LinksOrCopies
    } else {
        PinMethod::Links
    };
    if args.no_pins {
        PinMode::None
    } else {
        PinMode::Keep(PinOptions {
            method: by,
            bytes_max: args.pin_bytes_max,
        })
    }
}

fn exit_status(run: &CommandContext, outcome: &BackupOutcome) -> ExitStatus {
    let any = |is: fn(&DatabaseBackupOutcome) -> bool| outcome.databases.iter().any(is);
    if any(|database| database.disagreement.is_some()) {
        ExitStatus::Disagreement
    } else if any(|database| !database.damage.is_empty()) {
        ExitStatus::SourceDamaged
    } else if !run.report.problems().is_empty() {
        ExitStatus::Incomplete
    } else {
        ExitStatus::Done
    }
}

fn print_outcome(run: &CommandContext, outcome: &BackupOutcome) -> Result<()> {
    for database in &outcome.databases {
        print_database(run, database)?;
    }
    for tree in &outcome.trees {
        run.output
            .print(format!("{}: {}", tree.name, counts_text(&tree.counts)))?;
    }
    print_excluded(run, &outcome.left_out)?;
    for problem in run.report.notices().iter().chain(&run.report.problems()) {
        run.output.warn(problem);
    }
    let missing = run.report.problems().len();
    let mut summary = summary(outcome);
    summary["incomplete"] = (missing > 0).into();
    summary["missing_count"] = missing.into();
    run.output.write_json(&summary)?;
    run.output.print(format!(
        "added {} new blobs, {} ({} stored) in {:.1} s",
        outcome.blobs_new,
        bytes(outcome.bytes_added),
        bytes(outcome.bytes_added_packed),
        seconds(outcome.begin, outcome.end),
    ))?;
    match (outcome.snapshot, outcome.unchanged_since) {
        (Some(id), _) if missing > 0 => run.output.print(format!(
            "snapshot {} saved, and marked as incomplete: {missing} problems",
            id.short()
        )),
        (Some(id), _) => run.output.print(format!("snapshot {} saved", id.short())),
        (None, Some(id)) => run.output.print(format!(
            "nothing changed since snapshot {}: none was stored",
            id.short()
        )),
        (None, None) => run.output.print("dry run: nothing was stored"),
    }
}

fn print_excluded(run: &CommandContext, left_out: &ExcludedItems) -> Result<()> {
    if left_out.count() == 0 {
        return Ok(());
    }
    run.output.detail(format!(
        "left out: {} by patterns, {} too large, {} by tag files, {} on other filesystems",
        left_out.by_pattern, left_out.too_large, left_out.by_tag_file, left_out.other_filesystems,
    ))?;
    for (path, why) in &left_out.named {
        run.output
            .indented(format!("  left out: {}: {why}", path.display()))?;
    }
    Ok(())
}

fn print_database(run: &CommandContext, database: &DatabaseBackupOutcome) -> Result<()> {
    let (name, stored) = (&database.name, bytes(database.key_bytes + database.value_bytes));
    run.output.print(match &database.stored {
        DatabaseStorageMode::Records => format!(
            "{name}: {} records, {stored} of keys and values",
            database.records
        ),
        DatabaseStorageMode::Files { why } => format!("{name}: {stored} stored as files: {why}"),
    })?;
    print_scope(run, database)?;
    if database.beside != TreeCounts::default() {
        let beside = counts_text(&database.beside);
        run.output
            .print(format!("  beside it in its directory: {beside}"))?;
    }
    run.output.detail(format!(
        "  read {} of {}, newest sequence number {}",
        bytes(database.capture.bytes_read),
        database.path.display(),
        database.last_sequence
    ))?;
    run.output.detail(format!(
        "  captured at {} in {:.1} ms by {} after {} retries, {} of its logs not yet on disk",
        time_exact(database.capture.time),
        database.capture.duration_nanos as f64 / 1e6,
        hold_method_text(database.capture.held_by),
        database.capture.retries,
        database
            .capture
            .unsynced_bytes
            .map_or_else(|| "unknown".to_owned(), bytes),
    ))?;
    for tail in &database.capture.torn_tails {
        run.output.warn(&format!(
            "{}: {}: ends inside a write at byte {} (normal after a crash and under a writer; the records before \
             it are saved)",
            database.name, tail.file, tail.offset
        ));
    }
    for damage in &database.damage {
        run.output
            .warn(&format!("{}: {}", database.name, damage_text(damage)));
    }
    if database.uncertain > 0 {
        run.output.warn(&format!(
            "{}: {} records lie in damaged ranges and may be older than what was lost; they are kept apart",
            database.name, database.uncertain
        ));
    }
    Ok(())
}

/// `3 files (1 new, 2 changed), 1.2 KiB, in 2 directories`
fn counts_text(counts: &TreeCounts) -> String {
    let ChangeCounts {
        new,
        changed,
        unmodified,
    } = counts.files;
    format!(
        "{} files ({new} new, {changed} changed, {unmodified} unmodified), {}, in {} directories",
        counts.files.all(),
        bytes(counts.bytes),
        counts.directories.all(),
    )
}

fn print_scope(run: &CommandContext, database: &DatabaseBackupOutcome) -> Result<()> {
    match &database.scope {
        ReadScope::Whole { why: None } => {}
        ReadScope::Whole { why: Some(why) } => run
            .output
            .warn(&format!("{}: all of it was read: {why}", database.name)),
        ReadScope::Changes {
            since, keys, audited, ..
        } => run.output.print(format!(
            "  {keys} keys changed since snapshot {}{}",
            since.short(),
            if *audited {
                "; all of it was read, and agrees"
            } else {
                ""
            },
        ))?,
    }
    if let Some(disagreement) = &database.disagreement {
        print_disagreement(run, disagreement);
    }
    match database.pinned {
        Some(pinned) => run.output.detail(format!(
            "  {} of tables are kept beside it for the next backup",
            bytes(pinned)
        )),
        None => Ok(()),
    }
}

fn print_disagreement(run: &CommandContext, disagreement: &AuditDisagreement) {
    let value = |value: &Option<(u64, _)>| match value {
        Some((len, hash)) => format!("{len} bytes, BLAKE3 {hash}"),
        None => "no record".into(),
    };
    for found in &disagreement.differences {
        run.output.warn(&format!(
            "  {}: by its changes {}; in the database {}",
            key_text(&found.key),
            value(&found.by_changes),
            value(&found.in_database)
        ));
    }
    for suspect in &disagreement.suspects {
        run.output.warn(&format!(
            "  snapshot {} is suspect: it stands on changes that were not checked",
            suspect.short()
        ));
    }
}

/// One piece of damage, for people.
pub fn damage_text(damage: &levault::snapshot::RecordedDamage) -> String {
    let at = damage
        .offset
        .map_or_else(String::new, |offset| format!(" at byte {offset}"));
    let range = match (&damage.smallest, &damage.largest) {
        (Some(from), Some(to)) => format!(", keys {} to {}", key_text(from), key_text(to)),
        _ => String::new(),
    };
    let range = match (&damage.smallest, &damage.largest) {
        (Some(from), None) if damage.is_hole() => format!(", keys from {} on", key_text(from)),
        _ => range,
    };
    let word = if damage.is_hole() { "lost" } else { "damaged" };
    format!("{word}: {}{at}{range}: {}", damage.file, damage.what)
}

/// One piece of damage, for programs.
pub fn damage_json(damage: &levault::snapshot::RecordedDamage) -> Value {
    let mut object = serde_json::Map::new();
    object.insert("file".into(), damage.file.clone().into());
    object.insert("offset".into(), damage.offset.into());
    object.insert("what".into(), damage.what.clone().into());
    object.insert("lost_in_repository".into(), damage.is_hole().into());
    for (name, key) in [("smallest", &damage.smallest), ("largest", &damage.largest)] {
        if let Some(key) = key {
            put_bytes(&mut object, name, key);
        }
    }
    object.into()
}

fn summary(outcome: &BackupOutcome) -> Value {
    let files = all_counts(outcome);
    let records: u64 = outcome
        .databases
        .iter()
        .map(|db| db.key_bytes + db.value_bytes)
        .sum();
    json!({
        "message_type": "summary",
        "snapshot_id": outcome.snapshot.map(|id| id.to_hex()),
        "dry_run": outcome.snapshot.is_none() && outcome.unchanged_since.is_none(),
        "unchanged_since": outcome.unchanged_since.map(|id| id.to_hex()),
        "backup_start": time_exact(outcome.begin),
        "backup_end": time_exact(outcome.end),
        "total_duration": seconds(outcome.begin, outcome.end),
        "total_bytes_processed": records + files.bytes,
        "total_files_processed": files.files.all(),
        "files_new": files.files.new,
        "files_changed": files.files.changed,
        "files_unmodified": files.files.unmodified,
        "dirs_new": files.directories.new,
        "dirs_changed": files.directories.changed,
        "dirs_unmodified": files.directories.unmodified,
        "bytes_read": outcome.bytes_read,
        "data_blobs": outcome.blobs_new,
        "data_added": outcome.bytes_added,
        "data_added_packed": outcome.bytes_added_packed,
        "databases": outcome.databases.iter().map(database_json).collect::<Vec<_>>(),
        "left_out": {
            "by_pattern": outcome.left_out.by_pattern,
            "too_large": outcome.left_out.too_large,
            "by_tag_file": outcome.left_out.by_tag_file,
            "other_filesystems": outcome.left_out.other_filesystems,
        },
        "trees": outcome.trees.iter().map(tree_json).collect::<Vec<_>>(),
    })
}

/// Of the trees, and of what lies beside the databases.
fn all_counts(outcome: &BackupOutcome) -> TreeCounts {
    let beside = outcome.databases.iter().map(|database| database.beside);
    beside.chain(outcome.trees.iter().map(|tree| tree.counts)).sum()
}

fn tree_json(tree: &TreeBackupOutcome) -> Value {
    let mut object = counts_json(&tree.counts);
    object["tree"] = tree.name.clone().into();
    with_path(object, "path", tree.path.as_os_str().as_bytes())
}

fn counts_json(counts: &TreeCounts) -> Value {
    json!({
        "files_new": counts.files.new,
        "files_changed": counts.files.changed,
        "files_unmodified": counts.files.unmodified,
        "dirs_new": counts.directories.new,
        "dirs_changed": counts.directories.changed,
        "dirs_unmodified": counts.directories.unmodified,
        "others": counts.others,
        "bytes": counts.bytes,
        "bytes_read": counts.bytes_read,
    })
}

fn database_json(database: &DatabaseBackupOutcome) -> Value {
    let value = json!({
        "db": database.name,
        "stored": match &database.stored { DatabaseStorageMode::Records => "records", DatabaseStorageMode::Files { .. } => "files" },
        "scope": scope_json(&database.scope),
        "bytes_read": database.capture.bytes_read,
        "pinned_bytes": database.pinned,
        "disagreement": database.disagreement.as_ref().map(disagreement_json),
        "records": database.records,
        "key_bytes": database.key_bytes,
        "value_bytes": database.value_bytes,
        "uncertain": database.uncertain,
        "last_seq": database.last_sequence.to_string(),
        "source_damage": database.damage.iter().map(damage_json).collect::<Vec<_>>(),
        "captured_at": time_exact(database.capture.time),
        "capture_seconds": database.capture.duration_nanos as f64 / 1e9,
        "retries": database.capture.retries,
        "held_by": hold_method_text(database.capture.held_by),
        "unsynced_bytes": database.capture.unsynced_bytes,
        "dialect": dialect(database.dialect),
        "beside": counts_json(&database.beside),
        "torn_tails": database.capture.torn_tails.iter().map(|tail| json!({"file": tail.file, "offset": tail.offset}))
            .collect::<Vec<_>>(),
    });
    with_path(value, "path", database.path.as_os_str().as_bytes())
}

fn scope_json(scope: &ReadScope) -> Value {
    match scope {
        ReadScope::Whole { why } => json!({"read": "all", "why": why}),
        ReadScope::Changes {
            since,
            keys,
            bytes_differing,
            bytes_looked_up,
            spot_checked,
            audited,
        } => json!({
            "read": "changes",
            "since": since.to_hex(),
            "keys_changed": keys,
            "bytes_differing": bytes_differing,
            "bytes_looked_up": bytes_looked_up,
            "keys_spot_checked": spot_checked,
            "audited": audited,
        }),
    }
}

fn disagreement_json(disagreement: &AuditDisagreement) -> Value {
    let value = |value: &Option<(u64, blake3::Hash)>| {
        value.map(|(len, hash)| json!({"bytes": len, "blake3": hash.to_hex().as_str()}))
    };
    let difference = |found: &AuditDifference| {
        let mut object = serde_json::Map::new();
        put_bytes(&mut object, "key", &found.key);
        object.insert("by_changes".into(), value(&found.by_changes).into());
        object.insert("in_database".into(), value(&found.in_database).into());
        Value::from(object)
    };
    json!({
        "keys": disagreement.keys,
        "differences": disagreement.differences.iter().map(difference).collect::<Vec<_>>(),
        "suspects": disagreement.suspects.iter().map(|id| id.to_hex()).collect::<Vec<_>>(),
    })
}

fn hold_method_text(held_by: RecordedHold) -> &'static str {
    match held_by {
        RecordedHold::Owner => "its owner",
        RecordedHold::Links => "links",
        RecordedHold::Descriptors => "descriptors",
        RecordedHold::Copies => "copies",
    }
}

/// Who wrote a database, for programs and people.
pub fn dialect(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Cpp => "leveldb",
        Dialect::Go => "goleveldb",
        Dialect::Mojang => "mojang",
        Dialect::Unknown => "unknown",
    }
}

fn seconds(begin: UnixNanos, end: UnixNanos) -> f64 {
    (end.0 - begin.0).max(0) as f64 / 1e9
}
