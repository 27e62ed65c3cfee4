//! Finds the snapshots that contain given keys or files.
//!
//! `find`: in which snapshots keys and files are.

mod find_files;

pub use find_files::{FileMatch, find_named_files};

use std::collections::BTreeMap;

use crate::error::{Result, ResultExt};
use crate::leveldb::Comparator;
use crate::repo::{Repo, StoredSnapshot};
use crate::report::OperationReport;
use crate::run::{BlobSource, RunReader, StackCursor, TombstoneMode};

use crate::engine::blob_cache::BlobCacheReader;
use crate::engine::database_series::DatabaseFilter;
use crate::engine::database_state::DatabaseState;
use crate::engine::domain_views::{DomainViews, find_by_domain};
use crate::engine::key_selection::KeySelection;
use crate::engine::read_records;

/// What is sought.
#[derive(Clone, Debug)]
pub enum KeyQuery {
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
pub type KeyMatchVisitor<'m> = &'m mut dyn FnMut(&KeyMatch) -> Result<()>;

/// Gives every match in the databases of `scope`, snapshot by snapshot. Databases that are stored as files are told of
/// and left out. Where the repository lost records that may have matched, that is a problem in the report.
pub fn find_keys(
    repo: &Repo,
    snapshots: &[StoredSnapshot],
    scope: &DatabaseFilter,
    sought: &KeyQuery,
    report: &OperationReport,
    sink: KeyMatchVisitor,
) -> Result<()> {
    let views = DomainViews::open(repo, snapshots)?;
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
        let recent = find_by_domain(&recent, state.snapshot.snapshot.domain)?;
        let found = match sought {
            KeyQuery::Keys(keys) => find_given_keys(recent, state, keys, &mut sink),
            KeyQuery::Selection(selection) => find_selected_keys(recent, state, selection, &mut sink),
        };
        found.context(|| format!("look into {name} in snapshot {id}"))?;
        if let Some(lost) = describe_lost_matches(state, sought) {
            report.problem(format!("snapshot {id}: {lost}"));
        }
    }
    Ok(())
}

/// What may be missing among the matches because the repository lost it.
fn describe_lost_matches(state: DatabaseState, sought: &KeyQuery) -> Option<String> {
    match sought {
        KeyQuery::Selection(selection) => read_records::describe_lost_keys(state.database, selection),
        KeyQuery::Keys(keys) => {
            let lost = keys
                .iter()
                .find_map(|key| read_records::check_absence_is_known(state.database, key).err());
            lost.map(|error| error.to_string())
        }
    }
}

type KeySizeVisitor<'s> = &'s mut dyn FnMut(&[u8], u64) -> Result<()>;

fn find_given_keys(
    source: &dyn BlobSource,
    state: DatabaseState,
    keys: &[Vec<u8>],
    sink: KeySizeVisitor,
) -> Result<()> {
    for key in keys {
        if let Some(entry) = read_records::find_entry(source, state.database, key)? {
            sink(key, entry.as_payload().value_bytes())?;
        }
    }
    Ok(())
}

fn find_selected_keys(
    source: &dyn BlobSource,
    state: DatabaseState,
    selection: &KeySelection,
    sink: KeySizeVisitor,
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
