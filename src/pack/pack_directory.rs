//! Encodes and decodes a pack's directory and trailer.
//!
//! The sealed directory and the fixed trailer. Offsets are not stored: parts follow one another without a gap
//! from the header to the directory, so every byte of a pack belongs to something that is authenticated.

use super::pack_key::PackKey;
use super::{HEADER_LEN, PART_LEN_MIN, PackedBlob};
use crate::blob::BlobKind;
use crate::codec::Reader;
use crate::compress::PartCodec;
use crate::envelope::{PART_OVERHEAD, PartName};
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::limits::{BLOB_BYTES_MAX, PACK_BLOBS_MAX, PACK_STORED_BYTES_MAX};

/// id 32, kind 1, ordinal 4, stored length 4, plain length 4.
pub(super) const ENTRY_LEN: usize = 45;
pub(super) const TRAILER_LEN: usize = 16;
const TRAILER_MAGIC: [u8; 8] = *b"levpack\x1a";

/// The trailer's claim, to be authenticated by opening the directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PackTrailer {
    pub stored_len: u32,
    pub plain_len: u32,
}

/// Bytes of directory and trailer for so many blobs.
pub(super) fn stored_len(blobs: usize) -> usize {
    blobs * ENTRY_LEN + PART_OVERHEAD + TRAILER_LEN
}

/// Appends the sealed directory and the trailer. Never compressed: names are random, and one way is one test less.
pub(super) fn append(key: &PackKey, blobs: &[PackedBlob], out: &mut Vec<u8>) -> Result<()> {
    if blobs.len() > PACK_BLOBS_MAX {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("{} blobs pass {PACK_BLOBS_MAX}", blobs.len()),
        ));
    }
    let mut plain = Vec::with_capacity(blobs.len() * ENTRY_LEN);
    blobs.iter().for_each(|blob| encode_entry(blob, &mut plain));
    // Both fit: PACK_BLOBS_MAX entries are 45 MiB.
    let (plain_len, stored_len) = (plain.len() as u32, (plain.len() + PART_OVERHEAD) as u32);
    out.reserve(plain.len() + PART_OVERHEAD + TRAILER_LEN);
    key.part.seal(
        &PartName::directory_part(plain_len),
        PartCodec::Stored,
        &plain,
        &[],
        out,
    )?;
    out.extend_from_slice(&stored_len.to_le_bytes());
    out.extend_from_slice(&plain_len.to_le_bytes());
    out.extend_from_slice(&TRAILER_MAGIC);
    Ok(())
}

fn encode_entry(blob: &PackedBlob, out: &mut Vec<u8>) {
    out.extend_from_slice(&blob.id.0);
    out.push(blob.kind as u8);
    for number in [blob.ordinal, blob.len, blob.plain_len] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Reads the trailer from the last bytes of a pack of `pack_len` bytes, and holds its lengths against that.
pub(super) fn trailer(tail: &[u8], pack_len: u64) -> Result<PackTrailer> {
    if pack_len > PACK_STORED_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("pack of {pack_len} bytes passes {PACK_STORED_BYTES_MAX}"),
        ));
    }
    let bytes = tail
        .last_chunk::<TRAILER_LEN>()
        .filter(|_| pack_len >= (HEADER_LEN + TRAILER_LEN) as u64)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Torn,
                format!("pack of {pack_len} bytes has no room for a trailer"),
            )
        })?;
    let mut reader = Reader::new(bytes);
    let trailer = PackTrailer {
        stored_len: reader.u32()?,
        plain_len: reader.u32()?,
    };
    let room = pack_len - (HEADER_LEN + TRAILER_LEN) as u64;
    if reader.array()? != TRAILER_MAGIC {
        return Err(Error::new(ErrorKind::Torn, "pack does not end as a pack does"));
    }
    let whole = (trailer.plain_len as usize).is_multiple_of(ENTRY_LEN)
        && trailer.plain_len as usize / ENTRY_LEN <= PACK_BLOBS_MAX
        && trailer.stored_len as usize == trailer.plain_len as usize + PART_OVERHEAD
        && u64::from(trailer.stored_len) <= room;
    if whole {
        Ok(trailer)
    } else {
        Err(Error::corrupt("pack's trailer has impossible lengths"))
    }
}

/// Opens the directory: `sealed` are its stored bytes, ending before the trailer.
pub(super) fn open(
    key: &PackKey,
    trailer: PackTrailer,
    sealed: &[u8],
    pack_len: u64,
) -> Result<Vec<PackedBlob>> {
    let plain = key
        .part
        .open(&PartName::directory_part(trailer.plain_len), sealed, &[])?;
    let parts_end = pack_len - TRAILER_LEN as u64 - u64::from(trailer.stored_len);
    decode(&plain, parts_end)
}

/// The entries, their offsets summed up; they must end exactly where the directory begins (`parts_end`). Public for
/// fuzzing: readers go through [`super::read_directory`].
pub fn decode(plain: &[u8], parts_end: u64) -> Result<Vec<PackedBlob>> {
    let mut blobs = Vec::with_capacity(plain.len() / ENTRY_LEN);
    let mut reader = Reader::new(plain);
    let mut offset = HEADER_LEN as u64;
    while !reader.is_empty() {
        let blob = decode_entry(&mut reader, offset)?;
        offset += u64::from(blob.len);
        blobs.push(blob);
        if offset > parts_end {
            break;
        }
    }
    if offset == parts_end && reader.is_empty() {
        Ok(blobs)
    } else {
        Err(Error::corrupt("pack's directory does not fit its parts"))
    }
}

fn decode_entry(reader: &mut Reader<'_>, offset: u64) -> Result<PackedBlob> {
    let (id, kind) = (BlobId(reader.array()?), BlobKind::try_from(reader.u8()?)?);
    let (ordinal, len, plain_len) = (reader.u32()?, reader.u32()?, reader.u32()?);
    // Within the parts, which end below 4 GiB: see the caller and `trailer`.
    let offset = u32::try_from(offset).map_err(|_| Error::corrupt("pack's directory passes 4 GiB"))?;
    if len >= PART_LEN_MIN && plain_len as usize <= BLOB_BYTES_MAX && (ordinal as usize) < PACK_BLOBS_MAX {
        Ok(PackedBlob {
            id,
            kind,
            ordinal,
            offset,
            len,
            plain_len,
        })
    } else {
        Err(Error::corrupt("pack's directory has impossible numbers"))
    }
}
