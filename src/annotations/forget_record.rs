//! Encodes and decodes forget records: which snapshots no longer count.
//!
//! Forgetting ⇄ the plain bytes of its object under `forgotten/` (FORMAT.md section 11). Every length is compared with
//! its limit before anything is allocated by it, and only the one encoding of a forgetting is accepted.

use super::forgotten_snapshots::{CountedSnapshot, ForgetReason, ForgetRecord};
use super::note::{limit, read_text, too_new_error, within};
use crate::clock::UnixNanos;
use crate::codec::{Reader, put_prefixed, put_varint};
use crate::envelope::gate;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{DomainId, ObjectId};
use crate::limits::{FORGOTTEN_SNAPSHOTS_MAX, NOTE_REASON_BYTES_MAX};

/// The only version so far.
const VERSION: u8 = 1;

/// The plain bytes, to be sealed. [`ErrorKind::Limit`] for a forgetting that no program would read back.
pub fn encode(forgetting: &ForgetRecord) -> Result<Vec<u8>> {
    check(forgetting)?;
    let mut out = vec![VERSION];
    out.extend_from_slice(&forgetting.when.0.to_le_bytes());
    out.push(forgetting.why as u8);
    put_prefixed(&mut out, forgetting.words.as_bytes());
    put_varint(&mut out, forgetting.snapshots.len() as u64);
    for counted in &forgetting.snapshots {
        out.extend_from_slice(&counted.id.0);
        out.extend_from_slice(&counted.domain.0.to_le_bytes());
        out.extend_from_slice(&counted.counter.to_le_bytes());
    }
    Ok(out)
}

/// Reads what [`encode`] wrote. [`ErrorKind::TooNew`] for a version or a reason that is not known.
pub fn decode(bytes: &[u8]) -> Result<ForgetRecord> {
    let forgetting = read(bytes)?;
    match encode(&forgetting) {
        Ok(again) if again == bytes => Ok(forgetting),
        Ok(_) => Err(Error::corrupt("forgotten is not in its one encoding")),
        Err(error) => Err(error.with_kind(ErrorKind::Corrupt)),
    }
}

fn read(bytes: &[u8]) -> Result<ForgetRecord> {
    let mut reader = Reader::new(bytes);
    gate::gate_version("forgotten", reader.u8()?, VERSION)?;
    let when = UnixNanos(reader.u64()?.cast_signed());
    let why = reason_text(reader.u8()?)?;
    let words = read_text(&mut reader, NOTE_REASON_BYTES_MAX, "reason")?;
    let count = reader.len_varint(FORGOTTEN_SNAPSHOTS_MAX, "forgotten snapshots")?;
    let snapshots = (0..count).map(|_| read_counted_snapshot(&mut reader));
    let snapshots = snapshots.collect::<Result<_>>()?;
    reader.finish()?;
    Ok(ForgetRecord {
        when,
        why,
        words,
        snapshots,
    })
}

fn reason_text(number: u8) -> Result<ForgetReason> {
    let all = [ForgetReason::ByHand, ForgetReason::Policy, ForgetReason::Damaged];
    let known = all.into_iter().find(|why| *why as u8 == number);
    known.ok_or_else(|| too_new_error(format!("reason {number} to forget")))
}

fn read_counted_snapshot(reader: &mut Reader<'_>) -> Result<CountedSnapshot> {
    Ok(CountedSnapshot {
        id: ObjectId(reader.array()?),
        domain: DomainId(reader.u32()?),
        counter: reader.u64()?,
    })
}

fn check(forgetting: &ForgetRecord) -> Result<()> {
    let snapshots = &forgetting.snapshots;
    within("reason", &forgetting.words, NOTE_REASON_BYTES_MAX)?;
    if snapshots.is_empty() || snapshots.len() > FORGOTTEN_SNAPSHOTS_MAX {
        let count = snapshots.len();
        return Err(limit(format!(
            "{count} snapshots to forget: want 1 to {FORGOTTEN_SNAPSHOTS_MAX}"
        )));
    }
    if snapshots.is_sorted_by(|a, b| a.id < b.id) {
        Ok(())
    } else {
        Err(limit("snapshots to forget are not sorted, or one stands twice"))
    }
}
