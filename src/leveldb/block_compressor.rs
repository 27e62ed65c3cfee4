//! Compresses blocks where that pays.
//!
//! Contexts and the output buffer are made once and used for every block of every table.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::database_layout::BlockCodec;
use crate::error::{Error, ErrorKind, Result};

/// A larger output buffer is given back at once: only a block with a huge value needs it.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Compresses blocks with one codec.
pub(crate) struct BlockCompressor {
    codec: BlockCodecState,
    compressed: Vec<u8>,
}

enum BlockCodecState {
    None,
    Snappy(Box<snap::raw::Encoder>),
    Zstd(zstd::bulk::Compressor<'static>),
    Deflate { codec: BlockCodec, stream: Compress },
}

impl BlockCompressor {
    /// Levels are those of the writers whose files we imitate: zstd 1 (LevelDB's default), deflate 6 (Mojang's).
    pub(crate) fn new(codec: BlockCodec) -> Result<Self> {
        let engine = match codec {
            BlockCodec::None => BlockCodecState::None,
            BlockCodec::Snappy => BlockCodecState::Snappy(Box::new(snap::raw::Encoder::new())),
            BlockCodec::Zstd => {
                BlockCodecState::Zstd(zstd::bulk::Compressor::new(1).map_err(compression_error)?)
            }
            BlockCodec::Zlib | BlockCodec::Deflate => BlockCodecState::Deflate {
                codec,
                stream: Compress::new(Compression::new(6), codec == BlockCodec::Zlib),
            },
        };
        Ok(Self {
            codec: engine,
            compressed: Vec::new(),
        })
    }

    /// Replaces `out[start..]` by its compressed form if that saves an eighth, as LevelDB demands; tells the
    /// codec that the block now has.
    pub(crate) fn compress(&mut self, out: &mut Vec<u8>, start: usize) -> Result<BlockCodec> {
        let block = &out[start..];
        let len_max = block.len() - block.len() / 8;
        let (codec, len) = match &mut self.codec {
            BlockCodecState::None => return Ok(BlockCodec::None),
            BlockCodecState::Snappy(encoder) => {
                let room = snap::raw::max_compress_len(block.len());
                let compressed = with_capacity(&mut self.compressed, room);
                (
                    BlockCodec::Snappy,
                    encoder.compress(block, compressed).map_err(compression_error)?,
                )
            }
            BlockCodecState::Zstd(compressor) => {
                let compressed = with_capacity(&mut self.compressed, zstd_bound(block.len()));
                let len = compressor
                    .compress_to_buffer(block, compressed)
                    .map_err(compression_error)?;
                (BlockCodec::Zstd, len)
            }
            BlockCodecState::Deflate { codec, stream } => {
                // No larger than what is worth keeping: a stream that does not end in it is not kept.
                let compressed = with_capacity(&mut self.compressed, len_max);
                (*codec, deflate(stream, block, compressed)?)
            }
        };
        if len >= len_max {
            self.return_buffer();
            return Ok(BlockCodec::None);
        }
        out.truncate(start);
        out.extend_from_slice(&self.compressed[..len]);
        self.return_buffer();
        Ok(codec)
    }

    fn return_buffer(&mut self) {
        if self.compressed.len() > KEPT_BYTES_MAX {
            self.compressed = Vec::new();
        }
    }
}

/// Compressed length, or `usize::MAX` when it does not fit.
fn deflate(stream: &mut Compress, block: &[u8], compressed: &mut [u8]) -> Result<usize> {
    stream.reset();
    let status = stream
        .compress(block, compressed, FlushCompress::Finish)
        .map_err(compression_error)?;
    match status {
        Status::StreamEnd => Ok(usize::try_from(stream.total_out()).unwrap_or(usize::MAX)),
        Status::Ok | Status::BufError => Ok(usize::MAX),
    }
}

fn zstd_bound(len: usize) -> usize {
    zstd::zstd_safe::compress_bound(len)
}

/// The first `len` bytes; made anew when too small (pages that are never touched then cost nothing), else used
/// as they are: zeroing them for every block would cost as much as writing them.
fn with_capacity(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        *buffer = vec![0; len];
    }
    &mut buffer[..len]
}

fn compression_error(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::with_cause(ErrorKind::Limit, "compress a block", cause)
}
