//! Decoders of what levault wrote.

use std::sync::Arc;

use levault::annotations;
use levault::chunk::ChunkList;
use levault::codec::Reader;
use levault::envelope::gate::Features;
use levault::envelope::{self, Header, ObjectClass, object_id};
use levault::id::ObjectId;
use levault::index::{self, Segment};
use levault::keys::config::Config;
use levault::keys::key_slot::KeySlot;
use levault::keys::stored_keyring::StoredKeyring;
use levault::keys::{Keyring, SealedCredential, fuzz_entry};
use levault::pack::{PackKey, pack_directory, read_directory, scan_directory};
use levault::parity::{HEAD_OFFSET, ParityHeader, ParityObject};
use levault::record::StreamElements;
use levault::run::{EntryPayload, LeafDraft, LeafReader, Patch, PatchMaker, RunNode, encode_leaf};
use levault::snapshot::snapshot_codec;
use levault::snapshot::tree_blob::TreeBlob;
use levault::storage::ObjectName;

use super::seeds::own_pack;

/// The canonical record stream.
pub fn record_stream(data: &[u8]) {
    let mut read = 0;
    for element in StreamElements::new(data) {
        let Ok(element) = element else { return };
        assert_eq!(element.whole.len(), 8 + element.key.len() + element.value.len());
        read += element.whole.len();
    }
    assert_eq!(read, data.len());
}

/// A leaf: what is accepted to its end is canonical.
pub fn run_leaf(data: &[u8]) {
    let Ok(mut reader) = LeafReader::new(data) else {
        return;
    };
    let mut draft = LeafDraft::default();
    loop {
        let pushed = match reader.next() {
            Ok(Some(entry)) => match entry.payload {
                EntryPayload::Inline(value) => draft.push_inline(entry.key, value),
                EntryPayload::Chunked(list) => draft.push_chunked(entry.key, list),
                EntryPayload::Delete => draft.push_delete(entry.key),
                EntryPayload::Patch(patch) => draft.push_patch(entry.key, patch.into_owned()),
            },
            Ok(None) => break,
            Err(_) => return,
        };
        pushed.expect("a leaf that was read can be written");
    }
    assert_eq!(encode_leaf(&draft), data);
}

/// A patch behind the value it is applied to, whose length stands first. What a good patch makes is told by a patch again.
pub fn run_patch(data: &[u8]) {
    let Some((base, patch)) = patch_of(data) else {
        return;
    };
    let Ok(patch) = Patch::decode(patch) else { return };
    let Ok(value) = patch.apply(base) else { return };
    assert_eq!(value.len(), patch.value_bytes());
    if let Some(again) = PatchMaker::default().make_patch(base, &value) {
        assert_eq!(again.apply(base).expect("own patch"), value);
    }
}

/// The value and the patch behind it.
pub fn patch_of(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

/// Bad blobs.
pub fn bad(data: &[u8]) {
    if let Ok(bad) = levault::annotations::bad_blobs::decode(data) {
        assert_eq!(
            levault::annotations::bad_blobs::encode(&bad).expect("own encoding"),
            data
        );
    }
}

/// A mark's clear part.
pub fn mark(data: &[u8]) {
    if let Ok(mark) = levault::annotations::deletion_mark::decode(data) {
        assert_eq!(
            levault::annotations::deletion_mark::encode(&mark).expect("own encoding"),
            data
        );
    }
}

/// An audit's body, and what follows from it alone.
pub fn audit(data: &[u8]) {
    for audit in audits_of(data) {
        assert_eq!(annotations::audit::encode(&audit).expect("own encoding"), data);
        let mut audits = annotations::LatestAudits::of(audit.objects.iter().map(|audited| audited.id));
        audits.add(ObjectId([1; 32]), &audit);
        assert!(audits.superseded().is_empty());
    }
}

/// What the bytes are an audit of: one of the two ways at most.
pub(super) fn audits_of(data: &[u8]) -> impl Iterator<Item = annotations::Audit> {
    let ways = [annotations::AuditMethod::Hashed, annotations::AuditMethod::Opened].into_iter();
    ways.filter_map(move |how| annotations::audit::decode(data, how).ok())
}

/// An inner node.
pub fn run_node(data: &[u8]) {
    if let Ok(node) = RunNode::decode(data) {
        assert_eq!(node.encode(), data);
    }
}

/// A list blob, and a list within something else.
pub fn chunk_list(data: &[u8]) {
    let _ = ChunkList::decode(&mut Reader::new(data));
    if let Ok(list) = ChunkList::decode_blob(data) {
        let mut again = Vec::new();
        list.encode(&mut again);
        assert_eq!(again, data);
    }
}

/// A snapshot's plain bytes.
pub fn snapshot_body(data: &[u8]) {
    if let Ok(snapshot) = snapshot_codec::decode(data) {
        assert_eq!(snapshot_codec::encode(&snapshot).expect("own encoding"), data);
    }
}

/// A directory-tree node's plain bytes.
pub fn directory_tree(data: &[u8]) {
    if let Ok(tree) = TreeBlob::decode(data) {
        assert_eq!(tree.encode().expect("own encoding"), data);
    }
}

/// What anyone can read of any object without a key.
pub fn object_clear(data: &[u8]) {
    if let Ok(header) = Header::decode(data) {
        assert_eq!(header.encode(), data[..Header::LEN]);
    }
    for class in ObjectClass::ALL.iter().copied() {
        let _ = envelope::parse_clear(class, data);
        if let Ok(parts) = envelope::parse_one(class, data) {
            let _ = parts.open(&[7; 32]);
        }
    }
}

/// A config, whose checksum is set right so that what lies behind it is reached.
pub fn config(data: &[u8]) {
    let _ = Config::decode(data);
    let _ = Config::decode(&with_checksum(data));
}

/// A slot, its checksum set right.
pub fn slot(data: &[u8]) {
    let _ = KeySlot::decode(data);
    let _ = KeySlot::decode(&with_checksum(data));
}

/// A write-only host's credential, its checksum set right, and its payload.
pub fn credential(data: &[u8]) {
    let _ = SealedCredential::decode(data);
    let _ = SealedCredential::decode(&with_checksum(data));
    let _ = fuzz_entry::credential_payload(data);
}

/// What a write-only host remembers: what is accepted is the one encoding.
pub fn host_state(data: &[u8]) {
    if let Ok(again) = levault::repo::reencode_remembered(data) {
        assert_eq!(again, data);
    }
}

/// A keyring's clear part.
pub fn keyring(data: &[u8]) {
    let _ = StoredKeyring::parse(data);
}

pub(super) fn with_checksum(data: &[u8]) -> Vec<u8> {
    [data, blake3::hash(data).as_bytes()].concat()
}

/// A path in a repository.
pub fn object_name(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(name) = ObjectName::from_path(path) {
        assert_eq!(name.path(), path);
    }
}

/// The gate: a program must understand it to know that it must not go on.
pub fn features(data: &[u8]) {
    let mut reader = Reader::new(data);
    if let Ok(features) = Features::decode(&mut reader) {
        let mut again = Vec::new();
        features.encode(&mut again);
        assert_eq!(again, data[..reader.position()]);
    }
}

/// A pack as storage gives it, and the same behind a header whose key we hold.
pub fn pack(data: &[u8]) {
    thread_local! {
        static OWN: (Arc<Keyring>, Vec<u8>) = own_pack();
    }
    OWN.with(|(keyring, good)| {
        let _ = scan_directory(keyring, data);
        let spliced = [&good[..Header::LEN], data].concat();
        let _ = scan_directory(keyring, &spliced);
        let key = PackKey::open(keyring, good).expect("our own pack");
        let _ = read_directory(&key, data, data.len() as u64);
        let _ = read_directory(&key, data, good.len() as u64);
    });
}

/// An index segment's clear header and the body behind it: canonical both.
pub fn index_segment(data: &[u8]) {
    let Ok((packs, supersedes, used)) = index::decode_header(data) else {
        return;
    };
    let Ok(entries) = index::decode_body(&data[used..], &packs) else {
        return;
    };
    if let Ok(segment) = Segment::new(packs, supersedes, entries) {
        let again = [index::encode_header(&segment), index::encode_body(&segment)].concat();
        assert_eq!(again, data);
    }
}

/// A pack's directory after it was opened: where its parts end, then entries.
pub fn pack_directory(data: &[u8]) {
    let Some((end, plain)) = data.split_first_chunk::<4>() else {
        return;
    };
    let end = u64::from(u32::from_le_bytes(*end));
    let Ok(blobs) = pack_directory::decode(plain, end) else {
        return;
    };
    let total: u64 = blobs.iter().map(|blob| u64::from(blob.len)).sum();
    assert_eq!(total + Header::LEN as u64, end);
}

/// What lies sealed in keyrings, configs and slots.
pub fn sealed_keys(data: &[u8]) {
    let _ = fuzz_entry::keyring_body(data);
    let _ = fuzz_entry::parameters(data);
    let _ = fuzz_entry::slot_payload(data);
}

/// A note's plain bytes; and what follows from it alone.
pub fn note(data: &[u8]) {
    if let Ok(note) = annotations::note::decode(data) {
        assert_eq!(annotations::note::encode(&note).expect("own encoding"), data);
        let _ = annotations::CurrentNotes::new(&[(ObjectId([1; 32]), note)]);
    }
}

/// A forgetting's plain bytes; and what follows from it alone.
pub fn forgotten(data: &[u8]) {
    if let Ok(forgetting) = annotations::forget_record::decode(data) {
        assert_eq!(
            annotations::forget_record::encode(&forgetting).expect("own encoding"),
            data
        );
        let stored = annotations::StoredForgetRecord {
            name: ObjectId([1; 32]),
            modified: None,
            forgetting,
        };
        let forgotten = annotations::ForgottenSnapshots::new(
            std::slice::from_ref(&stored),
            &annotations::CurrentNotes::default(),
        );
        assert_eq!(forgotten.iter().count(), stored.forgetting.snapshots.len());
    }
}

/// A parity object as storage gives it, and the same with a head whose checksum is right. What it makes of a pack is that
/// pack or nothing.
pub fn parity(data: &[u8]) {
    let pack: Vec<u8> = (0..130).collect();
    let mut sealed = data.to_vec();
    if let Some(head) = sealed.get_mut(HEAD_OFFSET..HEAD_OFFSET + ParityHeader::LEN) {
        let checksum = blake3::hash(&head[..48]);
        head[48..].copy_from_slice(&checksum.as_bytes()[..16]);
    }
    for object in [data, &sealed] {
        let Ok(parity) = ParityObject::open(object) else {
            continue;
        };
        // A pack of 288 MiB is made of a few bytes here: bounded, and too slow to look at again and again.
        if parity.head().geometry.len() > 1 << 20 {
            continue;
        }
        for stored in [&pack[..], &pack[..70], &[]] {
            if let Ok(mended) = parity.repair(stored) {
                assert_eq!(object_id(&mended.bytes), parity.head().pack);
            }
        }
    }
}
