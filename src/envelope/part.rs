//! Seals and opens one part of an object.
//!
//! One sealed part: a clear codec byte, ciphertext, tag. What is authenticated with it is the whole of
//! the associated data: a part that is moved, renamed or taken for another kind does not open.

use super::header::Header;
use crate::compress::{self, PartCodec};
use crate::crypto::{Secret32, aead};
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::limits::BLOB_BYTES_MAX;

/// Bytes a part has besides its (compressed) content: codec and tag.
pub const PART_OVERHEAD: usize = 1 + aead::TAG_LEN;

/// The ordinal of a pack's directory. Blobs have those below.
pub const DIRECTORY_ORDINAL: u32 = u32::MAX;

/// What a part is, besides its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartName {
    /// The nonce.
    pub ordinal: u32,
    /// The blob's name; zero for what is no blob.
    pub id: BlobId,
    /// The blob's kind; 0 for what is no blob.
    pub kind: u8,
    /// Bytes before compression.
    pub plain_len: u32,
}

impl PartName {
    /// The one part of an object that is not a pack.
    pub fn single(plain_len: u32) -> Self {
        PartName {
            ordinal: 0,
            id: BlobId([0; 32]),
            kind: 0,
            plain_len,
        }
    }

    /// A pack's directory.
    pub fn directory_part(plain_len: u32) -> Self {
        PartName {
            ordinal: DIRECTORY_ORDINAL,
            ..PartName::single(plain_len)
        }
    }
}

/// Header ‖ blob id ‖ kind ‖ codec ‖ plain length ‖ clear part.
fn aad(header: &[u8; Header::LEN], name: &PartName, codec: u8, clear: &[u8]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(Header::LEN + 38 + clear.len());
    aad.extend_from_slice(header);
    aad.extend_from_slice(&name.id.0);
    aad.extend_from_slice(&[name.kind, codec]);
    aad.extend_from_slice(&name.plain_len.to_le_bytes());
    aad.extend_from_slice(clear);
    aad
}

/// An object's key with all that its parts are authenticated with.
pub struct PartKey {
    key: Secret32,
    header: [u8; Header::LEN],
}

impl PartKey {
    pub(super) fn new(key: Secret32, header: [u8; Header::LEN]) -> Self {
        Self { key, header }
    }

    /// The header all parts are bound to.
    pub fn header(&self) -> &[u8; Header::LEN] {
        &self.header
    }

    /// Appends codec, ciphertext and tag of `packed` to `out`. The caller sees to it that an ordinal is used once.
    pub(crate) fn seal(
        &self,
        name: &PartName,
        codec: PartCodec,
        packed: &[u8],
        clear: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let from = out.len();
        out.resize(from + packed.len() + PART_OVERHEAD, 0);
        self.seal_into(name, codec, packed, clear, &mut out[from..])
    }

    /// The same into a place that has just the room: [`PART_OVERHEAD`] bytes more than `packed`.
    pub(crate) fn seal_into(
        &self,
        name: &PartName,
        codec: PartCodec,
        packed: &[u8],
        clear: &[u8],
        place: &mut [u8],
    ) -> Result<()> {
        let aad = aad(&self.header, name, codec as u8, clear);
        let (first, sealed) = place
            .split_first_mut()
            .ok_or_else(|| Error::corrupt("no room for a sealed part"))?;
        *first = codec as u8;
        aead::seal_into(&self.key, name.ordinal, &aad, packed, sealed)
    }

    /// The plain bytes of `part` (codec, ciphertext, tag): authenticated, inflated to exactly `name.plain_len`.
    pub(crate) fn open(&self, name: &PartName, part: &[u8], clear: &[u8]) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        self.open_into(name, part, clear, &mut plain)?;
        Ok(plain)
    }

    /// The same into `plain`, whose room is used again. After an error nothing of it counts.
    pub(crate) fn open_into(
        &self,
        name: &PartName,
        part: &[u8],
        clear: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        check_len(name.plain_len)?;
        let (&codec, sealed) = part
            .split_first()
            .ok_or_else(|| Error::corrupt("part is empty"))?;
        let aad = aad(&self.header, name, codec, clear);
        let open = |room: &mut Vec<u8>| aead::open_into(&self.key, name.ordinal, &aad, sealed, room);
        // An unknown codec is told after the seal: before, it is but a byte that somebody changed.
        compress::decompress_with(codec, open, name.plain_len as usize, plain)
    }

    /// The part as it was packed, for whoever seals it again; `plain` is what it unpacks to, unless it is stored as it is.
    pub(crate) fn open_packed(
        &self,
        name: &PartName,
        part: &[u8],
        clear: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(PartCodec, Vec<u8>)> {
        check_len(name.plain_len)?;
        let (&codec, sealed) = part
            .split_first()
            .ok_or_else(|| Error::corrupt("part is empty"))?;
        let mut packed = Vec::new();
        let aad = aad(&self.header, name, codec, clear);
        aead::open_into(&self.key, name.ordinal, &aad, sealed, &mut packed)?;
        let codec = compress::decompress_reused(codec, &packed, name.plain_len as usize, plain)?;
        Ok((codec, packed))
    }
}

fn check_len(plain_len: u32) -> Result<()> {
    if plain_len as usize <= BLOB_BYTES_MAX {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Limit,
            format!("{plain_len} plain bytes pass the limit {BLOB_BYTES_MAX}"),
        ))
    }
}
