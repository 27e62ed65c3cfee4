//! Removes entries, following no link, on one filesystem.
//!
//! Removing what stands under a name: by open directories, following no link, on one filesystem.

use std::ffi::OsStr;
use std::fs::File;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::existing_entry::FileIdentity;
use super::target_directory::{check_plain_name_bytes, names, open_directory_nofollow};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// How much may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveDepth {
    /// A file, a link, an empty directory.
    Single,
    /// A directory with all that is in it.
    Recursive,
    /// The same, if it is this one: users may give another that lies beside it its name meanwhile.
    RecursiveIfSame(FileIdentity),
}

/// Removes what stands under `name`; nothing there is as good.
pub(super) fn remove(directory: &File, name: &OsStr, depth: RemoveDepth) -> Result<()> {
    remove_at(directory, name, depth, 0)
}

fn remove_at(directory: &File, name: &OsStr, depth: RemoveDepth, level: usize) -> Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => remove_directory(directory, name, depth, level),
        Err(error) => Err(Error::io("unlink it", error.into())),
    }
}

fn remove_directory(directory: &File, name: &OsStr, depth: RemoveDepth, level: usize) -> Result<()> {
    let remove = || rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR);
    let removed = match (remove(), depth) {
        (Err(Errno::NOTEMPTY | Errno::EXIST), RemoveDepth::Recursive) => {
            empty(directory, name, level, None)?;
            remove()
        }
        (Err(Errno::NOTEMPTY | Errno::EXIST), RemoveDepth::RecursiveIfSame(identity)) => {
            empty(directory, name, level, Some(identity))?;
            remove()
        }
        (removed, _) => removed,
    };
    match removed {
        Err(Errno::NOENT) => Ok(()),
        removed => removed
            .map_err(std::io::Error::from)
            .context(|| "remove the directory"),
    }
}

/// Descriptors bound how deep this goes before memory does.
fn empty(above: &File, name: &OsStr, level: usize, expected: Option<FileIdentity>) -> Result<()> {
    let directory = open_directory_nofollow(above, name).context(|| "enter it")?;
    let found = identity(&directory)?;
    if expected.is_some_and(|expected| expected != found) {
        return Err(Error::new(
            ErrorKind::Exists,
            "another directory has come in its place",
        ));
    }
    if found.device != identity(above)?.device {
        return Err(Error::new(
            ErrorKind::Usage,
            "another filesystem is mounted there",
        ));
    }
    if level == 2048 {
        return Err(Error::new(
            ErrorKind::Limit,
            "directories in directories without end",
        ));
    }
    for name in names(&directory)? {
        remove_at(
            &directory,
            check_plain_name_bytes(&name)?,
            RemoveDepth::Recursive,
            level + 1,
        )
        .context(|| String::from_utf8_lossy(&name).into_owned())?;
    }
    Ok(())
}

fn identity(directory: &File) -> Result<FileIdentity> {
    let stat = rustix::fs::fstat(directory)
        .map_err(std::io::Error::from)
        .context(|| "look at it")?;
    Ok(FileIdentity::of(&stat))
}
