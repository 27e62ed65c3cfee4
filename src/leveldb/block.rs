//! Reads the prefix-compressed entries of a block.
//!
//! ```text
//! block: | entry ... | restart offset (4) ... | number of restarts (4) |
//! entry: | shared | unshared | value length | key bytes not shared | value |      three varints, then bytes
//! ```
//! A key begins with the `shared` first bytes of the key before it; at a restart it shares nothing.

use crate::codec::Reader;
use crate::error::{Error, Result};

/// One entry's place in its block; see [`entry_at`].
#[derive(Clone, Copy, Debug)]
pub struct BlockEntry {
    /// Bytes of the key taken from the key before.
    pub shared: usize,
    /// Where its own key bytes begin.
    pub key: usize,
    /// Where its value begins, which is where its key ends.
    pub value: usize,
    /// Where its value and it itself end.
    pub end: usize,
}

/// Where the entries of a plain block end; an error when its trailer cannot be right.
#[inline]
pub fn entries_end(block: &[u8]) -> Result<usize> {
    let restarts = restart_count(block)?;
    match block.len().checked_sub(4 + restarts * 4) {
        Some(end) if end == 0 || restarts > 0 => Ok(end),
        _ => Err(Error::corrupt(format!(
            "{restarts} restarts in a block of {} bytes",
            block.len()
        ))),
    }
}

fn restart_count(block: &[u8]) -> Result<usize> {
    match block.last_chunk::<4>() {
        Some(count) => Ok((u32::from_le_bytes(*count) as usize).min(usize::MAX / 8)),
        None => Err(Error::corrupt(format!("block of {} bytes", block.len()))),
    }
}

/// Offsets of the restarts, in order; none for a block without a trailer.
pub fn restarts(block: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let end = entries_end(block).unwrap_or(block.len());
    let offsets = block.get(end..block.len().saturating_sub(4)).unwrap_or_default();
    offsets
        .chunks_exact(4)
        .map(|offset| u32::from_le_bytes([offset[0], offset[1], offset[2], offset[3]]))
}

/// The entry at `at`, which must lie before `end`, where the entries end; `None` if it does not fit.
#[inline(always)]
pub fn entry_at(block: &[u8], at: usize, end: usize) -> Option<BlockEntry> {
    let bytes = block.get(at..end)?;
    let (shared, unshared, value_len, head) = match bytes {
        // Nearly every entry: three lengths below 128.
        [a, b, c, ..] if (a | b | c) < 0x80 => (*a as usize, *b as usize, *c as usize, 3),
        _ => read_long_entry_head(bytes)?,
    };
    let key = at + head;
    let value = key.checked_add(unshared)?;
    let entry_end = value.checked_add(value_len)?;
    (entry_end <= end).then_some(BlockEntry {
        shared,
        key,
        value,
        end: entry_end,
    })
}

#[inline]
fn read_long_entry_head(bytes: &[u8]) -> Option<(usize, usize, usize, usize)> {
    let mut reader = Reader::new(bytes);
    let mut next = || reader.varint().ok().and_then(|value| u32::try_from(value).ok());
    let (shared, unshared, value_len) = (next()?, next()?, next()?);
    Some((
        shared as usize,
        unshared as usize,
        value_len as usize,
        reader.position(),
    ))
}

/// Walks a whole block that is small or read rarely (index, metaindex), building each key.
pub struct BlockEntries<'a> {
    block: &'a [u8],
    at: usize,
    end: usize,
    key: Vec<u8>,
}

impl<'a> BlockEntries<'a> {
    /// Starts before the first entry.
    pub fn new(block: &'a [u8]) -> Result<Self> {
        Self::resume_at(block, 0, Vec::new())
    }

    /// Starts at `at`, which was [`Self::position`] when the key before was `key`.
    pub fn resume_at(block: &'a [u8], at: usize, key: Vec<u8>) -> Result<Self> {
        Ok(Self {
            block,
            at,
            end: entries_end(block)?,
            key,
        })
    }

    /// Where the next entry begins.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The key last read, for [`Self::resume_at`].
    pub fn into_key(self) -> Vec<u8> {
        self.key
    }

    /// The next entry's key and value; `None` behind the last.
    #[allow(clippy::should_implement_trait, reason = "it lends out its own key")]
    pub fn next(&mut self) -> Result<Option<(&[u8], &'a [u8])>> {
        if self.at == self.end {
            return Ok(None);
        }
        let entry = entry_at(self.block, self.at, self.end)
            .filter(|entry| entry.shared <= self.key.len())
            .ok_or_else(|| Error::corrupt(format!("bad entry at {} of a block", self.at)))?;
        self.at = entry.end;
        self.key.truncate(entry.shared);
        self.key.extend_from_slice(&self.block[entry.key..entry.value]);
        Ok(Some((&self.key, &self.block[entry.value..entry.end])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A block as LevelDB builds it.
    fn build(entries: &[(Vec<u8>, Vec<u8>)], interval: usize) -> Vec<u8> {
        let (mut out, mut restarts, mut last) = (Vec::new(), vec![], Vec::new());
        for (index, (key, value)) in entries.iter().enumerate() {
            let shared = match index % interval {
                0 => {
                    restarts.push(out.len() as u32);
                    0
                }
                _ => key.iter().zip(&last).take_while(|(a, b)| a == b).count(),
            };
            for len in [shared, key.len() - shared, value.len()] {
                crate::codec::put_varint(&mut out, len as u64);
            }
            out.extend_from_slice(&key[shared..]);
            out.extend_from_slice(value);
            last.clone_from(key);
        }
        if restarts.is_empty() {
            restarts.push(0);
        }
        out.extend(restarts.iter().flat_map(|offset| offset.to_le_bytes()));
        out.extend((restarts.len() as u32).to_le_bytes());
        out
    }

    fn read(block: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut entries = BlockEntries::new(block)?;
        let mut all = Vec::new();
        while let Some((key, value)) = entries.next()? {
            all.push((key.to_vec(), value.to_vec()));
        }
        Ok(all)
    }

    proptest! {
        #[test]
        fn entries_go_out_and_come_back(
            entries in prop::collection::vec((prop::collection::vec(0u8..4, 0..200), prop::collection::vec(any::<u8>(), 0..300)), 0..40),
            interval in 1usize..20,
        ) {
            let block = build(&entries, interval);
            prop_assert_eq!(read(&block).unwrap(), entries.clone());
            prop_assert_eq!(restarts(&block).count(), entries.len().div_ceil(interval).max(1));
        }

        #[test]
        fn any_bytes_read_or_fail(mut bytes in prop::collection::vec(any::<u8>(), 0..100), restarts in 0u32..4) {
            let _ = read(&bytes);
            bytes.extend(restarts.to_le_bytes());
            let _ = read(&bytes);
        }
    }

    #[test]
    fn a_trailer_that_cannot_be_right_is_an_error() {
        for wrong in [
            &[][..],
            &[0, 0, 0],
            &[1, 0, 0, 0],
            &[255; 4],
            &[7, 0, 0, 0, 0],
            &[255; 40],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(read(&[0; 4]).unwrap(), []);
    }
}
