//! Cuts long values and files into chunks, and lists the chunks.
//!
//! ```text
//! value or file --cut--> chunk | chunk | chunk     each becomes a data blob
//!                          |       |       |
//!                     ChunkRef ChunkRef ChunkRef   at most CHUNKS_INLINE_MAX stay where the value was,
//!                          \_______|_______/       more move into list blobs, a small tree of their own
//! ```
//!
//! A boundary depends on the 64 bytes before it, on the distance to the boundary before, and on the dedup
//! domain's secret; so a change moves the boundaries next to it and no others.

pub mod chunker;
pub mod list;

pub use chunker::{Chunker, InputEnd};
pub use list::{ChunkIterator, ChunkList, ChunkRef, ListBuilder};

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::BlobId;
use crate::kind::BlobKind;

/// Where the plain bytes of blobs come from. Whoever implements it has compared them with their name.
pub trait BlobSource {
    /// The plain bytes of one blob; [`crate::error::ErrorKind::NotFound`] if no pack has it.
    fn blob(&self, kind: BlobKind, id: &BlobId) -> Result<Arc<[u8]>>;
}

/// The plain bytes of one chunk, held to the length that its list says.
pub fn data(source: &dyn BlobSource, chunk: &ChunkRef) -> Result<Arc<[u8]>> {
    let plain = source.blob(BlobKind::Data, &chunk.id)?;
    chunk.contains_id(&plain).map(|()| plain)
}

impl ChunkRef {
    /// Holds a list of `below` and `bytes` to what this child of a list of `depth` says of it.
    pub fn child_ids(&self, depth: u8, below: u8, bytes: u64) -> Result<()> {
        if below.checked_add(1) == Some(depth) && bytes == self.bytes {
            Ok(())
        } else {
            Err(Error::corrupt("a list of chunks is not what its parent says"))
        }
    }

    /// Holds the chunk's bytes to the length that its list says.
    pub fn contains_id(&self, plain: &[u8]) -> Result<()> {
        if plain.len() as u64 == self.bytes {
            Ok(())
        } else {
            Err(Error::corrupt(format!(
                "chunk {} is not as long as its list says",
                self.id.short()
            )))
        }
    }
}

/// Takes a finished blob to be stored and gives its name.
pub type StoreBlob<'a> = &'a mut dyn FnMut(BlobKind, Vec<u8>) -> Result<BlobId>;

#[cfg(test)]
pub(crate) mod memory_blobs;
#[cfg(test)]
mod tests;
