//! Reads the bytes of a file in a snapshot.
//!
//! The bytes of a file: a range of them, or all in order.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use crate::blob::{BlobKind, NamedBlob};
use crate::chunk::{self, BlobSource, ChunkIterator, ChunkList, ChunkRef};
use crate::error::{Error, Result};
use crate::id::BlobId;
use crate::repo::{BlobReader, BlobRequest};
use crate::report::OperationReport;

/// Bytes of chunks fetched at once, the last chunk not counted.
const READ_AHEAD_BYTES: u64 = 16 << 20;

/// Takes the next bytes of a file; an error ends the reading.
pub type FileBytesVisitor<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// At most `len` bytes from `offset` on; fewer only where the file ends. Reads the chunks that hold them, and one list
/// blob a level.
pub fn read_at(blobs: &dyn BlobSource, list: &ChunkList, offset: u64, len: usize) -> Result<Vec<u8>> {
    let (chunks, start) = ChunkIterator::chunk_at(list.clone(), offset, blobs)?;
    // Within the first chunk; beyond the last there is none.
    let mut skip = usize::try_from(offset - start).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    for chunk in chunks {
        if bytes.len() == len {
            break;
        }
        let plain = chunk::data(blobs, &chunk?)?;
        let from = &plain[skip.min(plain.len())..];
        bytes.extend_from_slice(&from[..from.len().min(len - bytes.len())]);
        skip = 0;
    }
    Ok(bytes)
}

/// Every byte of the file in order, read on all cores.
pub fn read_file(
    reader: &BlobReader,
    list: &ChunkList,
    report: &OperationReport,
    sink: FileBytesVisitor,
) -> Result<()> {
    let mut chunks = ChunkIterator::new(list.clone(), reader);
    loop {
        report.go_on()?;
        let ahead = next_chunks(&mut chunks)?;
        if ahead.is_empty() {
            return Ok(());
        }
        let blobs = fetch_chunks(reader, &ahead)?;
        for chunk in ahead {
            let blob = blobs
                .get(&chunk.id)
                .ok_or_else(|| Error::corrupt("a chunk was not fetched"))?;
            chunk.contains_id(blob.plain())?;
            sink(blob.plain())?;
            report.bytes_done.add(chunk.bytes);
        }
    }
}

fn next_chunks(chunks: &mut ChunkIterator) -> Result<Vec<ChunkRef>> {
    let (mut ahead, mut bytes) = (Vec::new(), 0);
    while bytes < READ_AHEAD_BYTES {
        let Some(chunk) = chunks.next().transpose()? else {
            break;
        };
        // No chunk of a list that was decoded is empty, so this ends.
        bytes += chunk.bytes;
        ahead.push(chunk);
    }
    Ok(ahead)
}

/// Each once: a hole is one chunk many times.
fn fetch_chunks(reader: &BlobReader, chunks: &[ChunkRef]) -> Result<HashMap<BlobId, NamedBlob>> {
    let mut seen = HashSet::new();
    let wanted = chunks.iter().filter(|chunk| seen.insert(chunk.id));
    let wanted: Vec<_> = wanted.map(|chunk| (BlobKind::Data, chunk.id)).collect();
    let share = wanted.len().div_ceil(rayon::current_num_threads()).max(1);
    let part = |wanted: &[BlobRequest]| reader.read_many(wanted);
    let parts: Vec<_> = wanted.par_chunks(share).map(part).collect::<Result<_>>()?;
    let blobs = parts.into_iter().flatten();
    Ok(blobs.map(|blob| (blob.id(), blob)).collect())
}
