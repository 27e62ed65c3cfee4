//! Filters and groups snapshots for a policy.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::engine::tree::top_sources;
use crate::error::{Error, ErrorKind, Result};
use crate::id::DomainId;
use crate::repo::{OWN_DOMAIN, StoredSnapshot};

/// What snapshots of one group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBy {
    /// The host.
    pub host: bool,
    /// The paths that were asked for: of databases, and of trees of files.
    pub databases: bool,
    /// The tags.
    pub tags: bool,
}

impl Default for GroupBy {
    fn default() -> Self {
        Self {
            host: true,
            databases: true,
            tags: true,
        }
    }
}

impl FromStr for GroupBy {
    type Err = Error;

    /// `host`, `db` (or restic's `paths`) and `tags`, with commas; nothing for one group of all. Anything else is
    /// [`ErrorKind::Usage`].
    fn from_str(words: &str) -> Result<Self> {
        let mut by = Self {
            host: false,
            databases: false,
            tags: false,
        };
        for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            *match word {
                "host" => &mut by.host,
                "db" | "paths" => &mut by.databases,
                "tags" => &mut by.tags,
                _ => {
                    let message = format!("group by {word}: want some of host, db, tags");
                    return Err(Error::new(ErrorKind::Usage, message));
                }
            } = true;
        }
        Ok(by)
    }
}

/// What all snapshots of a group have; `None` where they are not told apart by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotGroup {
    /// The domain, whatever else they are told apart by: no host may push another's snapshots out by a name it claims.
    pub domain: DomainId,
    /// The host.
    pub host: Option<String>,
    /// Those paths, ascending, as bytes: two that look alike as text are two.
    pub paths: Option<Vec<Vec<u8>>>,
    /// Tags, ascending.
    pub tags: Option<Vec<String>>,
}

impl fmt::Display for SnapshotGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = (self.domain != OWN_DOMAIN).then(|| format!("domain {}", self.domain.0));
        let host = self.host.iter().map(|host| format!("host {host}"));
        let paths = self
            .paths
            .iter()
            .map(|paths| format!("paths {}", String::from_utf8_lossy(&paths.join(&b' '))));
        let tagged = |tags: &Vec<String>| {
            if tags.is_empty() {
                "no tags".to_owned()
            } else {
                format!("tags {}", tags.join(","))
            }
        };
        let all: Vec<_> = domain
            .into_iter()
            .chain(host)
            .chain(paths)
            .chain(self.tags.iter().map(tagged))
            .collect();
        if all.is_empty() {
            f.write_str("all")
        } else {
            f.write_str(&all.join(", "))
        }
    }
}

/// Snapshots by group, both in order.
pub fn group(snapshots: Vec<StoredSnapshot>, by: GroupBy) -> BTreeMap<SnapshotGroup, Vec<StoredSnapshot>> {
    let mut groups: BTreeMap<SnapshotGroup, Vec<StoredSnapshot>> = BTreeMap::new();
    for stored in snapshots {
        groups.entry(group_of(&stored, by)).or_default().push(stored);
    }
    groups
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}

fn group_of(stored: &StoredSnapshot, by: GroupBy) -> SnapshotGroup {
    let snapshot = &stored.snapshot;
    // What was asked for: a database that appears in a directory makes no other group of it.
    let paths = || {
        let tops = top_sources(snapshot).into_iter();
        sorted(
            tops.map(|number| snapshot.sources[number].path().to_vec())
                .collect(),
        )
    };
    SnapshotGroup {
        domain: snapshot.domain,
        host: by.host.then(|| snapshot.host.clone()),
        paths: by.databases.then(paths),
        tags: by.tags.then(|| sorted(snapshot.tags.clone())),
    }
}
