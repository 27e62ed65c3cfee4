//! Finds the snapshots that contain given keys or files.
//!
//! `find`: in which snapshots keys and files are.

mod find_files;

pub use find_files::{FileMatch, files};

use std::collections::BTreeMap;

use crate::error::{Result, ResultExt};
use crate::leveldb::Comparator;
use crate::repo::{Repo, StoredSnapshot};
use crate::report::OperationReport;
use crate::run::{BlobSource, RunReader, StackCursor, TombstoneMode};

use crate::ops::blob_cache::BlobCacheReader;
use crate::ops::database_series::DatabaseFilter;
use crate::ops::diff::DatabaseState;
use crate::ops::domain_views::{DomainViews, of_domain};
use crate::ops::key_selection::KeySelection;
use crate::ops::read_records;

/// What is sought.
#[derive(Clone, Debug)]
pub enum FindQuery {
    /// These keys.
    Keys(Vec<Vec<u8>>),
    /// Every selected key.
    Selection(KeySelection),
}

/// A key that is in a snapshot.
pub struct KeyMatch<'m> {
    /// Where it was found.
    pub state: DatabaseState<'m>,
    /// The key.
    pub key: &'m [u8],
    /// Bytes of its value.
    pub value_bytes: u64,
}

/// Takes a match; an error ends the search.
pub type MatchVisitor<'m> = &'m mut dyn FnMut(&KeyMatch) -> Result<()>;

/// Gives every match in the databases of `scope`, snapshot by snapshot. Databases that are stored as files are told of
/// and left out. Where the repository lost records that may have matched, that is a problem in the report.
pub fn find(
    repo: &Repo,
    snapshots: &[StoredSnapshot],
    scope: &DatabaseFilter,
    sought: &FindQuery,
    report: &OperationReport,
    sink: MatchVisitor,
) -> Result<()> {
    let views = DomainViews::of(repo, snapshots)?;
    let readers = views.readers();
    let recent: BTreeMap<_, _> = readers
        .iter()
        .map(|(domain, reader)| (*domain, BlobCacheReader::new(reader)))
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
            sink(&KeyMatch {
                state,
                key,
                value_bytes,
            })
        };
        let recent = of_domain(&recent, state.snapshot.snapshot.domain)?;
        let found = match sought {
            FindQuery::Keys(keys) => some_keys(recent, state, keys, &mut sink),
            FindQuery::Selection(selection) => selected(recent, state, selection, &mut sink),
        };
        found.context(|| format!("look into {name} in snapshot {id}"))?;
        if let Some(lost) = lost(state, sought) {
            report.problem(format!("snapshot {id}: {lost}"));
        }
    }
    Ok(())
}

/// What may be missing among the matches because the repository lost it.
fn lost(state: DatabaseState, sought: &FindQuery) -> Option<String> {
    match sought {
        FindQuery::Selection(selection) => read_records::lost_of(state.database, selection),
        FindQuery::Keys(keys) => {
            let lost = keys
                .iter()
                .find_map(|key| read_records::known_absent(state.database, key).err());
            lost.map(|error| error.to_string())
        }
    }
}

type KeyVisitor<'s> = &'s mut dyn FnMut(&[u8], u64) -> Result<()>;

fn some_keys(
    source: &dyn BlobSource,
    state: DatabaseState,
    keys: &[Vec<u8>],
    sink: KeyVisitor,
) -> Result<()> {
    for key in keys {
        if let Some(entry) = read_records::entry(source, state.database, key)? {
            sink(key, entry.as_payload().value_bytes())?;
        }
    }
    Ok(())
}

fn selected(
    source: &dyn BlobSource,
    state: DatabaseState,
    selection: &KeySelection,
    sink: KeyVisitor,
) -> Result<()> {
    let comparator = Comparator::from_name(&state.database.shape.comparator);
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    let runs = read_records::runs(state.database, false)?;
    let newest_first = runs.into_iter().rev();
    let walkers: Vec<_> = newest_first
        .map(|run| RunReader::new(source, run.root.as_ref(), &order))
        .collect();
    let range = selection.range(&comparator);
    let mut merged = StackCursor::new(&walkers, &range, TombstoneMode::Drop, &order)?;
    while let Some(entry) = merged.next()? {
        if selection.contains(entry.key, &order) {
            sink(entry.key, entry.payload.value_bytes())?;
        }
    }
    Ok(())
}
