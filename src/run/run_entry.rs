//! Defines the entries of runs.
//!
//! One entry of a run: what a key came to be.

use super::value_patch::Patch;
use crate::chunk::ChunkList;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{INLINE_VALUE_BYTES_MAX, RUN_KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::record::ELEMENT_OVERHEAD;

/// What stands beside a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryPayload<'a> {
    /// The value itself, [`INLINE_VALUE_BYTES_MAX`] bytes at most.
    Inline(&'a [u8]),
    /// A longer value, as its chunks.
    Chunked(ChunkList),
    /// The key is gone: hides what older runs of the stack say.
    Delete,
    /// A short value, by what it has in common with the one that the older runs of the stack make.
    Patch(Patch<'a>),
}

/// A key and its payload, borrowed from a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEntry<'a> {
    /// The user key.
    pub key: &'a [u8],
    /// What it came to be.
    pub payload: EntryPayload<'a>,
}

/// A key's payload that outlives its leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedEntry {
    /// The value itself.
    Inline(Vec<u8>),
    /// A longer value, as its chunks.
    Chunked(ChunkList),
    /// The key was deleted in this run.
    Delete,
    /// A short value, by the one under it.
    Patch(Patch<'static>),
}

impl EntryPayload<'_> {
    /// Number in the leaf's column of kinds.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Inline(_) => INLINE,
            Self::Chunked(_) => CHUNKED,
            Self::Delete => DELETE,
            Self::Patch(_) => PATCH,
        }
    }

    /// Bytes of the value; a deletion has none, and a patch counts as it is stored.
    pub fn value_bytes(&self) -> u64 {
        match self {
            Self::Inline(value) => value.len() as u64,
            Self::Chunked(list) => list.bytes(),
            Self::Delete => 0,
            Self::Patch(patch) => patch.as_bytes().len() as u64,
        }
    }

    /// Bytes of the record's canonical element; a deletion counts its key as if with an empty value, a patch as if it
    /// were the value: sizes of runs tell what they cost.
    pub fn element_bytes(&self, key: &[u8]) -> u64 {
        (ELEMENT_OVERHEAD + key.len()) as u64 + self.value_bytes()
    }

    /// Copies what is borrowed.
    pub fn to_owned(&self) -> OwnedEntry {
        match self {
            Self::Inline(value) => OwnedEntry::Inline(value.to_vec()),
            Self::Chunked(list) => OwnedEntry::Chunked(list.clone()),
            Self::Delete => OwnedEntry::Delete,
            Self::Patch(patch) => OwnedEntry::Patch(patch.clone().into_owned()),
        }
    }
}

impl OwnedEntry {
    /// The same, borrowed.
    pub fn as_payload(&self) -> EntryPayload<'_> {
        match self {
            Self::Inline(value) => EntryPayload::Inline(value),
            Self::Chunked(list) => EntryPayload::Chunked(list.clone()),
            Self::Delete => EntryPayload::Delete,
            Self::Patch(patch) => EntryPayload::Patch(patch.as_ref()),
        }
    }
}

/// Put, value in the leaf.
pub(super) const INLINE: u8 = 0;
/// Put, value in chunks.
pub(super) const CHUNKED: u8 = 1;
/// Delete.
pub(super) const DELETE: u8 = 2;
/// Put, value as a patch of the older one.
pub(super) const PATCH: u8 = 3;

/// Refuses a key that no run may hold.
#[inline]
pub(super) fn check_key(key: &[u8]) -> Result<()> {
    if key.len() <= RUN_KEY_BYTES_MAX {
        Ok(())
    } else {
        Err(passes("key", key.len() as u64, RUN_KEY_BYTES_MAX))
    }
}

/// Refuses a value that belongs into chunks.
#[inline]
pub(super) fn check_inline(value_len: usize) -> Result<()> {
    if value_len <= INLINE_VALUE_BYTES_MAX {
        Ok(())
    } else {
        Err(passes("inline value", value_len as u64, INLINE_VALUE_BYTES_MAX))
    }
}

/// Refuses chunks of a value that belongs into the leaf, or that is longer than any value.
pub(super) fn check_chunked(list: &ChunkList) -> Result<()> {
    let bytes = list.bytes();
    if bytes <= INLINE_VALUE_BYTES_MAX as u64 {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("value of {bytes} bytes in chunks"),
        ));
    }
    if bytes <= VALUE_BYTES_MAX as u64 {
        Ok(())
    } else {
        Err(passes("value", bytes, VALUE_BYTES_MAX))
    }
}

#[cold]
fn passes(what: &str, len: u64, max: usize) -> Error {
    Error::new(
        ErrorKind::Limit,
        format!("{what} of {len} bytes passes the limit {max}"),
    )
}
