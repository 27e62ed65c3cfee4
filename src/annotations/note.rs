//! Encodes and decodes notes: tags, protection, suspicion, compactions.
//!
//! Note ⇄ the plain bytes of its object (FORMAT.md section 11). Every length is compared with its limit before
//! anything is allocated by it, and only the one encoding of a note is accepted.

use super::{
    Abilities, CompactedStack, Note, NoteSubject, QuarantineFolder, RestorePoint, SnapshotNote, StoreNote,
};
use crate::clock::UnixNanos;
use crate::codec::{Reader, put_prefixed, put_varint};
use crate::envelope::gate;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ObjectId, TimelineId};
use crate::limits::{
    LABEL_BYTES_MAX, NOTE_REASON_BYTES_MAX, NOTE_TAG_BYTES_MAX, SEQUENCE_MAX, SNAPSHOT_SOURCES_MAX,
    SNAPSHOT_TAGS_MAX,
};
use crate::parity::ParityShare;
use crate::snapshot::snapshot_codec;

/// The only version of note bodies so far.
const VERSION: u8 = 1;

/// The subject of a note that is about no object.
const NOBODY: ObjectId = ObjectId([0; ObjectId::LEN]);

/// The plain bytes, to be sealed. [`ErrorKind::Limit`] for a note that no program would read back.
pub fn encode(note: &Note) -> Result<Vec<u8>> {
    check(note)?;
    let mut out = vec![VERSION, kind_of(&note.about)];
    out.extend_from_slice(&note.when.0.to_le_bytes());
    let subject = match &note.about {
        NoteSubject::Snapshot { id, .. } | NoteSubject::Quarantine { id, .. } => id,
        NoteSubject::RestorePoint(_) | NoteSubject::Store(_) | NoteSubject::Parity(_) => &NOBODY,
    };
    out.extend_from_slice(&subject.0);
    encode_subject_body(&note.about, &mut out)?;
    Ok(out)
}

/// Reads what [`encode`] wrote. [`ErrorKind::TooNew`] for a version, a kind or an ability that is not known.
pub fn decode(bytes: &[u8]) -> Result<Note> {
    let note = read(bytes)?;
    match encode(&note) {
        Ok(again) if again == bytes => Ok(note),
        Ok(_) => Err(Error::corrupt("note is not in its one encoding")),
        Err(error) => Err(error.with_kind(ErrorKind::Corrupt)),
    }
}

fn kind_of(about: &NoteSubject) -> u8 {
    match about {
        NoteSubject::Snapshot { said, .. } => match said {
            SnapshotNote::Tags(_) => 1,
            SnapshotNote::Pin => 2,
            SnapshotNote::Unpin => 3,
            SnapshotNote::Suspect(_) => 4,
            SnapshotNote::Cleared(_) => 5,
            SnapshotNote::Undelete => 6,
            SnapshotNote::Rebased(_) => 9,
        },
        NoteSubject::RestorePoint(_) => 7,
        NoteSubject::Store(_) => 8,
        NoteSubject::Parity(_) => 10,
        NoteSubject::Quarantine { holds: true, .. } => 11,
        NoteSubject::Quarantine { holds: false, .. } => 12,
    }
}

fn encode_subject_body(about: &NoteSubject, out: &mut Vec<u8>) -> Result<()> {
    match about {
        NoteSubject::Snapshot { said, .. } => encode_snapshot_note(said, out)?,
        NoteSubject::RestorePoint(point) => {
            out.extend_from_slice(&point.timeline.0);
            out.extend_from_slice(&point.sequence.to_le_bytes());
            put_prefixed(out, point.name.as_bytes());
        }
        NoteSubject::Store(store) => {
            out.extend_from_slice(&store.abilities.0.to_le_bytes());
            put_prefixed(out, store.description.as_bytes());
        }
        NoteSubject::Parity(share) => {
            let share = share.map_or(0, ParityShare::ten_thousandths);
            out.extend_from_slice(&share.to_le_bytes());
        }
        NoteSubject::Quarantine { folder, .. } => out.push(*folder as u8),
    }
    Ok(())
}

fn encode_snapshot_note(said: &SnapshotNote, out: &mut Vec<u8>) -> Result<()> {
    match said {
        SnapshotNote::Tags(tags) => {
            put_varint(out, tags.len() as u64);
            tags.iter().for_each(|tag| put_prefixed(out, tag.as_bytes()));
        }
        SnapshotNote::Suspect(reason) | SnapshotNote::Cleared(reason) => put_prefixed(out, reason.as_bytes()),
        SnapshotNote::Rebased(rebased) => {
            put_varint(out, u64::from(rebased.source));
            snapshot_codec::encode_run(&rebased.run, out)?;
        }
        SnapshotNote::Pin | SnapshotNote::Unpin | SnapshotNote::Undelete => {}
    }
    Ok(())
}

fn read(bytes: &[u8]) -> Result<Note> {
    let mut reader = Reader::new(bytes);
    gate::gate_version("note", reader.u8()?, VERSION)?;
    let kind = reader.u8()?;
    let when = UnixNanos(reader.u64()?.cast_signed());
    let id = ObjectId(reader.array()?);
    let about = match kind {
        7 => NoteSubject::RestorePoint(read_point(&mut reader)?),
        8 => NoteSubject::Store(read_store(&mut reader)?),
        10 => NoteSubject::Parity(read_share(&mut reader)?),
        11 | 12 => NoteSubject::Quarantine {
            id,
            folder: read_compactor(&mut reader)?,
            holds: kind == 11,
        },
        _ => NoteSubject::Snapshot {
            id,
            said: read_snapshot_note(kind, &mut reader)?,
        },
    };
    reader.finish()?;
    Ok(Note { when, about })
}

fn read_snapshot_note(kind: u8, reader: &mut Reader<'_>) -> Result<SnapshotNote> {
    Ok(match kind {
        0 => return Err(Error::corrupt("note kind 0 never was")),
        1 => SnapshotNote::Tags(read_tags(reader)?),
        2 => SnapshotNote::Pin,
        3 => SnapshotNote::Unpin,
        4 => SnapshotNote::Suspect(read_text(reader, NOTE_REASON_BYTES_MAX, "reason")?),
        5 => SnapshotNote::Cleared(read_text(reader, NOTE_REASON_BYTES_MAX, "reason")?),
        6 => SnapshotNote::Undelete,
        9 => SnapshotNote::Rebased(Box::new(CompactedStack {
            source: u32::try_from(reader.len_varint(SNAPSHOT_SOURCES_MAX, "source")?)
                .map_err(|cause| Error::with_cause(ErrorKind::Corrupt, "source number", cause))?,
            run: {
                let left = reader.remaining();
                snapshot_codec::decode_run(reader.bytes(left)?)?
            },
        })),
        _ => return Err(too_new_error(format!("note kind {kind}"))),
    })
}

fn read_tags(reader: &mut Reader<'_>) -> Result<Vec<String>> {
    let count = reader.len_varint(SNAPSHOT_TAGS_MAX, "tags")?;
    (0..count)
        .map(|_| read_text(reader, NOTE_TAG_BYTES_MAX, "tag"))
        .collect()
}

fn read_point(reader: &mut Reader<'_>) -> Result<RestorePoint> {
    Ok(RestorePoint {
        timeline: TimelineId(reader.array()?),
        sequence: reader.u64()?,
        name: read_text(reader, LABEL_BYTES_MAX, "name")?,
    })
}

fn read_store(reader: &mut Reader<'_>) -> Result<StoreNote> {
    let bits = reader.u32()?;
    match bits & !Abilities::KNOWN {
        0 => Ok(StoreNote {
            abilities: Abilities(bits),
            description: read_text(reader, NOTE_REASON_BYTES_MAX, "description")?,
        }),
        unknown => Err(too_new_error(format!("store ability {unknown:#x}"))),
    }
}

fn read_compactor(reader: &mut Reader<'_>) -> Result<QuarantineFolder> {
    match reader.u8()? {
        1 => Ok(QuarantineFolder::Snapshots),
        2 => Ok(QuarantineFolder::Index),
        unknown => Err(too_new_error(format!("folder {unknown}"))),
    }
}

fn read_share(reader: &mut Reader<'_>) -> Result<Option<ParityShare>> {
    match reader.u16()? {
        0 => Ok(None),
        share => ParityShare::from_ten_thousandths(share)
            .map(Some)
            .map_err(|error| error.with_kind(ErrorKind::Corrupt)),
    }
}

pub(super) fn read_text(reader: &mut Reader<'_>, max: usize, what: &str) -> Result<String> {
    let len = reader.len_varint(max, what)?;
    let text = std::str::from_utf8(reader.bytes(len)?);
    text.map(str::to_owned)
        .map_err(|cause| Error::with_cause(ErrorKind::Corrupt, format!("{what} is not UTF-8"), cause))
}

pub(super) fn too_new_error(what: String) -> Error {
    Error::new(
        ErrorKind::TooNew,
        format!("{what} is not known; {}", gate::upgrade_advice()),
    )
}

fn check(note: &Note) -> Result<()> {
    match &note.about {
        NoteSubject::Snapshot { id, .. } | NoteSubject::Quarantine { id, .. } if *id == NOBODY => {
            Err(limit("a note on an object without its name"))
        }
        NoteSubject::Snapshot { said, .. } => check_snapshot_note(said),
        NoteSubject::RestorePoint(point) if point.sequence > SEQUENCE_MAX => {
            Err(limit(format!("sequence number {} is none", point.sequence)))
        }
        NoteSubject::RestorePoint(point) => within("name", &point.name, LABEL_BYTES_MAX),
        NoteSubject::Parity(_) | NoteSubject::Quarantine { .. } => Ok(()),
        NoteSubject::Store(store) => within("description", &store.description, NOTE_REASON_BYTES_MAX),
    }
}

fn check_snapshot_note(said: &SnapshotNote) -> Result<()> {
    match said {
        SnapshotNote::Tags(tags) if tags.len() > SNAPSHOT_TAGS_MAX => Err(limit(format!(
            "{} tags pass the limit {SNAPSHOT_TAGS_MAX}",
            tags.len()
        ))),
        SnapshotNote::Tags(tags) if !tags.is_sorted_by(|a, b| a < b) => {
            Err(limit("tags are not sorted, or one stands twice"))
        }
        SnapshotNote::Tags(tags) => tags
            .iter()
            .try_for_each(|tag| within("tag", tag, NOTE_TAG_BYTES_MAX)),
        SnapshotNote::Suspect(reason) | SnapshotNote::Cleared(reason) => {
            within("reason", reason, NOTE_REASON_BYTES_MAX)
        }
        SnapshotNote::Rebased(rebased) if rebased.source as usize >= SNAPSHOT_SOURCES_MAX => {
            Err(limit(format!("source {} passes the limit", rebased.source)))
        }
        SnapshotNote::Pin | SnapshotNote::Unpin | SnapshotNote::Undelete | SnapshotNote::Rebased(_) => Ok(()),
    }
}

pub(super) fn within(what: &str, text: &str, max: usize) -> Result<()> {
    if text.len() <= max {
        Ok(())
    } else {
        Err(limit(format!(
            "{what}: {} bytes pass the limit {max}",
            text.len()
        )))
    }
}

pub(super) fn limit(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Limit, message)
}
