//! Keeps blobs in memory, for the tests of stages.
//!
//! Blobs in a map, and bytes that look random: what the tests of stages stand on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::BlobSource;
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::kind::BlobKind;

/// Stores plain blobs under a hash of kind and content, and counts what is asked for.
#[derive(Default)]
pub(crate) struct MemoryBlobs {
    pub(crate) map: HashMap<BlobId, (BlobKind, Vec<u8>)>,
    pub(crate) asked: RefCell<Vec<BlobKind>>,
}

impl MemoryBlobs {
    pub(crate) fn store(&mut self, kind: BlobKind, plain: Vec<u8>) -> Result<BlobId> {
        let id = BlobId(*blake3::keyed_hash(&[kind as u8; 32], &plain).as_bytes());
        self.map.insert(id, (kind, plain));
        Ok(id)
    }

    /// How many of these blobs are not among `old`.
    pub(crate) fn fresh(&self, old: &MemoryBlobs, kind: BlobKind) -> usize {
        let fresh =
            |(id, (is, _)): &(&BlobId, &(BlobKind, Vec<u8>))| *is == kind && !old.map.contains_key(id);
        self.map.iter().filter(fresh).count()
    }
}

impl BlobSource for MemoryBlobs {
    fn blob(&self, kind: BlobKind, id: &BlobId) -> Result<Arc<[u8]>> {
        self.asked.borrow_mut().push(kind);
        match self.map.get(id) {
            Some((is, plain)) if *is == kind => Ok(Arc::from(&plain[..])),
            _ => Err(Error::new(
                ErrorKind::NotFound,
                format!("{kind:?} {id} is not there"),
            )),
        }
    }
}

/// A stream of bytes that stays the same for ever (splitmix64).
pub(crate) fn noise(mut seed: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(len);
    out
}
