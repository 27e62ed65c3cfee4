//! Encodes and decodes lists of blobs that could be read nowhere.
//!
//! Bad blobs ⇄ the plain bytes of their object under `bad/` (FORMAT.md section 11): blobs that failed wherever they were
//! stored. Nobody deduplicates against one, unless a copy of it opens when it is looked at.

use crate::clock::UnixNanos;
use crate::codec::{Reader, put_varint};
use crate::envelope::gate;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BlobId, DomainId};
use crate::kind::BlobKind;
use crate::limits::BAD_BLOBS_MAX;

/// The only version so far.
const VERSION: u8 = 1;

/// Blobs that were found to fail wherever they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadBlobs {
    /// When, by the clock of who found it.
    pub when: UnixNanos,
    /// The domain whose keys name them.
    pub domain: DomainId,
    /// The blobs: ascending by id, none twice, 1 to [`BAD_BLOBS_MAX`].
    pub blobs: Vec<BadBlob>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BadBlob {
    /// Its name.
    pub id: BlobId,
    /// What it holds.
    pub kind: BlobKind,
}

/// The plain bytes, to be sealed. [`ErrorKind::Limit`] for what no program would read back.
pub fn encode(bad: &BadBlobs) -> Result<Vec<u8>> {
    check(bad)?;
    let mut out = vec![VERSION];
    out.extend_from_slice(&bad.when.0.to_le_bytes());
    out.extend_from_slice(&bad.domain.0.to_le_bytes());
    put_varint(&mut out, bad.blobs.len() as u64);
    for blob in &bad.blobs {
        out.extend_from_slice(&blob.id.0);
        out.push(blob.kind as u8);
    }
    Ok(out)
}

/// Reads what [`encode`] wrote. [`ErrorKind::TooNew`] for a version or a kind of blob that is not known.
pub fn decode(bytes: &[u8]) -> Result<BadBlobs> {
    let bad = read(bytes)?;
    match encode(&bad) {
        Ok(again) if again == bytes => Ok(bad),
        Ok(_) => Err(Error::corrupt("bad blobs are not in their one encoding")),
        Err(error) => Err(error.with_kind(ErrorKind::Corrupt)),
    }
}

fn read(bytes: &[u8]) -> Result<BadBlobs> {
    let mut reader = Reader::new(bytes);
    gate::gate_version("bad", reader.u8()?, VERSION)?;
    let when = UnixNanos(reader.u64()?.cast_signed());
    let domain = DomainId(reader.u32()?);
    let count = reader.len_varint(BAD_BLOBS_MAX, "bad blobs")?;
    // A list longer than the bytes there are ends the reading before it takes memory.
    let blobs = (0..count).map(|_| {
        Ok(BadBlob {
            id: BlobId(reader.array()?),
            kind: BlobKind::try_from(reader.u8()?)?,
        })
    });
    let blobs = blobs.collect::<Result<_>>()?;
    reader.finish()?;
    Ok(BadBlobs { when, domain, blobs })
}

fn check(bad: &BadBlobs) -> Result<()> {
    let limit = |what: &str| Err(Error::new(ErrorKind::Limit, what));
    if bad.blobs.is_empty() || bad.blobs.len() > BAD_BLOBS_MAX {
        return limit("no bad blob, or too many");
    }
    if bad.blobs.is_sorted_by(|a, b| a.id < b.id) {
        Ok(())
    } else {
        limit("bad blobs are not sorted, or one stands twice")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{assert_example, example};

    const DOCUMENT: &str = include_str!("../../docs/format/11-annotations.md");

    fn blob(number: u8, kind: BlobKind) -> BadBlob {
        BadBlob {
            id: BlobId([number; 32]),
            kind,
        }
    }

    /// The blobs that section 11 spells out.
    fn documented() -> BadBlobs {
        BadBlobs {
            when: UnixNanos(1_700_000_000_000_000_000),
            domain: DomainId(0),
            blobs: vec![blob(0x11, BlobKind::Leaf), blob(0x22, BlobKind::Data)],
        }
    }

    #[test]
    fn the_documents_bad_blobs_are_those_of_these_tests() {
        assert_example(DOCUMENT, "bad", &encode(&documented()).unwrap());
        assert_eq!(decode(&example(DOCUMENT, "bad")).unwrap(), documented());
    }

    #[test]
    fn every_bit_of_it_carries_something_and_a_part_is_none() {
        let (bad, bytes) = (documented(), encode(&documented()).unwrap());
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decode(&wrong).ok().as_ref(), Some(&bad), "bit {bit}");
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

    #[test]
    fn what_no_program_writes_is_refused() {
        for blobs in [
            vec![],
            vec![blob(2, BlobKind::Leaf), blob(1, BlobKind::Leaf)],
            vec![blob(1, BlobKind::Leaf), blob(1, BlobKind::Node)],
        ] {
            let bad = BadBlobs {
                blobs,
                ..documented()
            };
            assert_eq!(encode(&bad).unwrap_err().kind(), ErrorKind::Limit);
        }
        let mut later = encode(&documented()).unwrap();
        later[0] = 2;
        assert_eq!(decode(&later).unwrap_err().kind(), ErrorKind::TooNew);
        let mut many = encode(&documented()).unwrap()[..13].to_vec();
        put_varint(&mut many, BAD_BLOBS_MAX as u64);
        assert_eq!(
            decode(&many).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "and takes no memory"
        );
    }
}
