//! Goal: a snapshot means what was put into it, and nothing else decodes. Method: round trips, one wrong byte at a
//! time, counts and lengths past their limits.

mod choose;
mod files;

use super::snapshot_codec::{decode, encode};
use super::*;
use crate::document::{assert_example, example};
use crate::error::ErrorKind;
use crate::id::{BlobId, SetDigest, TimelineId};
use crate::leveldb::DatabaseLayout;
use crate::limits::*;
use crate::run::{ChildRef, RunRoot};
use proptest::prelude::*;

fn run(seed: u8) -> StoredRunRef {
    let top = ChildRef {
        first_key: vec![seed],
        id: BlobId([seed; 32]),
        records: 9,
        bytes: 900,
        chunked: 1,
    };
    let mut filter = KeyBloomFilter::for_keys(10);
    filter.insert(b"key");
    StoredRunRef {
        root: Some(RunRoot { level: 2, top }),
        last_key: vec![0xff, seed],
        comparator: "leveldb.BytewiseComparator".into(),
        filter: Some(filter),
    }
}

fn database() -> DatabaseRoot {
    DatabaseRoot {
        name: "chainstate".into(),
        path: b"/data/chain\xffstate".to_vec(),
        directory: Some(FileMetadata {
            mode: Some(0o700),
            xattrs: vec![(b"user.a".to_vec(), vec![1])],
            ..FileMetadata::default()
        }),
        timeline: TimelineId([3; 16]),
        shape: DatabaseLayout::default(),
        content: DatabaseContent::Logical {
            runs: vec![run(1), run(2)],
            uncertain: Some(run(3)),
        },
        records: 18,
        key_bytes: 100,
        value_bytes: 1700,
        set_digest: SetDigest([4; 32]),
        stream_digest: None,
        last_sequence: (1 << 56) - 1,
        damage: vec![RecordedDamage {
            file: "000005.ldb".into(),
            offset: Some(6583),
            level: Some(2),
            smallest: Some(vec![1]),
            largest: None,
            what: "block checksum".into(),
        }],
        damage_unlisted: 0,
        capture: CaptureRecord {
            time: UnixNanos(1_700_000_000_500_000_000),
            retries: 2,
            held_by: RecordedHold::Links,
            unsynced_bytes: Some(8192),
            torn_tails: vec![LogTail {
                file: "000007.log".into(),
                offset: 12,
                bytes_left: 3,
            }],
            increments: 2,
            ..CaptureRecord::default()
        },
        trust: SourceTrust::Verified,
        beside: Some(BlobId([5; 32])),
        files: None,
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        domain: DomainId(0),
        counter: 7,
        previous: Some(ObjectId([8; 32])),
        host: "höst".into(),
        user: "u".into(),
        time: UnixNanos(1_700_000_000_000_000_000),
        time_end: UnixNanos(1_700_000_001_000_000_000),
        tags: vec!["a".into(), "b".into()],
        program: "levault 0.1.0".into(),
        sources: vec![
            SnapshotSource::Database(Box::new(database())),
            SnapshotSource::Tree(TreeRoot {
                name: "home".into(),
                path: b"/home".to_vec(),
                root: BlobId([6; 32]),
                files: 1,
                directories: 2,
                bytes: 3,
            }),
        ],
        original: None,
        missing: Default::default(),
        inside: None,
    }
}

fn copy() -> Snapshot {
    let original = OriginalSnapshot {
        repository: RepositoryId([10; 32]),
        snapshot: ObjectId([11; 32]),
    };
    Snapshot {
        sources: vec![],
        original: Some(original),
        ..snapshot()
    }
}

/// A copy that lacks a file, with a database whose files have a mode.
fn extended() -> Snapshot {
    let mut missing = MissingPaths::default();
    missing.add(b"/home/a\xff".to_vec(), "permission denied");
    let files = FileMetadata {
        mode: Some(0o600),
        uid: Some(1000),
        ..FileMetadata::default()
    };
    Snapshot {
        sources: vec![SnapshotSource::Database(Box::new(DatabaseRoot {
            files: Some(files),
            ..database()
        }))],
        missing,
        inside: Some(vec![0]),
        ..copy()
    }
}

#[test]
fn an_extended_snapshot_goes_out_and_comes_back_and_has_a_version_of_its_own() {
    let bytes = encode(&extended()).unwrap();
    assert_eq!(bytes[0], 3);
    assert_eq!(decode(&bytes).unwrap(), extended());
    // An extension of nothing is not the one encoding.
    let plain = encode(&snapshot()).unwrap();
    let nothing = [&[3], &plain[1..], &[0, 0, 0, 1, 0, 0, 0]].concat();
    assert_eq!(decode(&nothing).unwrap_err().kind(), ErrorKind::Corrupt);
    // One database too few, one too many.
    for (count, rest) in [(0, &[0][..]), (2, &[0, 0, 0, 0, 0][..])] {
        let wrong = [&[3], &plain[1..], &[0, 0, 1, count], rest].concat();
        assert_eq!(decode(&wrong).unwrap_err().kind(), ErrorKind::Corrupt, "{count}");
    }
}

#[test]
fn inner_databases_are_databases_of_the_snapshot_in_order() {
    for inside in [vec![1], vec![2], vec![0, 0]] {
        let wrong = Snapshot {
            inside: Some(inside),
            ..snapshot()
        };
        assert_eq!(encode(&wrong).unwrap_err().kind(), ErrorKind::Limit);
    }
}

#[test]
fn missing_paths_past_the_limit_are_counted() {
    let mut missing = MissingPaths::default();
    (0..MISSING_MAX + 5).for_each(|n| missing.add(n.to_string().into_bytes(), "gone"));
    missing.add(vec![b'x'; PATH_BYTES_MAX + 1], "gone");
    assert_eq!((missing.listed().len(), missing.unlisted()), (MISSING_MAX, 6));
    let mut long = MissingPaths::default();
    (0..2 * MISSING_BYTES_MAX / PATH_BYTES_MAX)
        .for_each(|_| long.add(vec![b'x'; PATH_BYTES_MAX], &"ä".repeat(9_000)));
    assert!(long.unlisted() > 0);
    for missing in [missing, long] {
        let snapshot = Snapshot {
            missing,
            ..snapshot()
        };
        assert_eq!(decode(&encode(&snapshot).unwrap()).unwrap(), snapshot);
    }
}

#[test]
fn a_snapshot_goes_out_and_comes_back() {
    let snapshot = snapshot();
    let bytes = encode(&snapshot).unwrap();
    assert_eq!(decode(&bytes).unwrap(), snapshot);
    assert!(snapshot.is_damaged());
    let physical = Snapshot {
        sources: vec![SnapshotSource::Database(Box::new(DatabaseRoot {
            content: DatabaseContent::Physical {
                tree: BlobId([1; 32]),
            },
            ..database()
        }))],
        ..snapshot
    };
    assert_eq!(decode(&encode(&physical).unwrap()).unwrap(), physical);
}

const DOCUMENT: &str = include_str!("../../../docs/format/10-snapshots.md");

#[test]
fn the_documents_snapshot_is_the_one_of_these_tests() {
    assert_example(DOCUMENT, "snapshot", &encode(&snapshot()).unwrap());
    assert_eq!(decode(&example(DOCUMENT, "snapshot")).unwrap(), snapshot());
    assert_example(DOCUMENT, "copy", &encode(&copy()).unwrap());
    assert_eq!(decode(&example(DOCUMENT, "copy")).unwrap(), copy());
    let small = Snapshot {
        sources: vec![],
        inside: Some(vec![]),
        ..extended()
    };
    assert_example(DOCUMENT, "extended", &encode(&small).unwrap());
    assert_eq!(decode(&example(DOCUMENT, "extended")).unwrap(), small);
}

#[test]
fn a_copy_says_of_what_and_the_two_versions_are_not_taken_for_one_another() {
    let bytes = encode(&copy()).unwrap();
    assert_eq!(bytes[0], 2);
    let whole = encode(&Snapshot {
        original: None,
        ..copy()
    })
    .unwrap();
    assert_eq!(whole[0], 1);
    assert_eq!(whole[1..], bytes[1..bytes.len() - 64]);
    for (version, bytes) in [(1, &bytes), (2, &whole)] {
        let wrong = [&[version], &bytes[1..]].concat();
        assert_eq!(
            decode(&wrong).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{version}"
        );
    }
}

#[test]
fn every_bit_of_a_snapshot_carries_something() {
    for snapshot in [snapshot(), copy(), extended()] {
        let bytes = encode(&snapshot).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                assert!(
                    decode(&wrong).is_err() || decode(&wrong).unwrap() != snapshot,
                    "bit {bit} of byte {at}"
                );
            }
            assert!(decode(&bytes[..at]).is_err(), "cut to {at} bytes");
        }
        assert_eq!(
            decode(&[&bytes[..], &[0]].concat()).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
    }
}

#[test]
fn a_newer_snapshot_is_too_new_not_corrupt() {
    let mut bytes = encode(&snapshot()).unwrap();
    bytes[0] = 4;
    assert_eq!(decode(&bytes).unwrap_err().kind(), ErrorKind::TooNew);
}

#[test]
fn what_passes_a_limit_is_neither_written_nor_read() {
    let changes: [fn(&mut Snapshot, &mut DatabaseRoot); 10] = [
        |snapshot, _| snapshot.host = "x".repeat(TEXT_BYTES_MAX + 1),
        |snapshot, _| snapshot.tags = vec!["b".into(), "a".into()],
        |snapshot, _| snapshot.tags = (0..=SNAPSHOT_TAGS_MAX).map(|n| format!("{n:05}")).collect(),
        |_, database| database.name = "x".repeat(TEXT_BYTES_MAX + 1),
        |_, database| database.path = vec![b'x'; PATH_BYTES_MAX + 1],
        |_, database| {
            database.content = DatabaseContent::Logical {
                runs: vec![],
                uncertain: None,
            }
        },
        |_, database| {
            database.content = DatabaseContent::Logical {
                runs: vec![run(1); RUNS_MAX + 1],
                uncertain: None,
            }
        },
        |_, database| database.damage[0].smallest = Some(vec![0; RUN_KEY_BYTES_MAX + 1]),
        |_, database| database.damage = vec![database.damage[0].clone(); DAMAGE_MAX + 1],
        |_, database| database.shape.comparator = "x".repeat(TEXT_BYTES_MAX + 1),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (mut snapshot, mut database) = (snapshot(), database());
        change(&mut snapshot, &mut database);
        snapshot.sources = vec![SnapshotSource::Database(Box::new(database))];
        assert_eq!(
            encode(&snapshot).unwrap_err().kind(),
            ErrorKind::Limit,
            "change {number}"
        );
        let mut bytes = vec![1];
        bytes = postcard::to_extend(&snapshot, bytes).unwrap();
        assert_eq!(
            decode(&bytes).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "change {number}"
        );
    }
}

#[test]
fn a_filter_never_denies_what_was_added_and_seldom_affirms_what_was_not() {
    let mut filter = KeyBloomFilter::for_keys(10_000);
    (0..10_000u32).for_each(|n| filter.insert(&n.to_le_bytes()));
    assert!((0..10_000u32).all(|n| filter.may_contain(&n.to_le_bytes())));
    let wrong = (10_000..110_000u32)
        .filter(|n| filter.may_contain(&n.to_le_bytes()))
        .count();
    assert!(wrong < 2_000, "{wrong} of 100,000");
}

proptest! {
    #[test]
    fn noise_and_edits_never_panic(noise in prop::collection::vec(any::<u8>(), 0..300), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let _ = decode(&[&[1][..], &noise].concat());
        let mut bytes = encode(&snapshot()).unwrap();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(other) = decode(&bytes) {
            prop_assert_eq!(encode(&other).unwrap(), bytes);
        }
    }
}

#[test]
fn a_run_denies_keys_outside_of_it_and_those_its_filter_has_not() {
    let mut run = run(7);
    let mut filter = KeyBloomFilter::for_keys(2);
    [b"b", b"d"].iter().for_each(|key| filter.insert(*key));
    if let Some(root) = &mut run.root {
        root.top.first_key = b"b".to_vec();
    }
    run.last_key = b"d".to_vec();
    run.filter = Some(filter);
    run.comparator = crate::leveldb::comparator::BYTEWISE_NAME.to_owned();
    let order = |a: &[u8], b: &[u8]| a.cmp(b);
    assert!(run.may_hold(b"b", &order) && run.may_hold(b"d", &order));
    for key in [&b"a"[..], b"c", b"e"] {
        assert!(!run.may_hold(key, &order), "{key:?}");
    }
    run.comparator = crate::leveldb::comparator::IDB_NAME.to_owned();
    assert!(run.may_hold(b"c", &order), "bytes do not tell keys apart there");
    assert!(!run.may_hold(b"e", &order));
    run.root = None;
    assert!(!run.may_hold(b"b", &order));
}
