//! Caches the blobs that the mount read last.
//!
//! Blobs that were read a while ago, up to a bound: the kernel asks for a file in small pieces, and for a directory name by
//! name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use levault::engine::BlobKind;
use levault::engine::BlobSource;
use levault::error::Result;
use levault::id::BlobId;

/// Plain bytes kept at most.
const BYTES_MAX: usize = 64 << 20;

/// The blobs used last.
#[derive(Default)]
pub struct BlobCache(Mutex<CacheEntries>);

#[derive(Default)]
struct CacheEntries {
    /// Each with the time of its last use.
    blobs: HashMap<BlobId, (u64, Arc<[u8]>)>,
    by_use: BTreeMap<u64, BlobId>,
    uses: u64,
    bytes: usize,
}

/// Reads through a cache.
pub struct CachedReader<'a> {
    pub cache: &'a BlobCache,
    pub source: &'a dyn BlobSource,
}

impl BlobSource for CachedReader<'_> {
    fn blob(&self, kind: BlobKind, id: &BlobId) -> Result<Arc<[u8]>> {
        let kept = || self.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plain) = kept().find(id) {
            return Ok(plain);
        }
        let plain = self.source.blob(kind, id)?;
        kept().keep(*id, &plain);
        Ok(plain)
    }
}

impl CacheEntries {
    fn find(&mut self, id: &BlobId) -> Option<Arc<[u8]>> {
        let (used, plain) = self.blobs.get_mut(id)?;
        self.by_use.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(*used, *id);
        Some(Arc::clone(plain))
    }

    fn keep(&mut self, id: BlobId, plain: &Arc<[u8]>) {
        if plain.len() > BYTES_MAX || self.find(&id).is_some() {
            return;
        }
        self.uses += 1;
        self.blobs.insert(id, (self.uses, Arc::clone(plain)));
        self.by_use.insert(self.uses, id);
        self.bytes += plain.len();
        while self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.by_use.pop_first() else {
                return;
            };
            let gone = self.blobs.remove(&oldest);
            self.bytes -= gone.map_or(0, |(_, plain)| plain.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Half a cache of any blob.
    struct CacheGenerations(Cell<u32>);

    impl BlobSource for CacheGenerations {
        fn blob(&self, _: BlobKind, id: &BlobId) -> Result<Arc<[u8]>> {
            self.0.set(self.0.get() + 1);
            Ok(vec![id.0[0]; BYTES_MAX / 2].into())
        }
    }

    #[test]
    fn the_blob_that_was_not_used_for_longest_goes_first() {
        let (cache, source) = (BlobCache::default(), CacheGenerations(Cell::new(0)));
        let cached = CachedReader {
            cache: &cache,
            source: &source,
        };
        let read = |n: u8| assert_eq!(cached.blob(BlobKind::Data, &BlobId([n; 32])).unwrap()[0], n);
        [1, 2, 1, 3].into_iter().for_each(read);
        assert_eq!(source.0.get(), 3);
        read(1);
        assert_eq!(source.0.get(), 3, "it was used behind 2");
        read(2);
        assert_eq!(source.0.get(), 4);
        assert!(cache.0.lock().unwrap().bytes <= BYTES_MAX);
    }
}
