//! `get`: prints one value of a snapshot.

use std::io::Write;

use levault::engine::key_selection::KeySelection;
use levault::engine::read_records;
use levault::error::{Error, ErrorKind, Result, ResultExt};
use levault::snapshot::DatabaseRoot;
use serde_json::{Map, Value};

use super::select_keys;
use crate::args::GetArgs;
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::{key_text, put_bytes};
use crate::output::print_line;

/// Prints one value: its bytes as they are, or JSON.
pub fn run(run: &CommandContext, args: &GetArgs) -> Result<ExitStatus> {
    let key = select_keys::key_bytes(&args.key)?;
    let opened = run.open_place(&args.pick.place)?;
    let database = opened.database(&args.pick)?;
    let value = read_records::get(&opened.repo, database, &key)?.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("key {} is not in {}", key_text(&key), database.name),
        )
    })?;
    if run.output.json {
        return print_line(&record_json(&key, &value).to_string()).map(|()| ExitStatus::Done);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(&value)
        .and_then(|()| out.flush())
        .context(|| "write to standard output")?;
    Ok(ExitStatus::Done)
}

/// A record for programs.
pub fn record_json(key: &[u8], value: &[u8]) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "key", key);
    put_bytes(&mut object, "value", value);
    object.into()
}

/// Warns if the repository lost records that may have been among those that were asked for.
pub fn warn_of_lost(run: &CommandContext, database: &DatabaseRoot, selection: &KeySelection) -> ExitStatus {
    read_records::describe_lost_keys(database, selection)
        .into_iter()
        .for_each(|lost| run.report.problem(lost));
    run.print_problems()
}
