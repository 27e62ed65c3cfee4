//! `snapshots`: lists snapshots.

use std::collections::HashSet;

use levault::engine::tag_list::TagList;
use levault::engine::tree::top_sources;
use levault::error::{ErrorKind, Result};
use levault::repo::CurrentNotes;
use levault::repo::{OWN_DOMAIN, StoredSnapshot};
use levault::snapshot::{MissingPath, Snapshot, SnapshotSource, TreeRoot};
use serde_json::{Map, Value, json};

use super::print_node::{put_path, put_paths, with_path};
use crate::args::SnapshotsArgs;
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::{bytes, time, time_exact};
use crate::output::print_line;

/// Lists them, oldest first.
pub fn run(run: &CommandContext, args: &SnapshotsArgs) -> Result<ExitStatus> {
    let repo = run.open()?;
    let catalog = repo.catalog()?;
    run.warn_of_unread(&catalog);
    run.warn_of_clocks(&catalog);
    let ahead: HashSet<_> = catalog.from_the_future().map(|stored| stored.id).collect();
    let stored_notes = repo.notes()?;
    let unread = &stored_notes.unread;
    unread.iter().for_each(|note| run.output.warn(&note.what));
    let notes = stored_notes.current_notes();
    // A fact of a later levault is passed over; a damaged one may have said what is wrong with the list.
    let mut unread = unread.iter().chain(&catalog.unread_forget_records);
    let mut missing = catalog.unreadable.iter();
    let missing = missing.any(|unread| !unread.is_out_of_proportion());
    let whole = !missing && unread.all(|fact| fact.kind == ErrorKind::TooNew);
    let ending = if whole {
        ExitStatus::Done
    } else {
        ExitStatus::Incomplete
    };
    let mut found = if args.ids.is_empty() {
        catalog.snapshots
    } else {
        args.ids
            .iter()
            .map(|words| repo.select(words))
            .collect::<Result<_>>()?
    };
    for stored in &mut found {
        stored.snapshot.tags = notes.tags(&stored.id, &stored.snapshot.tags).to_vec();
    }
    found.retain(|stored| {
        let snapshot = &stored.snapshot;
        args.host.as_ref().is_none_or(|host| *host == snapshot.host)
            && (args.tag.is_empty()
                || args
                    .tag
                    .iter()
                    .any(|words| TagList::parse(words).fits(&snapshot.tags)))
    });
    if run.output.json {
        let all: Vec<_> = found.iter().map(|stored| to_json(stored, &notes)).collect();
        return print_line(&Value::from(all).to_string()).map(|()| ending);
    }
    run.output
        .print("ID        Time                  Host        Tags        Records     Size        Sources")?;
    for stored in &found {
        let when = if ahead.contains(&stored.id) {
            "  (its time is later than now)"
        } else {
            ""
        };
        run.output.print(format!("{}{when}", row(stored, &notes)))?;
    }
    run.output.print(format!("{} snapshots", found.len()))?;
    Ok(ending)
}

fn row(stored: &StoredSnapshot, notes: &CurrentNotes) -> String {
    let snapshot = &stored.snapshot;
    let tops = top_sources(snapshot).into_iter();
    let names: Vec<_> = tops.map(|number| mark(&snapshot.sources[number])).collect();
    format!(
        "{}  {}  {:<10}  {:<10}  {:>9}  {:>10}  {}{}",
        stored.id.short(),
        time(snapshot.time),
        snapshot.host,
        snapshot.tags.join(","),
        snapshot.databases().map(|database| database.records).sum::<u64>(),
        bytes(snapshot.bytes()),
        names.join(", "),
        notes_text(stored, notes)
    )
}

/// What else was noted of a snapshot, for the end of its line.
fn notes_text(stored: &StoredSnapshot, notes: &CurrentNotes) -> String {
    let suspect = notes
        .suspect_note(&stored.id)
        .map(|reason| format!("  SUSPECT: {reason}"));
    let pinned = notes.is_pinned(&stored.id).then(|| "  (pinned)".to_owned());
    let count = stored.snapshot.missing.count();
    let incomplete = (count > 0).then(|| format!("  INCOMPLETE: {count} paths could not be read"));
    let domain = stored.snapshot.domain;
    let domain = (domain != OWN_DOMAIN).then(|| format!("  (domain {})", domain.0));
    domain
        .into_iter()
        .chain(incomplete)
        .chain(suspect)
        .chain(pinned)
        .collect()
}

fn mark(source: &SnapshotSource) -> String {
    match source {
        SnapshotSource::Database(database) if !database.damage.is_empty() => {
            format!("{} (source was damaged)", database.name)
        }
        SnapshotSource::Database(database) => database.name.clone(),
        SnapshotSource::Tree(tree) => format!("{} ({} files)", tree.name, tree.files),
    }
}

/// One snapshot, for programs.
pub fn to_json(stored: &StoredSnapshot, notes: &CurrentNotes) -> Value {
    let snapshot = &stored.snapshot;
    let mut value = json!({
        "id": stored.id.to_hex(),
        "short_id": stored.id.short(),
        "time": time_exact(snapshot.time),
        "hostname": snapshot.host,
        "domain": snapshot.domain.0,
        "username": snapshot.user,
        "tags": snapshot.tags,
        "suspect": notes.suspect_note(&stored.id),
        "pinned": notes.is_pinned(&stored.id),
        "incomplete": snapshot.is_incomplete(),
        "missing_count": snapshot.missing.count(),
        "missing": snapshot.missing.listed().iter().map(missing_json).collect::<Vec<_>>(),
        "program_version": snapshot.program,
        "databases": snapshot.databases().map(database_json).collect::<Vec<_>>(),
        "trees": snapshot.trees().map(tree_json).collect::<Vec<_>>(),
    });
    if let Value::Object(object) = &mut value {
        put_paths(object, "paths", &paths(snapshot));
    }
    value
}

/// Something that could not be read, for programs.
pub fn missing_json(one: &MissingPath) -> Value {
    let mut object = Map::new();
    put_path(&mut object, "path", &one.path);
    object.insert("reason".into(), one.reason.clone().into());
    object.into()
}

/// What was asked for: databases that were found below one of these are not among them.
fn paths(snapshot: &Snapshot) -> Vec<&[u8]> {
    let path = |number: usize| snapshot.sources[number].path();
    top_sources(snapshot).into_iter().map(path).collect()
}

fn tree_json(tree: &TreeRoot) -> Value {
    let value = json!({
        "tree": tree.name,
        "files": tree.files,
        "dirs": tree.directories,
        "total_bytes": tree.bytes,
    });
    with_path(value, "path", &tree.path)
}

fn database_json(database: &levault::snapshot::DatabaseRoot) -> Value {
    let value = json!({
        "db": database.name,
        "timeline": database.timeline.to_hex(),
        "records": database.records,
        "runs": database.runs().count(),
        "increments": database.capture.increments,
        "total_bytes": database.bytes(),
        "last_seq": database.last_sequence.to_string(),
        "comparator": database.shape.comparator,
        "damaged": !database.damage.is_empty(),
        "physical": database.is_physical(),
        "unverified_source": database.trust == levault::snapshot::SourceTrust::Unverified,
    });
    with_path(value, "path", &database.path)
}
