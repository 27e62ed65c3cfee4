//! Lists the holes of sparse files.

use std::fs::File;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::file_source::FileFingerprint;
use crate::limits::HOLES_MAX;

/// Offset and length; its bytes read as zeros.
pub type FileHole = (u64, u64);

/// In order, apart from one another. A file has none if it fills its blocks, if its filesystem does not tell, or if it has
/// more than [`HOLES_MAX`]: then its zeros are read like other bytes.
pub fn find_holes(file: &File, stamp: &FileFingerprint) -> Vec<FileHole> {
    if stamp.stored < stamp.len {
        seek_holes(file, stamp.len).unwrap_or_default()
    } else {
        Vec::new()
    }
}

fn seek_holes(file: &File, len: u64) -> Option<Vec<FileHole>> {
    let mut holes = Vec::new();
    let mut at = 0;
    while at < len {
        let hole = seek(file, SeekFrom::Hole(at)).ok()?;
        if hole >= len {
            break;
        }
        let end = match seek(file, SeekFrom::Data(hole)) {
            Err(Errno::NXIO) => len,
            data => data.ok()?.min(len),
        };
        if end <= hole || holes.len() == HOLES_MAX {
            return None;
        }
        holes.push((hole, end - hole));
        at = end;
    }
    Some(holes)
}
