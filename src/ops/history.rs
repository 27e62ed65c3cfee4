//! `history`: what became of one key, snapshot by snapshot.

use std::collections::BTreeMap;

use crate::error::{Act, Result};
use crate::repo::{Repo, StoredSnapshot};
use crate::report::Report;
use crate::run::{BlobSource, OwnedEntry, Root};
use crate::snapshot::DatabaseRoot;

use super::diff::State;
use super::read;
use super::recent::Recent;
use super::series::{Scope, Series};
use super::views::{Views, of_domain};

/// A value of the key, and the snapshots between which nothing else was seen.
#[derive(Clone)]
pub struct Version<'s> {
    /// The first snapshot it was seen in.
    pub first: State<'s>,
    /// The last one.
    pub last: State<'s>,
    /// Snapshots it was seen in, the first and the last among them.
    pub snapshots: u64,
    /// The value, short or as its chunks; `None` when the key was absent, or when that is not known.
    pub value: Option<OwnedEntry>,
    /// True if the repository lost what would say whether the key was there.
    pub unknown: bool,
}

/// Takes a version; an error ends the search.
pub type EachVersion<'v> = &'v mut dyn FnMut(&Version) -> Result<()>;

/// Gives the versions of `key` in each database of `scope`, oldest first. A database that never had the key has none,
/// and one that is stored as files is told of and left out.
pub fn history(
    repo: &Repo,
    snapshots: &[StoredSnapshot],
    scope: &Scope,
    key: &[u8],
    report: &Report,
    sink: EachVersion,
) -> Result<()> {
    let views = Views::of(repo, snapshots)?;
    let readers = views.readers();
    let recent: BTreeMap<_, _> = readers
        .iter()
        .map(|(domain, reader)| (*domain, Recent::new(reader)))
        .collect();
    for series in scope.series(snapshots) {
        of_series(
            of_domain(&recent, series.identity.domain)?,
            &series,
            key,
            report,
            sink,
        )?;
    }
    Ok(())
}

fn of_series(
    source: &dyn BlobSource,
    series: &Series,
    key: &[u8],
    report: &Report,
    sink: EachVersion,
) -> Result<()> {
    let mut current: Option<Version> = None;
    let mut was_there = false;
    for state in readable(series, report) {
        report.go_on()?;
        let value = match &current {
            Some(version) if roots(version.last.database) == roots(state.database) => version.value.clone(),
            _ => read::entry(source, state.database, key)
                .act(|| format!("look into snapshot {}", state.snapshot.id.short()))?,
        };
        let unknown = value.is_none() && read::known_absent(state.database, key).is_err();
        was_there |= value.is_some() || unknown;
        match &mut current {
            Some(version) if version.value == value && version.unknown == unknown => version.go_on(state),
            _ => {
                let ended = current.replace(Version::begin(state, value, unknown));
                ended.map_or(Ok(()), |version| sink(&version))?;
            }
        }
    }
    match current {
        Some(version) if was_there => sink(&version),
        _ => Ok(()),
    }
}

fn readable<'s>(series: &Series<'s>, report: &Report) -> Vec<State<'s>> {
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
fn roots(database: &DatabaseRoot) -> Vec<Option<&Root>> {
    let runs = read::runs(database, false).unwrap_or_default();
    runs.into_iter().map(|run| run.root.as_ref()).collect()
}

impl<'s> Version<'s> {
    fn begin(state: State<'s>, value: Option<OwnedEntry>, unknown: bool) -> Self {
        Self {
            first: state,
            last: state,
            snapshots: 1,
            value,
            unknown,
        }
    }

    fn go_on(&mut self, state: State<'s>) {
        self.last = state;
        self.snapshots += 1;
    }
}
