//! Verifies a whole pack, or salvages a damaged one.
//!
//! Reads a whole pack back before it is stored, and whatever can be read of a damaged one.

use rayon::prelude::*;

use super::pack_key::PackKey;
use super::pack_reader::{PackTail, read_directory};
use super::{FinishedPack, PackedBlob};
use crate::blob;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::keys::{Credential, Keyring, SealedToOwner};

/// Opens a finished pack the way a reader will, from its bytes and the keyring alone: header, directory, every
/// part decrypted, inflated and named anew. What the builder meant counts for nothing but the comparison.
///
/// The pack's own name is not computed a second time: every byte of a pack is authenticated by header, part or
/// directory, so bytes that changed after they were named do not open.
pub fn verify(keyring: &Keyring, pack: &FinishedPack) -> Result<()> {
    verify_with(|| PackKey::open(keyring, &pack.bytes), pack)
}

/// The same for a pack that was sealed to the owner just now.
pub(super) fn verify_sent(sent: &SealedToOwner, credential: &Credential, pack: &FinishedPack) -> Result<()> {
    verify_with(|| PackKey::reopen(sent, credential, &pack.bytes), pack)
}

fn verify_with(key: impl Fn() -> Result<PackKey>, pack: &FinishedPack) -> Result<()> {
    let verify = || -> Result<_> {
        let scanned = scan_with(&key()?, &pack.bytes)?;
        let unlike = scanned
            .iter()
            .map(|scanned| scanned.blob)
            .ne(pack.directory.iter().copied());
        if unlike {
            return Err(Error::corrupt("directory is not what was appended"));
        }
        scanned.into_iter().try_for_each(|scanned| scanned.outcome)
    };
    // What a reader would take for another version or another key is damage in a pack that was just made.
    verify()
        .map_err(|error| error.with_kind(ErrorKind::Corrupt))
        .context(|| format!("verify pack {}", pack.id.short()))
}

/// One blob of a scanned pack.
#[derive(Debug)]
pub struct ScannedBlob {
    /// What the directory says of it.
    pub blob: PackedBlob,
    /// Whether it opened and had its name.
    pub outcome: Result<()>,
}

/// Opens every blob of a stored pack, on all cores, and tells which are good. Fails as a whole only if header or
/// directory do not open; then the index still knows where the blobs lie, and [`super::read_blob`] opens them singly.
pub fn scan_directory(keyring: &Keyring, bytes: &[u8]) -> Result<Vec<ScannedBlob>> {
    scan_with(&PackKey::open(keyring, bytes)?, bytes)
}

fn scan_with(key: &PackKey, bytes: &[u8]) -> Result<Vec<ScannedBlob>> {
    let PackTail::Directory(directory) = read_directory(key, bytes, bytes.len() as u64)? else {
        return Err(Error::corrupt("pack is shorter than its directory"));
    };
    let scan = |blob: PackedBlob| ScannedBlob {
        blob,
        outcome: check_blob(key, &blob, bytes),
    };
    Ok(directory.into_par_iter().map(scan).collect())
}

fn check_blob(key: &PackKey, blob: &PackedBlob, bytes: &[u8]) -> Result<()> {
    let (start, end) = (blob.offset as usize, blob.offset as usize + blob.len as usize);
    let sealed = bytes
        .get(start..end)
        .ok_or_else(|| Error::corrupt("blob lies outside its pack"))?;
    blob::check(&key.part, &key.domain, &blob.name(), sealed)
}
