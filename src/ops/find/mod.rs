//! `find`: in which snapshots keys and files are.

mod files;

pub use files::{FileMatch, files};

use std::collections::BTreeMap;

use crate::error::{Act, Result};
use crate::leveldb::Comparator;
use crate::repo::{Repo, StoredSnapshot};
use crate::report::Report;
use crate::run::{BlobSource, StackCursor, Tombstones, Walker};

use crate::ops::diff::State;
use crate::ops::read;
use crate::ops::recent::Recent;
use crate::ops::selection::Selection;
use crate::ops::series::Scope;
use crate::ops::views::{Views, of_domain};

/// What is sought.
#[derive(Clone, Debug)]
pub enum Sought {
    /// These keys.
    Keys(Vec<Vec<u8>>),
    /// Every selected key.
    Selection(Selection),
}

/// A key that is in a snapshot.
pub struct Match<'m> {
    /// Where it was found.
    pub state: State<'m>,
    /// The key.
    pub key: &'m [u8],
    /// Bytes of its value.
    pub value_bytes: u64,
}

/// Takes a match; an error ends the search.
pub type EachMatch<'m> = &'m mut dyn FnMut(&Match) -> Result<()>;

/// Gives every match in the databases of `scope`, snapshot by snapshot. Databases that are stored as files are told of
/// and left out. Where the repository lost records that may have matched, that is a problem in the report.
pub fn find(
    repo: &Repo,
    snapshots: &[StoredSnapshot],
    scope: &Scope,
    sought: &Sought,
    report: &Report,
    sink: EachMatch,
) -> Result<()> {
    let views = Views::of(repo, snapshots)?;
    let readers = views.readers();
    let recent: BTreeMap<_, _> = readers
        .iter()
        .map(|(domain, reader)| (*domain, Recent::new(reader)))
        .collect();
    for state in scope.states(snapshots) {
        let (name, id) = (&state.database.name, state.snapshot.id.short());
        if state.database.is_physical() {
            report.notice(format!(
                "{name} in snapshot {id}: stored as files, not looked into"
            ));
            continue;
        }
        let mut sink = |key: &[u8], value_bytes| {
            report.go_on()?;
            sink(&Match {
                state,
                key,
                value_bytes,
            })
        };
        let recent = of_domain(&recent, state.snapshot.snapshot.domain)?;
        let found = match sought {
            Sought::Keys(keys) => some_keys(recent, state, keys, &mut sink),
            Sought::Selection(selection) => selected(recent, state, selection, &mut sink),
        };
        found.act(|| format!("look into {name} in snapshot {id}"))?;
        if let Some(lost) = lost(state, sought) {
            report.problem(format!("snapshot {id}: {lost}"));
        }
    }
    Ok(())
}

/// What may be missing among the matches because the repository lost it.
fn lost(state: State, sought: &Sought) -> Option<String> {
    match sought {
        Sought::Selection(selection) => read::lost_of(state.database, selection),
        Sought::Keys(keys) => {
            let lost = keys
                .iter()
                .find_map(|key| read::known_absent(state.database, key).err());
            lost.map(|error| error.to_string())
        }
    }
}

type EachKey<'s> = &'s mut dyn FnMut(&[u8], u64) -> Result<()>;

fn some_keys(source: &dyn BlobSource, state: State, keys: &[Vec<u8>], sink: EachKey) -> Result<()> {
    for key in keys {
        if let Some(entry) = read::entry(source, state.database, key)? {
            sink(key, entry.as_payload().value_bytes())?;
        }
    }
    Ok(())
}

fn selected(source: &dyn BlobSource, state: State, selection: &Selection, sink: EachKey) -> Result<()> {
    let comparator = Comparator::from_name(&state.database.shape.comparator);
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    let runs = read::runs(state.database, false)?;
    let newest_first = runs.into_iter().rev();
    let walkers: Vec<_> = newest_first
        .map(|run| Walker::new(source, run.root.as_ref(), &order))
        .collect();
    let range = selection.range(&comparator);
    let mut merged = StackCursor::new(&walkers, &range, Tombstones::Drop, &order)?;
    while let Some(entry) = merged.next()? {
        if selection.contains(entry.key, &order) {
            sink(entry.key, entry.payload.value_bytes())?;
        }
    }
    Ok(())
}
