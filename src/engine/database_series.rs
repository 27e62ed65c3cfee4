//! Finds the states of one database in all snapshots.

use std::collections::HashMap;

use crate::repo::StoredSnapshot;
use crate::snapshot::SourceIdentity;

use crate::engine::database_state::DatabaseState;

/// Which databases of which hosts are meant; all by default.
#[derive(Clone, Debug, Default)]
pub struct DatabaseFilter {
    /// Only snapshots of this host.
    pub host: Option<String>,
    /// Only databases with this label or at this absolute path.
    pub database: Option<Vec<u8>>,
}

/// One database, in every snapshot that has it.
#[derive(Clone)]
pub struct DatabaseSeries<'s> {
    /// Which database it is.
    pub identity: SourceIdentity<'s>,
    /// In the order in which the snapshots were given.
    pub states: Vec<DatabaseState<'s>>,
}

impl DatabaseFilter {
    /// The databases that are meant, in the order of their snapshots.
    pub fn states<'s>(&self, snapshots: &'s [StoredSnapshot]) -> Vec<DatabaseState<'s>> {
        let of = |snapshot: &'s StoredSnapshot| {
            let databases = snapshot.snapshot.databases();
            databases.map(move |database| DatabaseState { snapshot, database })
        };
        let states = snapshots.iter().flat_map(of);
        states.filter(|state| self.matches(state)).collect()
    }

    /// The same, by identity: of another host, path or history is another database. Histories at one path are in the order
    /// in which they begin.
    pub fn series<'s>(&self, snapshots: &'s [StoredSnapshot]) -> Vec<DatabaseSeries<'s>> {
        let mut numbers: HashMap<SourceIdentity, usize> = HashMap::new();
        let mut series: Vec<DatabaseSeries> = Vec::new();
        for state in self.states(snapshots) {
            let identity = state.identity();
            let number = *numbers.entry(identity).or_insert(series.len());
            if number == series.len() {
                let states = Vec::new();
                series.push(DatabaseSeries { identity, states });
            }
            series[number].states.push(state);
        }
        series.sort_by_key(|series| (series.identity.domain, series.identity.host, series.identity.path));
        series
    }

    fn matches(&self, state: &DatabaseState) -> bool {
        let host = &state.snapshot.snapshot.host;
        let is_host = self.host.as_ref().is_none_or(|wanted| wanted == host);
        let database = self.database.as_deref();
        is_host && database.is_none_or(|wanted| state.database.is_called(wanted))
    }
}
