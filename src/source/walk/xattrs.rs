//! Reads extended attributes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{lgetxattr, lgetxattr_query, llistxattr, llistxattr_query};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::HeldDirectory;
use crate::limits::{XATTR_BYTES_MAX, XATTRS_MAX};

/// How often a list or a value is asked for again that grew between two calls.
const TRIES_MAX: u32 = 8;

/// Sorted by name. A filesystem without any has none.
pub fn read(directory: &HeldDirectory, name: &OsStr) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = &path_of(directory, name);
    let list = match read_growing(|| llistxattr_query(path), |buffer| llistxattr(path, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        list => list
            .map_err(std::io::Error::from)
            .context(|| "list its extended attributes")?,
    };
    let mut xattrs = Vec::new();
    for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let value = read_growing(
            || lgetxattr_query(path, name),
            |buffer| lgetxattr(path, name, buffer),
        );
        match value {
            // Taken away meanwhile.
            Err(Errno::NODATA) => {}
            value => {
                let value = value.map_err(std::io::Error::from);
                let act = || format!("read its attribute {}", String::from_utf8_lossy(name));
                xattrs.push((name.to_vec(), value.context(act)?));
            }
        }
    }
    xattrs.sort_unstable();
    fit(&xattrs).map(|()| xattrs)
}

/// No call takes a directory that is held, so it is named through /proc. Where that is not mounted there is only the path,
/// and what may come in the place of one of its parts.
fn path_of(directory: &HeldDirectory, name: &OsStr) -> PathBuf {
    static HAS_PROC: OnceLock<bool> = OnceLock::new();
    if *HAS_PROC.get_or_init(|| Path::new("/proc/self/fd").exists()) {
        directory.proc_path(name)
    } else {
        directory.display_path(name)
    }
}

fn fit(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
    let bytes: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    if xattrs.len() <= XATTRS_MAX && bytes <= XATTR_BYTES_MAX {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Limit,
            format!("{} extended attributes of {bytes} bytes", xattrs.len()),
        ))
    }
}

/// Asks how long the answer is, and then for the answer.
fn read_growing(
    len: impl Fn() -> rustix::io::Result<usize>,
    ask: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    for _ in 0..TRIES_MAX {
        // The kernel bounds both: 64 KiB each.
        let mut buffer = vec![0; len()?];
        if buffer.is_empty() {
            return Ok(buffer);
        }
        match ask(&mut buffer) {
            Err(Errno::RANGE) => {}
            got => {
                buffer.truncate(got?);
                return Ok(buffer);
            }
        }
    }
    Err(Errno::RANGE)
}
