//! Encodes and decodes leaves, column by column.
//!
//! Leaf ⇄ bytes: columns, so that like stands beside like when zstd comes; one encoding for each list of entries.
//!
//! ```text
//! version 1 (1) | count (varint) | bytes of the columns a..e (varint each) | a | b | c | d | e | f
//! a  kinds          one byte an entry; empty if all are inline puts
//! b  shared         varint an entry: bytes of the key that are equal to the key before
//! c  suffix lengths varint an entry: bytes of the key that follow
//! d  payload lengths varint an entry
//! e  suffixes       the keys without what they share
//! f  payloads       values; chunk lists; nothing for a deletion; patches
//! ```

use super::leaf_draft::{DraftPayload, LeafDraft};
use super::run_entry::{
    CHUNKED, DELETE, EntryPayload, INLINE, PATCH, RunEntry, check_chunked, check_inline, check_key,
};
use super::value_patch::Patch;
use crate::chunk::ChunkList;
use crate::codec::{Reader, put_varint};
use crate::error::{Error, ErrorKind, Result};
#[cfg(any(test, feature = "test-util"))]
use crate::id::SetDigest;
use crate::limits::LEAF_RECORDS_MAX;
#[cfg(any(test, feature = "test-util"))]
use crate::record::SetDigestAccumulator;

/// The only version of leaves so far.
const VERSION: u8 = 1;

/// All columns but the payloads, which are copied once, behind the others.
#[derive(Default)]
struct LeafColumns {
    kinds: Vec<u8>,
    shared: Vec<u8>,
    suffix_lens: Vec<u8>,
    payload_lens: Vec<u8>,
    suffixes: Vec<u8>,
    payload_bytes: usize,
}

/// The plain bytes of a leaf. Pure; called from many threads at once.
pub fn encode_leaf(draft: &LeafDraft) -> Vec<u8> {
    let mut columns = LeafColumns::default();
    let mut before: &[u8] = &[];
    for (key, payload) in draft.entries() {
        columns.push(before, key, payload);
        before = key;
    }
    let mut out = columns.join(draft.records());
    draft
        .entries()
        .for_each(|(_, payload)| put_payload(payload, &mut out));
    out
}

#[inline]
fn put_payload(payload: DraftPayload<'_>, out: &mut Vec<u8>) {
    match payload {
        DraftPayload::Inline(value) => out.extend_from_slice(value),
        DraftPayload::Chunked(list) => list.encode(out),
        DraftPayload::Delete => {}
        DraftPayload::Patch(patch) => out.extend_from_slice(patch.as_bytes()),
    }
}

impl LeafColumns {
    #[inline]
    fn push(&mut self, before: &[u8], key: &[u8], payload: DraftPayload<'_>) {
        let shared = shared_len(before, key);
        put_varint(&mut self.shared, shared as u64);
        put_varint(&mut self.suffix_lens, (key.len() - shared) as u64);
        self.suffixes.extend_from_slice(&key[shared..]);
        let (kind, len) = match payload {
            DraftPayload::Inline(value) => (INLINE, value.len()),
            DraftPayload::Chunked(list) => (CHUNKED, list.encoded_len()),
            DraftPayload::Delete => (DELETE, 0),
            DraftPayload::Patch(patch) => (PATCH, patch.as_bytes().len()),
        };
        self.kinds.push(kind);
        put_varint(&mut self.payload_lens, len as u64);
        self.payload_bytes += len;
    }

    /// The leaf without its payloads, with room for them.
    fn join(mut self, count: usize) -> Vec<u8> {
        if self.kinds.iter().all(|kind| *kind == INLINE) {
            self.kinds.clear();
        }
        let columns = [
            &self.kinds,
            &self.shared,
            &self.suffix_lens,
            &self.payload_lens,
            &self.suffixes,
        ];
        let body = columns.iter().map(|column| column.len()).sum::<usize>() + self.payload_bytes;
        let mut out = Vec::with_capacity(body + 32);
        out.push(VERSION);
        put_varint(&mut out, count as u64);
        columns
            .iter()
            .for_each(|column| put_varint(&mut out, column.len() as u64));
        columns.iter().for_each(|column| out.extend_from_slice(column));
        out
    }
}

#[cfg(any(test, feature = "test-util"))]
/// The share of a draft's inline records in the set digest. The others are added by who still has their value.
pub fn set_digest(draft: &LeafDraft, key: &[u8; 32]) -> Result<SetDigest> {
    let mut acc = SetDigestAccumulator::new(key);
    acc.add_stream(draft.stream())?;
    Ok(acc.digest())
}

/// Reads a leaf's entries one after another: values are slices of the leaf, the key is put together in one buffer.
/// Whatever it gives before an error is as it was encoded; only the end of the leaf proves the encoding canonical.
pub struct LeafReader<'a> {
    left: usize,
    kinds: Reader<'a>,
    shared: Reader<'a>,
    suffix_lens: Reader<'a>,
    payload_lens: Reader<'a>,
    suffixes: Reader<'a>,
    payloads: Reader<'a>,
    all_inline: bool,
    others: usize,
    count: usize,
    key: Vec<u8>,
}

impl<'a> LeafReader<'a> {
    /// Finds the columns.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Error::new(
                ErrorKind::TooNew,
                format!("leaf of version {version}"),
            ));
        }
        let count = usize::try_from(reader.varint_canonical()?).unwrap_or(usize::MAX);
        if count == 0 || count > LEAF_RECORDS_MAX {
            return Err(Error::corrupt(format!("leaf of {count} entries")));
        }
        let mut lens = [0; 5];
        for len in &mut lens {
            *len = usize::try_from(reader.varint_canonical()?).unwrap_or(usize::MAX);
        }
        let mut column = |len| reader.bytes(len).map(Reader::new);
        let [kinds, shared, suffix_lens, payload_lens, suffixes] = lens;
        Ok(Self {
            left: count,
            kinds: column(kinds)?,
            shared: column(shared)?,
            suffix_lens: column(suffix_lens)?,
            payload_lens: column(payload_lens)?,
            suffixes: column(suffixes)?,
            payloads: reader,
            all_inline: kinds == 0,
            others: 0,
            count,
            key: Vec::new(),
        })
    }

    #[cfg(any(test, feature = "test-util"))]
    /// Entries of the leaf, those already read included.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The next entry, or `None` after the last.
    #[inline]
    #[allow(
        clippy::should_implement_trait,
        reason = "entries borrow from the reader: no Iterator can give them"
    )]
    pub fn next(&mut self) -> Result<Option<RunEntry<'_>>> {
        if self.left == 0 {
            return self.finish_leaf().map(|()| None);
        }
        self.key_of_next()?;
        self.left -= 1;
        let payload = self.payload()?;
        Ok(Some(RunEntry {
            key: &self.key,
            payload,
        }))
    }

    #[inline]
    fn key_of_next(&mut self) -> Result<()> {
        let shared = self.shared.varint_canonical()? as usize;
        let suffix_len = self.suffix_lens.varint_canonical()? as usize;
        let suffix = self.suffixes.bytes(suffix_len)?;
        if shared > self.key.len() {
            return Err(Error::corrupt("key shares more than the key before has"));
        }
        let differs = match (self.key.get(shared), suffix.first()) {
            (Some(before), Some(now)) => before != now,
            (None, Some(_)) => true,
            (Some(_), None) => true,
            (None, None) => self.left == self.count,
        };
        if !differs {
            return Err(Error::corrupt("key repeats, or shares more than it says"));
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(suffix);
        check_key(&self.key).map_err(|error| error.with_kind(ErrorKind::Corrupt))
    }

    #[inline]
    fn payload(&mut self) -> Result<EntryPayload<'a>> {
        let len = self.payload_lens.varint_canonical()? as usize;
        let bytes = self.payloads.bytes(len)?;
        let kind = if self.all_inline { INLINE } else { self.kinds.u8()? };
        match kind {
            INLINE => check_inline(len).map(|()| EntryPayload::Inline(bytes)),
            _ => self.other_payload(kind, bytes),
        }
        .map_err(|error| match error.kind() {
            ErrorKind::Limit => error.with_kind(ErrorKind::Corrupt),
            _ => error,
        })
    }

    fn other_payload(&mut self, kind: u8, bytes: &'a [u8]) -> Result<EntryPayload<'a>> {
        self.others += 1;
        match kind {
            CHUNKED => {
                let mut reader = Reader::new(bytes);
                let list = ChunkList::decode(&mut reader)?;
                reader.finish()?;
                check_chunked(&list).map(|()| EntryPayload::Chunked(list))
            }
            DELETE if bytes.is_empty() => Ok(EntryPayload::Delete),
            DELETE => Err(Error::corrupt("deletion with a value")),
            PATCH => Patch::decode(bytes).map(EntryPayload::Patch),
            _ => Err(Error::new(ErrorKind::TooNew, format!("entry of kind {kind}"))),
        }
    }

    /// Nothing may be left in any column, and a column of kinds must say something.
    #[cold]
    fn finish_leaf(&self) -> Result<()> {
        let rest = [
            &self.kinds,
            &self.shared,
            &self.suffix_lens,
            &self.payload_lens,
            &self.suffixes,
            &self.payloads,
        ];
        let over = rest.iter().map(|column| column.remaining()).sum::<usize>();
        if over == 0 && (self.all_inline || self.others > 0) {
            Ok(())
        } else {
            Err(Error::corrupt(format!("leaf with {over} bytes too many")))
        }
    }
}

/// Bytes two keys begin with in common.
#[inline]
pub(super) fn shared_len(a: &[u8], b: &[u8]) -> usize {
    let (a8, b8) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    let same = a8.iter().zip(b8).take_while(|(x, y)| x == y).count() * 8;
    let rest = a[same..].iter().zip(&b[same..]);
    same + rest.take_while(|(x, y)| x == y).count()
}
