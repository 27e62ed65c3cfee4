//! The worked examples of docs/format/08-runs.md decode to what the document says, and encode to its bytes.

use super::*;
use crate::document::{assert_example, example};

const DOCUMENT: &str = include_str!("../../../docs/format/08-runs.md");

fn chunk(byte: u8, bytes: u64) -> ChunkRef {
    ChunkRef {
        id: BlobId([byte; 32]),
        bytes,
    }
}

#[test]
fn the_list() {
    let list = ChunkList::from_chunks(vec![chunk(0x11, 40_000), chunk(0x22, 16_768)]).unwrap();
    assert_eq!(ChunkList::decode_blob(&example(DOCUMENT, "list")).unwrap(), list);
    let mut plain = Vec::new();
    list.encode(&mut plain);
    assert_example(DOCUMENT, "list", &plain);
}

#[test]
fn the_leaf() {
    let list = ChunkList::from_chunks(vec![chunk(8, 65_544), chunk(5, 65_541)]).unwrap();
    let entries = Entries::from([
        (b"apple".to_vec(), OwnedEntry::Inline(b"red".to_vec())),
        (b"apply".to_vec(), OwnedEntry::Delete),
        (b"b".to_vec(), OwnedEntry::Chunked(list)),
        (b"ba".to_vec(), OwnedEntry::Inline(Vec::new())),
    ]);
    assert_eq!(read_all(&example(DOCUMENT, "leaf")).unwrap(), entries);
    assert_example(DOCUMENT, "leaf", &encode_leaf(&draft_of(&entries)));
}

#[test]
fn the_patch() {
    let bytes = example(DOCUMENT, "patch");
    let patch = Patch::decode(&bytes).unwrap();
    let made = patch
        .apply(b"the quick brown fox jumps over the lazy dog")
        .unwrap();
    assert_eq!(made, b"the quick brown cat jumps over the lazy dog");
    assert_eq!(bytes[1..5], blake3::hash(&made).as_bytes()[..4]);
}

#[test]
fn the_node() {
    let child = |key: &[u8], id: u8, records, bytes, chunked| ChildRef {
        first_key: key.to_vec(),
        id: BlobId([id; 32]),
        records,
        bytes,
        chunked,
    };
    let children = vec![child(b"apple", 1, 4, 131_213, 1), child(b"c", 2, 9, 900, 0)];
    let node = RunNode { level: 1, children };
    assert_eq!(RunNode::decode(&example(DOCUMENT, "node")).unwrap(), node);
    assert_example(DOCUMENT, "node", &node.encode());
}
