//! Goal: a run gives back exactly its entries, whoever cut it, and refuses anything else. Method: proptest against
//! lists and ordered maps, one wrong byte at a time, and known churn.

mod diff;
mod document;
mod leaf;
mod partial;
mod patch;
mod stack;
mod tree;

use std::collections::BTreeMap;

use super::*;
use crate::blob::BlobKind;
use crate::chunk::memory_blobs::MemoryBlobs;
use crate::chunk::{ChunkList, ChunkRef};
use crate::error::{ErrorKind, Result};
use crate::id::BlobId;
use crate::limits::INLINE_VALUE_BYTES_MAX;
use proptest::prelude::*;

pub(super) type Entries = BTreeMap<Vec<u8>, OwnedEntry>;

/// Bytewise.
pub(super) const ORDER: KeyOrder<'static> = &|a, b| a.cmp(b);

pub(super) fn list(seed: u8) -> ChunkList {
    let chunk = |n: u8| ChunkRef {
        id: BlobId([n; 32]),
        bytes: INLINE_VALUE_BYTES_MAX as u64 + u64::from(n),
    };
    ChunkList::from_chunks(vec![chunk(seed), chunk(seed / 2)]).unwrap()
}

/// Short keys over few letters, so that they share, nest, and meet in several runs.
pub(super) fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&[0u8, 1, b'a', b'b', 0xff][..]), 0..6)
}

pub(super) fn any_entry() -> impl Strategy<Value = OwnedEntry> {
    prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..60).prop_map(OwnedEntry::Inline),
        1 => any::<u8>().prop_map(|seed| OwnedEntry::Chunked(list(seed))),
        2 => Just(OwnedEntry::Delete),
    ]
}

pub(super) fn any_entries(max: usize) -> impl Strategy<Value = Entries> {
    prop::collection::btree_map(any_key(), any_entry(), 0..max)
}

pub(super) fn push(draft: &mut LeafDraft, key: &[u8], entry: &OwnedEntry) -> usize {
    match entry {
        OwnedEntry::Inline(value) => draft.push_inline(key, value).unwrap(),
        OwnedEntry::Chunked(list) => draft.push_chunked(key, list.clone()).unwrap(),
        OwnedEntry::Delete => draft.push_delete(key).unwrap(),
        OwnedEntry::Patch(patch) => draft.push_patch(key, patch.clone()).unwrap(),
    }
}

pub(super) fn draft_of(entries: &Entries) -> LeafDraft {
    let mut draft = LeafDraft::default();
    entries
        .iter()
        .for_each(|(key, entry)| _ = push(&mut draft, key, entry));
    draft
}

pub(super) fn read_all(leaf: &[u8]) -> Result<Entries> {
    let mut reader = LeafReader::new(leaf)?;
    let mut entries = Entries::new();
    while let Some(entry) = reader.next()? {
        entries.insert(entry.key.to_vec(), entry.payload.to_owned());
    }
    Ok(entries)
}

/// Stores a run whose leaves end where `ends` says.
pub(super) fn store_run<'e>(
    entries: impl IntoIterator<Item = (&'e Vec<u8>, &'e OwnedEntry)>,
    blobs: &mut MemoryBlobs,
    mut ends: impl FnMut(&[u8], usize) -> bool,
) -> Option<RunRoot> {
    let mut builder = RunTreeBuilder::new();
    let mut draft = LeafDraft::default();
    let end = |draft: &mut LeafDraft, builder: &mut RunTreeBuilder, blobs: &mut MemoryBlobs| {
        let id = blobs.store(BlobKind::Leaf, encode_leaf(draft)).unwrap();
        let leaf = draft.leaf_ref(id);
        draft.clear();
        builder
            .push(leaf, &mut |kind, plain| blobs.store(kind, plain))
            .unwrap();
    };
    for (key, entry) in entries {
        let weight = push(&mut draft, key, entry);
        if ends(key, weight) {
            end(&mut draft, &mut builder, blobs);
        }
    }
    if !draft.is_empty() {
        end(&mut draft, &mut builder, blobs);
    }
    builder
        .finish(&mut |kind, plain| blobs.store(kind, plain))
        .unwrap()
}
