//! Opens a sealed blob and verifies its name.

use std::cell::RefCell;

use super::NamedBlob;
use crate::compress::PartCodec;
use crate::envelope::{PartKey, PartName};
use crate::error::{Error, Result, ResultExt};
use crate::id::BlobId;
use crate::keys::DomainKeys;
use crate::kind::BlobKind;

/// What the index or a directory says of one sealed blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedName {
    /// The name its plain bytes must have.
    pub id: BlobId,
    /// What it holds.
    pub kind: BlobKind,
    /// Its nonce within the pack.
    pub ordinal: u32,
    /// Bytes once inflated.
    pub plain_len: u32,
}

impl SealedName {
    /// As the envelope authenticates it.
    pub(crate) fn part(&self) -> PartName {
        PartName {
            ordinal: self.ordinal,
            id: self.id,
            kind: self.kind as u8,
            plain_len: self.plain_len,
        }
    }
}

/// Opens one sealed blob: decrypts, inflates, names the plain bytes anew and compares.
pub fn open(key: &PartKey, keys: &DomainKeys, name: &SealedName, sealed: &[u8]) -> Result<NamedBlob> {
    key.open(&name.part(), sealed, &[])
        .and_then(|plain| named(keys, name, plain))
        .context(|| format!("open blob {}", name.id.short()))
}

/// The same for who wants to know only whether it opens: the plain bytes take the calling thread's own room.
pub fn check(key: &PartKey, keys: &DomainKeys, name: &SealedName, sealed: &[u8]) -> Result<()> {
    let mut plain = PLAIN.take();
    let checked = key
        .open_into(&name.part(), sealed, &[], &mut plain)
        .and_then(|()| named(keys, name, &plain[..]).map(drop));
    PLAIN.set(plain);
    checked.context(|| format!("open blob {}", name.id.short()))
}

/// The same for who seals it again as it is packed: its bytes were unpacked and compared.
pub fn open_packed(
    key: &PartKey,
    keys: &DomainKeys,
    name: &SealedName,
    sealed: &[u8],
) -> Result<(PartCodec, Vec<u8>)> {
    let mut room = PLAIN.take();
    let opened = key
        .open_packed(&name.part(), sealed, &[], &mut room)
        .and_then(|(codec, packed)| {
            let plain = match codec {
                PartCodec::Stored => &packed,
                PartCodec::Zstd => &room,
            };
            named(keys, name, &plain[..])?;
            Ok((codec, packed))
        });
    PLAIN.set(room);
    opened.context(|| format!("open blob {}", name.id.short()))
}

thread_local! {
    /// Room for what is looked at and not kept.
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn named<P: AsRef<[u8]>>(keys: &DomainKeys, name: &SealedName, plain: P) -> Result<NamedBlob<P>> {
    let blob = NamedBlob::name(keys, name.kind, plain);
    if blob.id() == name.id {
        Ok(blob)
    } else {
        Err(Error::corrupt(
            "plain bytes do not have the name they were stored under",
        ))
    }
}
