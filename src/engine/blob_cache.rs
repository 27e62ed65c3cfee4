//! Caches the blobs that were read last.
//!
//! Blobs that were read a moment ago, kept: an operation that looks at one place of many snapshots meets the same
//! nodes and leaves again and again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::blob::BlobKind;
use crate::error::Result;
use crate::id::BlobId;
use crate::run::BlobSource;

/// Plain bytes kept at most.
const BYTES_MAX: usize = 16 << 20;

/// Passes blobs on and keeps the last of them, [`BYTES_MAX`] bytes at most. Values' chunks are not kept.
pub struct BlobCacheReader<'a> {
    source: &'a dyn BlobSource,
    bytes_max: usize,
    cached: Mutex<CachedBlobs>,
}

#[derive(Default)]
struct CachedBlobs {
    blobs: HashMap<BlobId, Arc<[u8]>>,
    /// In order of arrival, oldest first.
    order: VecDeque<BlobId>,
    bytes: usize,
}

impl<'a> BlobCacheReader<'a> {
    /// Reads through to `source`.
    pub fn new(source: &'a dyn BlobSource) -> Self {
        Self::with_capacity(source, BYTES_MAX)
    }

    /// The same with another number of plain bytes kept at most.
    pub fn with_capacity(source: &'a dyn BlobSource, bytes_max: usize) -> Self {
        let cached = Mutex::default();
        Self {
            source,
            bytes_max,
            cached,
        }
    }
}

impl BlobSource for BlobCacheReader<'_> {
    fn blob(&self, kind: BlobKind, id: &BlobId) -> Result<Arc<[u8]>> {
        let kept = || self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plain) = kept().blobs.get(id) {
            return Ok(Arc::clone(plain));
        }
        let plain = self.source.blob(kind, id)?;
        if kind != BlobKind::Data {
            kept().insert_blob(*id, &plain, self.bytes_max);
        }
        Ok(plain)
    }
}

impl CachedBlobs {
    fn insert_blob(&mut self, id: BlobId, plain: &Arc<[u8]>, bytes_max: usize) {
        if self.blobs.insert(id, Arc::clone(plain)).is_some() {
            return;
        }
        self.order.push_back(id);
        self.bytes += plain.len();
        while self.bytes > bytes_max {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            let gone = self.blobs.remove(&oldest);
            self.bytes -= gone.map_or(0, |plain| plain.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::memory_blobs::MemoryBlobs;

    #[test]
    fn a_blob_is_read_once_until_it_made_room_for_others() {
        let mut blobs = MemoryBlobs::default();
        let first = blobs.store(BlobKind::Leaf, vec![0; BYTES_MAX / 2]).unwrap();
        let others = [1, 2].map(|n| blobs.store(BlobKind::Node, vec![n; BYTES_MAX / 2]).unwrap());
        let recent = BlobCacheReader::new(&blobs);
        let asked = || blobs.asked.borrow().len();
        for _ in 0..3 {
            assert_eq!(recent.blob(BlobKind::Leaf, &first).unwrap().len(), BYTES_MAX / 2);
        }
        assert_eq!(asked(), 1);
        others
            .iter()
            .for_each(|id| drop(recent.blob(BlobKind::Node, id).unwrap()));
        recent.blob(BlobKind::Node, &others[0]).unwrap();
        assert_eq!(asked(), 3);
        recent.blob(BlobKind::Leaf, &first).unwrap();
        assert_eq!(asked(), 4, "the oldest went first");
    }
}
