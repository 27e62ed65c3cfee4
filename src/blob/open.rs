//! Sealed bytes → a blob whose name has been computed again, or an error.

use super::NamedBlob;
use crate::envelope::{PartKey, PartName};
use crate::error::{Act, Error, Result};
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
    let open = || -> Result<_> {
        let blob = NamedBlob::name(keys, name.kind, key.open(&name.part(), sealed, &[])?);
        match blob.id() == name.id {
            true => Ok(blob),
            false => Err(Error::corrupt(
                "plain bytes do not have the name they were stored under",
            )),
        }
    };
    open().act(|| format!("open blob {}", name.id.short()))
}
