//! Which directories are databases, told from names before anything is read.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::error::{Kind, Result};
use crate::leveldb::name::FileName;
use crate::report::Report;
use crate::scratch;
use crate::source::current;
use crate::source::database::{read_manifest, stat};
use crate::source::detect::{Detected, Foreign, detect, is_level_name};

/// Where a repaired database keeps the tables that it no longer uses.
const LOST: &[u8] = b"lost";

/// Says of a path below the one that was asked for whether it is to be walked.
pub type Wanted<'w> = &'w dyn Fn(&Path, bool) -> bool;

/// Whether a directory is a database's. One whose only trace of LevelDB is a file called CURRENT that names no MANIFEST
/// is not, nor is the directory in which a repaired one keeps what it no longer uses. One whose MANIFEST is whole and not
/// known is a fork's.
pub fn candidate(directory: &Path) -> Result<Detected> {
    if is_lost(directory) {
        return Ok(Detected::Other);
    }
    let found = detect(directory)?;
    if let Detected::LevelDb(_) = found {
        match current::read(directory) {
            Err(error) if error.kind() == Kind::NotLevelDb => return Ok(Detected::Other),
            Err(_) if is_level(directory) => return Ok(Detected::Other),
            Err(_) => {}
            Ok(current) => {
                let manifest = read_manifest(&stat(directory, current.manifest));
                if let Some(foreign) = manifest.err().as_ref().and_then(Foreign::of_manifest) {
                    return Ok(Detected::Foreign(foreign));
                }
            }
        }
    }
    Ok(found)
}

/// A directory with tables of Riak's and no list of them.
fn is_level(directory: &Path) -> bool {
    let name = directory.file_name().and_then(OsStr::to_str);
    name.is_some_and(is_level_name)
}

/// The databases below `root`, itself among them, in the order of their paths; `wanted` is asked of each path, and
/// whether it is a directory. What cannot be listed is told when its files are read.
pub fn databases_below(root: &Path, wanted: Wanted, report: &Report) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut last: Option<PathBuf> = None;
    let walk = WalkDir::new(root).follow_links(false).follow_root_links(false);
    let wanted = |entry: &DirEntry| {
        let is_directory = entry.file_type().is_dir();
        let ours = is_directory && scratch::is_ours(entry.file_name().as_bytes());
        entry.depth() == 0 || !ours && wanted(entry.path(), is_directory)
    };
    for entry in walk.into_iter().filter_entry(wanted).flatten() {
        report.go_on()?;
        let Some(directory) = entry.path().parent() else {
            continue;
        };
        if !hints(&entry) || last.as_deref() == Some(directory) || found.iter().any(|path| path == directory)
        {
            continue;
        }
        last = Some(directory.to_owned());
        if let Ok(Detected::LevelDb(_)) = candidate(directory) {
            found.push(directory.to_owned());
        }
    }
    found.sort();
    Ok(found)
}

/// Some such file stands in every database.
fn hints(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_str().and_then(FileName::parse);
    let hints = matches!(
        name,
        Some(FileName::Current | FileName::Manifest(_) | FileName::Table(..))
    );
    entry.depth() > 0 && hints
}

fn is_lost(directory: &Path) -> bool {
    let is_called_so = directory.file_name().map(OsStr::as_bytes) == Some(LOST);
    is_called_so
        && directory
            .parent()
            .is_some_and(|above| above.join("CURRENT").exists())
}
