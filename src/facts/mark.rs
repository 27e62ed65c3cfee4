//! Mark ⇄ the clear part of its object (FORMAT.md section 11): packs that are to go. It needs no key to be read, and the
//! owner's to be believed.

use crate::clock::UnixNanos;
use crate::codec::Reader;
use crate::envelope::gate;
use crate::error::{Error, Kind, Result};
use crate::id::ObjectId;
use crate::limits::{MARK_PACKS_MAX, PACK_STORED_BYTES_MAX};

/// The only version of marks so far.
const VERSION: u8 = 1;

/// In place of the mark that is replaced, where there is none.
const NOBODY: ObjectId = ObjectId([0; ObjectId::LEN]);

/// Packs that are to go, once the grace is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When, by the marking prune's clock: for people.
    pub when: UnixNanos,
    /// The packs: by name, none twice, 1 to [`MARK_PACKS_MAX`].
    pub packs: Vec<MarkedPack>,
    /// What it replaces, if some packs of an older mark are needed again.
    pub replaces: Option<Replaced>,
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
pub struct Replaced {
    /// Its name.
    pub mark: ObjectId,
    /// The storage's modification time of the first mark of that line: the grace counts from there.
    pub since: UnixNanos,
}

/// The clear part. [`Kind::Limit`] for a mark that no program would read back.
pub fn encode(mark: &Mark) -> Result<Vec<u8>> {
    check(mark)?;
    let mut out = vec![VERSION];
    out.extend_from_slice(&mark.when.0.to_le_bytes());
    out.extend_from_slice(&(mark.packs.len() as u32).to_le_bytes());
    for marked in &mark.packs {
        out.extend_from_slice(&marked.pack.0);
        out.extend_from_slice(&marked.len.to_le_bytes());
    }
    let (replaced, since) = match mark.replaces {
        Some(Replaced { mark, since }) => (mark, since.0),
        None => (NOBODY, 0),
    };
    out.extend_from_slice(&replaced.0);
    out.extend_from_slice(&since.to_le_bytes());
    Ok(out)
}

/// Reads what [`encode`] wrote; [`Kind::TooNew`] for a later version.
pub fn decode(bytes: &[u8]) -> Result<Mark> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8()?;
    if version != VERSION {
        let what = format!("mark version {version} is not known; {}", gate::advice());
        return Err(Error::new(Kind::TooNew, what));
    }
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
    let replaces = (replaced != NOBODY).then_some(Replaced {
        mark: replaced,
        since: UnixNanos(since),
    });
    let mark = Mark {
        when,
        packs,
        replaces,
    };
    match replaces.is_some() || since == 0 {
        true => check(&mark).map_err(|error| error.as_kind(Kind::Corrupt))?,
        false => return Err(Error::corrupt("mark with a time of nothing")),
    }
    Ok(mark)
}

fn check(mark: &Mark) -> Result<()> {
    let limit = |what: &str| Err(Error::new(Kind::Limit, what));
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
