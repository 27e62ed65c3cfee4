//! Compresses and decompresses the parts of objects.
//!
//! Plain bytes ⇄ fewer bytes. A byte before each sealed part, the codec, says which way it went.
//!
//! Each blob is one zstd frame of its own; contexts are kept, because making one costs more than a small blob.

use std::cell::RefCell;

use crate::error::{Error, ErrorKind, Result};
use crate::kind::BlobKind;
use crate::limits::BLOB_BYTES_MAX;

/// How the bytes under a seal are to be understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PartCodec {
    /// As they are: what does not shrink.
    Stored = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl TryFrom<u8> for PartCodec {
    type Error = Error;

    /// 2 is reserved for zstd with a dictionary; it and all others are [`ErrorKind::TooNew`].
    fn try_from(number: u8) -> Result<Self, Error> {
        match number {
            0 => Ok(PartCodec::Stored),
            1 => Ok(PartCodec::Zstd),
            _ => Err(Error::new(
                ErrorKind::TooNew,
                format!("codec {number} is not known"),
            )),
        }
    }
}

/// How hard to try, as `--compression` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// Not at all.
    Off,
    /// zstd level -1.
    Fastest,
    /// zstd level 1 for records, 3 for files and long values: docs/decisions/0004-compression-level.md.
    #[default]
    Auto,
    /// zstd level 7.
    Better,
    /// zstd level 15.
    Max,
}

/// A zstd level; `None` for none at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompressionLevel(Option<i32>);

impl Compression {
    /// How hard to try with a blob of such a kind.
    pub fn level(self, kind: BlobKind) -> CompressionLevel {
        CompressionLevel(match (self, kind) {
            (Compression::Off, _) => None,
            (Compression::Fastest, _) => Some(-1),
            (Compression::Auto, BlobKind::Data) => Some(3),
            (Compression::Auto, _) => Some(1),
            (Compression::Better, _) => Some(7),
            (Compression::Max, _) => Some(15),
        })
    }
}

/// A zstd context and its output buffer, kept from blob to blob. One to a thread; see [`Compressor::thread_compressor`].
pub struct Compressor {
    context: Option<zstd::bulk::Compressor<'static>>,
    level: CompressionLevel,
    buffer: Vec<u8>,
}

impl Compressor {
    /// Makes the context.
    pub fn new(level: CompressionLevel) -> Result<Self> {
        let context = level.0.map(zstd::bulk::Compressor::new).transpose();
        Ok(Self {
            context: context.map_err(|cause| Error::io("make a zstd context", cause))?,
            level,
            buffer: Vec::new(),
        })
    }

    /// The smaller of `plain` and its compressed form, with the codec that says which.
    pub fn compress<'a>(&'a mut self, plain: &'a [u8]) -> Result<(PartCodec, &'a [u8])> {
        let Some(context) = &mut self.context else {
            return Ok((PartCodec::Stored, plain));
        };
        self.buffer.clear();
        self.buffer.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        context
            .compress_to_buffer(plain, &mut self.buffer)
            .map_err(|cause| Error::io("compress", cause))?;
        if self.buffer.len() < plain.len() {
            Ok((PartCodec::Zstd, &self.buffer))
        } else {
            Ok((PartCodec::Stored, plain))
        }
    }

    /// The same, owned, or `None` where the plain bytes are the smaller ones.
    pub fn compress_new(&mut self, plain: &[u8]) -> Result<Option<Vec<u8>>> {
        let (codec, packed) = self.compress(plain)?;
        Ok((codec == PartCodec::Zstd).then(|| packed.to_vec()))
    }

    /// Lends the calling thread's own compressor, made on first use.
    pub fn thread_compressor<T>(
        level: CompressionLevel,
        act: impl FnOnce(&mut Compressor) -> Result<T>,
    ) -> Result<T> {
        thread_local! {
            static LOCAL: RefCell<Option<Compressor>> = const { RefCell::new(None) };
        }
        let kept = LOCAL.take().filter(|kept| kept.level == level);
        let mut compressor = match kept {
            Some(kept) => kept,
            None => Compressor::new(level)?,
        };
        let outcome = act(&mut compressor);
        LOCAL.set(Some(compressor));
        outcome
    }
}

/// Undoes [`Compressor::compress`] into exactly `plain_len` bytes. `open` gives the packed bytes, authenticated: that, and
/// the bound, is why the allocation is safe.
pub fn decompress_with(
    codec: u8,
    open: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    plain_len: usize,
    plain: &mut Vec<u8>,
) -> Result<()> {
    thread_local! {
        static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    if codec == PartCodec::Stored as u8 {
        open(plain)?;
        return check_len(plain, plain_len);
    }
    let mut packed = PACKED.take();
    let outcome = open(&mut packed)
        .and_then(|()| PartCodec::try_from(codec))
        .and_then(|_| inflate(&packed, plain_len, plain))
        .and_then(|()| check_len(plain, plain_len));
    PACKED.set(packed);
    outcome
}

/// The same where the packed bytes are wanted too. Of what is stored as it is nothing goes to `plain`.
pub fn decompress_reused(
    codec: u8,
    packed: &[u8],
    plain_len: usize,
    plain: &mut Vec<u8>,
) -> Result<PartCodec> {
    let codec = PartCodec::try_from(codec)?;
    match codec {
        PartCodec::Stored => check_len(packed, plain_len)?,
        PartCodec::Zstd => {
            inflate(packed, plain_len, plain)?;
            check_len(plain, plain_len)?;
        }
    }
    Ok(codec)
}

fn check_len(plain: &[u8], plain_len: usize) -> Result<()> {
    if plain.len() == plain_len {
        Ok(())
    } else {
        Err(Error::corrupt(format!(
            "{} plain bytes, recorded were {plain_len}",
            plain.len()
        )))
    }
}

fn inflate(packed: &[u8], plain_len: usize, plain: &mut Vec<u8>) -> Result<()> {
    thread_local! {
        static CONTEXT: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    if plain_len > BLOB_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("{plain_len} plain bytes pass the limit {BLOB_BYTES_MAX}"),
        ));
    }
    let mut context = match CONTEXT.take() {
        Some(context) => context,
        None => zstd::bulk::Decompressor::new().map_err(|cause| Error::io("make a zstd context", cause))?,
    };
    plain.clear();
    plain.reserve_exact(plain_len);
    let outcome = context.decompress_to_buffer(packed, plain);
    CONTEXT.set(Some(context));
    outcome.map_err(|cause| Error::with_cause(ErrorKind::Corrupt, "inflate", cause))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decompress(codec: PartCodec, packed: Vec<u8>, plain_len: usize) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        let open = |room: &mut Vec<u8>| {
            *room = packed;
            Ok(())
        };
        decompress_with(codec as u8, open, plain_len, &mut plain).map(|()| plain)
    }

    const EVERY: [Compression; 5] = [
        Compression::Off,
        Compression::Fastest,
        Compression::Auto,
        Compression::Better,
        Compression::Max,
    ];

    #[test]
    fn what_goes_in_comes_out_at_every_level_and_does_not_grow() {
        let random: Vec<u8> = (0..5000u32)
            .flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes())
            .collect();
        for plain in [&b""[..], b"a", &[7; 100_000], &random] {
            for compression in EVERY {
                let (codec, packed) =
                    Compressor::thread_compressor(compression.level(BlobKind::Leaf), |compressor| {
                        compressor
                            .compress(plain)
                            .map(|(codec, packed)| (codec, packed.to_vec()))
                    })
                    .unwrap();
                assert!(packed.len() <= plain.len());
                assert_eq!(decompress(codec, packed, plain.len()).unwrap(), plain);
            }
        }
        assert_eq!(
            Compressor::new(Compression::Max.level(BlobKind::Data))
                .unwrap()
                .compress(&random)
                .unwrap()
                .0,
            PartCodec::Stored
        );
    }

    #[test]
    fn a_frame_that_holds_more_or_less_than_recorded_is_refused() {
        let mut compressor = Compressor::new(Compression::Auto.level(BlobKind::Leaf)).unwrap();
        let packed = compressor.compress(&[0; 1000]).unwrap().1.to_vec();
        for wrong in [0, 1, 999, 1001, BLOB_BYTES_MAX + 1, usize::MAX] {
            assert!(
                decompress(PartCodec::Zstd, packed.clone(), wrong).is_err(),
                "{wrong}"
            );
        }
        assert!(decompress(PartCodec::Stored, packed, 1000).is_err());
        assert!(decompress(PartCodec::Zstd, b"not a frame".to_vec(), 1000).is_err());
        assert_eq!(PartCodec::try_from(2).unwrap_err().kind(), ErrorKind::TooNew);
    }
}
