//! What every fuzz target does with its bytes, and a few good inputs to start from. Used twice: by the fuzz targets,
//! and by tests/fuzz_replay.rs, which replays kept inputs and damaged good ones on the stable compiler.
//!
//! A decoder must return: no panic, no hang, no memory by an unchecked length. Where an encoding is canonical, whatever
//! is accepted must also encode to the same bytes again.
#![allow(dead_code, reason = "a fuzz target uses its own function only")]

use std::cmp::Ordering;

use levault::blob::NamedBlob;
use levault::chunk::{ChunkList, ChunkRef};
use levault::clock::UnixNanos;
use levault::codec::Reader;
use levault::compress::{Compression, Compressor};
use levault::crypto::exchange::Identity;
use levault::crypto::{Entropy, SeededEntropy};
use levault::envelope::gate::Features;
use levault::envelope::{self, Header, ObjectClass};
use levault::id::{BlobId, DomainId, RepositoryId};
use levault::index::{self, Segment};
use levault::keys::config::Config;
use levault::keys::ring::StoredRing;
use levault::keys::slot::Slot;
use levault::keys::{Keyring, SlotEntry};
use levault::kind::BlobKind;
use levault::leveldb::batch::{BatchParser, BatchSink};
use levault::leveldb::idb;
use levault::leveldb::log::{LogSink, Span, read_log};
use levault::leveldb::name::FileName;
use levault::leveldb::version::VersionEdit;
use levault::pack::{PackBuilder, PackKey, read_directory, scan_directory};
use levault::record::Elements;
use levault::run::{ChildRef, LeafDraft, LeafReader, Node, Payload, encode_leaf};
use levault::snapshot::body;
use levault::snapshot::tree::Tree;
use levault::storage::ObjectName;

/// A decoder's name, and what a target does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them; fuzz_targets has a file for each.
pub const TARGETS: &[Target] = &[
    ("leveldb_log", leveldb_log),
    ("leveldb_batch", leveldb_batch),
    ("leveldb_version", leveldb_version),
    ("leveldb_name", leveldb_name),
    ("idb_order", idb_order),
    ("record_stream", record_stream),
    ("run_leaf", run_leaf),
    ("run_node", run_node),
    ("chunk_list", chunk_list),
    ("snapshot_body", snapshot_body),
    ("directory_tree", directory_tree),
    ("object_clear", object_clear),
    ("config", config),
    ("slot", slot),
    ("keyring", keyring),
    ("object_name", object_name),
    ("features", features),
    ("pack", pack),
    ("index_segment", index_segment),
];

/// A log or MANIFEST: its records, and the batches in them.
pub fn leveldb_log(data: &[u8]) {
    let mut sink = Batches::default();
    let tail = read_log(&data.to_vec(), &mut sink);
    if let Some(tail) = tail {
        assert!(tail.from <= tail.to && tail.to <= data.len() as u64);
    }
}

#[derive(Default)]
struct Batches {
    record: Vec<u8>,
}

impl LogSink for Batches {
    fn part(&mut self, _offset: u64, payload: &[u8]) {
        self.record.extend_from_slice(payload);
    }

    fn end(&mut self, _start: u64, _hole: Option<Span>) {
        let _ = VersionEdit::decode(&self.record);
        leveldb_batch(&self.record);
        self.record.clear();
    }

    fn abort(&mut self) {
        self.record.clear();
    }
}

/// A batch parsed whole, and in pieces of any size: both must see the same.
pub fn leveldb_batch(data: &[u8]) {
    let whole = batch_in_pieces(data, data.len().max(1));
    for piece in [1, 3, 7, 13] {
        assert_eq!(batch_in_pieces(data, piece), whole, "in pieces of {piece}");
    }
}

/// The operations as text, if all of it was approved of.
fn batch_in_pieces(data: &[u8], piece: usize) -> Option<Vec<u8>> {
    let (mut parser, mut seen) = (BatchParser::default(), Seen::default());
    for (index, bytes) in data.chunks(piece).enumerate() {
        parser.push((index * piece) as u64, bytes, &mut seen).ok()?;
    }
    parser.finish().ok()?;
    Some(seen.0)
}

#[derive(Default)]
struct Seen(Vec<u8>);

impl BatchSink for Seen {
    fn delete(&mut self, key: &[u8], sequence: u64) {
        self.0
            .extend_from_slice(format!("delete {key:?} {sequence};").as_bytes());
    }

    fn put(&mut self, key: &[u8], sequence: u64, len: usize, offset: u64) {
        self.0
            .extend_from_slice(format!("put {key:?} {sequence} {len} {offset}:").as_bytes());
    }

    fn value(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }
}

/// One change to the set of tables: what is understood must survive being written and read again.
pub fn leveldb_version(data: &[u8]) {
    if let Ok(edit) = VersionEdit::decode(data) {
        let mut again = Vec::new();
        edit.encode(&mut again);
        assert_eq!(VersionEdit::decode(&again).expect("own encoding"), edit);
    }
}

/// A file name.
pub fn leveldb_name(data: &[u8]) {
    if let Ok(name) = std::str::from_utf8(data) {
        let _ = FileName::parse(name);
    }
}

/// Three keys of any bytes: Chromium's order must be a total one, or merging loses records.
pub fn idb_order(data: &[u8]) {
    let mut thirds = data.chunks(data.len().div_ceil(3).max(1));
    let [a, b, c] = [thirds.next(), thirds.next(), thirds.next()].map(Option::unwrap_or_default);
    assert_eq!(idb::compare(a, a), Ordering::Equal);
    assert_eq!(idb::compare(a, b), idb::compare(b, a).reverse());
    let (ab, bc) = (idb::compare(a, b), idb::compare(b, c));
    if ab == bc || bc == Ordering::Equal {
        assert_eq!(idb::compare(a, c), ab);
    }
}

/// The canonical record stream.
pub fn record_stream(data: &[u8]) {
    let mut read = 0;
    for element in Elements::new(data) {
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
                Payload::Inline(value) => draft.push_inline(entry.key, value),
                Payload::Chunked(list) => draft.push_chunked(entry.key, list),
                Payload::Delete => draft.push_delete(entry.key),
            },
            Ok(None) => break,
            Err(_) => return,
        };
        pushed.expect("a leaf that was read can be written");
    }
    assert_eq!(encode_leaf(&draft), data);
}

/// An inner node.
pub fn run_node(data: &[u8]) {
    if let Ok(node) = Node::decode(data) {
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
    if let Ok(snapshot) = body::decode(data) {
        assert_eq!(body::encode(&snapshot).expect("own encoding"), data);
    }
}

/// A directory-tree node's plain bytes.
pub fn directory_tree(data: &[u8]) {
    if let Ok(tree) = Tree::decode(data) {
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
    let _ = Slot::decode(data);
    let _ = Slot::decode(&with_checksum(data));
}

/// A keyring's clear part.
pub fn keyring(data: &[u8]) {
    let _ = StoredRing::parse(data);
}

fn with_checksum(data: &[u8]) -> Vec<u8> {
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
        static OWN: (Keyring, Vec<u8>) = own_pack();
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

/// A repository's keys, and a pack of three blobs sealed under them.
fn own_pack() -> (Keyring, Vec<u8>) {
    let mut entropy = SeededEntropy::new(1);
    let slot = SlotEntry {
        public: Identity::random(&mut entropy).expect("seeded").public(),
        created: UnixNanos(0),
        label: String::new(),
    };
    let repository = RepositoryId(entropy.salt().expect("seeded"));
    let keyring = Keyring::first(repository, slot, UnixNanos(0), &mut entropy).expect("a keyring");
    let mut builder = PackBuilder::new(&keyring, DomainId(0), 1000, &mut entropy).expect("a builder");
    let mut compressor = Compressor::new(Compression::Auto).expect("a compressor");
    for plain in [vec![7; 300], b"some".to_vec(), Vec::new()] {
        let domain = keyring.domain(DomainId(0)).expect("domain 0");
        let blob = NamedBlob::name(domain, BlobKind::Data, plain);
        let sealed = builder.sealer().seal(&blob, &mut compressor).expect("sealed");
        builder.append(sealed).expect("appended");
    }
    let bytes = builder.finish().expect("a pack").bytes;
    (keyring, bytes)
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

/// Good inputs to start from: a target's name and bytes.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = vec![
        ("leveldb_batch", batch()),
        ("leveldb_log", log(&batch())),
        ("leveldb_name", b"MANIFEST-000017".to_vec()),
        ("leveldb_name", b"000034.ldb".to_vec()),
        (
            "object_name",
            format!("packs/ab/ab{}", "0".repeat(62)).into_bytes(),
        ),
        (
            "idb_order",
            vec![0, 1, 1, 1, 1, 0, 65, 0, 1, 1, 1, 1, 0, 66, 0, 1, 1, 1, 3, 0, 0],
        ),
        (
            "record_stream",
            b"\x01\0\0\0k\x02\0\0\0vv\0\0\0\0\0\0\0\0".to_vec(),
        ),
        ("run_leaf", encode_leaf(&draft())),
        ("run_node", node().encode()),
    ];
    let mut list = Vec::new();
    chunks().encode(&mut list);
    seeds.push(("chunk_list", list));
    let mut edit = Vec::new();
    VersionEdit {
        comparator: Some(b"leveldb.BytewiseComparator".to_vec()),
        log_number: Some(9),
        next_file: Some(12),
        last_sequence: Some(4711),
        deleted: vec![(0, 3)],
        ..VersionEdit::default()
    }
    .encode(&mut edit);
    seeds.push(("leveldb_log", log(&edit)));
    seeds.push(("leveldb_version", edit));
    seeds.push(("pack", own_pack().1));
    for document in DOCUMENTS {
        seeds.extend(examples(document));
    }
    seeds
}

/// The formats' worked examples.
const DOCUMENTS: [&str; 4] = [
    include_str!("../../docs/format/02-gate.md"),
    include_str!("../../docs/format/04-config-and-slots.md"),
    include_str!("../../docs/format/05-keyring.md"),
    include_str!("../../docs/format/06-packs.md"),
];

/// Examples that are named as a target is; those with a checksum also without it.
fn examples(document: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut found = Vec::new();
    for block in document.split("```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a fence has a line");
        let digits = rest.split("```").next().expect("a first part");
        let plain = digits
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default());
        let hex: String = plain
            .flat_map(str::chars)
            .filter(|c| !c.is_whitespace())
            .collect();
        let Some((target, _)) = TARGETS.iter().find(|(target, _)| *target == name.trim()) else {
            continue;
        };
        let Ok(bytes) = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()) else {
            continue;
        };
        if bytes.len() > 32 {
            found.push((*target, bytes[..bytes.len() - 32].to_vec()));
        }
        found.push((*target, bytes));
    }
    assert!(!found.is_empty(), "a document lost its examples");
    found
}

fn batch() -> Vec<u8> {
    let mut bytes = 5u64.to_le_bytes().to_vec();
    bytes.extend_from_slice(&3u32.to_le_bytes());
    bytes.extend_from_slice(b"\x01\x03one\x05first\x00\x03two\x01\x00\x00");
    bytes
}

/// A log of one record.
fn log(record: &[u8]) -> Vec<u8> {
    let typed = [&[1], record].concat();
    let crc = crc32c::crc32c(&typed);
    let masked = crc.rotate_right(15).wrapping_add(0xa282_ead8);
    let len = u16::try_from(record.len()).expect("a short record");
    [&masked.to_le_bytes()[..], &len.to_le_bytes(), &typed].concat()
}

fn chunks() -> ChunkList {
    let chunk = |number: u8, bytes| ChunkRef {
        id: BlobId([number; 32]),
        bytes,
    };
    ChunkList::of_chunks(vec![chunk(1, 70_000), chunk(2, 65_000), chunk(3, 9)]).expect("three chunks")
}

fn draft() -> LeafDraft {
    let mut draft = LeafDraft::default();
    draft.push_inline(b"key/1", b"value").expect("small");
    draft.push_chunked(b"key/2", chunks()).expect("small");
    draft.push_delete(b"key/3").expect("small");
    draft.push_inline(b"key/44", b"").expect("small");
    draft
}

fn node() -> Node {
    let child = |number: u8, first_key: &[u8]| ChildRef {
        first_key: first_key.to_vec(),
        id: BlobId([number; 32]),
        records: 10 + u64::from(number),
        bytes: 1000,
        chunked: 1,
    };
    Node {
        level: 1,
        children: vec![child(1, b"key/1"), child(2, b"key/2"), child(3, b"other")],
    }
}
