//! Encodes a value as its difference from an older one.
//!
//! A short value told by what it has in common with the value under it in the stack: *copies* out of that, and new
//! bytes between them.
//!
//! ```text
//! patch  = step, oldest first; each is applied to what the one before made
//! step   = bytes of the value (varint) | check (4) | insert | copy | insert | copy ...   until the value is whole
//! insert = bytes (varint, may be 0) | the bytes
//! copy   = bytes (varint, not 0) | from (zigzag varint, counted from where an overwrite in place would go on)
//! ```
//!
//! A fold joins patches of one key by putting their steps behind one another, without the value under them. The check
//! is the beginning of the value's BLAKE3: a patch that is applied to any other value than the one it was made for is
//! found, also where no digest of the database is computed.
//!
//! Copies are found as rsync finds them (Tridgell and Mackerras, 1996), by a table of the old value's aligned words.

use std::borrow::Cow;

use super::run_entry::{EntryPayload, OwnedEntry};
use crate::codec::{Reader, put_varint};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{INLINE_VALUE_BYTES_MAX, PATCH_BYTES_MAX};

/// Steps of a patch, sound in themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch<'a> {
    steps: Cow<'a, [u8]>,
    value_bytes: usize,
}

/// First bytes of a value's BLAKE3.
type PatchChecksum = [u8; 4];

impl<'a> Patch<'a> {
    /// Reads all steps; what they are applied to is not known here, so copies are checked by [`Patch::apply`].
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for what no writer makes.
    pub fn decode(steps: &'a [u8]) -> Result<Self> {
        if steps.is_empty() || steps.len() > PATCH_BYTES_MAX {
            return Err(Error::corrupt(format!("patch of {} bytes", steps.len())));
        }
        let (mut reader, mut value_bytes) = (Reader::new(steps), 0);
        while !reader.is_empty() {
            value_bytes = read_step(&mut reader, &mut |_| Ok(()))?.0;
        }
        Ok(Self {
            steps: Cow::Borrowed(steps),
            value_bytes,
        })
    }

    /// As it is stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.steps
    }

    /// Length of the value it makes.
    pub fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// True if the value itself is hardly longer: patches that folds joined come to that.
    pub fn is_long(&self) -> bool {
        self.steps.len() > self.value_bytes / 2
    }

    /// The same, borrowed.
    pub fn as_ref(&self) -> Patch<'_> {
        Patch {
            steps: Cow::Borrowed(&self.steps),
            value_bytes: self.value_bytes,
        }
    }

    /// Copies what is borrowed.
    pub fn into_owned(self) -> Patch<'static> {
        Patch {
            steps: Cow::Owned(self.steps.into_owned()),
            value_bytes: self.value_bytes,
        }
    }

    /// What the patch makes of `base`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it was not made for that value.
    pub fn apply(&self, base: &[u8]) -> Result<Vec<u8>> {
        let mut reader = Reader::new(&self.steps);
        let mut value = apply_step(&mut reader, base)?;
        while !reader.is_empty() {
            value = apply_step(&mut reader, &value)?;
        }
        Ok(value)
    }
}

/// A piece of a value.
enum PatchPiece<'a> {
    New(&'a [u8]),
    Copy { from: usize, bytes: usize },
}

/// Gives the pieces of the next step in order; the value's length and its check.
fn read_step<'a>(
    reader: &mut Reader<'a>,
    each: &mut dyn FnMut(PatchPiece<'a>) -> Result<()>,
) -> Result<(usize, PatchChecksum)> {
    let len = bounded(reader.varint_canonical()?, INLINE_VALUE_BYTES_MAX)?;
    let check = reader.array()?;
    let (mut left, mut expected) = (len, 0);
    while left > 0 {
        let new = bounded(reader.varint_canonical()?, left)?;
        each(PatchPiece::New(reader.bytes(new)?))?;
        (left, expected) = (left - new, expected + new);
        if left == 0 {
            break;
        }
        let bytes = bounded(reader.varint_canonical()?, left)?;
        let from = copy_range(expected, reader.varint_canonical()?)?;
        if bytes == 0 {
            return Err(Error::corrupt("copy of nothing"));
        }
        each(PatchPiece::Copy { from, bytes })?;
        (left, expected) = (left - bytes, from + bytes);
    }
    Ok((len, check))
}

fn bounded(number: u64, max: usize) -> Result<usize> {
    let number = usize::try_from(number).ok();
    let bounded = number.filter(|number| *number <= max);
    bounded.ok_or_else(|| Error::corrupt("piece of a patch is too long"))
}

fn copy_range(expected: usize, moved: u64) -> Result<usize> {
    let distance = (moved >> 1) as i64 ^ -((moved & 1) as i64);
    let place = isize::try_from(distance)
        .ok()
        .and_then(|distance| expected.checked_add_signed(distance));
    let place = place.filter(|place| *place <= INLINE_VALUE_BYTES_MAX);
    place.ok_or_else(|| Error::corrupt("copy from outside of any value"))
}

fn apply_step(reader: &mut Reader<'_>, base: &[u8]) -> Result<Vec<u8>> {
    let mut value = Vec::new();
    let mut each = |piece: PatchPiece<'_>| {
        let bytes = match piece {
            PatchPiece::New(bytes) => Some(bytes),
            PatchPiece::Copy { from, bytes } => base.get(from..from + bytes),
        };
        value.extend_from_slice(bytes.ok_or_else(wrong_base_error)?);
        Ok(())
    };
    let (_, check) = read_step(reader, &mut each)?;
    if check == checksum_of(&value) {
        Ok(value)
    } else {
        Err(wrong_base_error())
    }
}

fn checksum_of(value: &[u8]) -> PatchChecksum {
    let mut check = PatchChecksum::default();
    check.copy_from_slice(&blake3::hash(value).as_bytes()[..4]);
    check
}

#[cold]
fn wrong_base_error() -> Error {
    Error::corrupt("a patch was made for another value than the one under it")
}

/// Patches on one key, collected from the newest run down until the value under them is met.
pub(crate) struct PatchChain(Vec<Patch<'static>>);

impl PatchChain {
    /// Begins with the newest.
    pub(crate) fn new(newest: &Patch<'_>) -> Self {
        Self(vec![newest.clone().into_owned()])
    }

    /// What the next older run says of the key goes under the pile. The value, once it is met.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for what no patch is made for.
    pub(crate) fn put_under(&mut self, older: &EntryPayload<'_>) -> Result<Option<OwnedEntry>> {
        match older {
            EntryPayload::Patch(patch) => {
                self.0.push(patch.clone().into_owned());
                Ok(None)
            }
            EntryPayload::Inline(base) => self.apply(base).map(|value| Some(OwnedEntry::Inline(value))),
            EntryPayload::Chunked(_) => Err(wrong_base_error()),
            EntryPayload::Delete => Err(Self::no_base_error()),
        }
    }

    fn apply(&self, base: &[u8]) -> Result<Vec<u8>> {
        let (oldest, newer) = self.0.split_last().ok_or_else(Self::no_base_error)?;
        let value = oldest.apply(base)?;
        newer
            .iter()
            .rev()
            .try_fold(value, |value, patch| patch.apply(&value))
    }

    /// All of them as one, for what lies under runs that were not looked into.
    pub(crate) fn join_steps(self) -> Patch<'static> {
        let value_bytes = self.0.first().map_or(0, Patch::value_bytes);
        let steps = self.0.iter().rev().flat_map(|patch| patch.as_bytes());
        Patch {
            steps: Cow::Owned(steps.copied().collect()),
            value_bytes,
        }
    }

    #[cold]
    pub(crate) fn no_base_error() -> Error {
        Error::new(ErrorKind::Corrupt, "a patch of a value that is not there")
    }
}

/// Finds what two values have in common. Keeps its table from value to value.
#[derive(Debug, Default)]
pub struct PatchMaker {
    /// Where in the old value an aligned word lies, plus one, by the word's hash; 0 for none.
    places: Vec<u32>,
}

/// Bytes of a word.
const WORD: usize = 8;

/// Shorter copies cost about as much as the bytes.
const COPY_MIN: usize = 10;

/// Shorter values are left alone: beside others of their kind they compress to as little.
const VALUE_MIN: usize = 96;

impl PatchMaker {
    /// A patch that makes `new` of `old`, if it is worth while: of half the new value's bytes at most.
    pub fn make_patch(&mut self, old: &[u8], new: &[u8]) -> Option<Patch<'static>> {
        let fits = |value: &[u8]| (VALUE_MIN..=INLINE_VALUE_BYTES_MAX).contains(&value.len());
        if !fits(old) || !fits(new) {
            return None;
        }
        self.index(old);
        let mut steps = Vec::new();
        put_varint(&mut steps, new.len() as u64);
        steps.extend_from_slice(&checksum_of(new));
        self.pieces(old, new, new.len() / 2, &mut steps)?;
        let patch = Patch {
            steps: Cow::Owned(steps),
            value_bytes: new.len(),
        };
        (!patch.is_long()).then_some(patch)
    }

    fn index(&mut self, old: &[u8]) {
        let slots = (old.len() / WORD * 2).next_power_of_two();
        self.places.clear();
        self.places.resize(slots, 0);
        for (at, word) in old.as_chunks::<WORD>().0.iter().enumerate() {
            let slot = self.slot(word);
            self.places[slot] = (at * WORD + 1) as u32;
        }
    }

    fn slot(&self, word: &[u8; WORD]) -> usize {
        let mixed = u64::from_le_bytes(*word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize & (self.places.len() - 1)
    }

    /// Appends the pieces of `new`; `None` when they pass `max` bytes.
    fn pieces(&self, old: &[u8], new: &[u8], max: usize, out: &mut Vec<u8>) -> Option<()> {
        let (mut done, mut expected, mut at) = (0, 0, 0);
        while at < new.len() {
            // Where nothing matches steps grow, as bytes that are all new shall not cost a look-up each.
            let step = 1 + ((at - done) >> 6);
            let candidate = self.candidate(old, new, at, expected + at - done);
            let found = candidate.and_then(|from| CommonBytes::common_affixes(old, new, from, at, done));
            let Some(found) = found else {
                at += step;
                continue;
            };
            put_insert(out, &new[done..found.at]);
            expected += found.at - done;
            put_varint(out, found.bytes as u64);
            put_varint(out, zigzag(found.from as i64 - expected as i64));
            at = found.at + found.bytes;
            (done, expected) = (at, found.from + found.bytes);
            if out.len() > max {
                return None;
            }
        }
        if done < new.len() {
            put_insert(out, &new[done..]);
        }
        Some(())
    }

    /// Where in `old` the word at `at` may come from: in place first, else by the table.
    fn candidate(&self, old: &[u8], new: &[u8], at: usize, in_place: usize) -> Option<usize> {
        let word: &[u8; WORD] = new[at..].first_chunk()?;
        let is_there = |from: &usize| old.get(*from..from + WORD).is_some_and(|there| there == word);
        let by_table = || (self.places[self.slot(word)] as usize).checked_sub(1);
        Some(in_place)
            .filter(is_there)
            .or_else(|| by_table().filter(is_there))
    }
}

/// Bytes that both values have.
struct CommonBytes {
    from: usize,
    at: usize,
    bytes: usize,
}

impl CommonBytes {
    /// As long as it goes both ways, but not before `done`.
    fn common_affixes(old: &[u8], new: &[u8], from: usize, at: usize, done: usize) -> Option<Self> {
        let before = old[..from].iter().rev().zip(new[done..at].iter().rev());
        let before = before.take_while(|(a, b)| a == b).count();
        let after = super::leaf::shared_len(&old[from..], &new[at..]);
        let bytes = before + after;
        (bytes >= COPY_MIN).then_some(Self {
            from: from - before,
            at: at - before,
            bytes,
        })
    }
}

fn put_insert(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn zigzag(distance: i64) -> u64 {
    (distance << 1 ^ distance >> 63) as u64
}
