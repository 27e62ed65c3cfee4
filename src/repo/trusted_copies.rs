//! Tells which copies of blobs are not known to be bad.

use std::collections::HashSet;

use crate::error::Result;
use crate::id::{BlobId, ObjectId};
use crate::index::Location;
use crate::index_cache::IndexLookup;

use super::{BlobReader, Repo, first_readable_copy};

/// What the index knows, less what is known to be lost.
#[derive(Clone, Copy)]
pub(crate) struct TrustedCopies<'a> {
    pub repo: &'a Repo,
    pub lookup: &'a IndexLookup,
    /// Packs that are indexed and not there, or of another length.
    pub lost: &'a HashSet<ObjectId>,
    /// Blobs that were noted as bad.
    pub bad: &'a HashSet<BlobId>,
}

impl TrustedCopies<'_> {
    /// True if nothing is known to be lost: then nobody need look.
    pub fn are_all_trusted(&self) -> bool {
        self.lost.is_empty() && self.bad.is_empty()
    }

    /// True if there is a copy in a pack that is there; of a bad blob, one that opens.
    pub fn has(&self, id: &BlobId) -> Result<bool> {
        let mut there: Vec<Location> = self.lookup.locations(id)?;
        there.retain(|copy| !self.lost.contains(&copy.pack));
        if !self.bad.contains(id) {
            Ok(!there.is_empty())
        } else {
            let reader = BlobReader::new(self.repo, self.lookup);
            Ok(first_readable_copy(&reader, id, &there).is_some())
        }
    }
}
