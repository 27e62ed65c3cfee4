//! Stores and loads lists of bad blobs.

use std::collections::HashSet;

use crate::annotations::{BadBlobs, bad_blobs};
use crate::envelope::ObjectClass;
use crate::error::{Result, ResultExt};
use crate::id::{BlobId, ObjectId};
use crate::index::Location;
use crate::storage::{ObjectKind, ObjectName};

use super::stored_annotations::UnreadAnnotation;
use super::{BlobReader, Repo};

/// All that was noted of bad blobs.
#[derive(Clone, Debug, Default)]
pub struct StoredBadBlobs {
    /// Those that could be read, each under its name.
    pub lists: Vec<(ObjectId, BadBlobs)>,
    /// The others: what they name may be deduplicated against, and `repair packs` finds it again.
    pub unread: Vec<UnreadAnnotation>,
}

impl StoredBadBlobs {
    /// The blobs of our domain that are named anywhere.
    pub fn blobs(&self, repo: &Repo) -> HashSet<BlobId> {
        let domain = repo.domain_keys().id();
        let ours = self.lists.iter().filter(|(_, bad)| bad.domain == domain);
        ours.flat_map(|(_, bad)| &bad.blobs).map(|blob| blob.id).collect()
    }

    /// The same for whoever deletes: the first that cannot be read is an error.
    pub fn require_complete(&self, repo: &Repo) -> Result<HashSet<BlobId>> {
        match self.unread.first() {
            None => Ok(self.blobs(repo)),
            Some(unread) => Err(unread.error()),
        }
    }
}

impl Repo {
    /// Stores a note on bad blobs; it is durable when its name comes back.
    pub fn put_bad_blobs(&self, bad: &BadBlobs) -> Result<ObjectId> {
        let plain = bad_blobs::encode(bad)?;
        self.put_annotation(ObjectClass::Bad, ObjectKind::Bad, &plain)
    }

    /// Loads all of them. One that cannot be read is told of and left out; one that cannot be fetched is an error.
    pub fn bad_blobs(&self) -> Result<StoredBadBlobs> {
        let (bad, unread) = self.read_annotations(ObjectKind::Bad, |listed| {
            let name = ObjectName::new(ObjectKind::Bad, listed.name.id);
            let plain = self.read_annotation(ObjectClass::Bad, name)?;
            let bad = bad_blobs::decode(&plain).context(|| name.path())?;
            Ok((name.id, bad))
        })?;
        Ok(StoredBadBlobs { lists: bad, unread })
    }
}

/// The first of these copies of a bad blob that opens, if any does.
pub(crate) fn first_readable_copy(reader: &BlobReader, id: &BlobId, copies: &[Location]) -> Option<Location> {
    let opens = |copy: &&Location| reader.read_copy(copy, id).is_ok();
    copies.iter().find(opens).copied()
}
