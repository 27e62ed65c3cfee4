//! Good inputs for the fuzz targets to start from.

use std::sync::Arc;

use levault::annotations::{
    Abilities, Ability, BadBlob, BadBlobs, CompactedStack, CountedSnapshot, DeletionMark, ForgetReason,
    ForgetRecord, MarkedPack, Note, NoteSubject, ReplacedMark, RestorePoint, SnapshotNote, StoreNote,
};
use levault::annotations::{bad_blobs, deletion_mark, forget_record, note};
use levault::blob::NamedBlob;
use levault::chunk::{ChunkList, ChunkRef};
use levault::clock::UnixNanos;
use levault::codec::put_varint;
use levault::compress::{Compression, Compressor};
use levault::crypto::key_exchange::SecretKey;
use levault::crypto::{Entropy, SeededEntropy};
use levault::envelope::Header;
use levault::id::{BlobId, DomainId, ObjectId, RepositoryId, TimelineId};
use levault::keys::{Keyring, SlotEntry, fuzz_entry};
use levault::kind::BlobKind;
use levault::leveldb::version::VersionEdit;
use levault::pack::PackBuilder;
use levault::run::{ChildRef, LeafDraft, Patch, PatchMaker, RunNode, encode_leaf};
use levault::snapshot::StoredRunRef;

use super::TARGETS;

/// Good inputs to start from: a target's name and bytes.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = vec![
        ("leveldb_batch", batch()),
        ("leveldb_log", log(&batch())),
        ("leveldb_bounds", log(&batch())),
        (
            "leveldb_bounds",
            b"\x00\x03\x01keyv\x02\x01\x02zxy\0\0\0\0\x01\0\0\0".to_vec(),
        ),
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
        (
            "run_patch",
            [&[200], &old_value()[..], patch().as_bytes()].concat(),
        ),
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
    seeds.push(("leveldb_table", table(&block(), 0)));
    seeds.push(("leveldb_block", [&[0], &block()[..]].concat()));
    let packed = snap::raw::Encoder::new().compress_vec(&block()).expect("small");
    seeds.push(("leveldb_block", [&[1], &packed[..]].concat()));
    seeds.push(("leveldb_database", database()));
    seeds.extend(notes().map(|bytes| ("note", bytes)));
    seeds.push((
        "credential",
        fuzz_entry::credential(&own_pack().0).expect("own encoding"),
    ));
    seeds.push(("host_state", host_state()));
    seeds.push(("forgotten", forgotten()));
    seeds.push(("bad", bad_blobs::encode(&bad_blobs()).expect("small")));
    seeds.push(("mark", deletion_mark::encode(&marked()).expect("small")));
    seeds.push(("pack_directory", pack_directory()));
    seeds.extend(sealed_keys().map(|bytes| ("sealed_keys", bytes)));
    let index = include_str!("../../../docs/format/07-index.md");
    let [clear, body] = ["index-clear", "index-body"].map(|name| example(index, name));
    seeds.push(("index_segment", [clear, body].concat()));
    for document in DOCUMENTS {
        seeds.extend(examples(document));
    }
    seeds
}

/// The formats' worked examples.
const DOCUMENTS: [&str; 7] = [
    include_str!("../../../docs/format/02-gate.md"),
    include_str!("../../../docs/format/03-envelope.md"),
    include_str!("../../../docs/format/04-config-and-slots.md"),
    include_str!("../../../docs/format/05-keyring.md"),
    include_str!("../../../docs/format/06-packs.md"),
    include_str!("../../../docs/format/10-snapshots.md"),
    include_str!("../../../docs/format/11-annotations.md"),
];

/// Targets whose examples have another name.
const RENAMED: [(&str, &str); 4] = [
    ("object", "object_clear"),
    ("snapshot", "snapshot_body"),
    ("copy", "snapshot_body"),
    ("tree", "directory_tree"),
];

/// Examples that belong to a target; those with a checksum also without it.
fn examples(document: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut found = Vec::new();
    for block in document.split("```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a fence has a line");
        let wanted = RENAMED
            .iter()
            .find(|(from, _)| *from == name.trim())
            .map_or(name.trim(), |(_, to)| to);
        let Some((target, _)) = TARGETS.iter().find(|(target, _)| *target == wanted) else {
            continue;
        };
        let Some(bytes) = hex(rest) else {
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

fn example(document: &str, name: &str) -> Vec<u8> {
    let (_, rest) = document
        .split_once(&format!("```hex {name}\n"))
        .expect("an example");
    hex(rest).expect("digits")
}

/// The bytes of the fence that `rest` begins in.
fn hex(rest: &str) -> Option<Vec<u8>> {
    let digits = rest.split("```").next()?;
    let plain = digits
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let hex: String = plain
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect();
    data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()
}

/// Notes of the kinds that have more in them than the document's example.
fn notes() -> impl Iterator<Item = Vec<u8>> {
    let tags = NoteSubject::Snapshot {
        id: ObjectId([1; 32]),
        said: SnapshotNote::Tags(vec!["nightly".into(), "ä".into()]),
    };
    let point = NoteSubject::RestorePoint(RestorePoint {
        timeline: TimelineId([2; 16]),
        sequence: 4711,
        name: "before the move".into(),
    });
    let store = NoteSubject::Store(StoreNote {
        abilities: Abilities::of(&[Ability::ModificationTimes]),
        description: "a directory".into(),
    });
    let run = StoredRunRef {
        root: None,
        last_key: Vec::new(),
        comparator: "leveldb.BytewiseComparator".into(),
        filter: None,
    };
    let rebased = NoteSubject::Snapshot {
        id: ObjectId([1; 32]),
        said: SnapshotNote::Rebased(Box::new(CompactedStack { source: 1, run })),
    };
    [tags, point, store, rebased].into_iter().map(|about| {
        let when = UnixNanos(5);
        note::encode(&Note { when, about }).expect("within limits")
    })
}

/// Two snapshots, forgotten by hand and without a word.
fn forgotten() -> Vec<u8> {
    let counted = |number: u8| CountedSnapshot {
        id: ObjectId([number; 32]),
        domain: DomainId(u32::from(number)),
        counter: 4711,
    };
    let forgetting = ForgetRecord {
        when: UnixNanos(5),
        why: ForgetReason::ByHand,
        words: String::new(),
        snapshots: vec![counted(1), counted(2)],
    };
    forget_record::encode(&forgetting).expect("within limits")
}

fn batch() -> Vec<u8> {
    let mut bytes = 5u64.to_le_bytes().to_vec();
    bytes.extend_from_slice(&3u32.to_le_bytes());
    bytes.extend_from_slice(b"\x01\x03one\x05first\x00\x03two\x01\x00\x00");
    bytes
}

/// A log of one record.
pub fn log(record: &[u8]) -> Vec<u8> {
    let typed = [&[1], record].concat();
    let len = u16::try_from(record.len()).expect("a short record");
    [&masked(&typed).to_le_bytes()[..], &len.to_le_bytes(), &typed].concat()
}

/// A block of three records.
fn block() -> Vec<u8> {
    let mut block = Vec::new();
    for (shared, suffix, value) in [
        (0u8, &b"key/1"[..], &b"one"[..]),
        (4, b"2", b""),
        (0, b"other", b"three"),
    ] {
        let suffix = [suffix, &0x101u64.to_le_bytes()].concat();
        block.extend_from_slice(&[shared, suffix.len() as u8, value.len() as u8]);
        block.extend_from_slice(&suffix);
        block.extend_from_slice(value);
    }
    for number in [0u32, 1] {
        block.extend_from_slice(&number.to_le_bytes());
    }
    block
}

/// A table of one data block, stored as given under this codec's number, with right checksums.
pub fn table(stored: &[u8], codec: u8) -> Vec<u8> {
    let mut table = Vec::new();
    let data = put_block(&mut table, stored, codec);
    let meta = put_block(&mut table, &[0, 0, 0, 0, 1, 0, 0, 0], 0);
    let last = [b"zzzz".as_slice(), &0x101u64.to_le_bytes()].concat();
    let head = [0, last.len() as u8, data.len() as u8];
    let index = [&head[..], &last, &data, &[0, 0, 0, 0, 1, 0, 0, 0]].concat();
    let index = put_block(&mut table, &index, 0);
    let mut footer = [meta, index].concat();
    footer.resize(40, 0);
    table.extend_from_slice(&footer);
    table.extend_from_slice(&0xdb47_7524_8b80_fb57u64.to_le_bytes());
    table
}

/// Appends a block with its trailer; its handle.
fn put_block(table: &mut Vec<u8>, stored: &[u8], codec: u8) -> Vec<u8> {
    let mut handle = Vec::new();
    put_varint(&mut handle, table.len() as u64);
    put_varint(&mut handle, stored.len() as u64);
    let body = [stored, &[codec]].concat();
    table.extend_from_slice(&body);
    table.extend_from_slice(&masked(&body).to_le_bytes());
    handle
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// What the target `leveldb_database` takes: nothing more in the MANIFEST, a batch, a block.
fn database() -> Vec<u8> {
    let batch = batch();
    let head = [0, batch.len() as u8, 0, 0];
    [&head[..], &batch, &block()].concat()
}

/// A repository's keys, and a pack of three blobs sealed under them.
pub fn own_pack() -> (Arc<Keyring>, Vec<u8>) {
    let mut entropy = SeededEntropy::new(1);
    let slot = SlotEntry {
        public: SecretKey::random(&mut entropy).expect("seeded").public(),
        created: UnixNanos(0),
        label: String::new(),
    };
    let repository = RepositoryId(entropy.salt().expect("seeded"));
    let keyring = Keyring::first(repository, slot, UnixNanos(0), &mut entropy).expect("a keyring");
    let keyring = Arc::new(keyring);
    let mut builder = PackBuilder::new(&keyring, DomainId(0), Vec::new(), &mut entropy).expect("a builder");
    let mut compressor = Compressor::new(Compression::Auto.level(BlobKind::Leaf)).expect("a compressor");
    for plain in [vec![7; 300], b"some".to_vec(), Vec::new()] {
        let domain = keyring.domain(DomainId(0)).expect("domain 0");
        let blob = NamedBlob::name(domain, BlobKind::Data, plain);
        builder.push(blob, &mut compressor).expect("appended");
    }
    let bytes = builder.finish().expect("a pack").bytes;
    (keyring, bytes)
}

/// One pack, and the documents' snapshot.
fn host_state() -> Vec<u8> {
    let pins = include_str!("../../../docs/format/12-pins.md");
    let snapshots = include_str!("../../../docs/format/10-snapshots.md");
    [example(pins, "host-packs"), example(snapshots, "snapshot")].concat()
}

/// A directory of two blobs behind the place where their parts end.
fn pack_directory() -> Vec<u8> {
    let entry = |number: u8, len: u32| {
        let numbers = [u32::from(number), len, len - 17].map(u32::to_le_bytes).concat();
        [&[number; 32][..], &[BlobKind::Data as u8], &numbers].concat()
    };
    let end = Header::LEN as u32 + 100 + 60;
    [&end.to_le_bytes()[..], &entry(1, 100), &entry(2, 60)].concat()
}

/// A keyring's body, a config's parameters, a slot's payload.
fn sealed_keys() -> impl Iterator<Item = Vec<u8>> {
    let bodies = fuzz_entry::bodies(&own_pack().0).expect("own encoding");
    let payload = [&[1][..], &[7; 32], &[1; 32], &[2; 32]].concat();
    bodies.into_iter().chain([payload])
}

fn chunks() -> ChunkList {
    let chunk = |number: u8, bytes| ChunkRef {
        id: BlobId([number; 32]),
        bytes,
    };
    ChunkList::from_chunks(vec![chunk(1, 70_000), chunk(2, 65_000), chunk(3, 9)]).expect("three chunks")
}

fn draft() -> LeafDraft {
    let mut draft = LeafDraft::default();
    draft.push_inline(b"key/1", b"value").expect("small");
    draft.push_chunked(b"key/2", chunks()).expect("small");
    draft.push_delete(b"key/3").expect("small");
    draft.push_inline(b"key/44", b"").expect("small");
    draft.push_patch(b"key/5", patch()).expect("small");
    draft
}

fn bad_blobs() -> BadBlobs {
    let blob = |number, kind| BadBlob {
        id: BlobId([number; 32]),
        kind,
    };
    BadBlobs {
        when: UnixNanos(9),
        domain: DomainId(0),
        blobs: vec![blob(1, BlobKind::Leaf), blob(2, BlobKind::Data)],
    }
}

fn marked() -> DeletionMark {
    let pack = |number| MarkedPack {
        pack: ObjectId([number; 32]),
        len: 4711,
    };
    DeletionMark {
        when: UnixNanos(7),
        packs: vec![pack(1), pack(2)],
        replaces: Some(ReplacedMark {
            mark: ObjectId([3; 32]),
            since: UnixNanos(5),
        }),
    }
}

fn old_value() -> Vec<u8> {
    (0..200).collect()
}

fn patch() -> Patch<'static> {
    let mut new = old_value();
    new[50..60].fill(7);
    new.splice(100..110, *b"other");
    PatchMaker::default()
        .make_patch(&old_value(), &new)
        .expect("alike")
}

fn node() -> RunNode {
    let child = |number: u8, first_key: &[u8]| ChildRef {
        first_key: first_key.to_vec(),
        id: BlobId([number; 32]),
        records: 10 + u64::from(number),
        bytes: 1000,
        chunked: 1,
    };
    RunNode {
        level: 1,
        children: vec![child(1, b"key/1"), child(2, b"key/2"), child(3, b"other")],
    }
}
