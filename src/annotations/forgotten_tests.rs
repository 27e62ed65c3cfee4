use proptest::prelude::*;

use super::forget_record::{decode, encode};
use super::*;
use crate::document::{assert_example, example};
use crate::error::ErrorKind;
use crate::id::DomainId;
use crate::limits::*;

const DOCUMENT: &str = include_str!("../../docs/format/11-annotations.md");

fn counted(number: u8, counter: u64) -> CountedSnapshot {
    CountedSnapshot {
        id: ObjectId([number; 32]),
        domain: DomainId(0),
        counter,
    }
}

/// The forgetting that section 11 spells out.
fn documented() -> ForgetRecord {
    ForgetRecord {
        when: UnixNanos(1_700_000_000_000_000_000),
        why: ForgetReason::Policy,
        words: "keep-daily 7".into(),
        snapshots: vec![counted(8, 3)],
    }
}

fn by_hand(when: i64, snapshots: Vec<CountedSnapshot>) -> ForgetRecord {
    ForgetRecord {
        when: UnixNanos(when),
        why: ForgetReason::ByHand,
        words: String::new(),
        snapshots,
    }
}

fn some() -> Vec<ForgetRecord> {
    vec![
        documented(),
        by_hand(i64::MIN, vec![counted(0, 0), counted(1, u64::MAX), counted(2, 1)]),
        ForgetRecord {
            why: ForgetReason::Damaged,
            ..documented()
        },
    ]
}

#[test]
fn every_forgetting_goes_out_and_comes_back() {
    for forgetting in some() {
        assert_eq!(decode(&encode(&forgetting).unwrap()).unwrap(), forgetting);
    }
}

#[test]
fn the_documents_forgetting_is_the_one_of_these_tests() {
    assert_example(DOCUMENT, "forgotten", &encode(&documented()).unwrap());
    assert_eq!(decode(&example(DOCUMENT, "forgotten")).unwrap(), documented());
}

#[test]
fn every_bit_of_a_forgetting_carries_something() {
    for forgetting in some() {
        let bytes = encode(&forgetting).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decode(&wrong).ok().as_ref(), Some(&forgetting), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(
                decode(&bytes[..len]).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{len}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(decode(&longer).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn an_unknown_version_or_reason_is_too_new_and_names_what_to_install() {
    for (at, byte) in [(0, 2), (9, 3)] {
        let mut bytes = encode(&documented()).unwrap();
        bytes[at] = byte;
        let error = decode(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooNew, "{error}");
        assert!(error.to_string().contains("install a levault"), "{error}");
    }
}

#[test]
fn what_passes_a_limit_is_neither_forgotten_nor_read() {
    let many: Vec<_> = (0..=FORGOTTEN_SNAPSHOTS_MAX as u64)
        .map(|counter| {
            let mut it = counted(0, counter);
            it.id.0[..8].copy_from_slice(&counter.to_be_bytes());
            it
        })
        .collect();
    assert!(encode(&by_hand(0, many[1..].to_vec())).is_ok());
    let long = ForgetRecord {
        words: "x".repeat(NOTE_REASON_BYTES_MAX + 1),
        ..documented()
    };
    for wrong in [
        long,
        by_hand(0, many),
        by_hand(0, vec![]),
        by_hand(0, vec![counted(2, 1), counted(1, 2)]),
        by_hand(0, vec![counted(1, 1), counted(1, 2)]),
    ] {
        assert_eq!(encode(&wrong).unwrap_err().kind(), ErrorKind::Limit);
    }
    // The same by hand, for what the reader meets before it has a forgetting to encode again.
    let head = [&[1][..], &[0; 8], &[0]].concat();
    let (one, two) = (
        [[1; 32].as_slice(), &[0; 12]].concat(),
        [[2; 32].as_slice(), &[0; 12]].concat(),
    );
    for rest in [
        &b"\x00\x00"[..],
        b"\x81\x20",
        b"\x00\x91\x4e",
        b"\x01\xff\x00",
        &[b"\x00\x81\x00", &one[..]].concat(),
        &[b"\x00\x02", &two[..], &one].concat(),
        &[b"\x00\x02", &one[..], &one].concat(),
    ] {
        let error = decode(&[&head[..], rest].concat()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{rest:?}: {error}");
    }
}

fn stored(name: u8, forgetting: ForgetRecord) -> StoredForgetRecord {
    StoredForgetRecord {
        name: ObjectId([name; 32]),
        modified: Some(UnixNanos(i64::from(name))),
        forgetting,
    }
}

fn undelete(name: u8, when: i64, number: u8) -> (ObjectId, Note) {
    let about = NoteSubject::Snapshot {
        id: ObjectId([number; 32]),
        said: SnapshotNote::Undelete,
    };
    let when = UnixNanos(when);
    (ObjectId([name; 32]), Note { when, about })
}

/// Whatever order the objects come in, the snapshot `1` must be forgotten by the one of this name, or not.
fn assert_forgotten_by(by: Option<u8>, forgettings: &[StoredForgetRecord], notes: &[(ObjectId, Note)]) {
    let (mut forgettings, mut notes) = (forgettings.to_vec(), notes.to_vec());
    for _ in 0..=forgettings.len() * notes.len() {
        if !notes.is_empty() {
            notes.rotate_left(1);
        }
        forgettings.rotate_left(1);
        let all = ForgottenSnapshots::new(&forgettings, &CurrentNotes::new(&notes));
        let name = all.of(&ObjectId([1; 32])).map(|since| since.name.0[0]);
        assert_eq!(name, by, "{forgettings:?} {notes:?}");
    }
}

#[test]
fn of_forgetting_and_undelete_the_later_counts() {
    let at = |name, when| stored(name, by_hand(when, vec![counted(1, 1)]));
    assert_forgotten_by(Some(5), &[at(5, 10)], &[]);
    assert_forgotten_by(None, &[at(5, 10)], &[undelete(9, 11, 1)]);
    assert_forgotten_by(Some(5), &[at(5, 10)], &[undelete(9, 9, 1), undelete(8, 11, 2)]);
    // Of one time the greater name is the later.
    assert_forgotten_by(None, &[at(5, 10)], &[undelete(6, 10, 1)]);
    assert_forgotten_by(Some(5), &[at(5, 10)], &[undelete(4, 10, 1)]);
    // Forgotten, brought back, forgotten again; and the first since then is the one that counts.
    assert_forgotten_by(Some(6), &[at(5, 10), at(7, 40), at(6, 30)], &[undelete(9, 20, 1)]);
    assert_forgotten_by(Some(5), &[at(5, 10), at(4, 30), at(6, 20)], &[]);
    assert_forgotten_by(
        None,
        &[at(5, 10), at(6, 30)],
        &[undelete(9, 20, 1), undelete(8, 31, 1)],
    );
}

#[test]
fn forgotten_tells_since_when_why_and_how_far_the_counters_were() {
    let policy = ForgetRecord {
        snapshots: vec![counted(1, 3), counted(2, 9)],
        ..documented()
    };
    let all = [stored(5, policy), stored(6, by_hand(1, vec![counted(3, 12)]))];
    let undeleted = [undelete(9, 2, 3)];
    let forgotten = ForgottenSnapshots::new(&all, &CurrentNotes::new(&undeleted));
    let since = forgotten.of(&ObjectId([2; 32])).unwrap();
    assert_eq!(
        (since.when, since.modified),
        (documented().when, Some(UnixNanos(5)))
    );
    assert_eq!(
        (since.why, &*since.words, since.counted),
        (ForgetReason::Policy, "keep-daily 7", counted(2, 9))
    );
    assert_eq!(forgotten.iter().count(), 2);
    // Also of one that was brought back: its counter was given.
    assert_eq!(
        forgotten.newest_event_of(DomainId(0)),
        Some((12, ObjectId([3; 32])))
    );
    assert_eq!(forgotten.newest_event_of(DomainId(1)), None);
    assert_eq!(
        forgotten.last_annotation_time(&ObjectId([3; 32])),
        Some(UnixNanos(1))
    );
}

proptest! {
    #[test]
    fn noise_never_panics_and_has_one_encoding(
        why in 0u8..4,
        lengths in prop::sample::select(vec![&b"\x00\x01"[..], b"\x80\x00\x01", b"\x00\x81\x00", b"\x01x\x01", b"\x01"]),
        noise in prop::collection::vec(any::<u8>(), 43..46),
    ) {
        let bytes = [&[1][..], &[7; 8], &[why], lengths, &noise].concat();
        if let Ok(forgetting) = decode(&bytes) {
            prop_assert_eq!(encode(&forgetting).unwrap(), bytes);
        }
    }
}
