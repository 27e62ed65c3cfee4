//! Directory trees.

use super::*;
use crate::blob::BlobKind;
use crate::chunk::memory_blobs::{MemoryBlobs, noise};
use crate::chunk::{ChunkList, ChunkRef};
use crate::run::LeafCutter;

fn entry(name: &[u8], kind: EntryKind) -> TreeEntry {
    TreeEntry {
        name: name.to_vec(),
        kind,
        meta: FileMetadata::default(),
    }
}

fn file(name: &[u8]) -> TreeEntry {
    let chunk = ChunkRef {
        id: BlobId([9; 32]),
        bytes: 70_000,
    };
    entry(
        name,
        EntryKind::File(ChunkList::from_chunks(vec![chunk]).unwrap()),
    )
}

const CONSOLE: DeviceNumber = DeviceNumber {
    is_block: false,
    major: 5,
    minor: u32::MAX,
};

fn sample() -> Vec<TreeEntry> {
    let meta = FileMetadata {
        mode: Some(0o644),
        uid: Some(0),
        gid: Some(u32::MAX),
        mtime_nanos: Some(-1),
        xattrs: vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), vec![])],
        hard_link: Some(77),
        holes: vec![(0, 4096), (8192, 1)],
        ctime_nanos: Some(i64::MAX.into()),
        inode: Some(u64::MAX),
    };
    vec![
        entry(b"a", EntryKind::Directory(BlobId([1; 32]))),
        entry(b"b", EntryKind::Symlink(b"../a".to_vec())),
        entry(b"c", EntryKind::Database(3)),
        entry(b"d", EntryKind::Fifo),
        entry(b"e", EntryKind::Device(CONSOLE)),
        entry(
            b"f",
            EntryKind::Device(DeviceNumber {
                is_block: true,
                ..CONSOLE
            }),
        ),
        TreeEntry {
            meta,
            ..file(b"\xff not UTF-8, but a name")
        },
        TreeEntry {
            meta: FileMetadata {
                mtime_nanos: Some(i128::from(i64::MAX) + 1),
                ctime_nanos: Some(i128::from(i64::MIN) * 1_000_000_000),
                ..FileMetadata::default()
            },
            ..file(b"\xff of another age")
        },
    ]
}

#[test]
fn a_time_has_one_encoding_whatever_its_distance() {
    let tree = |mtime_nanos| {
        let meta = FileMetadata {
            mtime_nanos: Some(mtime_nanos),
            ..FileMetadata::default()
        };
        TreeBlob::Entries(vec![TreeEntry { meta, ..file(b"a") }])
    };
    for nanos in [
        0,
        i128::from(i64::MAX),
        i128::from(i64::MAX) + 1,
        i128::from(i64::MIN) - 1,
    ] {
        let bytes = tree(nanos).encode().unwrap();
        assert_eq!(TreeBlob::decode(&bytes).unwrap(), tree(nanos), "{nanos}");
        let field = bytes[bytes.len() - 14];
        assert_eq!(field == 10, i64::try_from(nanos).is_err(), "{nanos}");
    }
    // A near time in the far field, and nanoseconds beyond a second, are no encoding of anything.
    let far = tree(i128::from(i64::MAX) + 1).encode().unwrap();
    let at = far.len() - 13;
    for (seconds, nanos) in [(1i64, 0u32), (i64::MAX, 1_000_000_000)] {
        let mut wrong = far.clone();
        wrong[at..at + 8].copy_from_slice(&seconds.to_le_bytes());
        wrong[at + 8..at + 12].copy_from_slice(&nanos.to_le_bytes());
        assert_eq!(TreeBlob::decode(&wrong).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    let beyond = (i128::from(i64::MAX) + 1) * 1_000_000_000;
    assert_eq!(tree(beyond).encode().unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn the_documents_tree_is_read_and_written() {
    let meta = FileMetadata {
        mode: Some(0o777),
        mtime_nanos: Some(-1),
        ..FileMetadata::default()
    };
    let link = entry(b"b", EntryKind::Symlink(b"../a".to_vec()));
    let tree = TreeBlob::Entries(vec![
        entry(b"a", EntryKind::Directory(BlobId([1; 32]))),
        TreeEntry { meta, ..link },
    ]);
    assert_eq!(TreeBlob::decode(&example(DOCUMENT, "tree")).unwrap(), tree);
    assert_example(DOCUMENT, "tree", &tree.encode().unwrap());
}

#[test]
fn every_bit_of_a_tree_carries_something() {
    let tree = TreeBlob::Entries(sample());
    let bytes = tree.encode().unwrap();
    assert_eq!(TreeBlob::decode(&bytes).unwrap(), tree);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << bit;
            assert!(
                TreeBlob::decode(&wrong).map_or(true, |other| other != tree),
                "bit {bit} of byte {at}"
            );
        }
        assert!(TreeBlob::decode(&bytes[..at]).is_err(), "cut to {at} bytes");
    }
}

#[test]
fn a_name_that_leads_out_of_its_directory_is_neither_written_nor_read() {
    let good = TreeBlob::Entries(vec![file(b"ab")]).encode().unwrap();
    let at = good.windows(2).position(|name| name == b"ab").unwrap();
    for wrong in [b"..", b"a/", b"/a", b"a\0"] {
        let tree = TreeBlob::Entries(vec![file(wrong)]);
        assert_eq!(tree.encode().unwrap_err().kind(), ErrorKind::Limit);
        let mut bytes = good.clone();
        bytes[at..at + 2].copy_from_slice(wrong);
        assert_eq!(
            TreeBlob::decode(&bytes).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{wrong:?}"
        );
    }
    for wrong in [&b""[..], b"."] {
        assert!(TreeBlob::Entries(vec![file(wrong)]).encode().is_err());
    }
    for strange in [&b"..."[..], b" ", b"-rf", b"\n", b"..a"] {
        assert!(TreeBlob::Entries(vec![file(strange)]).encode().is_ok());
    }
}

#[test]
fn names_out_of_order_or_twice_are_refused() {
    for names in [[b"b", b"a"], [b"a", b"a"]] {
        let tree = TreeBlob::Entries(names.map(|name| file(name)).to_vec());
        assert_eq!(tree.encode().unwrap_err().kind(), ErrorKind::Limit);
    }
}

#[test]
fn holes_that_overlap_or_touch_are_refused() {
    for holes in [
        vec![(0, 0)],
        vec![(0, 10), (5, 10)],
        vec![(0, 10), (10, 1)],
        vec![(u64::MAX, 1)],
    ] {
        let meta = FileMetadata {
            holes,
            ..FileMetadata::default()
        };
        assert!(
            TreeBlob::Entries(vec![TreeEntry { meta, ..file(b"a") }])
                .encode()
                .is_err()
        );
    }
}

#[test]
fn metadata_has_one_order() {
    let entry = |fields: &[u8]| TreeBlob::decode(&[&[1, 0, 1, 1, b'a', 4, 1][..], fields].concat());
    assert!(entry(&[1, 5, 2, 7, 0]).is_ok());
    for wrong in [&[2, 7, 1, 5, 0][..], &[1, 5, 1, 5, 0], &[5, 0, 0], &[7, 0, 0]] {
        assert_eq!(entry(wrong).unwrap_err().kind(), ErrorKind::Corrupt, "{wrong:?}");
    }
}

#[test]
fn an_unknown_kind_or_field_is_too_new_not_corrupt() {
    let bytes = TreeBlob::Entries(vec![entry(b"a", EntryKind::Database(1))])
        .encode()
        .unwrap();
    assert_eq!(bytes, [1, 0, 1, 1, b'a', 4, 1, 0]);
    assert_eq!(
        TreeBlob::decode(&[1, 0, 1, 1, b'a', 8, 1, 0]).unwrap_err().kind(),
        ErrorKind::TooNew
    );
    assert_eq!(
        TreeBlob::decode(&[1, 0, 1, 1, b'a', 4, 1, 12, 0])
            .unwrap_err()
            .kind(),
        ErrorKind::TooNew
    );
    assert_eq!(
        TreeBlob::decode(&[2, 0, 0]).unwrap_err().kind(),
        ErrorKind::TooNew
    );
}

fn many(count: usize) -> Vec<TreeEntry> {
    (0..count)
        .map(|n| file(format!("file {n:07}").as_bytes()))
        .collect()
}

fn build(entries: &[TreeEntry]) -> (BlobId, MemoryBlobs) {
    let mut blobs = MemoryBlobs::default();
    let mut builder = DirectoryBuilder::new(LeafCutter::new(&[1; 32]));
    for entry in entries {
        builder
            .push(entry.clone(), &mut |kind, plain| blobs.store(kind, plain))
            .unwrap();
    }
    let root = builder
        .finish(&mut |kind, plain| blobs.store(kind, plain))
        .unwrap();
    (root, blobs)
}

#[test]
fn directories_of_every_size_give_their_entries_back() {
    for count in [0, 1, 100, 2_000, 40_000] {
        let entries = many(count);
        let (root, blobs) = build(&entries);
        let back: crate::error::Result<Vec<_>> = DirectoryWalk::open(&root, &blobs).unwrap().collect();
        assert_eq!(back.unwrap(), entries);
        assert!(
            blobs
                .map
                .values()
                .all(|(kind, plain)| *kind == BlobKind::Tree && plain.len() < 1 << 20)
        );
    }
}

#[test]
fn a_directory_is_entered_at_any_name_by_the_parts_that_lead_there() {
    let entries = many(40_000);
    let (root, blobs) = build(&entries);
    for (from, at) in [
        (&b""[..], 0),
        (b"file 0000000", 0),
        (b"file 0020000", 20_000),
        (b"file 0020000a", 20_001),
        (b"file 0039999", 39_999),
        (b"z", 40_000),
    ] {
        blobs.asked.borrow_mut().clear();
        let mut walk = DirectoryWalk::open_from(&root, from.to_vec(), &blobs).unwrap();
        let first = walk.next().transpose().unwrap();
        assert_eq!(first.as_ref(), entries.get(at));
        assert!(blobs.asked.borrow().len() <= 4, "{}", blobs.asked.borrow().len());
        assert_eq!(
            walk.filter(|entry| entry.is_ok()).count(),
            (39_999 - at.min(39_999))
        );
    }
}

#[test]
fn a_tree_blob_larger_than_any_directory_needs_is_refused() {
    let xattrs = vec![(b"user.a".to_vec(), vec![0; (1 << 20) - 6])];
    let meta = FileMetadata {
        xattrs,
        ..FileMetadata::default()
    };
    let large = |name: &[u8]| TreeEntry {
        meta: meta.clone(),
        ..file(name)
    };
    let tree = |names: &[&[u8]]| TreeBlob::Entries(names.iter().map(|name| large(name)).collect());
    assert!(TreeBlob::decode(&tree(&[b"a", b"b", b"c"]).encode().unwrap()).is_ok());
    let wrong = tree(&[b"a", b"b", b"c", b"d"]);
    assert_eq!(wrong.encode().unwrap_err().kind(), ErrorKind::Limit);
    let head = tree(&[b"a", b"b", b"c"]).encode().unwrap();
    let one = tree(&[b"d"]).encode().unwrap();
    let bytes = [&[1, 0, 4], &head[3..], &one[3..]].concat();
    assert_eq!(TreeBlob::decode(&bytes).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn one_new_file_rewrites_one_part_of_a_large_directory() {
    let mut entries = many(40_000);
    let (_, old) = build(&entries);
    entries.insert(20_000, file(b"file 0019999a"));
    let (_, new) = build(&entries);
    assert!((2..6).contains(&new.fresh(&old, BlobKind::Tree)));
}

#[test]
fn parts_that_are_not_what_their_parent_says_are_errors() {
    let (root, blobs) = build(&many(40_000));
    let read = |id: &BlobId| TreeBlob::decode(&blobs.map[id].1).unwrap();
    let (mut at, mut victim) = (read(&root), root);
    let entries = loop {
        match at {
            TreeBlob::Entries(entries) => break entries,
            TreeBlob::Parts { parts, .. } => victim = parts[1].id,
        }
        at = read(&victim);
    };
    let lies: [fn(&mut Vec<TreeEntry>); 3] = [
        |entries| drop(entries.pop()),
        |entries| entries[0].name.push(b'x'),
        |entries| entries.last_mut().unwrap().name = b"z".to_vec(),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut wrong = entries.clone();
        lie(&mut wrong);
        let mut copy = MemoryBlobs {
            map: blobs.map.clone(),
            ..MemoryBlobs::default()
        };
        copy.map.insert(
            victim,
            (BlobKind::Tree, TreeBlob::Entries(wrong).encode().unwrap()),
        );
        let walked: crate::error::Result<Vec<_>> = DirectoryWalk::open(&root, &copy).unwrap().collect();
        assert_eq!(
            walked.map(drop).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "lie {number}"
        );
    }
}

proptest! {
    #[test]
    fn what_decodes_is_the_one_encoding(seed in any::<u64>(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let _ = TreeBlob::decode(&[&[1, 0][..], &noise(seed, 60)].concat());
        let mut bytes = TreeBlob::Entries(sample()).encode().unwrap();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(other) = TreeBlob::decode(&bytes) {
            prop_assert_eq!(other.encode().unwrap(), bytes);
        }
    }
}
