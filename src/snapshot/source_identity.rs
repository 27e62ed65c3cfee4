//! Identifies a source over snapshots, apart from its label.
//!
//! The identity of a source: which thing it is a state of, apart from the label that people read.
//!
//! A label is chosen by a person or made from a path, and several sources may have the same one. So whatever matches a
//! source with an earlier state of it compares identities: the dedup domain (a write-only host may claim any host name), the
//! host, the absolute path as bytes, and for a database its timeline, which tells it from another that stood there before.

use super::{Snapshot, SnapshotSource};
use crate::id::{DomainId, TimelineId};

/// What makes two sources of two snapshots states of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceIdentity<'s> {
    /// The dedup domain of the snapshot.
    pub domain: DomainId,
    /// The host of the snapshot.
    pub host: &'s str,
    /// The absolute path, as the system's own bytes.
    pub path: &'s [u8],
    /// The history of a database; `None` for a tree of files.
    pub timeline: Option<TimelineId>,
}

impl Snapshot {
    /// The identity of one of its sources.
    pub fn identity_of<'s>(&'s self, source: &'s SnapshotSource) -> SourceIdentity<'s> {
        SourceIdentity {
            domain: self.domain,
            host: &self.host,
            path: source.path(),
            timeline: match source {
                SnapshotSource::Database(database) => Some(database.timeline),
                SnapshotSource::Tree(_) => None,
            },
        }
    }
}
