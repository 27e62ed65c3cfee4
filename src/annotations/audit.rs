//! Encodes and decodes audit records: what was read, with which result.
//!
//! Audit ⇄ the body of its object (FORMAT.md section 11): what was read, and how it was found.

use crate::clock::UnixNanos;
use crate::codec::{Reader, put_varint};
use crate::envelope::{ObjectClass, gate};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;
use crate::limits::AUDIT_OBJECTS_MAX;

/// The only version of audits so far.
const VERSION: u8 = 1;

/// By so much may an audit be ahead of our clock, nanoseconds: as far as a prune lets clocks differ.
const AHEAD_MAX: i64 = 300 * 1_000_000_000;

/// What one check read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// What was done to all of them.
    pub how: AuditMethod,
    /// The objects: by class and name, none twice, 1 to [`AUDIT_OBJECTS_MAX`].
    pub objects: Vec<AuditedObject>,
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AuditMethod {
    /// Its bytes were hashed and compared with its name, by somebody who may hold no key.
    Hashed = 1,
    /// Each part of it was opened and named anew, by the owner.
    Opened = 2,
}

/// An object that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditedObject {
    /// What it is.
    pub class: ObjectClass,
    /// Its name.
    pub id: ObjectId,
    /// How it was.
    pub found: AuditResult,
    /// When reading it began, by the reader's clock.
    pub when: UnixNanos,
}

/// How an object was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AuditResult {
    /// Wholly.
    Right = 1,
    /// In any respect.
    Wrong = 2,
}

impl Audit {
    /// Refuses what was read at a time that is yet to come: it would stand for the newest for ever.
    pub fn refuse_time_ahead(&self, now: UnixNanos) -> Result<()> {
        let last = self.objects.iter().map(|audited| audited.when).max();
        if last.is_none_or(|last| last.0 <= now.0.saturating_add(AHEAD_MAX)) {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Limit,
                "says that something was read at a time that is yet to come by our clock",
            ))
        }
    }
}

/// The body. [`ErrorKind::Limit`] for an audit that no program would read back.
pub fn encode(audit: &Audit) -> Result<Vec<u8>> {
    check(audit)?;
    let mut out = vec![VERSION, audit.how as u8];
    put_varint(&mut out, audit.objects.len() as u64);
    for audited in &audit.objects {
        out.push(audited.class as u8);
        out.extend_from_slice(&audited.id.0);
        out.push(audited.found as u8);
        out.extend_from_slice(&audited.when.0.to_le_bytes());
    }
    Ok(out)
}

/// Reads what [`encode`] wrote; [`ErrorKind::TooNew`] for a later version. `how` is what the object's key scheme allows.
pub fn decode(bytes: &[u8], how: AuditMethod) -> Result<Audit> {
    let mut reader = Reader::new(bytes);
    gate::gate_version("audit", reader.u8()?, VERSION)?;
    if reader.u8()? != how as u8 {
        return Err(Error::corrupt(
            "an audit of another way than its key scheme allows",
        ));
    }
    let count = reader.varint_canonical()?;
    if count == 0 || count > AUDIT_OBJECTS_MAX as u64 {
        return Err(Error::corrupt(format!("audit of {count} objects")));
    }
    // A list longer than the bytes there are ends the reading before it takes memory.
    let objects = (0..count).map(|_| read_audited_object(&mut reader));
    let objects = objects.collect::<Result<Vec<_>>>()?;
    reader.finish()?;
    let audit = Audit { how, objects };
    check(&audit).map_err(|error| error.with_kind(ErrorKind::Corrupt))?;
    Ok(audit)
}

fn read_audited_object(reader: &mut Reader<'_>) -> Result<AuditedObject> {
    Ok(AuditedObject {
        class: ObjectClass::try_from(reader.u8()?)?,
        id: ObjectId(reader.array()?),
        found: match reader.u8()? {
            1 => AuditResult::Right,
            2 => AuditResult::Wrong,
            other => return Err(Error::corrupt(format!("an object that was found {other}"))),
        },
        when: UnixNanos(reader.u64()?.cast_signed()),
    })
}

fn check(audit: &Audit) -> Result<()> {
    let count = audit.objects.len();
    if count == 0 || count > AUDIT_OBJECTS_MAX {
        let what = format!("{count} objects in one audit: want 1 to {AUDIT_OBJECTS_MAX}");
        return Err(Error::new(ErrorKind::Limit, what));
    }
    if audit
        .objects
        .is_sorted_by(|a, b| (a.class, a.id) < (b.class, b.id))
    {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Limit,
            "audited objects are not sorted, or one stands twice",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{assert_example, example};

    const DOCUMENT: &str = include_str!("../../docs/format/11-annotations.md");
    const WHEN: i64 = 1_700_000_000_000_000_000;
    const HOUR: i64 = 3600 * 1_000_000_000;

    fn pack(number: u8, found: AuditResult, when: i64) -> AuditedObject {
        AuditedObject {
            class: ObjectClass::Pack,
            id: ObjectId([number; 32]),
            found,
            when: UnixNanos(when),
        }
    }

    /// The audit that section 11 spells out.
    fn documented() -> Audit {
        Audit {
            how: AuditMethod::Opened,
            objects: vec![
                pack(5, AuditResult::Right, WHEN),
                pack(7, AuditResult::Wrong, WHEN + HOUR),
            ],
        }
    }

    #[test]
    fn the_documents_audit_is_the_one_of_these_tests() {
        assert_example(DOCUMENT, "audit", &encode(&documented()).unwrap());
        let decoded = decode(&example(DOCUMENT, "audit"), AuditMethod::Opened).unwrap();
        assert_eq!(decoded, documented());
    }

    #[test]
    fn every_bit_of_an_audit_carries_something_and_a_part_of_one_is_none() {
        let bytes = encode(&documented()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let decoded = decode(&wrong, AuditMethod::Opened).ok();
            assert_ne!(decoded.as_ref(), Some(&documented()), "bit {bit}");
        }
        for len in 0..bytes.len() {
            let error = decode(&bytes[..len], AuditMethod::Opened).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{len}");
        }
        assert!(decode(&[&bytes[..], &[0]].concat(), AuditMethod::Opened).is_err());
    }

    #[test]
    fn audits_that_no_program_writes_are_refused() {
        let with = |objects| Audit {
            objects,
            ..documented()
        };
        let (one, two) = (pack(1, AuditResult::Right, 1), pack(2, AuditResult::Right, 1));
        for objects in [vec![], vec![two, one], vec![one, one]] {
            assert_eq!(encode(&with(objects)).unwrap_err().kind(), ErrorKind::Limit);
        }
        // A count without its objects, 100,000 of them: and takes no memory.
        let count = [1, 2, 0xa0, 0x8d, 6];
        assert_eq!(
            decode(&count, AuditMethod::Opened).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        let mut longer = encode(&documented()).unwrap();
        longer.splice(2..3, [0x82, 0]);
        let error = decode(&longer, AuditMethod::Opened).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "one encoding");
        let mut later = encode(&documented()).unwrap();
        later[0] = 2;
        assert_eq!(
            decode(&later, AuditMethod::Opened).unwrap_err().kind(),
            ErrorKind::TooNew
        );
        let mut class = encode(&documented()).unwrap();
        class[3] = 99;
        assert_eq!(
            decode(&class, AuditMethod::Opened).unwrap_err().kind(),
            ErrorKind::TooNew
        );
    }

    #[test]
    fn what_was_hashed_is_not_taken_for_opened_nor_the_other_way_round() {
        for (said, taken) in [
            (AuditMethod::Hashed, AuditMethod::Opened),
            (AuditMethod::Opened, AuditMethod::Hashed),
        ] {
            let audit = Audit {
                how: said,
                ..documented()
            };
            let bytes = encode(&audit).unwrap();
            assert_eq!(decode(&bytes, said).unwrap(), audit);
            assert_eq!(decode(&bytes, taken).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn an_audit_of_the_future_is_refused_and_one_of_a_clock_that_is_a_little_ahead_is_not() {
        let audit = documented();
        let latest = WHEN + HOUR;
        audit.refuse_time_ahead(UnixNanos(latest - AHEAD_MAX)).unwrap();
        let error = audit.refuse_time_ahead(UnixNanos(latest - AHEAD_MAX - 1));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Limit);
    }
}
