//! `diff`: prints the files and records that differ.

use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;

use levault::engine::database_state::DatabaseState;
use levault::engine::key_selection::KeySelection;
use levault::engine::tree::{self, ResolvedAddress, SnapshotView, TreeNode};
use levault::engine::{EntryPayload, RecordDifference};
use levault::error::{ErrorKind, Result, ResultExt};
use levault::ops::diff::{
    self, FileChange, FileComparison, FileDiffOutcome, FileDifference, FileTotals, RecordChange,
    RecordDiffOutcome, RecordTotals,
};
use levault::repo::{BlobReader, Repo, StoredSnapshot};
use levault::snapshot::{EntryKind, SnapshotSource};
use serde_json::{Map, Value, json};

use super::print_node::{one_line, put_path};
use super::select_keys;
use crate::args::{DiffArgs, SnapshotPath};
use crate::command_context::{CommandContext, usage};
use crate::exit_status::ExitStatus;
use crate::format::{bytes, key_text, put_bytes};

/// Lists and counts what differs.
pub fn run(run: &CommandContext, args: &DiffArgs) -> Result<ExitStatus> {
    let selection = select_keys::selection(&args.selection)?;
    let repo = run.open()?;
    let [old, new] = [
        run.select_place(&repo, &args.old)?,
        run.select_place(&repo, &args.new)?,
    ];
    let repo = repo.in_domain(new.snapshot.domain)?;
    let comparison = DiffPrinter {
        run,
        args,
        repo: &repo,
        selection,
    };
    if one_database(args, &old, &new)? {
        let name = args.db.as_ref().map(|name| name.as_bytes());
        comparison.records([DatabaseState::of(&old, name)?, DatabaseState::of(&new, name)?])?;
    } else {
        comparison.files(&old, &new)?
    }
    Ok(run.print_problems())
}

/// Whether one database is meant, by its name or because there is nothing else.
fn one_database(args: &DiffArgs, old: &StoredSnapshot, new: &StoredSnapshot) -> Result<bool> {
    let has_place = [&args.old, &args.new]
        .iter()
        .any(|place| !place.address.is_empty());
    if has_place && args.db.is_some() {
        return Err(usage(
            "--db goes without paths: it names a database of both snapshots",
        ));
    }
    let is_one = |stored: &StoredSnapshot| match &stored.snapshot.sources[..] {
        [SnapshotSource::Database(database)] => database.beside.is_none(),
        _ => false,
    };
    Ok(args.db.is_some() || !has_place && is_one(old) && is_one(new))
}

struct DiffPrinter<'a> {
    run: &'a CommandContext<'a>,
    args: &'a DiffArgs,
    repo: &'a Repo,
    selection: KeySelection,
}

impl DiffPrinter<'_> {
    fn records(&self, states: [DatabaseState; 2]) -> Result<()> {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let outcome = diff::diff_records(
            self.repo,
            states[0],
            states[1],
            &self.selection,
            self.run.report,
            &mut |difference| {
                self.print(
                    &mut out,
                    || record_json(states[1], difference),
                    || record_line(difference),
                )
            },
        )?;
        out.flush().context(|| "write to standard output")?;
        drop(out);
        print_record_totals(self.run, states, &outcome)
    }

    /// One line, in the form that was asked for.
    fn print(
        &self,
        out: &mut impl Write,
        json: impl FnOnce() -> Value,
        line: impl FnOnce() -> String,
    ) -> Result<()> {
        let line = match (self.args.counts || self.run.output.quiet, self.run.output.json) {
            (true, _) => return Ok(()),
            (false, true) => json().to_string(),
            (false, false) => line(),
        };
        writeln!(out, "{line}").context(|| "write to standard output")
    }

    fn files(&self, old: &StoredSnapshot, new: &StoredSnapshot) -> Result<()> {
        let lookup = self.repo.lookup()?;
        let reader = BlobReader::new(self.repo, &lookup);
        let files = FileComparison::new(old, new, &reader, self.run.report)?;
        let places = [
            place(SnapshotView::new(&old.snapshot, &reader), &self.args.old)?,
            place(SnapshotView::new(&new.snapshot, &reader), &self.args.new)?,
        ];
        let mut outcome = FileDiffOutcome::default();
        let pairs = match &places {
            [Some(old), Some(new)] => {
                self.listed(|sink| files.compare_addresses(old, new, &mut outcome, sink))?;
                files.common_databases(Some([old, new]))
            }
            [None, None] => {
                self.listed(|sink| files.compare_snapshots(&mut outcome, sink))?;
                files.common_databases(None)
            }
            _ => return Err(usage("a path in one snapshot is compared with one in the other")),
        };
        for [old, new] in pairs {
            self.listed(|sink| files.compare_beside(old, new, &mut outcome, sink))?;
            self.database([old, new])?;
        }
        self.warn_of_unread([old, new], &outcome);
        print_file_totals(self.run, [old, new], &outcome)
    }

    /// A comparison with what was not read is none.
    fn warn_of_unread(&self, both: [&StoredSnapshot; 2], outcome: &FileDiffOutcome) {
        if outcome.unread > 0 {
            self.run.report.problem(format!(
                "{} things (marked ?) are in one snapshot and were not read for the other",
                outcome.unread
            ));
        }
        for stored in both {
            let unlisted = stored.snapshot.missing.unlisted();
            if unlisted > 0 {
                let short = stored.id.short();
                let text = format!("snapshot {short}: {unlisted} paths that are not listed were not read");
                self.run.report.problem(text);
            }
        }
    }

    fn listed(
        &self,
        compare: impl FnOnce(&mut dyn FnMut(&FileDifference) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let mut out = BufWriter::new(std::io::stdout().lock());
        compare(&mut |difference| {
            let is_hidden = difference.change == FileChange::Metadata && !self.args.metadata;
            if is_hidden {
                Ok(())
            } else {
                self.print(&mut out, || file_json(difference), || file_line(difference))
            }
        })?;
        out.flush().context(|| "write to standard output")
    }

    /// One of several: what cannot be compared does not end the rest.
    fn database(&self, states: [DatabaseState; 2]) -> Result<()> {
        if states.iter().all(|state| state.database.is_physical()) {
            return Ok(());
        }
        match self.records(states) {
            Err(error) if error.kind() == ErrorKind::Usage => {
                self.run.report.problem(error.to_string());
                Ok(())
            }
            compared => compared,
        }
    }
}

fn place(view: SnapshotView, place: &SnapshotPath) -> Result<Option<ResolvedAddress>> {
    match tree::parts(&place.address).next() {
        None => Ok(None),
        Some(_) => view.resolve(&place.address).map(Some),
    }
}

fn record_sign(difference: &RecordDifference<'_>) -> &'static str {
    match RecordChange::of(difference) {
        RecordChange::Added => "+",
        RecordChange::Changed => "M",
        RecordChange::Removed => "-",
    }
}

fn record_line(difference: &RecordDifference<'_>) -> String {
    let size = |value: &EntryPayload<'_>| bytes(value.value_bytes());
    let sizes: Vec<_> = [&difference.old, &difference.new]
        .into_iter()
        .flatten()
        .map(size)
        .collect();
    let (sign, key) = (record_sign(difference), key_text(difference.key));
    format!("{sign}  {key}  ({})", sizes.join(" to "))
}

fn record_json(state: DatabaseState, difference: &RecordDifference<'_>) -> Value {
    let mut object = Map::new();
    object.insert("message_type".into(), "change".into());
    object.insert("modifier".into(), record_sign(difference).into());
    object.insert("db".into(), state.database.name.clone().into());
    put_path(&mut object, "db_path", &state.database.path);
    put_bytes(&mut object, "key", difference.key);
    for (name, value) in [("old_size", &difference.old), ("new_size", &difference.new)] {
        if let Some(value) = value {
            object.insert(name.into(), value.value_bytes().into());
        }
    }
    object.into()
}

fn print_record_totals(
    run: &CommandContext,
    [old, new]: [DatabaseState; 2],
    outcome: &RecordDiffOutcome,
) -> Result<()> {
    let tally = |tally: &RecordTotals| json!({"records": tally.records, "bytes": tally.bytes});
    run.output.write_json(&json!({
        "message_type": "summary",
        "source_snapshot": old.snapshot.id.to_hex(),
        "target_snapshot": new.snapshot.id.to_hex(),
        "db": new.database.name,
        "added": tally(&outcome.added),
        "changed": tally(&outcome.changed),
        "removed": tally(&outcome.removed),
    }))?;
    let count = |tally: &RecordTotals| format!("{} ({})", tally.records, bytes(tally.bytes));
    run.output.print(format!(
        "{}: added {}, changed {}, removed {}",
        new.database.name,
        count(&outcome.added),
        count(&outcome.changed),
        count(&outcome.removed)
    ))
}

/// restic's letters.
fn file_sign(change: FileChange) -> &'static str {
    match change {
        FileChange::Added => "+",
        FileChange::Removed => "-",
        FileChange::Content => "M",
        FileChange::Metadata => "U",
        FileChange::Type => "T",
        FileChange::Unread => "?",
    }
}

/// Directories end with a slash.
fn file_line(difference: &FileDifference) -> String {
    let node = difference.new.or(difference.old);
    let slash = match node.map(|node| &node.entry.kind) {
        Some(EntryKind::Directory(_) | EntryKind::Database(_)) => "/",
        _ => "",
    };
    let (sign, path) = (file_sign(difference.change), one_line(difference.path));
    format!("{sign}    {path}{slash}")
}

fn file_json(difference: &FileDifference) -> Value {
    let mut object = Map::new();
    object.insert("message_type".into(), "change".into());
    object.insert("modifier".into(), file_sign(difference.change).into());
    put_path(&mut object, "path", difference.path);
    for (name, node) in [("old_size", difference.old), ("new_size", difference.new)] {
        if let Some(size) = node.and_then(file_bytes) {
            object.insert(name.into(), size.into());
        }
    }
    object.into()
}

fn file_bytes(node: &TreeNode) -> Option<u64> {
    match &node.entry.kind {
        EntryKind::File(list) => Some(list.bytes()),
        _ => None,
    }
}

fn print_file_totals(
    run: &CommandContext,
    [old, new]: [&StoredSnapshot; 2],
    outcome: &FileDiffOutcome,
) -> Result<()> {
    let tallies = |tallies: &FileTotals| {
        json!({"files": tallies.files, "dirs": tallies.directories, "others": tallies.others,
            "bytes": tallies.bytes})
    };
    run.output.write_json(&json!({
        "message_type": "statistics",
        "source_snapshot": old.id.to_hex(),
        "target_snapshot": new.id.to_hex(),
        "changed_files": outcome.changed.files,
        "changed_bytes": outcome.changed.bytes,
        "changed_metadata": outcome.metadata,
        "unread": outcome.unread,
        "added": tallies(&outcome.added),
        "removed": tallies(&outcome.removed),
    }))?;
    let (added, removed, changed) = (&outcome.added, &outcome.removed, &outcome.changed);
    let of_files = |tallies: &FileTotals| format!("{} ({})", tallies.files, bytes(tallies.bytes));
    run.output.print(format!(
        "files: added {}, changed {}, removed {}; directories: added {}, removed {}; others: added {}, changed {}, \
         removed {}; metadata alone: {}",
        of_files(added),
        of_files(changed),
        of_files(removed),
        added.directories,
        removed.directories,
        added.others,
        changed.others,
        removed.others,
        outcome.metadata
    ))
}
