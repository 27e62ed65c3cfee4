//! `find`: the snapshots that have some keys.

use std::io::{BufWriter, Write};

use levault::error::{Act, Result};
use levault::id::ObjectId;
use levault::ops::diff::State;
use levault::ops::find::{self, Match, Sought};
use levault::repo::{Repo, StoredSnapshot};
use serde_json::{Map, Value, json};

use super::{Run, select};
use crate::advice::Ending;
use crate::args::FindArgs;
use crate::output::{key_text, put_bytes, time, time_exact};

/// Lists every match, snapshot by snapshot, oldest first.
pub fn run(run: &Run, args: &FindArgs) -> Result<Ending> {
    let sought = sought(args)?;
    let scope = select::scope(&args.scope);
    let repo = run.open()?;
    let snapshots = snapshots(run, &repo, args)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut matches, mut seen) = (0_u64, Vec::new());
    find::find(&repo, &snapshots, &scope, &sought, run.report, &mut |found| {
        let place = (found.state.snapshot.id, found.state.database.name.clone());
        let is_first = seen.last() != Some(&place);
        if is_first {
            seen.push(place);
        }
        matches += 1;
        tell(run, &mut out, found, is_first)
    })?;
    out.flush().act(|| "write to standard output")?;
    drop(out);
    run.tell_notices();
    let mut ids: Vec<ObjectId> = seen.into_iter().map(|(id, _)| id).collect();
    ids.dedup();
    run.output
        .emit(&json!({"message_type": "summary", "hits": matches, "snapshots": ids.len()}))?;
    run.output
        .say(format!("{matches} records in {} snapshots", ids.len()))?;
    Ok(run.tell_problems())
}

fn sought(args: &FindArgs) -> Result<Sought> {
    if args.keys.is_empty() && args.key_hex.is_empty() {
        return select::selection(&args.selection).map(Sought::Selection);
    }
    let mut keys: Vec<_> = args.keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    for key in &args.key_hex {
        keys.push(select::hex(key)?);
    }
    Ok(Sought::Keys(keys))
}

fn snapshots(run: &Run, repo: &Repo, args: &FindArgs) -> Result<Vec<StoredSnapshot>> {
    let mut found = match args.snapshot.is_empty() {
        false => args
            .snapshot
            .iter()
            .map(|words| repo.select(words))
            .collect::<Result<_>>()?,
        true => {
            let catalog = repo.catalog()?;
            run.tell_unread(&catalog);
            catalog.snapshots
        }
    };
    found.retain(|stored| args.tag.iter().all(|tag| stored.snapshot.tags.contains(tag)));
    Ok(found)
}

fn tell(run: &Run, out: &mut impl Write, found: &Match, is_first: bool) -> Result<()> {
    let line = match (run.output.quiet, run.output.json) {
        (_, true) => to_json(found).to_string(),
        (true, _) => return Ok(()),
        _ if is_first => format!("{}\n{}", heading(found.state), match_text(found)),
        _ => match_text(found),
    };
    writeln!(out, "{line}").act(|| "write to standard output")
}

fn heading(state: State) -> String {
    let snapshot = &state.snapshot.snapshot;
    format!(
        "snapshot {} of {} on {}: {}",
        state.snapshot.id.short(),
        time(snapshot.time),
        snapshot.host,
        state.database.name
    )
}

fn match_text(found: &Match) -> String {
    format!("{:>10}  {}", found.value_bytes, key_text(found.key))
}

fn to_json(found: &Match) -> Value {
    let snapshot = found.state.snapshot;
    let mut object = Map::new();
    object.insert("message_type".into(), "match".into());
    object.insert("snapshot".into(), snapshot.id.to_hex().into());
    object.insert("time".into(), time_exact(snapshot.snapshot.time).into());
    object.insert("hostname".into(), snapshot.snapshot.host.clone().into());
    object.insert("domain".into(), snapshot.snapshot.domain.0.into());
    object.insert("db".into(), found.state.database.name.clone().into());
    put_bytes(&mut object, "key", found.key);
    object.insert("size".into(), found.value_bytes.into());
    object.into()
}
