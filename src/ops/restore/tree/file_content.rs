//! Writes and compares the content of files, holes included.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::restore_tasks::ChunkWriteTask;
use crate::blob::BlobKind;
use crate::chunk::{BlobSource, ChunkIterator, ChunkList, ChunkRef};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::BlobId;
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, FILE_BYTES_MAX};
use crate::repo::Repo;
use crate::report::OperationReport;

/// Offset and length, in order, apart.
type FileHoles<'a> = &'a [(u64, u64)];

/// Names of chunks of zeros by length; more are computed each time.
const ZERO_NAMES_MAX: usize = 1024;

/// Chunks that a file may have beyond one for each [`CHUNK_BYTES_MIN`] of it: of a list blob that names one small chunk a
/// thousand times, again and again, a few hundred bytes would be work for years.
const EXTRA_CHUNKS_MAX: u64 = 1024;

/// What names of chunks say about zeros.
pub struct ZeroChunks<'a> {
    repo: &'a Repo,
    names: Mutex<HashMap<u64, BlobId>>,
}

impl<'a> ZeroChunks<'a> {
    pub fn new(repo: &'a Repo) -> Self {
        Self {
            repo,
            names: Mutex::default(),
        }
    }

    /// True for a chunk of zeros in a hole: it is neither fetched nor written.
    pub fn is_hole(&self, piece: &ChunkWriteTask, holes: FileHoles) -> bool {
        is_within(piece.offset, piece.chunk.bytes, holes) && self.is_zeros(&piece.chunk)
    }

    fn is_zeros(&self, chunk: &ChunkRef) -> bool {
        if chunk.bytes > CHUNK_BYTES_MAX as u64 {
            return false;
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() > ZERO_NAMES_MAX {
            names.clear();
        }
        let zeros = || vec![0; chunk.bytes as usize];
        let name = || self.repo.domain_keys().blob_id(BlobKind::Data, &zeros());
        *names.entry(chunk.bytes).or_insert_with(name) == chunk.id
    }
}

fn is_within(offset: u64, len: u64, holes: FileHoles) -> bool {
    let behind = holes.partition_point(|(start, _)| *start <= offset);
    holes[..behind]
        .last()
        .is_some_and(|(start, bytes)| offset + len <= start.saturating_add(*bytes))
}

/// Pieces of a file in order, as far as a file can be so long.
pub fn chunk_tasks<'a>(
    list: &ChunkList,
    source: &'a dyn BlobSource,
) -> Result<impl Iterator<Item = Result<ChunkWriteTask>> + 'a> {
    if list.bytes() > FILE_BYTES_MAX {
        return Err(Error::corrupt(format!("a file of {} bytes", list.bytes())));
    }
    let (mut offset, mut count) = (0, 0);
    let piece = move |chunk: Result<ChunkRef>| {
        let chunk = chunk?;
        let piece = ChunkWriteTask { offset, chunk };
        count += 1;
        if count > EXTRA_CHUNKS_MAX + offset / CHUNK_BYTES_MIN as u64 {
            return Err(Error::corrupt("a file of more chunks than it could be cut into"));
        }
        offset += chunk.bytes;
        Ok(piece)
    };
    Ok(ChunkIterator::new(list.clone(), source).map(piece))
}

/// Writes one chunk. Where a hole is recorded, zeros are left out, and nothing else.
pub fn write_chunk(file: &File, offset: u64, plain: &[u8], holes: FileHoles) -> Result<()> {
    let end = offset + plain.len() as u64;
    let mut at = offset;
    let first = holes.partition_point(|(start, len)| start.saturating_add(*len) <= offset);
    for (start, len) in &holes[first..] {
        let (from, to) = ((*start).clamp(at, end), start.saturating_add(*len).clamp(at, end));
        if *start >= end {
            break;
        }
        let part = |from: u64, to: u64| &plain[(from - offset) as usize..(to - offset) as usize];
        write_at(file, part(at, from), at)?;
        if part(from, to).iter().any(|byte| *byte != 0) {
            write_at(file, part(from, to), from)?;
        }
        at = to;
    }
    write_at(file, &plain[(at - offset) as usize..], at)
}

fn write_at(file: &File, bytes: &[u8], offset: u64) -> Result<()> {
    if bytes.is_empty() {
        Ok(())
    } else {
        map_length_error(file.write_all_at(bytes, offset), || format!("write at {offset}"))
    }
}

/// Files of fewer bytes are not asked about.
const FREE_SPACE_CHECK_BYTES_MIN: u64 = 64 << 20;

/// [`ErrorKind::Limit`] for a file that cannot have room: better told than written until the disk is full.
pub fn check_free_space(directory: &File, bytes: u64, holes: FileHoles) -> Result<()> {
    let holes: u64 = holes
        .iter()
        .map(|(offset, len)| (*len).min(bytes.saturating_sub(*offset)))
        .sum();
    let needed = bytes - holes;
    if needed < FREE_SPACE_CHECK_BYTES_MIN {
        return Ok(());
    }
    let room = rustix::fs::fstatvfs(directory)
        .map_err(std::io::Error::from)
        .context(|| "ask for free space")?;
    let free = room.f_bfree.saturating_mul(room.f_frsize);
    if needed <= free {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Limit,
            format!("it takes {needed} bytes, and {free} are free"),
        ))
    }
}

/// Gives the file its length, with nothing on disk for what was not written.
pub fn set_len(file: &File, len: u64) -> Result<()> {
    map_length_error(file.set_len(len), || format!("make it {len} bytes long"))
}

/// A file that is longer than the filesystem takes is one file's problem, and no full disk.
fn map_length_error(done: std::io::Result<()>, act: impl FnOnce() -> String) -> Result<()> {
    match done {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput
            ) =>
        {
            Err(Error::with_cause(ErrorKind::Limit, act(), error))
        }
        done => done.context(act),
    }
}

/// A file that is read back or compared.
pub struct RestoredFileComparison<'a> {
    pub repo: &'a Repo,
    pub source: &'a dyn BlobSource,
    pub zeros: &'a ZeroChunks<'a>,
    pub report: &'a OperationReport,
}

impl RestoredFileComparison<'_> {
    /// Whether the file has the content that the list names: every chunk is named anew.
    pub fn has_content(&self, file: &File, list: &ChunkList, holes: FileHoles) -> Result<bool> {
        let mut plain = Vec::new();
        for piece in chunk_tasks(list, self.source)? {
            let piece = piece?;
            if self.zeros.is_hole(&piece, holes) && is_empty_on_disk(file, &piece) {
                continue;
            }
            plain.resize(piece.chunk.bytes as usize, 0);
            match file.read_exact_at(&mut plain, piece.offset) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                read => read.context(|| format!("read at {}", piece.offset))?,
            }
            if self.repo.domain_keys().blob_id(BlobKind::Data, &plain) != piece.chunk.id {
                return Ok(false);
            }
            self.report.go_on()?;
        }
        let len = file.metadata().context(|| "look at it")?.len();
        Ok(len == list.bytes())
    }
}

/// True if the filesystem says that there are no bytes, and the file does not end before.
fn is_empty_on_disk(file: &File, piece: &ChunkWriteTask) -> bool {
    let end = piece.offset + piece.chunk.bytes;
    match seek(file, SeekFrom::Data(piece.offset)) {
        Ok(data) => data >= end,
        // Nothing behind it either, if it is so long.
        Err(Errno::NXIO) => file.metadata().is_ok_and(|metadata| metadata.len() >= end),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(plain: &[u8], offset: u64, holes: FileHoles) -> Vec<u8> {
        let file = tempfile::tempfile().unwrap();
        // What was never written shows.
        file.write_all_at(&[b'.'; 40], 0).unwrap();
        write_chunk(&file, offset, plain, holes).unwrap();
        let mut bytes = vec![0; 40];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes[..offset as usize + plain.len()].to_vec()
    }

    #[test]
    fn zeros_in_holes_are_left_out_and_nothing_else() {
        let plain = b"ab\0\0\0\0cd\0\0";
        for (offset, holes, expected) in [
            (0, &[][..], &b"ab\0\0\0\0cd\0\0"[..]),
            (0, &[(2, 4)], b"ab....cd\0\0"),
            (0, &[(2, 4), (8, 100)], b"ab....cd.."),
            (0, &[(3, 2)], b"ab\0..\0cd\0\0"),
            (0, &[(0, 4)], b"ab\0\0\0\0cd\0\0"),
            (0, &[(5, 2)], b"ab\0\0\0\0cd\0\0"),
            (3, &[(0, 3), (5, 4), (20, 5)], b"...ab....cd\0\0"),
            (3, &[(11, u64::MAX - 11)], b"...ab\0\0\0\0cd.."),
            (3, &[(0, u64::MAX)], b"...ab\0\0\0\0cd\0\0"),
        ] {
            assert_eq!(written(plain, offset, holes), expected, "{holes:?} at {offset}");
        }
        assert_eq!(written(b"\0\0\0", 2, &[(0, 3), (4, 1)]), b"...\0.");
    }

    #[test]
    fn a_chunk_is_in_a_hole_as_a_whole_or_not() {
        let holes = &[(10, 10), (30, 10)];
        for (offset, len, expected) in [
            (10, 10, true),
            (12, 3, true),
            (9, 2, false),
            (19, 2, false),
            (0, 5, false),
            (30, 10, true),
            (39, 2, false),
            (10, 30, false),
        ] {
            assert_eq!(is_within(offset, len, holes), expected, "{offset}+{len}");
        }
        assert!(!is_within(0, 1, &[]));
    }
}
