use proptest::prelude::*;

use super::note::{decode, encode};
use super::*;
use crate::document::{assert_example, example};
use crate::error::ErrorKind;
use crate::id::BlobId;
use crate::limits::*;
use crate::parity::ParityShare;
use crate::run::{ChildRef, RunRoot};

const DOCUMENT: &str = include_str!("../../docs/format/11-annotations.md");

fn on(number: u8, when: i64, said: SnapshotNote) -> Note {
    Note {
        when: UnixNanos(when),
        about: NoteSubject::Snapshot {
            id: ObjectId([number; 32]),
            said,
        },
    }
}

fn point(sequence: u64, name: &str) -> RestorePoint {
    RestorePoint {
        timeline: TimelineId([6; 16]),
        sequence,
        name: name.into(),
    }
}

/// One of each kind, with what each can hold.
fn all_kinds() -> Vec<Note> {
    let of = |about| Note {
        when: UnixNanos(-1),
        about,
    };
    let store = StoreNote {
        abilities: Abilities::of(&[Ability::CreateIfAbsent, Ability::CompleteListings]),
        description: "a directory".into(),
    };
    vec![
        on(1, 0, SnapshotNote::Tags(vec!["a".into(), "ä".into()])),
        on(1, 0, SnapshotNote::Tags(vec![])),
        on(2, i64::MIN, SnapshotNote::Pin),
        on(3, i64::MAX, SnapshotNote::Unpin),
        documented(),
        on(5, 5, SnapshotNote::Cleared(String::new())),
        on(6, 6, SnapshotNote::Undelete),
        rebased(),
        on(
            9,
            9,
            SnapshotNote::Rebased(Box::new(CompactedStack {
                source: 9_999,
                run: run(None),
            })),
        ),
        of(NoteSubject::RestorePoint(point(SEQUENCE_MAX, "before the move"))),
        of(NoteSubject::Store(store)),
        of(NoteSubject::Parity(None)),
        of(NoteSubject::Parity(Some(ParityShare::WHOLE))),
        quarantined(),
        of(NoteSubject::Quarantine {
            id: ObjectId([7; 32]),
            folder: QuarantineFolder::Snapshots,
            holds: false,
        }),
    ]
}

/// The note on an index segment that section 11 spells out.
fn quarantined() -> Note {
    Note {
        when: UnixNanos(1_700_000_000_000_000_000),
        about: NoteSubject::Quarantine {
            id: ObjectId([8; 32]),
            folder: QuarantineFolder::Index,
            holds: true,
        },
    }
}

#[test]
fn the_documented_quarantine_is_the_encoding() {
    assert_example(DOCUMENT, "quarantine", &encode(&quarantined()).unwrap());
    assert_eq!(decode(&example(DOCUMENT, "quarantine")).unwrap(), quarantined());
}

#[test]
fn the_last_word_on_an_object_says_whether_it_is_set_aside() {
    let said = |when, holds| Note {
        when: UnixNanos(when),
        about: NoteSubject::Quarantine {
            id: ObjectId([8; 32]),
            folder: QuarantineFolder::Index,
            holds,
        },
    };
    let notes = [
        (ObjectId([1; 32]), said(1, true)),
        (ObjectId([2; 32]), said(2, false)),
    ];
    assert!(CurrentNotes::new(&notes[..1]).is_quarantined(QuarantineFolder::Index, &ObjectId([8; 32])));
    assert!(!CurrentNotes::new(&notes[..1]).is_quarantined(QuarantineFolder::Snapshots, &ObjectId([8; 32])));
    assert!(!CurrentNotes::new(&notes).is_quarantined(QuarantineFolder::Index, &ObjectId([8; 32])));
}

fn run(root: Option<RunRoot>) -> StoredRunRef {
    StoredRunRef {
        last_key: root.as_ref().map(|_| b"z".to_vec()).unwrap_or_default(),
        root,
        comparator: "leveldb.BytewiseComparator".into(),
        filter: None,
    }
}

/// The other note that section 11 spells out.
fn rebased() -> Note {
    let top = ChildRef {
        first_key: b"a".to_vec(),
        id: BlobId([3; 32]),
        records: 2,
        bytes: 300,
        chunked: 0,
    };
    let run = run(Some(RunRoot { level: 0, top }));
    on(
        8,
        1_700_000_000_000_000_000,
        SnapshotNote::Rebased(Box::new(CompactedStack { source: 1, run })),
    )
}

/// The note that section 11 spells out.
fn documented() -> Note {
    on(
        8,
        1_700_000_000_000_000_000,
        SnapshotNote::Suspect("3 records differ".into()),
    )
}

#[test]
fn every_kind_of_note_goes_out_and_comes_back() {
    for note in all_kinds() {
        assert_eq!(decode(&encode(&note).unwrap()).unwrap(), note);
    }
}

#[test]
fn the_documents_note_is_the_one_of_these_tests() {
    assert_example(DOCUMENT, "note", &encode(&documented()).unwrap());
    assert_eq!(decode(&example(DOCUMENT, "note")).unwrap(), documented());
}

#[test]
fn the_documents_rebasing_is_the_one_of_these_tests() {
    assert_example(DOCUMENT, "rebased", &encode(&rebased()).unwrap());
    assert_eq!(decode(&example(DOCUMENT, "rebased")).unwrap(), rebased());
}

#[test]
fn every_bit_of_a_note_carries_something() {
    for note in all_kinds() {
        let bytes = encode(&note).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decode(&wrong).ok().as_ref(), Some(&note), "bit {bit} of {note:?}");
        }
        for len in 0..bytes.len() {
            assert_eq!(
                decode(&bytes[..len]).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{note:?}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            decode(&longer).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{note:?}"
        );
    }
}

#[test]
fn an_unknown_version_kind_or_ability_is_too_new_and_names_what_to_install() {
    let store = all_kinds()
        .into_iter()
        .find(|note| matches!(note.about, NoteSubject::Store(_)))
        .unwrap();
    for (note, at, byte) in [(documented(), 0, 2), (documented(), 1, 11), (store, 42, 0x20)] {
        let mut bytes = encode(&note).unwrap();
        bytes[at] = byte;
        let error = decode(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooNew, "{error}");
        assert!(error.to_string().contains("install a levault"), "{error}");
    }
    for at in [0, 1] {
        let mut bytes = encode(&documented()).unwrap();
        bytes[at] = 0;
        assert_eq!(
            decode(&bytes).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "0 at {at} never was"
        );
    }
}

#[test]
fn what_passes_a_limit_is_neither_written_nor_read() {
    let long = |len: usize| "x".repeat(len + 1);
    let tags = |tags: Vec<String>| on(1, 0, SnapshotNote::Tags(tags));
    let of = |about| Note {
        when: UnixNanos(0),
        about,
    };
    let store = StoreNote {
        abilities: Abilities::default(),
        description: long(NOTE_REASON_BYTES_MAX),
    };
    let many = (0..=SNAPSHOT_TAGS_MAX).map(|n| format!("{n:05}")).collect();
    for note in [
        tags(vec![long(NOTE_TAG_BYTES_MAX)]),
        tags(many),
        tags(vec!["b".into(), "a".into()]),
        tags(vec!["a".into(), "a".into()]),
        on(1, 0, SnapshotNote::Suspect(long(NOTE_REASON_BYTES_MAX))),
        on(1, 0, SnapshotNote::Cleared(long(NOTE_REASON_BYTES_MAX))),
        on(0, 0, SnapshotNote::Pin),
        of(NoteSubject::RestorePoint(point(1, &long(LABEL_BYTES_MAX)))),
        of(NoteSubject::RestorePoint(point(SEQUENCE_MAX + 1, ""))),
        of(NoteSubject::Store(store)),
    ] {
        assert_eq!(encode(&note).unwrap_err().kind(), ErrorKind::Limit, "{note:?}");
    }
    // The same by hand, for the limits that the reader meets before it has a note to encode again.
    let head = |kind: u8, subject: u8| [vec![1, kind], vec![0; 8], vec![subject; 32]].concat();
    for (head, rest) in [
        (head(1, 1), &b"\x02\x01b\x01a"[..]),
        (head(1, 1), b"\x81\x02"),
        (head(1, 1), b"\x01\x81\x02"),
        (head(10, 0), b"\x11\x27"),
        (head(2, 0), b""),
        (head(4, 1), b"\x81\x20"),
        (head(4, 1), b"\x81\x00x"),
        (head(4, 1), b"\x01\xff"),
        (head(8, 1), b"\0\0\0\0\0"),
        (head(7, 0), &[0xff; 25]),
    ] {
        let error = decode(&[&head, rest].concat()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{rest:?}: {error}");
    }
}

/// Notes under names that count up from `first`, in the given order.
fn named(notes: Vec<Note>) -> Vec<(ObjectId, Note)> {
    let name = |number: usize| ObjectId([number as u8; 32]);
    (0..).map(name).zip(notes).collect()
}

/// Whatever order the notes come in, they must come to this.
fn assert_in_any_order(notes: &[(ObjectId, Note)], holds: impl Fn(&CurrentNotes) -> bool) {
    let mut turned = notes.to_vec();
    for _ in 0..notes.len() {
        turned.rotate_left(1);
        assert!(holds(&CurrentNotes::new(&turned)), "{turned:?}");
        let reversed: Vec<_> = turned.iter().rev().cloned().collect();
        assert!(holds(&CurrentNotes::new(&reversed)), "{reversed:?}");
    }
}

#[test]
fn a_snapshot_of_which_nothing_is_said_is_as_it_was_written() {
    let notes = CurrentNotes::new(&named(vec![on(1, 0, SnapshotNote::Suspect("x".into()))]));
    let (other, own) = (ObjectId([2; 32]), ["own".to_owned()]);
    assert_eq!(notes.tags(&other, &own), own);
    assert_eq!(
        (notes.suspect_note(&other), notes.is_pinned(&other)),
        (None, false)
    );
    assert!(notes.of(&other).is_none());
}

#[test]
fn of_two_notes_about_the_same_thing_the_later_counts() {
    let id = ObjectId([1; 32]);
    let notes = named(vec![
        on(1, 10, SnapshotNote::Tags(vec!["old".into()])),
        on(1, 20, SnapshotNote::Tags(vec!["new".into()])),
        on(1, 10, SnapshotNote::Pin),
        on(1, 20, SnapshotNote::Unpin),
        on(1, 10, SnapshotNote::Cleared("fine".into())),
        on(1, 20, SnapshotNote::Suspect("not fine".into())),
    ]);
    assert_in_any_order(&notes, |all| {
        all.tags(&id, &[]) == ["new"] && !all.is_pinned(&id) && all.suspect_note(&id) == Some("not fine")
    });
}

#[test]
fn of_two_notes_of_one_time_the_one_with_the_greater_name_counts() {
    let id = ObjectId([1; 32]);
    let notes = named(vec![on(1, 10, SnapshotNote::Unpin), on(1, 10, SnapshotNote::Pin)]);
    assert_in_any_order(&notes, |all| all.is_pinned(&id));
    let notes = named(vec![on(1, 10, SnapshotNote::Pin), on(1, 10, SnapshotNote::Unpin)]);
    assert_in_any_order(&notes, |all| !all.is_pinned(&id));
}

#[test]
fn a_cleared_snapshot_is_not_suspect_and_a_new_suspicion_begins_anew() {
    let id = ObjectId([1; 32]);
    let mut notes = named(vec![
        on(1, 10, SnapshotNote::Suspect("first".into())),
        on(1, 20, SnapshotNote::Suspect("second".into())),
    ]);
    let doubt = |notes: &CurrentNotes| notes.of(&id).unwrap().doubt.clone();
    let suspect = |since, reason: &str| AuditDoubt::Suspect {
        since: UnixNanos(since),
        reason: reason.into(),
    };
    assert_in_any_order(&notes, |all| doubt(all) == suspect(10, "second"));
    notes.push((
        ObjectId([9; 32]),
        on(1, 30, SnapshotNote::Cleared("read again".into())),
    ));
    assert_in_any_order(&notes, |all| {
        let cleared = AuditDoubt::Cleared {
            when: UnixNanos(30),
            reason: "read again".into(),
        };
        all.suspect_note(&id).is_none() && doubt(all) == cleared
    });
    notes.push((
        ObjectId([8; 32]),
        on(1, 40, SnapshotNote::Suspect("third".into())),
    ));
    assert_in_any_order(&notes, |all| doubt(all) == suspect(40, "third"));
}

#[test]
fn undelete_restore_points_and_store_are_told_as_last_said() {
    let note = |when, about| Note {
        when: UnixNanos(when),
        about,
    };
    let store = |description: &str| {
        NoteSubject::Store(StoreNote {
            abilities: Abilities::of(&[Ability::ModificationTimes]),
            description: description.into(),
        })
    };
    let notes = named(vec![
        on(1, 10, SnapshotNote::Undelete),
        on(1, 5, SnapshotNote::Undelete),
        note(1, NoteSubject::RestorePoint(point(7, "a"))),
        note(2, NoteSubject::RestorePoint(point(8, "a"))),
        note(1, NoteSubject::RestorePoint(point(9, "b"))),
        note(1, store("old")),
        note(2, store("new")),
        note(1, NoteSubject::Parity(Some(ParityShare::WHOLE))),
        note(2, NoteSubject::Parity(None)),
        note(3, NoteSubject::Parity(Some(ParityShare::DEFAULT))),
    ]);
    assert_in_any_order(&notes, |all| {
        let found = all.storage_note().unwrap();
        all.of(&ObjectId([1; 32])).unwrap().undeleted == Some((UnixNanos(10), ObjectId([0; 32])))
            && all.restore_points().eq([&point(8, "a"), &point(9, "b")])
            && found.description == "new"
            && all.parity() == Some(ParityShare::DEFAULT)
            && found.abilities.has(Ability::ModificationTimes)
            && !found.abilities.has(Ability::CreateIfAbsent)
    });
}

proptest! {
    #[test]
    fn noise_behind_any_kind_never_panics_and_has_one_encoding(kind in 0u8..12, noise in prop::collection::vec(any::<u8>(), 0..120)) {
        let bytes = [&[1, kind][..], &noise].concat();
        if let Ok(note) = decode(&bytes) {
            prop_assert_eq!(encode(&note).unwrap(), bytes);
        }
    }
}
