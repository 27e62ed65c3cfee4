//! Finds databases by the names in directories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::error::{ErrorKind, Result};
use crate::held_directory::{DirectoryEntry, HeldDirectory};
use crate::leveldb::file_name::FileName;
use crate::report::OperationReport;
use crate::scratch_directory;
use crate::source::current_file;
use crate::source::database::{read_manifest, stat_file};
use crate::source::detect_database::{DetectedDirectory, ForeignDatabase, detect_in, is_riak_level_name};

/// Where a repaired database keeps the tables that it no longer uses.
const LOST_DIRECTORY: &[u8] = b"lost";

/// Says of a path below the one that was asked for whether it is to be walked.
pub type PathFilter<'w> = &'w dyn Fn(&Path, bool) -> bool;

/// Whether a directory is a database's. One whose only trace of LevelDB is a file called CURRENT that names no MANIFEST
/// is not, nor is the directory in which a repaired one keeps what it no longer uses. One whose MANIFEST is whole and not
/// known is a fork's.
pub fn detect_candidate(directory: &HeldDirectory) -> Result<DetectedDirectory> {
    if is_lost_directory(directory) {
        return Ok(DetectedDirectory::Other);
    }
    let found = detect_in(directory)?;
    if let DetectedDirectory::LevelDb(_) = found {
        match current_file::read(directory) {
            Err(error) if error.kind() == ErrorKind::NotLevelDb => return Ok(DetectedDirectory::Other),
            Err(_) if is_riak_level(directory) => return Ok(DetectedDirectory::Other),
            Err(_) => {}
            Ok(current) => {
                let manifest = read_manifest(&stat_file(directory, current.manifest));
                if let Some(foreign) = manifest.err().as_ref().and_then(ForeignDatabase::of_manifest) {
                    return Ok(DetectedDirectory::Foreign(foreign));
                }
            }
        }
    }
    Ok(found)
}

/// A directory with tables of Riak's and no list of them.
fn is_riak_level(directory: &HeldDirectory) -> bool {
    let name = directory.path().file_name().and_then(OsStr::to_str);
    name.is_some_and(is_riak_level_name)
}

/// The databases below `root`, itself among them, in the order of their paths; `wanted` is asked of each path, and
/// whether it is a directory. What cannot be listed is reported when its files are read. No link is followed, the root
/// itself none either.
pub fn find_databases_below(
    root: &Path,
    wanted: PathFilter,
    report: &OperationReport,
) -> Result<Vec<PathBuf>> {
    let Ok(above) = HeldDirectory::open_nofollow(root) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let mut to_list = vec![root.to_owned()];
    while let Some(path) = to_list.pop() {
        report.go_on()?;
        let Ok(directory) = above.descendant(&path) else {
            continue;
        };
        // Its own, or one that a killed process left.
        if path != root && is_levault_directory(&directory) {
            continue;
        }
        let mut hinted = false;
        for entry in directory.list().unwrap_or_default() {
            let is_directory = entry.kind == FileType::Directory;
            if !is_directory && !is_database_hint(&entry) {
                continue;
            }
            let path = path.join(&entry.name);
            if !wanted(&path, is_directory) {
                continue;
            }
            if is_directory {
                to_list.push(path);
            } else {
                hinted = true;
            }
        }
        if hinted && matches!(detect_candidate(&directory), Ok(DetectedDirectory::LevelDb(_))) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// True for a directory that levault made for itself, of whichever user: what lies in it is no one's data.
pub fn is_levault_directory(directory: &HeldDirectory) -> bool {
    let name = directory.path().file_name().unwrap_or_default();
    scratch_directory::is_scratch_name(name.as_bytes())
        && (scratch_directory::has_marker(directory) || directory.open().is_err())
}

/// Some such file stands in every database.
fn is_database_hint(entry: &DirectoryEntry) -> bool {
    let name = entry.name.to_str().and_then(FileName::parse);
    let hints = matches!(
        name,
        Some(FileName::Current | FileName::Manifest(_) | FileName::Table(..))
    );
    entry.kind == FileType::RegularFile && hints
}

fn is_lost_directory(directory: &HeldDirectory) -> bool {
    let is_called_so = directory.path().file_name().map(OsStr::as_bytes) == Some(LOST_DIRECTORY);
    is_called_so
        && directory
            .parent()
            .is_ok_and(|above| above.stat("CURRENT").is_ok())
}
