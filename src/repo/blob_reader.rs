//! Reads blobs, trying every stored copy.
//!
//! Blobs out: every copy the index knows is tried, neighbours in a pack are fetched in one range.
//!
//! Plain bytes leave this module only after [`pack::read_blob`] has authenticated, inflated, renamed and compared
//! them; a blob that fails everywhere is an error that names what was tried.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::blob::{BlobKind, NamedBlob};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{BlobId, ObjectId};
use crate::index::Location;
use crate::index_cache::IndexLookup;
use crate::pack::{self, CompressedBlob, PackKey};
use crate::run::BlobSource;
use crate::storage::{ObjectKind, ObjectName, Storage};

use super::{Repo, sealed_name};

/// Neighbouring blobs are fetched together across gaps of up to so many bytes ...
const GAP_BYTES_MAX: u64 = 16 << 10;

/// ... and up to so many bytes at once.
const SPAN_BYTES_MAX: u64 = 4 << 20;

/// Pack keys kept: one is an object read and a derivation.
const PACK_KEYS_MAX: usize = 4096;

/// The way out of the repository.
pub struct BlobReader<'a> {
    repo: &'a Repo,
    lookup: &'a IndexLookup,
    pack_keys: PackKeys,
}

/// Keys of packs that were opened; clones share them.
#[derive(Clone, Default)]
pub struct PackKeys(Arc<Mutex<HashMap<ObjectId, Arc<PackKey>>>>);

/// What is wanted: a blob by kind and name.
pub type BlobRequest = (BlobKind, BlobId);

impl<'a> BlobReader<'a> {
    /// Reads through `lookup`.
    pub fn new(repo: &'a Repo, lookup: &'a IndexLookup) -> Self {
        Self::with_keys(repo, lookup, PackKeys::default())
    }

    /// The same with keys that an earlier reader of the same repository had.
    pub fn with_keys(repo: &'a Repo, lookup: &'a IndexLookup, pack_keys: PackKeys) -> Self {
        Self {
            repo,
            lookup,
            pack_keys,
        }
    }

    /// One blob, from the first copy that is right.
    pub fn read(&self, kind: BlobKind, id: &BlobId) -> Result<NamedBlob> {
        let mut last = None;
        for location in self.locations(kind, id)? {
            match self.read_copy(&location, id) {
                Ok(blob) => return Ok(blob),
                Err(error) => last = Some(error.context(format!("pack {}", location.pack.short()))),
            }
        }
        Err(last
            .unwrap_or_else(|| Error::new(ErrorKind::Corrupt, "no index segment knows it"))
            .context(format!("read {kind:?} blob {}", id.short())))
    }

    /// Many blobs, in the order wanted; neighbours in a pack are fetched together.
    pub fn read_many(&self, wanted: &[BlobRequest]) -> Result<Vec<NamedBlob>> {
        let mut places = Vec::with_capacity(wanted.len());
        for (position, (kind, id)) in wanted.iter().enumerate() {
            if let Some(location) = self.locations(*kind, id)?.into_iter().next() {
                places.push((location, position));
            }
        }
        places.sort_by_key(|(location, _)| (location.pack, location.offset));
        let mut found: Vec<Option<NamedBlob>> = wanted.iter().map(|_| None).collect();
        for span in places.chunk_by(is_near) {
            self.read_span(span, wanted, &mut found);
        }
        let missing = |(position, blob): (usize, Option<NamedBlob>)| match blob {
            Some(blob) => Ok(blob),
            None => self.read(wanted[position].0, &wanted[position].1),
        };
        found.into_iter().enumerate().map(missing).collect()
    }

    /// Fills in what this span yields; what fails here is tried again alone, with its other copies.
    fn read_span(&self, span: &[(Location, usize)], wanted: &[BlobRequest], found: &mut [Option<NamedBlob>]) {
        for part in split_span(span) {
            let Some(fetched) = self.fetch(part) else { continue };
            for (location, position) in part {
                let name = sealed_name(location, &wanted[*position].1);
                let sealed = fetched.sealed(location);
                found[*position] =
                    sealed.and_then(|sealed| pack::read_blob(&fetched.key, &name, sealed).ok());
            }
        }
    }

    /// The copies at these places as they are packed, opened and compared, for whoever seals them again. Places are in
    /// the order in which they lie; `None` for what cannot be had there.
    pub fn read_compressed(&self, places: &[(BlobId, Location)]) -> Vec<Option<CompressedBlob>> {
        let numbered: Vec<_> = places.iter().map(|(_, location)| *location).zip(0..).collect();
        let parts: Vec<_> = numbered.chunk_by(is_near).flat_map(split_span).collect();
        let read = |part: &[(Location, usize)]| -> Vec<Option<CompressedBlob>> {
            let fetched = self.fetch(part);
            let open = |(location, position): &(Location, usize)| {
                let fetched = fetched.as_ref()?;
                let name = sealed_name(location, &places[*position].0);
                pack::read_compressed(&fetched.key, &name, fetched.sealed(location)?).ok()
            };
            part.par_iter().map(open).collect()
        };
        parts.into_par_iter().flat_map(read).collect()
    }

    /// All from the first of these places to the last; `None` if that fails.
    fn fetch(&self, part: &[(Location, usize)]) -> Option<FetchedRange> {
        let (first, last) = (&part.first()?.0, &part.last()?.0);
        let start = u64::from(first.offset);
        let len = (u64::from(last.offset) + u64::from(last.len) - start) as usize;
        let name = ObjectName {
            kind: ObjectKind::Pack,
            id: first.pack,
        };
        Some(FetchedRange {
            bytes: self.repo.storage().get_range(name, start, len).ok()?,
            key: self.pack_key(&first.pack).ok()?,
            start,
        })
    }

    /// Copies of a blob, in the index's order.
    pub fn locations(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<Location>> {
        let mut locations = self.lookup.locations(id)?;
        locations.retain(|location| location.kind == kind);
        Ok(locations)
    }

    /// The copy at one place, opened and compared.
    pub fn read_copy(&self, location: &Location, id: &BlobId) -> Result<NamedBlob> {
        let name = ObjectName {
            kind: ObjectKind::Pack,
            id: location.pack,
        };
        let sealed =
            self.repo
                .storage()
                .get_range(name, u64::from(location.offset), location.len as usize)?;
        pack::read_blob(
            &*self.pack_key(&location.pack)?,
            &sealed_name(location, id),
            &sealed,
        )
    }

    fn pack_key(&self, id: &ObjectId) -> Result<Arc<PackKey>> {
        if let Some(key) = self.keys().get(id) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(
            self.repo
                .pack_key(id)
                .context(|| format!("open pack {}", id.short()))?,
        );
        let mut keys = self.keys();
        if keys.len() >= PACK_KEYS_MAX {
            keys.clear();
        }
        keys.insert(*id, Arc::clone(&key));
        Ok(key)
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectId, Arc<PackKey>>> {
        self.pack_keys.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_near(left: &(Location, usize), right: &(Location, usize)) -> bool {
    let end = u64::from(left.0.offset) + u64::from(left.0.len);
    left.0.pack == right.0.pack && u64::from(right.0.offset) <= end + GAP_BYTES_MAX
}

/// Cuts a span of neighbours where it would pass [`SPAN_BYTES_MAX`].
fn split_span(mut span: &[(Location, usize)]) -> Vec<&[(Location, usize)]> {
    let mut parts = Vec::new();
    while let Some((first, _)) = span.first() {
        let end = |place: &(Location, usize)| u64::from(place.0.offset) + u64::from(place.0.len);
        let fits = |place: &(Location, usize)| end(place) <= u64::from(first.offset) + SPAN_BYTES_MAX;
        let count = span.iter().take_while(|place| fits(place)).count().max(1);
        let (part, rest) = span.split_at(count);
        parts.push(part);
        span = rest;
    }
    parts
}

/// A stretch of a pack.
struct FetchedRange {
    key: Arc<PackKey>,
    start: u64,
    bytes: Vec<u8>,
}

impl FetchedRange {
    fn sealed(&self, location: &Location) -> Option<&[u8]> {
        let from = usize::try_from(u64::from(location.offset).checked_sub(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add(location.len as usize)?)
    }
}

impl BlobSource for BlobReader<'_> {
    fn blob(&self, kind: BlobKind, id: &BlobId) -> Result<Arc<[u8]>> {
        Ok(self.read(kind, id)?.into_plain().into())
    }
}
