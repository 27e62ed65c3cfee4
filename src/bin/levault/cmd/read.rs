//! `get`, `dump`: answers from a snapshot without restoring it.

use std::io::{BufWriter, Write};

use levault::error::{Act, Error, Kind, Result};
use levault::ops::read::{self, Wish};
use levault::ops::restore::{Overwrite, Restore, Verify};
use levault::ops::selection::Selection;
use levault::repo::Repo;
use levault::snapshot::DatabaseRoot;
use serde_json::{Map, Value};

use super::{Run, select, usage};
use crate::advice::Ending;
use crate::args::{DumpArgs, DumpFormat, GetArgs};
use crate::output::{key_text, print_line, put_bytes};

/// Warns if the repository lost records that may have been among those that were asked for.
pub fn tell_lost(run: &Run, database: &DatabaseRoot, selection: &Selection) -> Ending {
    read::lost_of(database, selection)
        .into_iter()
        .for_each(|lost| run.report.problem(lost));
    run.tell_problems()
}

/// Prints one value: its bytes as they are, or JSON.
pub fn get(run: &Run, args: &GetArgs) -> Result<Ending> {
    let key = select::key_bytes(&args.key)?;
    let opened = run.open_place(&args.pick.place)?;
    let database = opened.database(&args.pick)?;
    let value = read::get(&opened.repo, database, &key)?.ok_or_else(|| {
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
    let opened = run.open_place(&args.pick.place)?;
    let database = opened.database(&args.pick)?;
    let (repo, stored) = (&opened.repo, &opened.stored);
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
            super::restore::restore(run, repo, stored, &restore)
        }
        (_, None) => print_records(run, repo, database, &wish, args.format),
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
