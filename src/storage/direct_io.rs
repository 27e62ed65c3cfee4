//! Writes large objects past the page cache (O_DIRECT).
//!
//! Large objects past the system's page cache (open(2), O_DIRECT), on filesystems that are known to mean it.
//!
//! A pack is written once and not read soon: in the page cache it would only take the room of what its machine works with,
//! the databases among it, and each page there costs a copy and often a page to be cleared. What is written this
//! way is still synced: the disk may have it in a cache of its own, and its length and place are the filesystem's.

use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};

/// Smaller objects are not worth the extra calls.
const DIRECT_BYTES_MIN: usize = 1 << 20;

/// Memory, offsets and lengths are whole multiples of this: what the largest disk sectors and pages in use ask for.
const ALIGN: usize = 4096;

/// Bytes in one call; a multiple of [`ALIGN`].
const CALL_BYTES: usize = 1 << 20;

/// Writes `bytes` at the file's beginning, which must be empty; not synced.
pub(super) fn write_all(mut file: &File, bytes: &[u8]) -> Result<()> {
    let written = if bytes.len() >= DIRECT_BYTES_MIN && switch::on(file) {
        let written = write_aligned(file, bytes);
        switch::off(file)?;
        written?
    } else {
        0
    };
    // The file's own position has moved along.
    file.write_all(&bytes[written..])
}

/// Writes what can be written in aligned calls; how much that was. A filesystem that does not take such a call after all
/// has taken nothing of it.
fn write_aligned(file: &File, bytes: &[u8]) -> Result<usize> {
    let mut room = vec![0; CALL_BYTES + ALIGN];
    let start = room.as_ptr().align_offset(ALIGN);
    let aligned = room
        .get_mut(start..start.saturating_add(CALL_BYTES))
        .unwrap_or_default();
    let mut written = 0;
    while written % ALIGN == 0 {
        let len = (bytes.len() - written).min(aligned.len()) / ALIGN * ALIGN;
        if len == 0 {
            break;
        }
        aligned[..len].copy_from_slice(&bytes[written..written + len]);
        match write_once(file, &aligned[..len]) {
            Err(refused) if refused.kind() == ErrorKind::InvalidInput => break,
            done => written += done?,
        }
    }
    Ok(written)
}

fn write_once(mut file: &File, bytes: &[u8]) -> Result<usize> {
    loop {
        match file.write(bytes) {
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            Ok(0) => return Err(Error::from(ErrorKind::WriteZero)),
            written => return written,
        }
    }
}

#[cfg(target_os = "linux")]
mod switch {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, fstatfs};

    use super::{File, Result};

    /// ext2 to ext4, XFS, btrfs, F2FS: filesystems of local disks (statfs(2)).
    const KNOWN: [u32; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010];

    /// False if this filesystem is not one of them, or will not.
    pub fn on(file: &File) -> bool {
        let known = fstatfs(file).is_ok_and(|kind| KNOWN.contains(&(kind.f_type as u32)));
        known
            && fcntl_getfl(file)
                .and_then(|flags| fcntl_setfl(file, flags | OFlags::DIRECT))
                .is_ok()
    }

    pub fn off(file: &File) -> Result<()> {
        Ok(fcntl_setfl(file, fcntl_getfl(file)? - OFlags::DIRECT)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod switch {
    use super::{File, Result};

    pub fn on(_: &File) -> bool {
        false
    }

    pub fn off(_: &File) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_bytes(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new()
            .update(&len.to_le_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }

    #[test]
    fn what_is_written_is_what_was_given_at_every_edge() {
        // Not `/tmp`, which is often in memory: the build's own directory lies on a disk.
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let edges = [0, 1, DIRECT_BYTES_MIN - 1, DIRECT_BYTES_MIN, CALL_BYTES + ALIGN];
        for len in edges
            .iter()
            .flat_map(|edge| [edge + 1, *edge, edge.saturating_sub(1)])
        {
            let path = directory.path().join("object");
            write_all(&File::create(&path).unwrap(), &some_bytes(len)).unwrap();
            assert!(std::fs::read(&path).unwrap() == some_bytes(len), "{len} bytes");
        }
    }

    #[test]
    fn the_switch_is_off_behind_it() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = File::create(directory.path().join("object")).unwrap();
        write_all(&file, &some_bytes(2 * CALL_BYTES)).unwrap();
        // An unaligned write would be refused.
        (&file).write_all(b"more").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 2 * CALL_BYTES as u64 + 4);
    }
}
