//! Leaves: one encoding, nothing else decodes.

use super::*;
use crate::limits::{LEAF_BYTES_MAX, RUN_KEY_BYTES_MAX};
use crate::record::SetDigestAccumulator;

fn small() -> LeafDraft {
    let mut draft = LeafDraft::default();
    draft.push_inline(b"apple", b"red").unwrap();
    draft.push_delete(b"apply").unwrap();
    draft.push_chunked(b"b", list(8)).unwrap();
    draft.push_inline(b"ba", b"").unwrap();
    let patch = Patch::decode(&[4, 9, 9, 9, 9, 1, 7, 3, 2]).unwrap();
    draft.push_patch(b"c", patch.into_owned()).unwrap();
    draft
}

#[test]
fn every_bit_of_a_leaf_carries_something() {
    let leaf = encode_leaf(&small());
    let entries = read_all(&leaf).unwrap();
    for at in 0..leaf.len() {
        for bit in 0..8 {
            let mut wrong = leaf.clone();
            wrong[at] ^= 1 << bit;
            if let Ok(other) = read_all(&wrong) {
                assert_ne!(other, entries, "bit {bit} of byte {at}");
            }
        }
        assert!(read_all(&leaf[..at]).is_err(), "cut to {at} bytes");
    }
    assert!(read_all(&[&leaf[..], b"x"].concat()).is_err());
}

#[test]
fn a_key_that_repeats_or_hides_what_it_shares_is_refused() {
    // version, 2 entries, column lengths a..e, then shared, suffix lengths, payload lengths, suffixes.
    let leaf = |shared: u8, len: u8, suffix: &[u8]| {
        let mut out = vec![1, 2, 0, 2, 2, 2, 2 + suffix.len() as u8, 0, shared, 2, len, 0, 0];
        out.extend_from_slice(b"ab");
        out.extend_from_slice(suffix);
        out
    };
    assert!(read_all(&leaf(1, 1, b"c")).is_ok());
    assert!(read_all(&leaf(2, 1, b"c")).is_ok());
    for (shared, suffix, why) in [
        (2, &b""[..], "repeats"),
        (0, b"ab", "repeats unshared"),
        (1, b"bc", "shares too little"),
        (3, b"c", "shares too much"),
    ] {
        assert_eq!(
            read_all(&leaf(shared, suffix.len() as u8, suffix))
                .unwrap_err()
                .kind(),
            ErrorKind::Corrupt,
            "{why}"
        );
    }
}

#[test]
fn a_column_of_kinds_that_says_nothing_is_refused() {
    // One entry, key `a`, no value: without the column, and with it.
    assert!(read_all(&[1, 1, 0, 1, 1, 1, 1, 0, 1, 0, b'a']).is_ok());
    let error = read_all(&[1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0, b'a']).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_newer_kind_or_a_newer_leaf_is_too_new_not_corrupt() {
    let leaf = encode_leaf(&small());
    let kinds_at = leaf
        .windows(5)
        .position(|kinds| kinds == [0, 2, 1, 0, 3])
        .unwrap();
    let mut kind = leaf.clone();
    kind[kinds_at] = 4;
    assert_eq!(read_all(&kind).unwrap_err().kind(), ErrorKind::TooNew);
    let mut newer = leaf;
    newer[0] = 2;
    assert_eq!(read_all(&newer).unwrap_err().kind(), ErrorKind::TooNew);
}

#[test]
fn values_stand_inline_or_in_chunks_by_their_length_alone() {
    let mut draft = LeafDraft::default();
    let long = vec![0; INLINE_VALUE_BYTES_MAX + 1];
    assert_eq!(
        draft.push_inline(b"k", &long).unwrap_err().kind(),
        ErrorKind::Limit
    );
    assert!(draft.push_inline(b"k", &long[1..]).is_ok());
    let short = ChunkList::from_chunks(vec![ChunkRef {
        id: BlobId([1; 32]),
        bytes: 5,
    }])
    .unwrap();
    assert_eq!(
        draft.push_chunked(b"l", short).unwrap_err().kind(),
        ErrorKind::Limit
    );
    assert_eq!(
        draft
            .push_inline(&vec![0; RUN_KEY_BYTES_MAX + 1], b"")
            .unwrap_err()
            .kind(),
        ErrorKind::Limit
    );
    assert_eq!(draft.records(), 1);
}

#[test]
fn the_largest_leaf_there_can_be_reads_back() {
    let mut draft = LeafDraft::default();
    let mut bytes = 0;
    let mut n = 0u32;
    while bytes < LEAF_BYTES_MAX {
        bytes += draft
            .push_delete(&n.to_be_bytes()[..usize::from(n > 0) * 4])
            .unwrap();
        n += 1;
    }
    assert_eq!(read_all(&encode_leaf(&draft)).unwrap().len(), draft.records());
}

#[test]
fn values_are_slices_of_the_leaf() {
    let leaf = encode_leaf(&small());
    let mut reader = LeafReader::new(&leaf).unwrap();
    let Some(RunEntry {
        payload: EntryPayload::Inline(value),
        ..
    }) = reader.next().unwrap()
    else {
        panic!()
    };
    assert!(leaf.as_ptr_range().contains(&value.as_ptr()));
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(mut entries in any_entries(40), patched in prop::option::of(any_key())) {
        if let Some(key) = patched {
            let patch = Patch::decode(&[4, 9, 9, 9, 9, 1, 7, 3, 2]).unwrap();
            entries.insert(key, OwnedEntry::Patch(patch.into_owned()));
        }
        prop_assume!(!entries.is_empty());
        let draft = draft_of(&entries);
        let leaf = encode_leaf(&draft);
        prop_assert_eq!(&read_all(&leaf).unwrap(), &entries);
        let span = run_reader::LeafSpan { leaf: draft.leaf_ref(BlobId([0; 32])), upper: None };
        verify_leaf(&leaf, &span, ORDER).unwrap();
        let mut acc = SetDigestAccumulator::new(&[1; 32]);
        for (key, entry) in &entries {
            if let OwnedEntry::Inline(value) = entry {
                acc.add_record(key, value);
            }
        }
        prop_assert_eq!(set_digest(&draft, &[1; 32]).unwrap(), acc.digest());
    }

    #[test]
    fn what_decodes_is_the_one_encoding(entries in any_entries(12), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        prop_assume!(!entries.is_empty());
        let mut leaf = encode_leaf(&draft_of(&entries));
        for (at, byte) in edits {
            let at = at.index(leaf.len());
            leaf[at] = byte;
        }
        let mut reader = match LeafReader::new(&leaf) {
            Ok(reader) => reader,
            Err(_) => return Ok(()),
        };
        let mut draft = LeafDraft::default();
        loop {
            match reader.next() {
                Err(_) => return Ok(()),
                Ok(None) => break,
                Ok(Some(entry)) => _ = push(&mut draft, entry.key, &entry.payload.to_owned()),
            }
        }
        prop_assert_eq!(encode_leaf(&draft), leaf);
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = read_all(&[&[1][..], &bytes].concat());
        let _ = RunNode::decode(&[&[1, 1][..], &bytes].concat());
    }
}
