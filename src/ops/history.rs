//! Lists the values of one key over all snapshots.
//!
//! `history`: what became of one key, snapshot by snapshot.

use std::collections::BTreeMap;

use crate::error::{Result, ResultExt};
use crate::repo::{Repo, StoredSnapshot};
use crate::report::OperationReport;
use crate::run::{BlobSource, OwnedEntry, RunRoot};
use crate::snapshot::DatabaseRoot;

use crate::engine::blob_cache::BlobCacheReader;
use crate::engine::database_series::{DatabaseFilter, DatabaseSeries};
use crate::engine::database_state::DatabaseState;
use crate::engine::domain_views::{DomainViews, find_by_domain};
use crate::engine::read_records;

/// A value of the key, and the snapshots between which nothing else was seen.
#[derive(Clone)]
pub struct KeyVersion<'s> {
    /// The first snapshot it was seen in.
    pub first: DatabaseState<'s>,
    /// The last one.
    pub last: DatabaseState<'s>,
    /// Snapshots it was seen in, the first and the last among them.
    pub snapshots: u64,
    /// The value, short or as its chunks; `None` when the key was absent, or when that is not known.
    pub value: Option<OwnedEntry>,
    /// True if the repository lost what would say whether the key was there.
    pub unknown: bool,
}

/// Takes a version; an error ends the search.
pub type VersionVisitor<'v> = &'v mut dyn FnMut(&KeyVersion) -> Result<()>;

/// Gives the versions of `key` in each database of `scope`, oldest first. A database that never had the key has none,
/// and one that is stored as files is told of and left out.
pub fn history(
    repo: &Repo,
    snapshots: &[StoredSnapshot],
    scope: &DatabaseFilter,
    key: &[u8],
    report: &OperationReport,
    sink: VersionVisitor,
) -> Result<()> {
    let views = DomainViews::open(repo, snapshots)?;
    let readers = views.readers();
    let recent: BTreeMap<_, _> = readers
        .iter()
        .map(|(domain, reader)| (*domain, BlobCacheReader::new(reader)))
        .collect();
    for series in scope.series(snapshots) {
        visit_series_versions(
            find_by_domain(&recent, series.identity.domain)?,
            &series,
            key,
            report,
            sink,
        )?;
    }
    Ok(())
}

fn visit_series_versions(
    source: &dyn BlobSource,
    series: &DatabaseSeries,
    key: &[u8],
    report: &OperationReport,
    sink: VersionVisitor,
) -> Result<()> {
    let mut current: Option<KeyVersion> = None;
    let mut was_there = false;
    for state in logical_states(series, report) {
        report.go_on()?;
        let value = match &current {
            Some(version) if run_roots(version.last.database) == run_roots(state.database) => {
                version.value.clone()
            }
            _ => read_records::find_entry(source, state.database, key)
                .context(|| format!("look into snapshot {}", state.snapshot.id.short()))?,
        };
        let unknown = value.is_none() && read_records::check_absence_is_known(state.database, key).is_err();
        was_there |= value.is_some() || unknown;
        match &mut current {
            Some(version) if version.value == value && version.unknown == unknown => version.extend_to(state),
            _ => {
                let ended = current.replace(KeyVersion::new(state, value, unknown));
                ended.map_or(Ok(()), |version| sink(&version))?;
            }
        }
    }
    match current {
        Some(version) if was_there => sink(&version),
        _ => Ok(()),
    }
}

fn logical_states<'s>(series: &DatabaseSeries<'s>, report: &OperationReport) -> Vec<DatabaseState<'s>> {
    let (files, records): (Vec<_>, Vec<_>) = series
        .states
        .iter()
        .partition(|state| state.database.is_physical());
    if !files.is_empty() {
        report.notice(format!(
            "{}: stored as files in {} snapshots, which are left out",
            String::from_utf8_lossy(series.identity.path),
            files.len()
        ));
    }
    records
}

/// What decides a database's records.
fn run_roots(database: &DatabaseRoot) -> Vec<Option<&RunRoot>> {
    let runs = read_records::runs(database, false).unwrap_or_default();
    runs.into_iter().map(|run| run.root.as_ref()).collect()
}

impl<'s> KeyVersion<'s> {
    fn new(state: DatabaseState<'s>, value: Option<OwnedEntry>, unknown: bool) -> Self {
        Self {
            first: state,
            last: state,
            snapshots: 1,
            value,
            unknown,
        }
    }

    fn extend_to(&mut self, state: DatabaseState<'s>) {
        self.last = state;
        self.snapshots += 1;
    }
}
