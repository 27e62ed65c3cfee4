//! Copies chunk lists, cutting anew where the parameters differ.
//!
//! A long value or a file: its chunks as they are, or cut anew where the destination cuts in other places (equal values
//! of one repository must have equal chunks, or `diff` would tell them apart).

use crate::blob::BlobKind;
use crate::chunk::{ChunkIterator, ChunkList, ChunkRef, InputEnd, ListBuilder};
use crate::error::{Error, Result};
use crate::repo::NewBlob;

use super::copy_snapshot::{DestinationWriter, SnapshotCarrier};

/// Bytes of chunks in hand at once.
const BYTES_AT_ONCE: u64 = 2 << 20;

/// Chunks in hand at once.
const CHUNKS_AT_ONCE: usize = 256;

impl SnapshotCarrier<'_> {
    /// Copies what a list names; the list that names the copies. All bytes also go to `whole`, where that is wanted.
    pub fn list(&mut self, list: &ChunkList, mut whole: Option<&mut Vec<u8>>) -> Result<ChunkList> {
        let mut chunks = ChunkIterator::new(list.clone(), self.recent);
        let (mut new, mut window) = (ListBuilder::new(), Vec::new());
        loop {
            self.report.go_on()?;
            let plains = self.chunks(&mut chunks)?;
            let ended = plains.is_empty();
            if let Some(whole) = &mut whole {
                plains.iter().for_each(|plain| whole.extend_from_slice(plain));
            }
            let pieces = match &self.cutter {
                None => plains,
                Some(cutter) => {
                    plains.iter().for_each(|plain| window.extend_from_slice(plain));
                    let more = if ended { InputEnd::Ended } else { InputEnd::Follows };
                    let (mut pieces, mut start) = (Vec::new(), 0);
                    while let Some(len) = cutter.first_chunk_len(&window[start..], more) {
                        pieces.push(window[start..start + len].to_vec());
                        start += len;
                    }
                    window.drain(..start);
                    pieces
                }
            };
            store(&mut self.sink, pieces, &mut new)?;
            if ended {
                break;
            }
        }
        let sink = &mut self.sink;
        new.finish(&mut |kind, plain| sink.add_one(kind, plain))
    }

    /// The next chunks, opened and as long as their list says; none behind the last.
    fn chunks(&self, chunks: &mut ChunkIterator) -> Result<Vec<Vec<u8>>> {
        let (mut refs, mut bytes) = (Vec::new(), 0);
        while refs.len() < CHUNKS_AT_ONCE && bytes < BYTES_AT_ONCE {
            let Some(chunk) = chunks.next().transpose()? else {
                break;
            };
            bytes += chunk.bytes;
            refs.push(chunk);
        }
        let wanted: Vec<_> = refs.iter().map(|chunk| (BlobKind::Data, chunk.id)).collect();
        let blobs = self.reader.read_many(&wanted)?;
        let plain = |(chunk, blob): (&ChunkRef, crate::blob::NamedBlob)| {
            let plain = blob.into_plain();
            if plain.len() as u64 == chunk.bytes {
                Ok(plain)
            } else {
                Err(Error::corrupt(format!(
                    "chunk {} is not as long as its list says",
                    chunk.id.short()
                )))
            }
        };
        refs.iter().zip(blobs).map(plain).collect()
    }
}

fn store(sink: &mut DestinationWriter, pieces: Vec<Vec<u8>>, list: &mut ListBuilder) -> Result<()> {
    let lens: Vec<_> = pieces.iter().map(|piece| piece.len() as u64).collect();
    let blobs = pieces.into_iter().map(|plain| NewBlob {
        kind: BlobKind::Data,
        plain,
    });
    let ids = sink.add(blobs.collect())?;
    for (id, bytes) in ids.into_iter().zip(lens) {
        list.push(ChunkRef { id, bytes }, &mut |kind, plain| {
            sink.add_one(kind, plain)
        })?;
    }
    Ok(())
}
