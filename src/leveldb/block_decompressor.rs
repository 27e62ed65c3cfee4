//! Decompresses blocks of every dialect's codecs.
//!
//! What a block says about its own size is believed only as far as its codec could have come: a snappy block of
//! 2 KB that claims 4 GiB is refused before anything is allocated, and the other codecs' output grows with what
//! really comes out.

use flate2::{Decompress, FlushDecompress, Status};

use super::database_layout::BlockCodec;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Largest plain block, bytes: one entry of the largest key and value, and a writer's block size.
pub const BLOCK_BYTES_MAX: usize = VALUE_BYTES_MAX + KEY_BYTES_MAX + (64 << 20);

/// A snappy element of 3 bytes stands for 64 at most: no block grows by more.
const SNAPPY_RATIO_MAX: usize = 22;

/// The first bytes of every zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// zstd's name for the one error that more room can mend.
const ZSTD_NEEDS_ROOM: &str = "Destination buffer is too small";

/// Decompresses blocks one after the other, keeping its tables.
pub struct Decompressor {
    snappy: snap::raw::Decoder,
    zstd: zstd::zstd_safe::DCtx<'static>,
    zlib: Inflater,
    deflate: Inflater,
}

/// Inflates blocks of an id that forks give different codecs: it is what we take it for once a block proved it.
struct Inflater {
    stream: Decompress,
    has_header: bool,
    /// A block of this id was one of this codec.
    is_proven: bool,
}

impl Default for Decompressor {
    fn default() -> Self {
        Self {
            snappy: snap::raw::Decoder::new(),
            zstd: zstd::zstd_safe::DCtx::create(),
            zlib: Inflater::new(true),
            deflate: Inflater::new(false),
        }
    }
}

/// The codec of a block with this id and these stored bytes; `None` for an id no dialect has.
#[inline]
pub fn codec_of(id: u8, stored: &[u8]) -> Option<BlockCodec> {
    match id {
        0 => Some(BlockCodec::None),
        1 => Some(BlockCodec::Snappy),
        2 if stored.starts_with(&ZSTD_MAGIC) => Some(BlockCodec::Zstd),
        2 => Some(BlockCodec::Zlib),
        4 => Some(BlockCodec::Deflate),
        _ => None,
    }
}

impl Decompressor {
    /// Decompresses `stored` to the front of `plain`, which only ever grows, and returns how many bytes that are.
    pub fn decompress(&mut self, codec: BlockCodec, stored: &[u8], plain: &mut Vec<u8>) -> Result<usize> {
        match codec {
            BlockCodec::None => {
                grow(plain, stored.len())?;
                plain[..stored.len()].copy_from_slice(stored);
                Ok(stored.len())
            }
            BlockCodec::Snappy => self.snappy(stored, plain),
            BlockCodec::Zstd => self.zstd(stored, plain),
            BlockCodec::Zlib => self.zlib.inflate(codec, stored, plain),
            BlockCodec::Deflate => self.deflate.inflate(codec, stored, plain),
        }
    }

    #[inline]
    fn snappy(&mut self, stored: &[u8], plain: &mut Vec<u8>) -> Result<usize> {
        let wrong = |error: snap::Error| Error::corrupt(format!("snappy: {error}"));
        let len = snap::raw::decompress_len(stored).map_err(wrong)?;
        if len > stored.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(Error::corrupt(format!(
                "snappy: {} bytes cannot become {len}",
                stored.len()
            )));
        }
        grow(plain, len)?;
        self.snappy.decompress(stored, &mut plain[..len]).map_err(wrong)
    }

    fn zstd(&mut self, stored: &[u8], plain: &mut Vec<u8>) -> Result<usize> {
        if let Some(id) = zstd::zstd_safe::get_dict_id_from_frame(stored) {
            return Err(Error::new(
                ErrorKind::UnknownFormat,
                format!("block codec 2 is zstd with dictionary {id}, which is not at hand"),
            ));
        }
        let claimed = match zstd::zstd_safe::get_frame_content_size(stored) {
            Ok(size) => size.map(|size| usize::try_from(size).unwrap_or(usize::MAX)),
            Err(_) => return Err(Error::corrupt("zstd: bad frame header")),
        };
        if claimed.is_some_and(|claimed| claimed > BLOCK_BYTES_MAX) {
            return Err(Error::corrupt("zstd: claims more than a block may have"));
        }
        let mut room = initial_capacity(stored.len()).min(claimed.unwrap_or(usize::MAX));
        loop {
            grow(plain, room)?;
            match self.zstd.decompress(&mut plain[..room], stored) {
                Ok(len) if claimed.is_none_or(|claimed| claimed == len) => return Ok(len),
                Ok(len) => {
                    return Err(Error::corrupt(format!(
                        "zstd: {len} bytes are not what it claims"
                    )));
                }
                Err(code) => {
                    let max = claimed.unwrap_or(BLOCK_BYTES_MAX);
                    let name = zstd::zstd_safe::get_error_name(code);
                    if name != ZSTD_NEEDS_ROOM || room >= max {
                        return Err(Error::corrupt(format!("zstd: {name}")));
                    }
                    room = room.saturating_mul(4).min(max);
                }
            }
        }
    }
}

impl Inflater {
    fn new(has_header: bool) -> Self {
        Self {
            stream: Decompress::new(has_header),
            has_header,
            is_proven: false,
        }
    }

    /// A block that fails is damaged only where another one was of this codec. Riak has LZ4 under id 2, RocksDB under
    /// id 4.
    fn inflate(&mut self, codec: BlockCodec, stored: &[u8], plain: &mut Vec<u8>) -> Result<usize> {
        self.stream.reset(self.has_header);
        let inflated = inflate(&mut self.stream, stored, plain);
        self.is_proven |= inflated.is_ok();
        inflated.map_err(|error| {
            if self.is_proven {
                return error;
            }
            let (id, name) = (codec.id(), codec.name());
            Error::new(
                ErrorKind::UnknownFormat,
                format!("block codec {id} is not known: it is no {name} here"),
            )
        })
    }
}

/// Inflates to the stream's end, which must be the block's end.
fn inflate(stream: &mut Decompress, stored: &[u8], plain: &mut Vec<u8>) -> Result<usize> {
    grow(plain, initial_capacity(stored.len()))?;
    loop {
        let (used, made) = (stream.total_in() as usize, stream.total_out() as usize);
        let status = stream
            .decompress(&stored[used..], &mut plain[made..], FlushDecompress::None)
            .map_err(|error| Error::corrupt(format!("inflate: {error}")))?;
        let (all, len) = (stream.total_in() as usize, stream.total_out() as usize);
        match status {
            Status::StreamEnd if all == stored.len() => return Ok(len),
            Status::StreamEnd => return Err(Error::corrupt("inflate: bytes behind the stream's end")),
            _ if len == plain.len() => grow(plain, len.saturating_mul(4))?,
            _ if (used, made) == (all, len) => return Err(Error::corrupt("inflate: stream ends too early")),
            _ => {}
        }
    }
}

/// Room to begin with when the size is not known or not believed.
fn initial_capacity(stored: usize) -> usize {
    stored.saturating_mul(8).clamp(64 << 10, BLOCK_BYTES_MAX)
}

/// Makes `plain` at least `len` bytes long.
#[inline]
fn grow(plain: &mut Vec<u8>, len: usize) -> Result<()> {
    if len > BLOCK_BYTES_MAX {
        return Err(Error::corrupt(format!(
            "block of {len} bytes passes the limit {BLOCK_BYTES_MAX}"
        )));
    }
    if plain.len() < len {
        plain.resize(len, 0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn compress(codec: BlockCodec, plain: &[u8]) -> Vec<u8> {
        match codec {
            BlockCodec::None => plain.to_vec(),
            BlockCodec::Snappy => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
            BlockCodec::Zstd => zstd::bulk::compress(plain, 1).unwrap(),
            BlockCodec::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            BlockCodec::Deflate => {
                let mut encoder =
                    flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    const ALL: [BlockCodec; 5] = [
        BlockCodec::None,
        BlockCodec::Snappy,
        BlockCodec::Zstd,
        BlockCodec::Zlib,
        BlockCodec::Deflate,
    ];

    #[test]
    fn every_codec_is_told_by_id_and_content_and_read_back() {
        let (mut decompressor, mut plain) = (Decompressor::default(), Vec::new());
        for size in [0, 1, 5000, 3_000_000, 10] {
            let bytes: Vec<u8> = (0..size).map(|index: u32| (index / 7 % 251) as u8).collect();
            for codec in ALL {
                let stored = compress(codec, &bytes);
                assert_eq!(codec_of(codec.id(), &stored), Some(codec));
                let len = decompressor.decompress(codec, &stored, &mut plain).unwrap();
                assert_eq!(plain[..len], bytes, "{codec:?}");
            }
        }
        assert_eq!(codec_of(3, b""), None);
    }

    #[test]
    fn a_block_cut_short_or_with_bytes_behind_it_is_an_error() {
        let bytes: Vec<u8> = (0..5000u32).map(|index| (index / 7 % 251) as u8).collect();
        let (mut decompressor, mut plain) = (Decompressor::default(), Vec::new());
        for codec in ALL.into_iter().skip(1) {
            let stored = compress(codec, &bytes);
            for len in 0..stored.len() {
                assert!(
                    decompressor
                        .decompress(codec, &stored[..len], &mut plain)
                        .is_err(),
                    "{codec:?} {len}"
                );
            }
            let more = [&stored[..], b"more"].concat();
            assert!(
                decompressor.decompress(codec, &more, &mut plain).is_err(),
                "{codec:?}"
            );
        }
    }

    #[test]
    fn a_claim_of_four_gigabytes_allocates_nothing() {
        let (mut decompressor, mut plain) = (Decompressor::default(), Vec::new());
        let bomb = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 2000]].concat();
        assert!(
            decompressor
                .decompress(BlockCodec::Snappy, &bomb, &mut plain)
                .is_err()
        );
        assert_eq!(plain.capacity(), 0);
        // A zstd frame header that claims 4 GiB - 1 and holds one tiny raw block.
        let bomb = [&ZSTD_MAGIC[..], &[0xa0, 0xff, 0xff, 0xff, 0xff, 0x09, 0, 0, 7]].concat();
        assert!(
            decompressor
                .decompress(BlockCodec::Zstd, &bomb, &mut plain)
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn any_bytes_decompress_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (mut decompressor, mut plain) = (Decompressor::default(), Vec::new());
            for codec in ALL {
                let _ = decompressor.decompress(codec, &bytes, &mut plain);
            }
            prop_assert!(plain.len() <= 1 << 20);
        }
    }
}
