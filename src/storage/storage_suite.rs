//! Tests that every storage must pass.
//!
//! The tests that every storage must pass, backend or wrapper: one suite, so that no backend is "almost".
#![allow(
    clippy::unwrap_used,
    reason = "these are tests, also where another crate runs them"
)]

use super::{ObjectKind, ObjectName, Storage};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;

/// Makes an empty storage for each test.
pub type MakeStorage<'a> = &'a dyn Fn() -> Box<dyn Storage>;

type SuiteCase = (&'static str, fn(&dyn Storage));

/// Runs the whole suite; panics at the first promise that is not kept.
pub fn run(make: MakeStorage<'_>) {
    let cases: [SuiteCase; 10] = [
        ("what goes in comes out", what_goes_in_comes_out),
        ("what exists stays as it is", what_exists_stays_as_it_is),
        ("what is not sound is not stored", what_is_not_sound_is_not_stored),
        ("what is missing is not found", what_is_missing_is_not_found),
        ("a range is exact or torn", a_range_is_exact_or_torn),
        (
            "an object over the limit is refused",
            an_object_over_the_limit_is_refused,
        ),
        (
            "a listing is complete and of one kind",
            a_listing_is_complete_and_of_one_kind,
        ),
        ("a deleted object is gone", a_deleted_object_is_gone),
        ("only the right bytes heal", only_the_right_bytes_heal),
        ("one of many racing writers wins", one_of_many_racing_writers_wins),
    ];
    for (title, case) in cases {
        let storage = make();
        eprintln!("{}: {title}", storage.describe());
        case(&*storage);
    }
}

fn name(kind: ObjectKind, fill: u8) -> ObjectName {
    ObjectName::new(kind, ObjectId([fill; 32]))
}

fn kind_of<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn what_goes_in_comes_out(storage: &dyn Storage) {
    for kind in ObjectKind::ALL {
        for (fill, len) in [(1, 0usize), (2, 1), (3, 4096), (4, (1 << 20) + 1)] {
            let name = name(kind, fill);
            if kind.is_single() && fill > 1 {
                continue;
            }
            let bytes: Vec<u8> = (0..len).map(|index| (index * 31 + len) as u8).collect();
            storage.put_new(name, &bytes).unwrap();
            assert!(storage.get(name, len as u64).unwrap() == bytes, "{name}");
            let listed = storage.stat(name).unwrap();
            assert_eq!((listed.name, listed.len), (name, len as u64));
        }
    }
}

fn what_exists_stays_as_it_is(storage: &dyn Storage) {
    let name = name(ObjectKind::Snapshot, 7);
    storage.put_new(name, b"first").unwrap();
    storage.put_new(name, b"first").unwrap();
    for other in [&b"other"[..], b"", b"firs", b"first!"] {
        assert_eq!(kind_of(storage.put_new(name, other)), ErrorKind::Exists);
    }
    assert_eq!(storage.get(name, 99).unwrap(), b"first");
}

fn what_is_not_sound_is_not_stored(storage: &dyn Storage) {
    let name = name(ObjectKind::Pack, 8);
    let unsound = || Err(Error::corrupt("looked at"));
    for len in [5, (1 << 20) + 1] {
        let bytes = vec![len as u8; len];
        let refused = storage.put_new_if(name, &bytes, &unsound).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt);
        assert!(refused.to_string().ends_with("looked at"), "{refused}");
        assert_eq!(kind_of(storage.stat(name)), ErrorKind::NotFound);
        storage.put_new_if(name, &bytes, &|| Ok(())).unwrap();
        assert!(storage.get(name, len as u64).unwrap() == bytes);
        // Also what is there already was to be looked at.
        assert_eq!(
            kind_of(storage.put_new_if(name, &bytes, &unsound)),
            ErrorKind::Corrupt
        );
        assert_eq!(
            kind_of(storage.put_new_if(name, b"other", &|| Ok(()))),
            ErrorKind::Exists
        );
        storage.delete(name).unwrap();
    }
}

fn what_is_missing_is_not_found(storage: &dyn Storage) {
    for kind in ObjectKind::ALL {
        let name = name(kind, 9);
        assert_eq!(kind_of(storage.get(name, 99)), ErrorKind::NotFound, "{name}");
        assert_eq!(
            kind_of(storage.get_range(name, 0, 0)),
            ErrorKind::NotFound,
            "{name}"
        );
        assert_eq!(kind_of(storage.stat(name)), ErrorKind::NotFound, "{name}");
        assert_eq!(storage.list(kind).unwrap(), []);
    }
}

fn a_range_is_exact_or_torn(storage: &dyn Storage) {
    let name = name(ObjectKind::Pack, 5);
    storage.put_new(name, b"0123456789").unwrap();
    assert_eq!(storage.get_range(name, 0, 10).unwrap(), b"0123456789");
    assert_eq!(storage.get_range(name, 3, 4).unwrap(), b"3456");
    assert_eq!(storage.get_range(name, 10, 0).unwrap(), b"");
    for (offset, len) in [(0, 11), (9, 2), (10, 1), (11, 0), (u64::MAX, 1), (1, usize::MAX)] {
        assert_eq!(
            kind_of(storage.get_range(name, offset, len)),
            ErrorKind::Torn,
            "{offset} {len}"
        );
    }
}

fn an_object_over_the_limit_is_refused(storage: &dyn Storage) {
    let name = name(ObjectKind::Keyring, 5);
    storage.put_new(name, &[1; 100]).unwrap();
    assert_eq!(kind_of(storage.get(name, 99)), ErrorKind::Limit);
    assert_eq!(storage.get(name, 100).unwrap().len(), 100);
}

fn a_listing_is_complete_and_of_one_kind(storage: &dyn Storage) {
    let mut wanted = Vec::new();
    for fill in 0..40u8 {
        let id = ObjectId(*blake3::hash(&[fill]).as_bytes());
        let pack = ObjectName::new(ObjectKind::Pack, id);
        storage.put_new(pack, &vec![0; usize::from(fill)]).unwrap();
        storage
            .put_new(ObjectName::new(ObjectKind::Index, id), b"index")
            .unwrap();
        wanted.push((pack, u64::from(fill)));
    }
    wanted.sort();
    let listed = storage.list(ObjectKind::Pack).unwrap();
    let found: Vec<_> = listed.iter().map(|listed| (listed.name, listed.len)).collect();
    assert_eq!(found, wanted);
    storage.put_new(ObjectName::CONFIG, b"config").unwrap();
    let config = storage.list(ObjectKind::Config).unwrap();
    assert_eq!(config.iter().map(|listed| listed.len).collect::<Vec<_>>(), [6]);
    assert_eq!(storage.list(ObjectKind::ConfigCopy).unwrap(), []);
}

fn a_deleted_object_is_gone(storage: &dyn Storage) {
    for kind in ObjectKind::ALL {
        let name = name(kind, 6);
        storage.delete(name).unwrap();
        storage.put_new(name, b"here").unwrap();
        storage.delete(name).unwrap();
        assert_eq!(kind_of(storage.get(name, 99)), ErrorKind::NotFound);
        assert_eq!(storage.list(kind).unwrap(), []);
        storage.delete(name).unwrap();
        storage.put_new(name, b"other").unwrap();
    }
}

fn only_the_right_bytes_heal(storage: &dyn Storage) {
    let name = ObjectName::of_content(ObjectKind::Pack, b"right");
    storage.put_new(name, b"wrong").unwrap();
    assert_eq!(kind_of(storage.heal(name, b"worse")), ErrorKind::Mismatch);
    assert_eq!(
        kind_of(storage.heal(ObjectName::CONFIG, b"right")),
        ErrorKind::Mismatch
    );
    assert_eq!(storage.get(name, 99).unwrap(), b"wrong");
    storage.heal(name, b"right").unwrap();
    assert_eq!(storage.get(name, 99).unwrap(), b"right");
    storage.delete(name).unwrap();
    storage.heal(name, b"right").unwrap();
    assert_eq!(storage.get(name, 99).unwrap(), b"right");
}

fn one_of_many_racing_writers_wins(storage: &dyn Storage) {
    for round in 0..8 {
        let name = name(ObjectKind::Lease, round);
        let results: Vec<(u8, Result<()>)> = std::thread::scope(|scope| {
            let put = |writer: u8| (writer, storage.put_new(name, &[writer; 3000]));
            let writers: Vec<_> = (0..8).map(|writer| scope.spawn(move || put(writer))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let winners: Vec<u8> = results
            .iter()
            .filter(|(_, put)| put.is_ok())
            .map(|(writer, _)| *writer)
            .collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        assert_eq!(storage.get(name, 3000).unwrap(), [winners[0]; 3000]);
        for (_, put) in results {
            assert!(put.is_ok() || kind_of(put) == ErrorKind::Exists);
        }
    }
}
