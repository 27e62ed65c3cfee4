//! The envelope: the common form of all stored objects.
//!
//! One envelope for every stored object (FORMAT.md section 3):
//!
//! ```text
//! header 120 │ clear part (header says how long) │ sealed part, or many in a pack │ what the class adds
//! ```
//!
//! The header names class, version, epoch, domain and key scheme, and carries a random salt and a commitment to
//! the key. Opening first compares the commitment: ChaCha20-Poly1305 does not commit to its key, so one object
//! could otherwise be made to open under two. Objects that are not packs have one part, under ordinal 0:
//!
//! ```text
//! plain length 4 │ codec 1 │ ciphertext │ tag 16
//! ```
//!
//! An object that must be readable without keys (marks, an index segment's pack list) has it in the clear part,
//! which is authenticated with the sealed part: the tag is the owner's MAC over it.
//!
//! Knows no keyring: it is handed the secret that the object's key is derived from.

pub mod class;
pub mod gate;
pub mod header;
pub mod part;

#[cfg(test)]
mod tests;

pub use class::{KeyScheme, ObjectClass};
pub use gate::{Access, Features};
pub use header::Header;
pub use part::{PART_OVERHEAD, PartKey, PartName};

use crate::compress::{Compression, Compressor, PartCodec};
use crate::crypto::{aead::TAG_LEN, derive};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{DomainId, ObjectId};
use crate::kind::BlobKind;
use crate::limits::{
    HOST_PLAIN_BYTES_FREE, HOST_SEGMENT_RATIO_MAX, HOST_SNAPSHOT_RATIO_MAX, OBJECT_BYTES_MAX,
};

/// The name of an object: BLAKE3 of its stored bytes.
pub fn object_id(bytes: &[u8]) -> ObjectId {
    ObjectId(*blake3::hash(bytes).as_bytes())
}

/// Whether these are the bytes that were stored under `id`. Needs no key, and is asked first: after it, a
/// commitment that does not fit can only mean another key.
pub fn check_name(id: &ObjectId, bytes: &[u8]) -> Result<()> {
    if object_id(bytes) == *id {
        Ok(())
    } else {
        Err(Error::corrupt("stored bytes do not hash to the object's name"))
    }
}

/// Finishes `header` with the commitment, and gives the key to seal parts with. `secret` is what the class and
/// scheme derive from (FORMAT.md section 3), without the salt.
pub fn commit(mut header: Header, secret: &[u8]) -> PartKey {
    let (key, commitment) = object_key(&header, secret);
    header.commitment = commitment;
    PartKey::new(key, header.encode())
}

/// The key to open parts with, if `secret` is the one the object was sealed under; else [`ErrorKind::WrongKey`].
pub fn open_key(header: &Header, secret: &[u8]) -> Result<PartKey> {
    let (key, commitment) = object_key(header, secret);
    if derive::same(&commitment, &header.commitment) {
        Ok(PartKey::new(key, header.encode()))
    } else {
        Err(Error::new(
            ErrorKind::WrongKey,
            format!("{} is sealed under another key", header.class.word()),
        ))
    }
}

fn object_key(header: &Header, secret: &[u8]) -> (crate::crypto::Secret32, [u8; 32]) {
    let parts = [secret, &header.salt];
    let key = derive::derive(header.class.key_context(), &parts);
    let commitment = derive::derive_public(header.class.commitment_context(), &parts);
    (key, commitment)
}

/// An object of one part: `header.clear_len` and `header.commitment` are filled in here.
pub fn seal_one(mut header: Header, secret: &[u8], clear: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    header.clear_len = bounded("clear part", clear)?;
    let name = PartName::single(bounded("plain part", plain)?);
    let packs = !matches!(
        header.class,
        ObjectClass::Slot | ObjectClass::Keyring | ObjectClass::Credential
    );
    let is_out_of_proportion = |packed: &[u8]| plain.len() as u64 > plain_max(&header, packed.len());
    let key = commit(header.clone(), secret);
    let mut out = Vec::with_capacity(Header::LEN + clear.len() + plain.len() + 4 + PART_OVERHEAD);
    out.extend_from_slice(key.header());
    out.extend_from_slice(clear);
    out.extend_from_slice(&name.plain_len.to_le_bytes());
    if packs {
        Compressor::thread_compressor(Compression::Auto.level(BlobKind::Leaf), |compressor| {
            // What compresses so well that readers would not believe it is stored as it is.
            let (codec, packed) = match compressor.compress(plain)? {
                (_, packed) if is_out_of_proportion(packed) => (PartCodec::Stored, plain),
                packed => packed,
            };
            key.seal(&name, codec, packed, clear, &mut out)
        })?
    } else {
        key.seal(&name, PartCodec::Stored, plain, clear, &mut out)?
    }
    Ok(out)
}

fn bounded(what: &str, bytes: &[u8]) -> Result<u32> {
    u32::try_from(bytes.len())
        .ok()
        .filter(|len| u64::from(*len) <= OBJECT_BYTES_MAX)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Limit,
                format!("{what} of {} bytes passes {OBJECT_BYTES_MAX}", bytes.len()),
            )
        })
}

/// An object of one part taken apart, nothing of it vouched for yet.
#[derive(Clone, Debug)]
pub struct Unopened<'a> {
    /// What the header says.
    pub header: Header,
    /// The clear part: what keyless checks go by, and no more than what the storage claims.
    pub clear: &'a [u8],
    plain_len: u32,
    part: &'a [u8],
}

/// Most bytes that a part may open to, of which `stored` bytes are stored. In domain 0 the owner's programs write, which
/// are trusted; a write-only host could have few bytes open to many.
pub fn plain_max(header: &Header, stored: usize) -> u64 {
    let ratio = match header.class {
        _ if header.domain == DomainId(0) => return OBJECT_BYTES_MAX,
        ObjectClass::Snapshot => HOST_SNAPSHOT_RATIO_MAX,
        ObjectClass::Index => HOST_SEGMENT_RATIO_MAX,
        _ => return OBJECT_BYTES_MAX,
    };
    let grown = (stored as u64).saturating_mul(ratio);
    grown.saturating_add(HOST_PLAIN_BYTES_FREE).min(OBJECT_BYTES_MAX)
}

/// Takes an object of one part apart. `bytes` must end where the part ends.
pub fn parse_one(class: ObjectClass, bytes: &[u8]) -> Result<Unopened<'_>> {
    let (header, clear, rest) = parse_clear(class, bytes)?;
    let (plain_len, part) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| Error::new(ErrorKind::Torn, "ends before its sealed part"))?;
    Ok(Unopened {
        header,
        clear,
        plain_len: u32::from_le_bytes(*plain_len),
        part,
    })
}

/// Header, clear part and the rest, unauthenticated: all that a keyless reader sees.
pub fn parse_clear(class: ObjectClass, bytes: &[u8]) -> Result<(Header, &[u8], &[u8])> {
    let header = Header::decode(bytes)?;
    header.expect_class(class)?;
    let (clear, rest) = bytes[Header::LEN..]
        .split_at_checked(header.clear_len as usize)
        .ok_or_else(|| Error::new(ErrorKind::Torn, "ends within its clear part"))?;
    Ok((header, clear, rest))
}

impl Unopened<'_> {
    /// The plain part, if `secret` is the one it was sealed under and no byte of the object differs.
    pub fn open(&self, secret: &[u8]) -> Result<Vec<u8>> {
        let key = open_key(&self.header, secret)?;
        self.must_be_in_proportion()?;
        // Zeroes compress without end, but no object here is larger plain than its class may be stored.
        if u64::from(self.plain_len) > OBJECT_BYTES_MAX || self.part.len() < 1 + TAG_LEN {
            return Err(Error::corrupt("sealed part has an impossible length"));
        }
        key.open(&PartName::single(self.plain_len), self.part, self.clear)
    }

    /// Before anything is inflated.
    fn must_be_in_proportion(&self) -> Result<()> {
        let max = plain_max(&self.header, self.part.len());
        if u64::from(self.plain_len) <= max {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Limit,
            format!(
                "{} stored bytes of domain {} open to {}, which is out of proportion: {max} are the most",
                self.part.len(),
                self.header.domain.0,
                self.plain_len
            ),
        ))
    }
}
