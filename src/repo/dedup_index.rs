//! Decides which stored blobs a new snapshot may reuse.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::id::{BlobId, ObjectId};
use crate::index::Location;
use crate::index_cache::IndexLookup;

use super::{BlobReader, Repo, first_readable_copy};

/// Packs and their lengths.
pub(crate) type PackLengths = HashMap<ObjectId, u64>;

/// The index, and which of its packs are sound ([`Repo::usable_packs`]).
pub(crate) struct DedupIndex<'a> {
    pub(super) repo: &'a Repo,
    pub(super) lookup: IndexLookup,
    pub(super) usable: PackLengths,
    /// Noted as bad: a copy counts if it opens.
    pub(super) bad: HashSet<BlobId>,
    /// Copies of bad blobs that did open.
    pub(super) readable_copies: Mutex<HashMap<BlobId, ObjectId>>,
}

impl<'a> DedupIndex<'a> {
    /// A sound pack that has the blob. Who counts on it must prove the pack before the snapshot is published.
    pub fn pack_of(&self, id: &BlobId) -> Result<Option<ObjectId>> {
        let mut sound = self.lookup.locations(id)?;
        sound.retain(|location| self.usable.contains_key(&location.pack));
        Ok(if !self.bad.contains(id) {
            sound.first().map(|location| location.pack)
        } else {
            self.find_readable_copy(id, &sound)
        })
    }

    /// The pack of a copy that opens, of a blob that was noted as bad: what was stored since, or healed.
    fn find_readable_copy(&self, id: &BlobId, copies: &[Location]) -> Option<ObjectId> {
        let right = || {
            self.readable_copies
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(pack) = right().get(id) {
            return Some(*pack);
        }
        let pack = first_readable_copy(&self.reader(), id, copies)?.pack;
        right().insert(*id, pack);
        Some(pack)
    }

    /// The length of a sound pack.
    pub fn len_of(&self, pack: &ObjectId) -> Option<u64> {
        self.usable.get(pack).copied()
    }

    /// Reads what the index knows of, sound or not.
    pub fn reader(&self) -> BlobReader<'_> {
        BlobReader::new(self.repo, &self.lookup)
    }

    /// The same as it is now, for another thread.
    pub fn clone_for_thread(&self) -> Self {
        Self {
            repo: self.repo,
            lookup: self.lookup.key_share(),
            usable: self.usable.clone(),
            bad: self.bad.clone(),
            readable_copies: Mutex::default(),
        }
    }
}
