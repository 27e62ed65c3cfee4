//! The states of one database over the snapshots that have it.

use std::collections::BTreeMap;

use crate::id::DomainId;
use crate::repo::StoredSnapshot;

use super::diff::State;

/// Which databases of which hosts are meant; all by default.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only snapshots of this host.
    pub host: Option<String>,
    /// Only databases of this name.
    pub database: Option<String>,
}

/// One database of one host, in every snapshot that has it.
#[derive(Clone)]
pub struct Series<'s> {
    /// The domain: hosts may claim any name, and blobs of two domains have nothing in common.
    pub domain: DomainId,
    /// The host.
    pub host: &'s str,
    /// The database's name.
    pub database: &'s str,
    /// In the order in which the snapshots were given.
    pub states: Vec<State<'s>>,
}

impl Scope {
    /// The databases that are meant, in the order of their snapshots.
    pub fn states<'s>(&self, snapshots: &'s [StoredSnapshot]) -> Vec<State<'s>> {
        let of = |snapshot: &'s StoredSnapshot| {
            let databases = snapshot.snapshot.databases();
            databases.map(move |database| State { snapshot, database })
        };
        let states = snapshots.iter().flat_map(of);
        states.filter(|state| self.means(state)).collect()
    }

    /// The same, by domain, host and name.
    pub fn series<'s>(&self, snapshots: &'s [StoredSnapshot]) -> Vec<Series<'s>> {
        let mut series: BTreeMap<(DomainId, &str, &str), Vec<State>> = BTreeMap::new();
        for state in self.states(snapshots) {
            let snapshot = &state.snapshot.snapshot;
            let name = (snapshot.domain, &*snapshot.host, &*state.database.name);
            series.entry(name).or_default().push(state);
        }
        let named = |((domain, host, database), states)| Series {
            domain,
            host,
            database,
            states,
        };
        series.into_iter().map(named).collect()
    }

    fn means(&self, state: &State) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        is(&self.host, &state.snapshot.snapshot.host) && is(&self.database, &state.database.name)
    }
}
