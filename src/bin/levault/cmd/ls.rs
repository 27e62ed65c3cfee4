//! `ls`: lists what a snapshot contains.

use std::io::{BufWriter, Write};

use levault::engine::key_selection::KeySelection;
use levault::engine::read_records::{self, RecordQuery};
use levault::engine::tree::{ResolvedAddress, SnapshotView, TreeNode};
use levault::error::{Result, ResultExt};
use levault::snapshot::{DatabaseRoot, EntryKind, Snapshot};
use serde_json::{Map, Value, json};

use super::get::warn_of_lost;
use super::open_snapshot::OpenSnapshot;
use super::print_node::{ShownNode, one_line, with_path};
use super::snapshots::missing_json;
use crate::args::{LsArgs, SnapshotPath};
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::{bytes, key_text, put_bytes};

/// How a node is printed.
enum NodeFormat {
    Path,
    Long { human_readable: bool },
    Json,
    Nothing,
}

/// Lists databases and files, or the keys of a database.
pub fn run(run: &CommandContext, args: &LsArgs) -> Result<ExitStatus> {
    let opened = run.open_place(&args.pick.place)?;
    if args.keys {
        return keys(run, &opened, args);
    }
    let mut listing = LsPrinter::new(run, args, &opened);
    let places = list_places(args);
    if places.iter().all(|place| opened.is_whole(&place.address)) {
        list_databases(run, opened.snapshot())?;
        listing.all()?;
    } else {
        for place in &places {
            listing.list_below(&place.address)?;
        }
    }
    let mut tops = Vec::new();
    for place in &places {
        tops.push(listing.list_top(&place.address)?);
    }
    listing.out.flush().context(|| "write to standard output")?;
    drop(listing);
    print_missing(run, opened.snapshot(), &tops)?;
    Ok(run.print_problems())
}

/// What of these the backup could not read. The listing is that of the snapshot, so this is no problem of it.
fn print_missing(run: &CommandContext, snapshot: &Snapshot, tops: &[Vec<u8>]) -> Result<()> {
    for top in tops {
        for one in snapshot.missing.about(top) {
            let mut line = missing_json(one);
            line["message_type"] = "missing".into();
            run.output.write_json(&line)?;
        }
        for sentence in snapshot.missing.sentences(top) {
            run.output.warn(&sentence);
        }
    }
    Ok(())
}

fn list_places(args: &LsArgs) -> Vec<SnapshotPath> {
    let place = &args.pick.place;
    if args.paths.is_empty() {
        vec![place.clone()]
    } else {
        args.paths.iter().map(|path| place.path_below(path)).collect()
    }
}

struct LsPrinter<'a> {
    run: &'a CommandContext<'a>,
    opened: &'a OpenSnapshot,
    form: NodeFormat,
    recursive: bool,
    out: BufWriter<std::io::StdoutLock<'static>>,
}

impl<'a> LsPrinter<'a> {
    fn new(run: &'a CommandContext, args: &LsArgs, opened: &'a OpenSnapshot) -> Self {
        let form = match (run.output.json, run.output.quiet, args.long) {
            (true, ..) => NodeFormat::Json,
            (_, true, _) => NodeFormat::Nothing,
            (.., true) => NodeFormat::Long {
                human_readable: args.human_readable,
            },
            _ => NodeFormat::Path,
        };
        Self {
            run,
            opened,
            form,
            recursive: args.recursive,
            out: BufWriter::new(std::io::stdout().lock()),
        }
    }

    /// Everything in the snapshot's trees, and beside databases that lie in none.
    fn all(&mut self) -> Result<()> {
        let reader = self.opened.reader();
        let view = SnapshotView::new(self.opened.snapshot(), &reader);
        for number in view.top_sources() {
            let top = view.resolve_source(number)?;
            match top.node.entry.kind {
                // It was listed among the databases.
                EntryKind::Database(_) => self.walk(view, &top, DirectoryOrder::Inside)?,
                _ => self.walk(view, &top, DirectoryOrder::Itself)?,
            }
        }
        Ok(())
    }

    /// Where what the address leads to stood; empty for all of the snapshot.
    fn list_top(&self, address: &[u8]) -> Result<Vec<u8>> {
        if self.opened.is_whole(address) {
            return Ok(Vec::new());
        }
        let reader = self.opened.reader();
        let found = SnapshotView::new(self.opened.snapshot(), &reader).resolve(address)?;
        Ok(found.path)
    }

    /// What a directory holds, or the one thing that the address leads to.
    fn list_below(&mut self, address: &[u8]) -> Result<()> {
        let reader = self.opened.reader();
        let view = SnapshotView::new(self.opened.snapshot(), &reader);
        let found = view.resolve(address)?;
        match (&found.node.entry.kind, self.recursive) {
            (EntryKind::Directory(_) | EntryKind::Database(_), true) => {
                self.walk(view, &found, DirectoryOrder::Inside)
            }
            (EntryKind::Directory(_) | EntryKind::Database(_), false) => self.children(view, &found),
            _ => self.show(view, &found.path, &found.node),
        }
    }

    fn children(&mut self, view: SnapshotView, found: &ResolvedAddress) -> Result<()> {
        let Some(listing) = view.directory_tree(&found.node)? else {
            return Ok(());
        };
        for node in view.list_entries(&listing, b"")? {
            self.run.report.go_on()?;
            let node = node?;
            self.show(view, &found.below(&node.entry.name), &node)?;
        }
        Ok(())
    }

    fn walk(&mut self, view: SnapshotView, found: &ResolvedAddress, whole: DirectoryOrder) -> Result<()> {
        let mut walk = view.walk(found.node.clone());
        while let Some(node) = walk.next() {
            self.run.report.go_on()?;
            match node {
                Ok(_) if walk.depth() == 0 && whole == DirectoryOrder::Inside => {}
                Ok(node) => self.show(view, &found.below(walk.path()), &node)?,
                Err(error) => self.run.report.problem(error.to_string()),
            }
        }
        Ok(())
    }

    fn show(&mut self, view: SnapshotView, path: &[u8], node: &TreeNode) -> Result<()> {
        let database = match node.entry.kind {
            EntryKind::Database(number) => Some(view.database(number)?),
            _ => None,
        };
        let shown = ShownNode { path, node, database };
        let line = match self.form {
            NodeFormat::Nothing => return Ok(()),
            NodeFormat::Json => shown.json().to_string(),
            NodeFormat::Path => shown.path_text(),
            NodeFormat::Long { human_readable } => shown.long(human_readable),
        };
        writeln!(self.out, "{line}").context(|| "write to standard output")
    }
}

/// Whether a directory is listed before what it holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DirectoryOrder {
    Itself,
    Inside,
}

fn list_databases(run: &CommandContext, snapshot: &Snapshot) -> Result<()> {
    for database in snapshot.databases() {
        run.output.write_json(&with_path(
            json!({"message_type": "node", "db": database.name,
            "records": database.records, "size": database.bytes(), "physical": database.is_physical(),
            "source_damage": database.damage.iter().map(super::backup::damage_json).collect::<Vec<_>>()}),
            "path",
            &database.path,
        ))?;
        run.output.print(format!(
            "{:>10} records  {:>10}  {}  {}",
            database.records,
            bytes(database.bytes()),
            database.name,
            one_line(&database.path)
        ))?;
        for damage in &database.damage {
            run.output
                .print(format!("    {}", super::backup::damage_text(damage)))?;
        }
    }
    Ok(())
}

fn keys(run: &CommandContext, opened: &OpenSnapshot, args: &LsArgs) -> Result<ExitStatus> {
    let wish = RecordQuery {
        selection: KeySelection::Prefix(args.prefix.clone().unwrap_or_default().into_bytes()),
        with_uncertain: false,
    };
    let database: &DatabaseRoot = opened.database(&args.pick)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    read_records::read_records(&opened.repo, database, &wish, run.report, &mut |key, value| {
        let line = if run.output.json {
            key_json(key, value.len()).to_string()
        } else {
            format!("{:>10}  {}", value.len(), key_text(key))
        };
        writeln!(out, "{line}").context(|| "write to standard output")
    })?;
    out.flush().context(|| "write to standard output")?;
    drop(out);
    Ok(warn_of_lost(run, database, &wish.selection))
}

fn key_json(key: &[u8], value_len: usize) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "key", key);
    object.insert("size".into(), value_len.into());
    object.into()
}
