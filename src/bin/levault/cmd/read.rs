//! `ls`, `get`, `dump`: answers from a snapshot without restoring it.

use std::io::{BufWriter, Write};

use levault::error::{Act, Error, Kind, Result};
use levault::ops::read::{self, Wish};
use levault::ops::restore::{Overwrite, Restore, Verify};
use levault::ops::selection::Selection;
use levault::repo::{Repo, StoredSnapshot};
use levault::snapshot::DatabaseRoot;
use serde_json::{Map, Value, json};

use super::{Run, select, usage};
use crate::advice::Ending;
use crate::args::{DumpArgs, DumpFormat, GetArgs, LsArgs};
use crate::output::{bytes, key_text, print_line, put_bytes};

/// Lists databases, or the keys of one.
pub fn ls(run: &Run, args: &LsArgs) -> Result<Ending> {
    let repo = run.open()?;
    let stored = run.select_to_read(&repo, &args.pick.snapshot)?;
    let repo = repo.in_domain(stored.snapshot.domain)?;
    if !args.keys {
        return list_databases(run, &stored);
    }
    let wish = Wish {
        selection: Selection::Prefix(args.prefix.clone().unwrap_or_default().into_bytes()),
        with_uncertain: false,
    };
    let database = read::database(&stored.snapshot, args.pick.db.as_deref())?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    read::records(&repo, database, &wish, run.report, &mut |key, value| {
        let line = match run.output.json {
            true => key_json(key, value.len()).to_string(),
            false => format!("{:>10}  {}", value.len(), key_text(key)),
        };
        writeln!(out, "{line}").act(|| "write to standard output")
    })?;
    out.flush().act(|| "write to standard output")?;
    drop(out);
    Ok(tell_lost(run, database, &wish.selection))
}

/// Warns if the repository lost records that may have been among those that were asked for.
fn tell_lost(run: &Run, database: &DatabaseRoot, selection: &Selection) -> Ending {
    read::lost_of(database, selection)
        .into_iter()
        .for_each(|lost| run.report.problem(lost));
    run.tell_problems()
}

fn list_databases(run: &Run, stored: &StoredSnapshot) -> Result<Ending> {
    for database in stored.snapshot.databases() {
        run.output.emit(
            &json!({"message_type": "node", "db": database.name, "path": database.path_text(),
            "records": database.records, "size": database.bytes(), "physical": database.is_physical(),
            "source_damage": database.damage.iter().map(super::backup::damage_json).collect::<Vec<_>>()}),
        )?;
        run.output.say(format!(
            "{:>10} records  {:>10}  {}  {}",
            database.records,
            bytes(database.bytes()),
            database.name,
            database.path_text()
        ))?;
        for damage in &database.damage {
            run.output
                .say(format!("    {}", super::backup::damage_text(damage)))?;
        }
    }
    Ok(Ending::Done)
}

fn key_json(key: &[u8], value_len: usize) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "key", key);
    object.insert("size".into(), value_len.into());
    object.into()
}

/// Prints one value: its bytes as they are, or JSON.
pub fn get(run: &Run, args: &GetArgs) -> Result<Ending> {
    let key = select::key_bytes(&args.key)?;
    let repo = run.open()?;
    let stored = run.select_to_read(&repo, &args.pick.snapshot)?;
    let repo = repo.in_domain(stored.snapshot.domain)?;
    let database = read::database(&stored.snapshot, args.pick.db.as_deref())?;
    let value = read::get(&repo, database, &key)?.ok_or_else(|| {
        Error::new(
            Kind::NotFound,
            format!("key {} is not in {}", key_text(&key), database.name),
        )
    })?;
    if run.output.json {
        return print_line(&record_json(&key, &value).to_string()).map(|()| Ending::Done);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(&value)
        .and_then(|()| out.flush())
        .act(|| "write to standard output")?;
    Ok(Ending::Done)
}

fn record_json(key: &[u8], value: &[u8]) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "key", key);
    put_bytes(&mut object, "value", value);
    object.into()
}

/// Prints records, in the database's order, or writes a database of them.
pub fn dump(run: &Run, args: &DumpArgs) -> Result<Ending> {
    let wish = Wish {
        selection: select::selection(&args.selection)?,
        with_uncertain: args.with_uncertain,
    };
    let repo: Repo = run.open()?;
    let stored = run.select_to_read(&repo, &args.pick.snapshot)?;
    let repo = repo.in_domain(stored.snapshot.domain)?;
    let database = read::database(&stored.snapshot, args.pick.db.as_deref())?;
    match (args.format, &args.target) {
        (DumpFormat::Leveldb, Some(target)) => {
            let restore = Restore {
                database: Some(database.name.clone()),
                target: target.clone(),
                overwrite: Overwrite::Never,
                selection: wish.selection,
                verify: Verify::Full,
                with_uncertain: wish.with_uncertain,
            };
            super::restore::restore(run, &repo, &stored, &restore)
        }
        (_, None) => print_records(run, &repo, database, &wish, args.format),
        (_, Some(_)) => Err(usage("--target is for --format leveldb")),
    }
}

fn print_records(
    run: &Run,
    repo: &Repo,
    database: &DatabaseRoot,
    wish: &Wish,
    format: DumpFormat,
) -> Result<Ending> {
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    read::records(repo, database, wish, run.report, &mut |key, value| {
        let written = match format {
            DumpFormat::Raw => raw(&mut out, key, value),
            _ => writeln!(out, "{}", record_json(key, value)),
        };
        written.act(|| "write to standard output")
    })?;
    out.flush().act(|| "write to standard output")?;
    drop(out);
    Ok(tell_lost(run, database, &wish.selection))
}

fn raw(out: &mut impl Write, key: &[u8], value: &[u8]) -> std::io::Result<()> {
    for part in [key, value] {
        let len = u32::try_from(part.len()).map_err(std::io::Error::other)?;
        out.write_all(&len.to_le_bytes())?;
        out.write_all(part)?;
    }
    Ok(())
}
