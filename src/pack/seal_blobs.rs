//! Compresses and seals blobs into a pack.
//!
//! Compressing comes first, on all cores; then it is known how long each part is, and where it lies. Sealing encrypts
//! from the compressed bytes into that place, on all cores again: no byte is copied for it.

use rayon::prelude::*;

use super::PackedBlob;
use super::pack_builder::PackBuilder;
use super::pack_key::PackKey;
use crate::blob::{self, BlobKind, NamedBlob, SealedName};
use crate::compress::{Compressor, PartCodec};
use crate::envelope::PART_OVERHEAD;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::BlobId;
use crate::limits::BLOB_BYTES_MAX;

/// A blob that is compressed, if that makes it smaller, and not sealed yet.
pub struct CompressedBlob<P = Vec<u8>> {
    id: BlobId,
    kind: BlobKind,
    plain_len: u32,
    content: PartContent<P>,
}

/// What is to be sealed.
enum PartContent<P> {
    Stored(P),
    Zstd(Vec<u8>),
}

impl<P: AsRef<[u8]>> CompressedBlob<P> {
    /// Compresses.
    pub fn new(blob: NamedBlob<P>, compressor: &mut Compressor) -> Result<Self> {
        let (id, kind) = (blob.id(), blob.kind());
        let packed = bounded(blob.plain())
            .and_then(|plain| compressor.compress_new(plain))
            .context(|| format!("compress blob {}", id.short()))?;
        // It fits: the limit is below 4 GiB.
        let plain_len = blob.plain().len() as u32;
        let content = match packed {
            Some(packed) => PartContent::Zstd(packed),
            None => PartContent::Stored(blob.into_plain()),
        };
        Ok(Self {
            id,
            kind,
            plain_len,
            content,
        })
    }

    /// Its name.
    pub fn id(&self) -> BlobId {
        self.id
    }

    /// Bytes it was made of.
    pub fn plain_len(&self) -> usize {
        self.plain_len as usize
    }

    /// Bytes it will have in a pack.
    pub fn stored_len(&self) -> usize {
        self.packed().1.len() + PART_OVERHEAD
    }

    fn packed(&self) -> (PartCodec, &[u8]) {
        match &self.content {
            PartContent::Zstd(packed) => (PartCodec::Zstd, packed),
            PartContent::Stored(plain) => (PartCodec::Stored, plain.as_ref()),
        }
    }

    /// As it is called once it has its ordinal.
    pub(super) fn name(&self, ordinal: u32) -> SealedName {
        SealedName {
            id: self.id,
            kind: self.kind,
            ordinal,
            plain_len: self.plain_len,
        }
    }
}

impl CompressedBlob {
    /// As it lies in a pack: unsealed, unpacked, compared with its name, and kept as it was packed.
    pub(super) fn open(key: &PackKey, name: &SealedName, sealed: &[u8]) -> Result<Self> {
        let (codec, packed) = blob::open_packed(&key.part, &key.domain, name, sealed)?;
        Ok(Self {
            id: name.id,
            kind: name.kind,
            plain_len: name.plain_len,
            content: match codec {
                PartCodec::Stored => PartContent::Stored(packed),
                PartCodec::Zstd => PartContent::Zstd(packed),
            },
        })
    }
}

fn bounded(plain: &[u8]) -> Result<&[u8]> {
    if plain.len() <= BLOB_BYTES_MAX {
        Ok(plain)
    } else {
        Err(Error::new(
            ErrorKind::Limit,
            format!("{} bytes pass {BLOB_BYTES_MAX}", plain.len()),
        ))
    }
}

/// One part to be sealed: what, under which name, and where to.
struct PartToSeal<'a, P> {
    key: &'a PackKey,
    blob: &'a CompressedBlob<P>,
    packed: PackedBlob,
    place: &'a mut [u8],
}

impl<P: AsRef<[u8]>> PartToSeal<'_, P> {
    fn seal(self) -> Result<()> {
        let (codec, content) = self.blob.packed();
        let name = self.packed.name();
        self.key
            .part
            .seal_into(&name.part(), codec, content, &[], self.place)
            .context(|| format!("seal blob {}", name.id.short()))
    }
}

/// Seals blobs at the ends of packs, those of a pack in their order. After an error neither pack has any of them.
pub fn seal_all<P: AsRef<[u8]> + Sync>(into: Vec<(&mut PackBuilder, &[CompressedBlob<P>])>) -> Result<()> {
    let mut packs = Vec::with_capacity(into.len());
    let outcome = into.into_iter().try_for_each(|(pack, blobs)| {
        let begin = pack.blobs();
        let placed = blobs.iter().try_for_each(|blob| pack.place_blob(blob));
        packs.push((pack, begin, blobs));
        placed
    });
    let outcome = outcome.and_then(|()| {
        let parts: Vec<_> = packs
            .iter_mut()
            .flat_map(|(pack, begin, blobs)| parts(pack, *begin, blobs))
            .collect();
        parts.into_par_iter().try_for_each(PartToSeal::seal)
    });
    if outcome.is_err() {
        packs
            .iter_mut()
            .for_each(|(pack, begin, _)| pack.truncate_to(*begin));
    }
    outcome
}

/// The parts that have places and no content yet.
fn parts<'a, P>(
    pack: &'a mut PackBuilder,
    begin: usize,
    blobs: &'a [CompressedBlob<P>],
) -> Vec<PartToSeal<'a, P>> {
    let (key, placed, mut room) = pack.placed_since(begin);
    let part = |(blob, packed): (&'a CompressedBlob<P>, &PackedBlob)| {
        let (place, rest) = std::mem::take(&mut room).split_at_mut(packed.len as usize);
        room = rest;
        PartToSeal {
            key,
            blob,
            packed: *packed,
            place,
        }
    };
    blobs.iter().zip(placed).map(part).collect()
}
