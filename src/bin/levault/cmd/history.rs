//! `history`: prints the values of one key over time.

use levault::engine::OwnedEntry;
use levault::error::{Error, ErrorKind, Result};
use levault::ops::history::{self, KeyVersion};
use serde_json::{Map, Value, json};

use super::print_node::{one_line, put_path};
use super::select_keys;
use crate::args::HistoryArgs;
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::{bytes, key_text, put_bytes, time, time_exact};

/// Longest value that is printed for people, bytes.
const SHOWN_BYTES_MAX: usize = 64;

/// Lists the values of a key, oldest first.
pub fn run(run: &CommandContext, args: &HistoryArgs) -> Result<ExitStatus> {
    let key = select_keys::key_bytes(&args.key)?;
    let scope = select_keys::scope(&args.scope);
    let repo = run.open()?;
    let catalog = repo.catalog()?;
    run.warn_of_unread(&catalog);
    let (mut versions, mut unknown) = (0, false);
    history::history(
        &repo,
        &catalog.snapshots,
        &scope,
        &key,
        run.report,
        &mut |version| {
            versions += 1;
            unknown |= version.unknown;
            run.output.write_json(&to_json(version, &key))?;
            run.output.print(line(version))
        },
    )?;
    run.print_notices();
    if versions == 0 {
        let what = format!("key {} is in no snapshot", key_text(&key));
        return Err(Error::new(ErrorKind::NotFound, what));
    }
    run.output
        .write_json(&json!({"message_type": "summary", "versions": versions}))?;
    if catalog.unreadable.is_empty() && !unknown {
        Ok(ExitStatus::Done)
    } else {
        Ok(ExitStatus::Incomplete)
    }
}

fn line(version: &KeyVersion) -> String {
    let [first, last] = [version.first, version.last].map(|state| {
        let snapshot = state.snapshot;
        format!("{} {}", snapshot.id.short(), time(snapshot.snapshot.time))
    });
    format!(
        "{first} to {last}  {:>4} snapshots  {} on {}  {}",
        version.snapshots,
        one_line(&version.last.database.path),
        version.first.snapshot.snapshot.host,
        value_text(version)
    )
}

fn value_text(version: &KeyVersion) -> String {
    match &version.value {
        None if version.unknown => "unknown: lost in the repository".into(),
        None => "absent".into(),
        Some(OwnedEntry::Inline(value)) if value.len() <= SHOWN_BYTES_MAX => key_text(value),
        Some(value) => bytes(value.as_payload().value_bytes()),
    }
}

fn to_json(version: &KeyVersion, key: &[u8]) -> Value {
    let mut object = Map::new();
    object.insert("message_type".into(), "version".into());
    put_bytes(&mut object, "key", key);
    object.insert("db".into(), version.last.database.name.clone().into());
    put_path(&mut object, "path", &version.last.database.path);
    object.insert("timeline".into(), version.last.database.timeline.to_hex().into());
    object.insert(
        "hostname".into(),
        version.first.snapshot.snapshot.host.clone().into(),
    );
    object.insert("domain".into(), version.first.snapshot.snapshot.domain.0.into());
    for (name, state) in [("first", version.first), ("last", version.last)] {
        let snapshot = state.snapshot;
        object.insert(format!("{name}_snapshot"), snapshot.id.to_hex().into());
        object.insert(format!("{name}_time"), time_exact(snapshot.snapshot.time).into());
    }
    object.insert("snapshots".into(), version.snapshots.into());
    let absent = version.value.is_none() && !version.unknown;
    object.insert("absent".into(), absent.into());
    object.insert("unknown".into(), version.unknown.into());
    if let Some(value) = &version.value {
        object.insert("size".into(), value.as_payload().value_bytes().into());
    }
    if let Some(OwnedEntry::Inline(value)) = &version.value {
        put_bytes(&mut object, "value", value);
    }
    object.into()
}
