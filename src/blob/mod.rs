//! Names blobs by a hash keyed with the domain's key.
//!
//! A blob: plain bytes with a name that nobody can make without the domain's key.
//!
//! ```text
//! plain bytes ──name──▶ NamedBlob ──compress──▶ Pressed ──seal, each in its place──▶ Pack
//!                        NamedBlob ◀──open: decrypt, inflate, re-name, compare──┘
//! ```
//!
//! There is no type for bytes that were decrypted but not compared with their name: [`open()`] is the only way
//! from sealed bytes to plain ones, and gives a [`NamedBlob`] or an error.

mod open;

#[cfg(test)]
mod tests;

pub use crate::kind::BlobKind;
pub use open::{SealedName, check, open, open_packed};

use crate::id::BlobId;
use crate::keys::DomainKeys;

/// Plain bytes, and the name that was computed from them. `P` is a slice on the way to the index (most blobs are
/// known and never copied), a vector afterwards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedBlob<P = Vec<u8>> {
    kind: BlobKind,
    id: BlobId,
    plain: P,
}

impl<P: AsRef<[u8]>> NamedBlob<P> {
    /// Computes the name.
    pub fn name(keys: &DomainKeys, kind: BlobKind, plain: P) -> Self {
        let id = keys.blob_id(kind, plain.as_ref());
        Self { kind, id, plain }
    }

    /// What it holds.
    pub fn kind(&self) -> BlobKind {
        self.kind
    }

    /// Its name.
    pub fn id(&self) -> BlobId {
        self.id
    }

    /// Its bytes.
    pub fn plain(&self) -> &[u8] {
        self.plain.as_ref()
    }

    /// The bytes, given away.
    pub fn into_plain(self) -> P {
        self.plain
    }
}

impl NamedBlob<&[u8]> {
    /// Copies the bytes, keeps the name.
    pub fn to_owned(&self) -> NamedBlob {
        NamedBlob {
            kind: self.kind,
            id: self.id,
            plain: self.plain.to_vec(),
        }
    }
}
