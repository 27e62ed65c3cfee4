//! Which snapshots there are, and which one is meant.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Act, Error, Kind, Result};
use crate::id::{ObjectId, TimelineId};
use crate::snapshot::{DatabaseRoot, Known, Snapshot, select};
use crate::storage::ObjectKind;

use super::Repo;
use super::objects::{again_if_gone, is_damage};

/// A snapshot and the name it is stored under.
#[derive(Clone, Debug)]
pub struct StoredSnapshot {
    /// Its name.
    pub id: ObjectId,
    /// What it says.
    pub snapshot: Snapshot,
}

/// All snapshots, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Ordered by time, then by name.
    pub snapshots: Vec<StoredSnapshot>,
    /// Snapshots whose bytes are damaged, and how; the others do not need them.
    pub unreadable: Vec<String>,
}

impl Repo {
    /// Loads all snapshots. A damaged one is told of and left out; one that cannot be fetched is an error.
    pub fn catalog(&self) -> Result<Catalog> {
        again_if_gone(|| self.catalog_once())
    }

    fn catalog_once(&self) -> Result<Catalog> {
        let listed = self
            .storage()
            .list(ObjectKind::Snapshot)
            .act(|| "list the snapshots")?;
        let mut catalog = Catalog::default();
        for listed in listed {
            let id = listed.name.id;
            match self.snapshot(&id) {
                Ok(snapshot) => catalog.snapshots.push(StoredSnapshot { id, snapshot }),
                Err(error) if is_damage(&error) => catalog.unreadable.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        catalog
            .snapshots
            .sort_by_key(|stored| (stored.snapshot.time, stored.id));
        Ok(catalog)
    }

    /// All snapshots, oldest first.
    pub fn snapshots(&self) -> Result<Vec<StoredSnapshot>> {
        Ok(self.catalog()?.snapshots)
    }

    /// The snapshot that `words` name: `latest`, `latest~N`, an id or its beginning. A whole id needs no other
    /// snapshot to be readable.
    pub fn select(&self, words: &str) -> Result<StoredSnapshot> {
        if let Some(id) = ObjectId::from_hex(words) {
            return Ok(StoredSnapshot {
                id,
                snapshot: self.snapshot(&id)?,
            });
        }
        let catalog = self.catalog()?;
        let known = |stored: &StoredSnapshot| Known {
            id: stored.id,
            time: stored.snapshot.time,
        };
        let id = select(&catalog.snapshots.iter().map(known).collect::<Vec<_>>(), words)?;
        let found = catalog.snapshots.into_iter().find(|stored| stored.id == id);
        found.ok_or_else(|| Error::new(Kind::NotFound, format!("no snapshot {words}")))
    }
}

impl Catalog {
    /// Counter of the next snapshot of the domain, and the one it follows.
    pub fn successor(&self) -> (u64, Option<ObjectId>) {
        let newest = self
            .snapshots
            .iter()
            .max_by_key(|stored| (stored.snapshot.counter, stored.id));
        newest.map_or((1, None), |stored| (stored.snapshot.counter + 1, Some(stored.id)))
    }

    /// The newest earlier state of the database at `path` on `host`.
    pub fn newest_of(&self, host: &str, path: &Path) -> Option<&DatabaseRoot> {
        let of_host = self
            .snapshots
            .iter()
            .rev()
            .filter(|stored| stored.snapshot.host == host);
        of_host
            .flat_map(|stored| stored.snapshot.databases())
            .find(|database| database.path == path.as_os_str().as_bytes())
    }

    /// The history that a database at `path` continues, if its sequence numbers went on; see [`TimelineId`].
    pub fn timeline_of(&self, host: &str, path: &Path) -> Option<(TimelineId, u64)> {
        self.newest_of(host, path)
            .map(|database| (database.timeline, database.last_sequence))
    }
}
