//! `find`: lists the snapshots that contain given files or records.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;

use levault::engine::tag_list::TagList;
use levault::engine::tree;
use levault::error::{Result, ResultExt};
use levault::id::ObjectId;
use levault::ops::find::{self, FileMatch, KeyMatch, KeyQuery};
use levault::pattern::{CaseSensitivity, Pattern, Patterns};
use levault::repo::{Repo, StoredSnapshot};
use levault::snapshot::{EntryKind, SnapshotSource};
use serde_json::{Map, Value, json};

use super::print_node::{ShownNode, one_line, put_path};
use super::select_keys;
use crate::args::FindArgs;
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::{key_text, put_bytes, time, time_exact};

/// Lists every match, snapshot by snapshot, oldest first: records, then files.
pub fn run(run: &CommandContext, args: &FindArgs) -> Result<ExitStatus> {
    let sought = search_query(args)?;
    let repo = run.open()?;
    let snapshots = snapshots(run, &repo, args)?;
    let patterns = patterns(args, &snapshots)?;
    let mut out = MatchPrinter::new(run, args);
    find::find_keys(
        &repo,
        &snapshots,
        &select_keys::scope(&args.scope),
        &sought,
        run.report,
        &mut |found| out.record(found),
    )?;
    if let Some(patterns) = patterns {
        let of_host = is_of_host(&snapshots, args);
        find::find_named_files(&repo, &of_host, &patterns, run.report, &mut |found| {
            out.file(found)
        })?;
    }
    out.finish()?;
    Ok(run.print_problems())
}

/// What has been found so far.
struct MatchPrinter<'a> {
    run: &'a CommandContext<'a>,
    long: bool,
    out: BufWriter<std::io::StdoutLock<'static>>,
    records: u64,
    files: u64,
    snapshots: BTreeSet<ObjectId>,
    /// The last heading: a snapshot, and the database in it.
    last: Option<(ObjectId, Option<Vec<u8>>)>,
}

impl<'a> MatchPrinter<'a> {
    fn new(run: &'a CommandContext, args: &FindArgs) -> Self {
        Self {
            run,
            long: args.long,
            out: BufWriter::new(std::io::stdout().lock()),
            records: 0,
            files: 0,
            snapshots: BTreeSet::new(),
            last: None,
        }
    }

    fn record(&mut self, found: &KeyMatch) -> Result<()> {
        self.records += 1;
        let state = found.state;
        let line = if self.run.output.json {
            to_json(found).to_string()
        } else {
            format!("{:>10}  {}", found.value_bytes, key_text(found.key))
        };
        self.print_match(state.snapshot, Some(&state.database.path), &line)
    }

    fn file(&mut self, found: &FileMatch) -> Result<()> {
        self.files += 1;
        let database = match found.node.entry.kind {
            EntryKind::Database(number) => Some(tree::database_by_number(&found.snapshot.snapshot, number)?),
            _ => None,
        };
        let (path, node) = (found.path, found.node);
        let shown = ShownNode { path, node, database };
        let line = match (self.run.output.json, self.long) {
            (true, _) => file_json(found.snapshot, &shown).to_string(),
            (_, true) => shown.long(false),
            _ => shown.path_text(),
        };
        self.print_match(found.snapshot, None, &line)
    }

    fn print_match(&mut self, snapshot: &StoredSnapshot, database: Option<&[u8]>, line: &str) -> Result<()> {
        self.snapshots.insert(snapshot.id);
        let heading = (snapshot.id, database.map(<[u8]>::to_vec));
        let is_first = self.last.as_ref() != Some(&heading);
        self.last = Some(heading);
        let output = &self.run.output;
        if output.quiet && !output.json {
            return Ok(());
        }
        if is_first && !output.json {
            let heading = heading_text(snapshot, database);
            writeln!(self.out, "{heading}").context(|| "write to standard output")?;
        }
        writeln!(self.out, "{line}").context(|| "write to standard output")
    }

    fn finish(mut self) -> Result<()> {
        self.out.flush().context(|| "write to standard output")?;
        let Self {
            run,
            records,
            files,
            snapshots,
            out,
            ..
        } = self;
        drop(out);
        run.print_notices();
        run.output.write_json(
            &json!({"message_type": "summary", "hits": records + files, "records": records,
            "files": files, "snapshots": snapshots.len()}),
        )?;
        let files = match files {
            0 => String::new(),
            files => format!(" and {files} files"),
        };
        run.output.print(format!(
            "{records} records{files} in {} snapshots",
            snapshots.len()
        ))
    }
}

fn search_query(args: &FindArgs) -> Result<KeyQuery> {
    if args.words.is_empty() && args.key_hex.is_empty() {
        return select_keys::selection(&args.selection).map(KeyQuery::Selection);
    }
    let mut keys: Vec<_> = args.words.iter().map(|key| key.as_bytes().to_vec()).collect();
    for key in &args.key_hex {
        keys.push(select_keys::hex(key)?);
    }
    Ok(KeyQuery::Keys(keys))
}

/// What files are sought by; `None` if none are, or no snapshot has any. (A key need not be a pattern.)
fn patterns(args: &FindArgs, snapshots: &[StoredSnapshot]) -> Result<Option<Patterns>> {
    let mut sources = snapshots.iter().flat_map(|stored| &stored.snapshot.sources);
    let has_files = sources.any(|source| match source {
        SnapshotSource::Tree(_) => true,
        SnapshotSource::Database(database) => database.beside.is_some(),
    });
    if args.words.is_empty() || args.scope.db.is_some() || !has_files {
        return Ok(None);
    }
    let case = if args.ignore_case {
        CaseSensitivity::Ignored
    } else {
        CaseSensitivity::Matters
    };
    let words = args.words.iter().map(|word| Pattern::word(word.as_bytes(), case));
    Patterns::new(&words.collect::<Vec<_>>()).map(Some)
}

fn is_of_host(snapshots: &[StoredSnapshot], args: &FindArgs) -> Vec<StoredSnapshot> {
    let host = args.scope.host.as_ref();
    let is_meant = |stored: &&StoredSnapshot| host.is_none_or(|host| stored.snapshot.host == *host);
    snapshots.iter().filter(is_meant).cloned().collect()
}

fn snapshots(run: &CommandContext, repo: &Repo, args: &FindArgs) -> Result<Vec<StoredSnapshot>> {
    let mut found = if !args.snapshot.is_empty() {
        args.snapshot
            .iter()
            .map(|words| run.select(repo, words))
            .collect::<Result<_>>()?
    } else {
        let catalog = repo.catalog()?;
        run.warn_of_unread(&catalog);
        catalog.snapshots
    };
    let notes = repo.notes()?.current_notes();
    for stored in &mut found {
        stored.snapshot.tags = notes.tags(&stored.id, &stored.snapshot.tags).to_vec();
    }
    let wanted: Vec<_> = args.tag.iter().map(|words| TagList::parse(words)).collect();
    found.retain(|stored| wanted.is_empty() || wanted.iter().any(|tags| tags.fits(&stored.snapshot.tags)));
    Ok(found)
}

fn heading_text(stored: &StoredSnapshot, database: Option<&[u8]>) -> String {
    let snapshot = &stored.snapshot;
    let (id, time) = (stored.id.short(), time(snapshot.time));
    let database = database.map_or(String::new(), |path| format!(": {}", one_line(path)));
    format!("snapshot {id} of {time} on {}{database}", snapshot.host)
}

fn file_json(stored: &StoredSnapshot, shown: &ShownNode) -> Value {
    let mut object = matches_of_snapshot(stored);
    if let Value::Object(node) = shown.json() {
        let node = node.into_iter().filter(|(name, _)| name != "message_type");
        object.extend(node);
    }
    object.into()
}

fn matches_of_snapshot(stored: &StoredSnapshot) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("message_type".into(), "match".into());
    object.insert("snapshot".into(), stored.id.to_hex().into());
    object.insert("time".into(), time_exact(stored.snapshot.time).into());
    object.insert("hostname".into(), stored.snapshot.host.clone().into());
    object.insert("domain".into(), stored.snapshot.domain.0.into());
    object
}

fn to_json(found: &KeyMatch) -> Value {
    let mut object = matches_of_snapshot(found.state.snapshot);
    object.insert("db".into(), found.state.database.name.clone().into());
    put_path(&mut object, "path", &found.state.database.path);
    put_bytes(&mut object, "key", found.key);
    object.insert("size".into(), found.value_bytes.into());
    object.into()
}
