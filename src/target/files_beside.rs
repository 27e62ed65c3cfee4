//! Carries over the files beside a replaced database.
//!
//! What lies beside a database that is replaced comes along: files by another name of each, directories made again.
//!
//! Until the two directories are exchanged each file has a name in both; so neither a crash nor a failed restore takes
//! anything from the old one.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Mode, linkat, mkdirat};
use rustix::io::Errno;

use super::tree::{self, RefusedAttributes, TargetAttributes};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::leveldb::file_name::FileName;
use crate::limits::TREE_DEPTH_MAX;

/// The names in a database's directory that are none of LevelDB's.
pub(super) fn list_other_files(directory: &File) -> Result<Vec<Vec<u8>>> {
    let mut names = tree::names(directory)?;
    names.retain(|name| !std::str::from_utf8(name).is_ok_and(|name| FileName::parse(name).is_some()));
    Ok(names)
}

/// Brings them from the old directory to the new one; which they are.
pub(super) fn link_other_files(old: &File, new: &File) -> Result<Vec<Vec<u8>>> {
    let names = list_other_files(old)?;
    for name in &names {
        link_one(old, new, OsStr::from_bytes(name), 0)
            .context(|| String::from_utf8_lossy(name).into_owned())?;
    }
    Ok(names)
}

fn link_one(old: &File, new: &File, name: &OsStr, level: usize) -> Result<()> {
    match linkat(old, name, new, name, AtFlags::empty()) {
        Ok(()) => Ok(()),
        // A directory has one name only.
        Err(Errno::PERM | Errno::ISDIR) if tree::is_directory(old, name)? => {
            link_directory(old, new, name, level)
        }
        Err(error) => Err(Error::io("give it a second name", error.into())),
    }
}

fn link_directory(old: &File, new: &File, name: &OsStr, level: usize) -> Result<()> {
    if level == TREE_DEPTH_MAX {
        return Err(Error::new(
            ErrorKind::Limit,
            "directories in directories without end",
        ));
    }
    let from = tree::open_directory_nofollow(old, name).context(|| "enter it")?;
    mkdirat(new, name, Mode::RWXU)
        .map_err(std::io::Error::from)
        .context(|| "make it again")?;
    let to = tree::open_directory_nofollow(new, name).context(|| "enter it")?;
    tree::remove_inherited_acls(&to)?;
    for inner in tree::names(&from)? {
        link_one(&from, &to, OsStr::from_bytes(&inner), level + 1)
            .context(|| String::from_utf8_lossy(&inner).into_owned())?;
    }
    TargetAttributes::of(&from)?.set(&to, &RefusedAttributes::default())
}
