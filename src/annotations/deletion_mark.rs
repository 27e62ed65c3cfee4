//! Encodes and decodes deletion marks: packs to be deleted after the grace.
//!
//! Mark ⇄ the clear part of its object (FORMAT.md section 11): packs that are to go. It needs no key to be read, and the
//! owner's to be believed.

use crate::clock::UnixNanos;
use crate::codec::Reader;
use crate::envelope::gate;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;
use crate::limits::{MARK_PACKS_MAX, PACK_STORED_BYTES_MAX};

/// The only version of marks so far.
const VERSION: u8 = 1;

/// In place of the mark that is replaced, where there is none.
const NOBODY: ObjectId = ObjectId([0; ObjectId::LEN]);

/// Packs that are to go, once the grace is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionMark {
    /// When, by the marking prune's clock: for people.
    pub when: UnixNanos,
    /// The packs: by name, none twice, 1 to [`MARK_PACKS_MAX`].
    pub packs: Vec<MarkedPack>,
    /// What it replaces, if some packs of an older mark are needed again.
    pub replaces: Option<ReplacedMark>,
}

/// A pack that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkedPack {
    /// Its name.
    pub pack: ObjectId,
    /// Its length, bytes.
    pub len: u64,
}

/// The mark that another one stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplacedMark {
    /// Its name.
    pub mark: ObjectId,
    /// The storage's modification time of the first mark of that line: the grace counts from there.
    pub since: UnixNanos,
}

/// The clear part. [`ErrorKind::Limit`] for a mark that no program would read back.
pub fn encode(mark: &DeletionMark) -> Result<Vec<u8>> {
    check(mark)?;
    let mut out = vec![VERSION];
    out.extend_from_slice(&mark.when.0.to_le_bytes());
    out.extend_from_slice(&(mark.packs.len() as u32).to_le_bytes());
    for marked in &mark.packs {
        out.extend_from_slice(&marked.pack.0);
        out.extend_from_slice(&marked.len.to_le_bytes());
    }
    let (replaced, since) = match mark.replaces {
        Some(ReplacedMark { mark, since }) => (mark, since.0),
        None => (NOBODY, 0),
    };
    out.extend_from_slice(&replaced.0);
    out.extend_from_slice(&since.to_le_bytes());
    Ok(out)
}

/// Reads what [`encode`] wrote; [`ErrorKind::TooNew`] for a later version.
pub fn decode(bytes: &[u8]) -> Result<DeletionMark> {
    let mut reader = Reader::new(bytes);
    gate::gate_version("mark", reader.u8()?, VERSION)?;
    let when = UnixNanos(reader.u64()?.cast_signed());
    let count = reader.u32()? as usize;
    if count == 0 || count > MARK_PACKS_MAX {
        return Err(Error::corrupt(format!("mark of {count} packs")));
    }
    // A list longer than the bytes there are ends the reading before it takes memory.
    let packs = (0..count).map(|_| {
        Ok(MarkedPack {
            pack: ObjectId(reader.array()?),
            len: reader.u64()?,
        })
    });
    let packs = packs.collect::<Result<Vec<_>>>()?;
    let (replaced, since) = (ObjectId(reader.array()?), reader.u64()?.cast_signed());
    reader.finish()?;
    let replaces = (replaced != NOBODY).then_some(ReplacedMark {
        mark: replaced,
        since: UnixNanos(since),
    });
    let mark = DeletionMark {
        when,
        packs,
        replaces,
    };
    if replaces.is_some() || since == 0 {
        check(&mark).map_err(|error| error.with_kind(ErrorKind::Corrupt))?
    } else {
        return Err(Error::corrupt("mark with a time of nothing"));
    }
    Ok(mark)
}

fn check(mark: &DeletionMark) -> Result<()> {
    let limit = |what: &str| Err(Error::new(ErrorKind::Limit, what));
    if mark.packs.is_empty() || mark.packs.len() > MARK_PACKS_MAX {
        return limit("a mark of no pack, or of too many");
    }
    if !mark.packs.is_sorted_by(|a, b| a.pack < b.pack) {
        return limit("marked packs are not sorted, or one stands twice");
    }
    if mark.packs.iter().any(|marked| marked.len > PACK_STORED_BYTES_MAX) {
        return limit("a marked pack is larger than any");
    }
    match mark.replaces {
        Some(replaced) if replaced.mark == NOBODY => limit("a mark that replaces one without a name"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{assert_example, example};

    const DOCUMENT: &str = include_str!("../../docs/format/11-annotations.md");

    fn pack(number: u8, len: u64) -> MarkedPack {
        MarkedPack {
            pack: ObjectId([number; 32]),
            len,
        }
    }

    /// The mark that section 11 spells out.
    fn documented() -> DeletionMark {
        DeletionMark {
            when: UnixNanos(1_700_000_000_000_000_000),
            packs: vec![pack(5, 2 << 20), pack(7, 1)],
            replaces: Some(ReplacedMark {
                mark: ObjectId([9; 32]),
                since: UnixNanos(i64::from_le_bytes([0, 0, 0xc0, 0xd4, 0xae, 0x9c, 0x97, 0x17])),
            }),
        }
    }

    #[test]
    fn the_documents_mark_is_the_one_of_these_tests() {
        assert_example(DOCUMENT, "mark", &encode(&documented()).unwrap());
        assert_eq!(decode(&example(DOCUMENT, "mark")).unwrap(), documented());
    }

    #[test]
    fn every_bit_of_a_mark_carries_something_and_a_part_of_one_is_none() {
        let first = DeletionMark {
            replaces: None,
            ..documented()
        };
        for mark in [documented(), first] {
            let bytes = encode(&mark).unwrap();
            assert_eq!(decode(&bytes).unwrap(), mark);
            for bit in 0..bytes.len() * 8 {
                let mut wrong = bytes.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(decode(&wrong).ok().as_ref(), Some(&mark), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert_eq!(
                    decode(&bytes[..len]).unwrap_err().kind(),
                    ErrorKind::Corrupt,
                    "{len}"
                );
            }
            assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn marks_that_no_program_writes_are_refused() {
        let with = |packs: Vec<MarkedPack>| DeletionMark {
            packs,
            ..documented()
        };
        let large = pack(1, PACK_STORED_BYTES_MAX + 1);
        for packs in [
            vec![],
            vec![pack(2, 1), pack(1, 1)],
            vec![pack(1, 1); 2],
            vec![large],
        ] {
            assert_eq!(encode(&with(packs)).unwrap_err().kind(), ErrorKind::Limit);
        }
        let mut count = encode(&documented()).unwrap();
        count[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            decode(&count).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "and takes no memory"
        );
        let mut later = encode(&documented()).unwrap();
        later[0] = 2;
        assert_eq!(decode(&later).unwrap_err().kind(), ErrorKind::TooNew);
    }
}
