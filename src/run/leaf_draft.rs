//! Collects the records of a leaf before it is encoded.
//!
//! A leaf in the making: what the scan thread fills, record by record, and hands to the threads that encode.

use super::node::LeafRef;
use super::run_entry::{check_chunked, check_inline, check_key};
use super::value_patch::Patch;
use crate::chunk::ChunkList;
use crate::error::Result;
use crate::id::BlobId;
use crate::record::{StreamElements, element_len, put_element};

/// Records of one leaf to be, in key order. Inline values stand as the canonical stream, so that filling a draft
/// costs one copy a record, and both digests can be taken from it.
#[derive(Clone, Debug, Default)]
pub struct LeafDraft {
    /// Canonical elements of the inline entries.
    stream: Vec<u8>,
    inline: usize,
    /// All other entries, each with its place among the inline ones.
    others: Vec<OutlinedEntry>,
    /// Canonical bytes of `others`.
    other_bytes: u64,
}

#[derive(Clone, Debug)]
struct OutlinedEntry {
    /// Offset in the stream of the inline entry it stands before.
    at: usize,
    key: Vec<u8>,
    payload: OutlinedPayload,
}

#[derive(Clone, Debug)]
enum OutlinedPayload {
    Chunked(ChunkList),
    Delete,
    Patch(Patch<'static>),
}

/// An entry of a draft.
#[derive(Clone, Copy, Debug)]
pub(super) enum DraftPayload<'a> {
    Inline(&'a [u8]),
    Chunked(&'a ChunkList),
    Delete,
    Patch(&'a Patch<'static>),
}

impl LeafDraft {
    /// An empty draft with room for `bytes` of stream.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            stream: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Adds a put whose value stays in the leaf. Returns its weight for [`super::LeafCutter::cut_after`].
    #[inline]
    pub fn push_inline(&mut self, key: &[u8], value: &[u8]) -> Result<usize> {
        check_key(key)?;
        check_inline(value.len())?;
        put_element(&mut self.stream, key, value);
        self.inline += 1;
        Ok(element_len(key.len(), value.len()))
    }

    /// Adds a put whose value went into chunks; weighs as its list does, not as its value.
    pub fn push_chunked(&mut self, key: &[u8], list: ChunkList) -> Result<usize> {
        check_chunked(&list)?;
        let weight = element_len(key.len(), list.encoded_len());
        let bytes = list.bytes();
        self.push_other(key, OutlinedPayload::Chunked(list), bytes)
            .map(|()| weight)
    }

    /// Adds a deletion (in runs that stand on older ones only).
    pub fn push_delete(&mut self, key: &[u8]) -> Result<usize> {
        self.push_other(key, OutlinedPayload::Delete, 0)
            .map(|()| element_len(key.len(), 0))
    }

    /// Adds a put whose value is told by the one under it (in runs that stand on older ones only); weighs as the patch.
    pub fn push_patch(&mut self, key: &[u8], patch: Patch<'static>) -> Result<usize> {
        let weight = element_len(key.len(), patch.as_bytes().len());
        let bytes = patch.as_bytes().len() as u64;
        self.push_other(key, OutlinedPayload::Patch(patch), bytes)
            .map(|()| weight)
    }

    fn push_other(&mut self, key: &[u8], payload: OutlinedPayload, value_bytes: u64) -> Result<()> {
        check_key(key)?;
        self.other_bytes += element_len(key.len(), 0) as u64 + value_bytes;
        let at = self.stream.len();
        self.others.push(OutlinedEntry {
            at,
            key: key.to_vec(),
            payload,
        });
        Ok(())
    }

    /// True before the first entry.
    pub fn is_empty(&self) -> bool {
        self.records() == 0
    }

    /// Entries of any kind.
    pub fn records(&self) -> usize {
        self.inline + self.others.len()
    }

    /// Canonical elements of the inline entries, in order.
    pub fn stream(&self) -> &[u8] {
        &self.stream
    }

    #[cfg(any(test, feature = "test-util"))]
    /// Forgets the entries, keeps the memory.
    pub fn clear(&mut self) {
        self.stream.clear();
        self.others.clear();
        (self.inline, self.other_bytes) = (0, 0);
    }

    /// What an inner node says of this leaf once it is stored as `id`.
    pub fn leaf_ref(&self, id: BlobId) -> LeafRef {
        let is_chunked = |other: &&OutlinedEntry| matches!(other.payload, OutlinedPayload::Chunked(_));
        let chunked = self.others.iter().filter(is_chunked);
        LeafRef {
            first_key: self.first_key().to_vec(),
            id,
            records: self.records() as u64,
            bytes: self.stream.len() as u64 + self.other_bytes,
            chunked: chunked.count() as u64,
        }
    }

    /// Key of the first entry; empty for an empty draft.
    pub fn first_key(&self) -> &[u8] {
        self.entries().next().map_or(&[], |(key, _)| key)
    }

    /// All entries in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&[u8], DraftPayload<'_>)> {
        let mut inline = StreamElements::new(&self.stream);
        let mut others = self.others.iter().peekable();
        std::iter::from_fn(move || {
            if let Some(other) = others.next_if(|other| other.at == inline.position()) {
                return Some((&other.key[..], other.payload.borrowed()));
            }
            let element = inline.next()?.ok()?;
            Some((element.key, DraftPayload::Inline(element.value)))
        })
    }
}

impl OutlinedPayload {
    fn borrowed(&self) -> DraftPayload<'_> {
        match self {
            Self::Chunked(list) => DraftPayload::Chunked(list),
            Self::Delete => DraftPayload::Delete,
            Self::Patch(patch) => DraftPayload::Patch(patch),
        }
    }
}
