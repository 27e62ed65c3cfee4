//! `dump`: writes records, a file, or a directory as an archive.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;

use levault::engine::read_records::{self, DatabaseChoice, RecordQuery};
use levault::engine::tree::{self, ResolvedAddress, SnapshotView};
use levault::error::{Error, ErrorKind, Result, ResultExt};
use levault::ops::archive::{self, ArchiveContext};
use levault::ops::restore::{DatabaseForm, Restore};
use levault::repo::BlobReader;
use levault::snapshot::{DatabaseRoot, EntryKind};

use super::get::{record_json, warn_of_lost};
use super::open_snapshot::OpenSnapshot;
use super::select_keys;
use crate::args::{DumpArgs, DumpFormat};
use crate::command_context::{CommandContext, usage};
use crate::exit_status::ExitStatus;

/// Prints what is named, or writes it to a file.
pub fn run(run: &CommandContext, args: &DumpArgs) -> Result<ExitStatus> {
    if let Some(target) = &args.target {
        run.refuse_forbidden(target)?;
    }
    let place = args.restore_place();
    let opened = run.open_place(&place)?;
    let address = &place.address;
    match (address.is_empty(), args.pick.db.is_some()) {
        (true, false) if args.archive.is_some() => dump_all(run, &opened, args),
        (true, _) => {
            let name = args.pick.db.as_ref().map(|name| name.as_bytes());
            let number = read_records::find_database_number(opened.snapshot(), name)?;
            match args.archive {
                None => records(run, &opened, number, args),
                Some(_) => {
                    let reader = opened.reader();
                    let found =
                        SnapshotView::new(opened.snapshot(), &reader).resolve_source(number as usize)?;
                    shown(run, &opened, &reader, &found, args)
                }
            }
        }
        (false, true) => Err(usage(
            "--db goes without a path: it names a database of the snapshot",
        )),
        (false, false) if opened.is_whole(address) => dump_all(run, &opened, args),
        (false, false) => named(run, &opened, address, args),
    }
}

fn named(run: &CommandContext, opened: &OpenSnapshot, address: &[u8], args: &DumpArgs) -> Result<ExitStatus> {
    let reader = opened.reader();
    let found = SnapshotView::new(opened.snapshot(), &reader).resolve(address)?;
    shown(run, opened, &reader, &found, args)
}

/// What was found, in the form that suits it.
fn shown(
    run: &CommandContext,
    opened: &OpenSnapshot,
    reader: &BlobReader,
    found: &ResolvedAddress,
    args: &DumpArgs,
) -> Result<ExitStatus> {
    match (&found.node.entry.kind, args.archive) {
        (EntryKind::Database(number), None) => records(run, opened, *number, args),
        (EntryKind::File(list), None) => {
            refuse_keys(found, args)?;
            note_missing(run, opened, &found.path);
            let mut out = DumpOutput::open(args)?;
            tree::read_file(reader, list, run.report, &mut |piece| out.write(piece))?;
            out.finish()?;
            Ok(run.print_problems())
        }
        (EntryKind::Directory(_), _) | (_, Some(_)) => {
            refuse_keys(found, args)?;
            note_missing(run, opened, &found.path);
            let ground = opened.archive_context(reader, run);
            archive(run, args, |out| archive::archive_address(ground, found, out))
        }
        _ => Err(Error::new(
            ErrorKind::Usage,
            format!("{} has no content; `levault ls -l` says what it is", text(found)),
        )),
    }
}

/// What the backup could not read is missing from what is printed.
fn note_missing(run: &CommandContext, opened: &OpenSnapshot, top: &[u8]) {
    let sentences = opened.snapshot().missing.sentences(top);
    sentences
        .into_iter()
        .for_each(|sentence| run.report.problem(sentence));
}

fn text(found: &ResolvedAddress) -> String {
    String::from_utf8_lossy(&found.path).into_owned()
}

fn refuse_keys(found: &ResolvedAddress, args: &DumpArgs) -> Result<()> {
    if select_keys::selection(&args.selection)?.is_all() && !args.with_uncertain {
        Ok(())
    } else {
        Err(usage(format!("{} is no database and has no keys", text(found))))
    }
}

fn dump_all(run: &CommandContext, opened: &OpenSnapshot, args: &DumpArgs) -> Result<ExitStatus> {
    let reader = opened.reader();
    note_missing(run, opened, b"");
    let ground = opened.archive_context(&reader, run);
    archive(run, args, |out| archive::archive_snapshot(ground, out))
}

fn archive(
    run: &CommandContext,
    args: &DumpArgs,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<ExitStatus> {
    let mut out = DumpOutput::open(args)?;
    write(&mut out.writer)?;
    out.finish()?;
    Ok(run.print_problems())
}

impl OpenSnapshot {
    fn archive_context<'a>(
        &'a self,
        reader: &'a BlobReader<'a>,
        run: &'a CommandContext,
    ) -> ArchiveContext<'a> {
        ArchiveContext {
            repo: &self.repo,
            stored: &self.stored,
            reader,
            report: run.report,
        }
    }
}

fn records(run: &CommandContext, opened: &OpenSnapshot, number: u32, args: &DumpArgs) -> Result<ExitStatus> {
    let database = tree::database_by_number(opened.snapshot(), number)?;
    let wish = RecordQuery {
        selection: select_keys::selection(&args.selection)?,
        with_uncertain: args.with_uncertain,
    };
    match (args.format, &args.target) {
        (DumpFormat::Leveldb, Some(target)) => {
            let restore = Restore {
                database: Some(DatabaseChoice::Number(number)),
                selection: wish.selection,
                database_form: DatabaseForm::Records,
                with_uncertain: wish.with_uncertain,
                ..Restore::new(target)
            };
            super::restore::restore(run, &opened.repo, &opened.stored, &restore)
        }
        _ => print_records(run, opened, database, &wish, args),
    }
}

fn print_records(
    run: &CommandContext,
    opened: &OpenSnapshot,
    database: &DatabaseRoot,
    wish: &RecordQuery,
    args: &DumpArgs,
) -> Result<ExitStatus> {
    let mut out = DumpOutput::open(args)?;
    read_records::read_records(
        &opened.repo,
        database,
        wish,
        run.report,
        &mut |key, value| match args.format {
            DumpFormat::Raw => raw(&mut out, key, value),
            _ => out.write(format!("{}\n", record_json(key, value)).as_bytes()),
        },
    )?;
    out.finish()?;
    Ok(warn_of_lost(run, database, &wish.selection))
}

fn raw(out: &mut DumpOutput, key: &[u8], value: &[u8]) -> Result<()> {
    for part in [key, value] {
        let len = u32::try_from(part.len()).map_err(std::io::Error::other);
        out.write(&len.context(|| "write a record")?.to_le_bytes())?;
        out.write(part)?;
    }
    Ok(())
}

/// Standard output, or a new file.
struct DumpOutput {
    writer: BufWriter<Box<dyn Write>>,
    name: String,
}

impl DumpOutput {
    fn open(args: &DumpArgs) -> Result<Self> {
        let (writer, name): (Box<dyn Write>, _) = match &args.target {
            None => (Box::new(std::io::stdout().lock()), "standard output".into()),
            Some(path) => {
                let name = path.display().to_string();
                let file = File::create_new(path).context(|| format!("make {name}"))?;
                (Box::new(file), name)
            }
        };
        let writer = BufWriter::with_capacity(1 << 20, writer);
        Ok(Self { writer, name })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer
            .write_all(bytes)
            .context(|| format!("write to {}", self.name))
    }

    fn finish(mut self) -> Result<()> {
        self.writer.flush().context(|| format!("write to {}", self.name))
    }
}
