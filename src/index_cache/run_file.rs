//! Reads a run file: sorted index rows in the local cache.
//!
//! A sorted run of index entries in a file of the cache: docs/format/07-index.md, section 7.3.
//!
//! ```text
//!   block 0 | block 1 | ... | fences | filter | segment table | trailer (200 bytes)
//! ```
//!
//! Everything is under a MAC whose key is this cache's and this file's, and each block says its number: a
//! flipped bit, a block from another file and a block in the wrong place all look the same, namely not ours.
//! A run file that is caught lying removes itself, so that the next to look makes it anew.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::bloom_filter::{BlockedBloomFilter, word};
use super::index_row::{IndexRow, ROW_LEN, SEGMENT_NUMBER_MAX};
use crate::codec::{Reader, put_varint};
use crate::error::{Error, Result, ResultExt};
use crate::id::{BlobId, ObjectId};
use crate::index::IndexEntry;

/// One page: what a disk reads anyway.
pub(super) const BLOCK_LEN: usize = 4096;
pub(super) const ROWS_PER_BLOCK: usize = 48;
/// After the rows: block number (8), rows in use (2), zero (22), MAC (32).
pub(super) const BLOCK_NUMBER_AT: usize = ROWS_PER_BLOCK * ROW_LEN;
pub(super) const BLOCK_MAC_AT: usize = BLOCK_LEN - 32;
pub(super) const TRAILER_LEN: usize = 200;
pub(super) const MAGIC: &[u8; 8] = b"LVLTIXR1";
const FENCE_LEN: u64 = 8;

/// A 32-byte key or MAC.
pub(super) type Bytes32 = [u8; 32];

/// One segment as a run file knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunSegment {
    pub(super) id: ObjectId,
    /// Rows it has in this file.
    pub(super) rows: u64,
    /// False if its entries are left out, because it was superseded when the file was written.
    pub(super) is_held: bool,
    pub(super) supersedes: Vec<ObjectId>,
}

/// The end of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunFileTrailer {
    pub(super) rows: u64,
    pub(super) blocks: u64,
    pub(super) filter_len: u64,
    pub(super) segments_len: u64,
    pub(super) file_id: Bytes32,
    pub(super) fences_mac: Bytes32,
    pub(super) filter_mac: Bytes32,
    pub(super) segments_mac: Bytes32,
}

impl RunFileTrailer {
    pub(super) fn encode(&self, key: &Bytes32) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for number in [self.rows, self.blocks, self.filter_len, self.segments_len] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for field in [
            &self.file_id,
            &self.fences_mac,
            &self.filter_mac,
            &self.segments_mac,
        ] {
            out.extend_from_slice(field);
        }
        let mac = mac_of(key, RunFileSection::Trailer, &out);
        out.extend_from_slice(mac.as_bytes());
        out
    }

    /// Fails on whatever this cache did not write; also says the key of this file.
    pub(super) fn decode(bytes: &[u8], cache_key: &Bytes32) -> Result<(Self, Bytes32)> {
        let mut reader = Reader::new(bytes);
        if reader.array::<8>()? != *MAGIC {
            return Err(Error::corrupt("not an index cache run of this version"));
        }
        let trailer = Self {
            rows: reader.u64()?,
            blocks: reader.u64()?,
            filter_len: reader.u64()?,
            segments_len: reader.u64()?,
            file_id: reader.array()?,
            fences_mac: reader.array()?,
            filter_mac: reader.array()?,
            segments_mac: reader.array()?,
        };
        let key = derive_file_key(cache_key, &trailer.file_id);
        let signed = &bytes[..reader.position()];
        check_mac(&key, RunFileSection::Trailer, signed, &reader.array()?)?;
        reader.finish()?;
        Ok((trailer, key))
    }

    fn fences_offset(&self) -> u64 {
        self.blocks * BLOCK_LEN as u64
    }

    fn filter_offset(&self) -> u64 {
        self.fences_offset() + self.blocks * FENCE_LEN
    }

    fn segments_offset(&self) -> u64 {
        self.filter_offset() + self.filter_len
    }

    /// All bytes of the file; `None` if the numbers make no sense.
    fn file_len(&self) -> Option<u64> {
        let per_block = BLOCK_LEN as u64 + FENCE_LEN;
        let sections = self.blocks.checked_mul(per_block)?.checked_add(self.filter_len)?;
        sections
            .checked_add(self.segments_len)?
            .checked_add(TRAILER_LEN as u64)
    }
}

/// An open run file: rows can be streamed. To look up single blobs, make it a [`IndexRun`].
pub(super) struct RunFile {
    pub(super) file: File,
    pub(super) trailer: RunFileTrailer,
    pub(super) segments: Vec<RunSegment>,
    pub(super) key: Bytes32,
    /// Its name in the cache, if it has one.
    pub(super) path: Option<PathBuf>,
}

impl RunFile {
    /// Checks the trailer and the segment table; the rest is checked as it is read.
    pub(super) fn open(file: File, path: Option<PathBuf>, cache_key: &Bytes32) -> Result<Self> {
        let file_len = file.metadata().context(|| "look at the index cache")?.len();
        let trailer_at = file_len.checked_sub(TRAILER_LEN as u64);
        let trailer_at = trailer_at.ok_or_else(|| Error::corrupt("index cache run is too short"))?;
        let bytes = read_at(&file, trailer_at, TRAILER_LEN)?;
        let (trailer, key) = RunFileTrailer::decode(&bytes, cache_key)?;
        if trailer.file_len() != Some(file_len) {
            return Err(Error::corrupt("index cache run has a wrong length"));
        }
        let bytes = read_at(&file, trailer.segments_offset(), trailer.segments_len as usize)?;
        check_mac(&key, RunFileSection::Segments, &bytes, &trailer.segments_mac)?;
        Ok(Self {
            segments: decode_segments(&bytes)?,
            file,
            trailer,
            key,
            path,
        })
    }

    /// Reads what must be in memory to look up blobs.
    pub(super) fn into_run(file: &Arc<Self>) -> Result<IndexRun> {
        let trailer = &file.trailer;
        let fence_bytes = read_at(
            &file.file,
            trailer.fences_offset(),
            (trailer.blocks * FENCE_LEN) as usize,
        )?;
        file.check(RunFileSection::Fences, &fence_bytes, &trailer.fences_mac)?;
        let fences = fence_bytes
            .as_chunks()
            .0
            .iter()
            .map(|fence| u64::from_le_bytes(*fence))
            .collect();
        let bytes = read_at(&file.file, trailer.filter_offset(), trailer.filter_len as usize)?;
        file.check(RunFileSection::Filter, &bytes, &trailer.filter_mac)?;
        Ok(IndexRun {
            file: file.clone(),
            fences,
            filter: BlockedBloomFilter { bytes },
        })
    }

    /// `count` blocks from `first` on, each checked.
    pub(super) fn blocks(&self, first: u64, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count * BLOCK_LEN];
        self.read_blocks(first, &mut bytes)?;
        Ok(bytes)
    }

    fn read_blocks(&self, first: u64, bytes: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(bytes, first * BLOCK_LEN as u64);
        let checked = read.context(|| "read the index cache").and_then(|()| {
            for (number, block) in (first..).zip(bytes.chunks_exact(BLOCK_LEN)) {
                check_block(&self.key, number, block)?;
            }
            Ok(())
        });
        checked.inspect_err(|_| self.remove())
    }

    fn check(&self, section: RunFileSection, bytes: &[u8], mac: &Bytes32) -> Result<()> {
        check_mac(&self.key, section, bytes, mac).inspect_err(|_| self.remove())
    }

    /// Takes its name out of the cache. Who has it open can go on reading.
    pub(super) fn remove(&self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A run file with its fences and its filter in memory.
pub(super) struct IndexRun {
    pub(super) file: Arc<RunFile>,
    /// The first eight bytes of each block's first id.
    pub(super) fences: Vec<u64>,
    pub(super) filter: BlockedBloomFilter,
}

impl IndexRun {
    /// Hands every row of `id` to `visit` until that says stop by `false`.
    pub(super) fn rows_of(&self, id: &BlobId, mut visit: impl FnMut(IndexRow) -> bool) -> Result<()> {
        if !self.filter.may_hold(id) {
            return Ok(());
        }
        let wanted = word(id, 0);
        // The block before the first fence that is not less may end with ids that begin alike.
        let first = self
            .fences
            .partition_point(|fence| *fence < wanted)
            .saturating_sub(1);
        let mut block = [0; BLOCK_LEN];
        for (number, _) in (first..)
            .zip(&self.fences[first..])
            .take_while(|(_, fence)| **fence <= wanted)
        {
            self.file.read_blocks(number as u64, &mut block)?;
            let rows = rows_in(&block);
            let start = rows.partition_point(|row| row[..32] < id.0[..]);
            for row in &rows[start..] {
                if row[..32] != id.0 || !visit(IndexRow::decode(row)?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The block in which a search for entries after `entry` must begin.
    pub(super) fn block_before(&self, entry: &IndexEntry) -> u64 {
        let wanted = word(&entry.id, 0);
        self.fences
            .partition_point(|fence| *fence < wanted)
            .saturating_sub(1) as u64
    }

    /// Bytes of memory that fences and filter take.
    pub(super) fn resident_bytes(&self) -> usize {
        self.fences.capacity() * 8 + self.filter.bytes.capacity()
    }
}

/// The rows in use of a checked block.
pub(super) fn rows_in(block: &[u8]) -> &[[u8; ROW_LEN]] {
    let [low, high] = [block[BLOCK_NUMBER_AT + 8], block[BLOCK_NUMBER_AT + 9]];
    let count = usize::from(u16::from_le_bytes([low, high])).min(ROWS_PER_BLOCK);
    block[..count * ROW_LEN].as_chunks().0
}

fn check_block(key: &Bytes32, number: u64, block: &[u8]) -> Result<()> {
    let (signed, mac) = block.split_at(BLOCK_MAC_AT);
    let is_ours = blake3::keyed_hash(key, signed) == *blake3::Hash::from_slice(mac).as_ref().unwrap_or(&ZERO);
    if is_ours && signed[BLOCK_NUMBER_AT..BLOCK_NUMBER_AT + 8] == number.to_le_bytes() {
        Ok(())
    } else {
        Err(Error::corrupt(format!(
            "block {number} of an index cache run is not ours"
        )))
    }
}

const ZERO: blake3::Hash = blake3::Hash::from_bytes([0; 32]);

/// What a MAC is over, besides blocks: those are told from sections by their number's place and length.
#[derive(Clone, Copy)]
pub(super) enum RunFileSection {
    Fences = 1,
    Filter = 2,
    Segments = 3,
    Trailer = 4,
}

/// The MAC of a section: under a key of its own, so that no block can pass for one.
pub(super) fn mac_of(key: &Bytes32, section: RunFileSection, bytes: &[u8]) -> blake3::Hash {
    let section_key = blake3::keyed_hash(key, &[section as u8]);
    blake3::keyed_hash(section_key.as_bytes(), bytes)
}

fn check_mac(key: &Bytes32, section: RunFileSection, bytes: &[u8], mac: &Bytes32) -> Result<()> {
    if mac_of(key, section, bytes) == *mac {
        Ok(())
    } else {
        Err(Error::corrupt("index cache run is not ours"))
    }
}

/// The key of one file of this cache.
pub(super) fn derive_file_key(cache_key: &Bytes32, file_id: &Bytes32) -> Bytes32 {
    let mut hasher = blake3::Hasher::new_keyed(cache_key);
    hasher.update(b"levault index cache 1 file key");
    hasher.update(file_id);
    *hasher.finalize().as_bytes()
}

/// The name of a file that covers these segments.
pub(super) fn file_id(cache_key: &Bytes32, segments: &[RunSegment]) -> Bytes32 {
    let mut hasher = blake3::Hasher::new_keyed(cache_key);
    hasher.update(b"levault index cache 1 file id");
    for segment in segments {
        hasher.update(&segment.id.0);
        hasher.update(&[u8::from(segment.is_held)]);
    }
    *hasher.finalize().as_bytes()
}

/// The segment table: which segments a run file speaks for.
pub(super) fn encode_segments(segments: &[RunSegment]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, segments.len() as u64);
    for segment in segments {
        out.extend_from_slice(&segment.id.0);
        out.push(u8::from(segment.is_held));
        put_varint(&mut out, segment.rows);
        put_varint(&mut out, segment.supersedes.len() as u64);
        for id in &segment.supersedes {
            out.extend_from_slice(&id.0);
        }
    }
    out
}

pub(super) fn decode_segments(bytes: &[u8]) -> Result<Vec<RunSegment>> {
    let mut reader = Reader::new(bytes);
    let count = reader.len_varint(
        (reader.remaining() / 35).min(SEGMENT_NUMBER_MAX as usize),
        "segment count",
    )?;
    let mut segments = Vec::with_capacity(count);
    for _ in 0..count {
        let id = ObjectId(reader.array()?);
        let is_held = reader.u8()? == 1;
        let rows = reader.varint()?;
        let count = reader.len_varint(reader.remaining() / 32, "superseded count")?;
        let ids = reader.bytes(count * 32)?.as_chunks().0;
        segments.push(RunSegment {
            id,
            rows,
            is_held,
            supersedes: ids.iter().copied().map(ObjectId).collect(),
        });
    }
    reader.finish()?;
    Ok(segments)
}

fn read_at(file: &File, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)
        .context(|| "read the index cache")?;
    Ok(bytes)
}
