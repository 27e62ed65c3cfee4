//! Goal: boundaries never change by accident, and a list gives back its chunks. Method: golden cut points, known
//! damage, naive lists.

use super::memory_blobs::{MemoryBlobs, noise};
use super::*;
use crate::error::ErrorKind;
use crate::limits::*;
use proptest::prelude::*;

fn lens(cutter: &Chunker, bytes: &[u8]) -> Vec<usize> {
    cutter.chunks(bytes).map(<[u8]>::len).collect()
}

/// Computed from the words of docs/format/08-runs.md by another program.
#[test]
fn golden_cut_points() {
    let cutter = Chunker::new(&[1; 32]);
    let bytes = noise(1, 600_000);
    assert_eq!(
        lens(&cutter, &bytes),
        [48826, 76093, 92203, 108086, 19815, 35286, 137794, 18219, 63678]
    );
    assert_ne!(lens(&Chunker::new(&[2; 32]), &bytes)[0], 48826);
}

#[test]
fn sizes_keep_their_bounds_and_their_average() {
    let cutter = Chunker::new(&[3; 32]);
    let lens = lens(&cutter, &noise(2, 32 << 20));
    let (_, body) = lens.split_last().unwrap();
    assert!(
        body.iter()
            .all(|len| (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(len))
    );
    let average = body.iter().sum::<usize>() / body.len();
    assert!(
        (CHUNK_BYTES_AVERAGE * 8 / 10..CHUNK_BYTES_AVERAGE * 13 / 10).contains(&average),
        "{average}"
    );
}

#[test]
fn a_window_shown_bit_by_bit_is_cut_as_the_whole_is() {
    let cutter = Chunker::new(&[4; 32]);
    let bytes = noise(3, 1 << 20);
    let (mut start, mut end, mut found) = (0, 0, Vec::new());
    while start < bytes.len() {
        let more = if end < bytes.len() {
            InputEnd::Follows
        } else {
            InputEnd::Ended
        };
        match cutter.first_chunk_len(&bytes[start..end], more) {
            Some(len) => {
                found.push(len);
                start += len;
            }
            None => end = (end + 10_007).min(bytes.len()),
        }
    }
    assert_eq!(found, lens(&cutter, &bytes));
    assert_eq!(cutter.first_chunk_len(&[], InputEnd::Ended), None);
}

#[test]
fn an_edit_moves_only_the_boundaries_beside_it() {
    let cutter = Chunker::new(&[5; 32]);
    let old = noise(4, 8 << 20);
    let mut new = old.clone();
    new.splice(4 << 20..4 << 20, *b"inserted");
    let before: std::collections::HashSet<&[u8]> = cutter.chunks(&old).collect();
    let changed = cutter
        .chunks(&new)
        .filter(|chunk| !before.contains(chunk))
        .count();
    assert!((1..=4).contains(&changed), "{changed} chunks changed");
}

fn refs(count: usize) -> Vec<ChunkRef> {
    let make = |n: usize| ChunkRef {
        id: BlobId(*blake3::hash(&n.to_le_bytes()).as_bytes()),
        bytes: 1 + n as u64 % 70_000,
    };
    (0..count).map(make).collect()
}

fn build(refs: &[ChunkRef]) -> (ChunkList, MemoryBlobs) {
    let mut blobs = MemoryBlobs::default();
    let mut builder = ListBuilder::new();
    for chunk in refs {
        builder
            .push(*chunk, &mut |kind, plain| blobs.store(kind, plain))
            .unwrap();
    }
    let list = builder
        .finish(&mut |kind, plain| blobs.store(kind, plain))
        .unwrap();
    (list, blobs)
}

#[test]
fn lists_of_every_length_give_their_chunks_back() {
    for count in [0, 1, 31, 32, 33, 34, 256, 1024, 1025, 5000, 60_000] {
        let refs = refs(count);
        let (list, blobs) = build(&refs);
        assert!(list.children().len() <= CHUNKS_INLINE_MAX);
        assert_eq!(list.depth() == 0, count <= CHUNKS_INLINE_MAX);
        assert_eq!(list.bytes(), refs.iter().map(|chunk| chunk.bytes).sum::<u64>());
        let back: Result<Vec<_>> = ChunkIterator::new(list, &blobs).collect();
        assert_eq!(back.unwrap(), refs);
    }
}

#[test]
fn a_value_is_entered_at_any_byte_by_one_list_blob_a_level() {
    for count in [0, 1, 32, 33, 5000, 60_000] {
        let refs = refs(count);
        let (list, blobs) = build(&refs);
        let bytes = list.bytes();
        for offset in [
            0,
            1,
            2,
            bytes / 3,
            bytes / 2,
            bytes.saturating_sub(1),
            bytes,
            u64::MAX,
        ] {
            blobs.asked.borrow_mut().clear();
            let (chunks, start) = ChunkIterator::chunk_at(list.clone(), offset, &blobs).unwrap();
            assert_eq!(
                blobs.asked.borrow().len(),
                if offset < bytes {
                    usize::from(list.depth())
                } else {
                    0
                }
            );
            let (mut before, mut rest) = (0, &refs[..]);
            while let Some(first) = rest.first().filter(|first| before + first.bytes <= offset) {
                before += first.bytes;
                rest = &rest[1..];
            }
            assert_eq!(start, before);
            let chunks: Result<Vec<_>> = chunks.collect();
            assert_eq!(chunks.unwrap(), rest, "{count} chunks from byte {offset}");
        }
    }
}

proptest! {
    /// A chunk that is pushed many times at once makes the list that single pushes make.
    #[test]
    fn repeated_chunks_are_listed_as_single_ones_are(
        parts in prop::collection::vec((0usize..12, prop_oneof![1u64..3, 20u64..50, 900u64..2200]), 1..8)
    ) {
        // Some names end a list, and most do not.
        let ending = |at: u8| { let mut id = [at; 32]; id[..8].fill(0); BlobId(id) };
        let chunk = |which: usize| match which {
            0..4 => ChunkRef { id: ending(which as u8), bytes: 9 },
            _ => refs(which + 1)[which],
        };
        let singly: Vec<_> = parts
            .iter()
            .flat_map(|(which, count)| vec![chunk(*which); *count as usize])
            .collect();
        let (expected, _) = build(&singly);
        let (mut blobs, mut builder) = (MemoryBlobs::default(), ListBuilder::new());
        for (which, count) in parts {
            builder.push_repeated(chunk(which), count, &mut |kind, plain| blobs.store(kind, plain)).unwrap();
        }
        let list = builder.finish(&mut |kind, plain| blobs.store(kind, plain)).unwrap();
        prop_assert_eq!(&list, &expected);
        let back: Result<Vec<_>> = ChunkIterator::new(list, &blobs).collect();
        prop_assert_eq!(back.unwrap(), singly);
    }
}

#[test]
fn a_chunk_that_is_repeated_a_billion_times_takes_a_few_list_blobs() {
    for id in [[0; 32], [0xee; 32]] {
        let (mut blobs, mut builder) = (MemoryBlobs::default(), ListBuilder::new());
        let mut stored = 0;
        let mut store = |kind, plain| {
            stored += 1;
            blobs.store(kind, plain)
        };
        let (id, bytes) = (BlobId(id), CHUNK_BYTES_MAX as u64);
        builder
            .push_repeated(ChunkRef { id, bytes }, 1 << 30, &mut store)
            .unwrap();
        let list = builder.finish(&mut store).unwrap();
        assert_eq!(list.bytes(), bytes << 30);
        assert!(stored < 100, "{stored} list blobs");
    }
}

#[test]
fn one_chunk_more_rewrites_one_list_a_level_and_now_and_then_its_neighbour() {
    let mut chunks = refs(60_000);
    let (old, old_blobs) = build(&chunks);
    let id = BlobId([0xee; 32]);
    chunks.insert(30_000, ChunkRef { id, bytes: 1 });
    let (new, new_blobs) = build(&chunks);
    let fresh = new_blobs.fresh(&old_blobs, BlobKind::List);
    assert_ne!(old, new);
    let levels = usize::from(new.depth());
    assert!(fresh <= 3 * levels, "{fresh} list blobs on {levels} levels");
}

#[test]
fn an_overlong_number_is_refused() {
    let child = [7; 32];
    let list = |bytes: &[u8]| [&[5, 0, 1][..], bytes, &child].concat();
    assert!(ChunkList::decode_blob(&list(&[5])).is_ok());
    let error = ChunkList::decode_blob(&list(&[0x85, 0])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_list_blob_that_is_not_what_its_parent_says_is_an_error() {
    let (list, mut blobs) = build(&refs(100));
    let child = list.children()[0].id;
    let wrong = build(&refs(32)).0;
    let mut plain = Vec::new();
    wrong.encode(&mut plain);
    blobs.map.insert(child, (BlobKind::List, plain));
    let error = ChunkIterator::new(list, &blobs)
        .find_map(|chunk| chunk.err())
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&child.to_hex()), "{error}");
}

proptest! {
    #[test]
    fn what_decodes_is_the_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0usize..5, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        if let Ok(list) = ChunkList::decode_blob(&bytes) {
            let mut again = Vec::new();
            list.encode(&mut again);
            prop_assert_eq!(&again, &bytes);
        }
        let mut plain = Vec::new();
        let list = ChunkList::from_chunks(refs(count)).unwrap();
        list.encode(&mut plain);
        prop_assert_eq!(plain.len(), list.encoded_len());
        prop_assert_eq!(&ChunkList::decode_blob(&plain).unwrap(), &list);
        let at = at.index(plain.len());
        plain[at] ^= 1 << bit;
        if let Ok(other) = ChunkList::decode_blob(&plain) {
            let mut again = Vec::new();
            other.encode(&mut again);
            prop_assert_eq!(again, plain);
            prop_assert_ne!(other, list);
        }
    }
}
