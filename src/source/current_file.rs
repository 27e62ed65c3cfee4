//! Reads CURRENT.
//!
//! CURRENT: the small file that names the MANIFEST in force.

use std::io::Read;

use super::detect_database::{DetectedDirectory, detect_by_names, list_utf8_names};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::HeldDirectory;
use crate::leveldb::file_name::FileName;
use crate::source::walk::FileFingerprint;

/// Longest CURRENT that is believed to be one, bytes.
const CURRENT_BYTES_MAX: u64 = 4096;

/// What CURRENT says, and which file says it.
///
/// An owner puts a new CURRENT in the place of the old one by a rename and writes to none. One that is written over in place
/// is a copy of another database, even if its bytes are the same: its time of change tells.
#[derive(Clone, Debug)]
pub(super) struct CurrentFile {
    /// All of it.
    pub bytes: Vec<u8>,
    /// The name of the MANIFEST.
    pub manifest: String,
    /// The file before it was read.
    fingerprint: FileFingerprint,
}

impl CurrentFile {
    /// True if it is the same file, and was not written to between the two readings.
    pub fn is_same(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.fingerprint.has_same_content(&other.fingerprint)
    }
}

/// [`ErrorKind::NotLevelDb`] for a directory that is no LevelDB, or RocksDB's; [`ErrorKind::UnknownFormat`] for a fork's.
pub(super) fn check_kind(directory: &HeldDirectory, names: &[String]) -> Result<()> {
    match detect_by_names(directory, names) {
        DetectedDirectory::LevelDb(_) => Ok(()),
        DetectedDirectory::Foreign(foreign) => Err(foreign.refusal()),
        DetectedDirectory::Other => Err(Error::new(ErrorKind::NotLevelDb, "no LevelDB here")),
    }
}

/// Reads it.
pub(super) fn read(directory: &HeldDirectory) -> Result<CurrentFile> {
    let file = match directory.open_file("CURRENT") {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::corrupt("CURRENT is missing"));
        }
        opened => opened?.0,
    };
    let facts = file.metadata();
    let facts = facts.context(|| format!("look at {}", directory.display_path("CURRENT").display()))?;
    let mut bytes = Vec::new();
    file.take(CURRENT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .context(|| format!("read {}", directory.display_path("CURRENT").display()))?;
    match manifest_named(&bytes, directory) {
        Some(manifest) => Ok(CurrentFile {
            manifest,
            bytes,
            fingerprint: FileFingerprint::of(&facts),
        }),
        _ if has_no_other_leveldb_file(&list_utf8_names(directory)?) => {
            Err(Error::new(ErrorKind::NotLevelDb, "CURRENT names no MANIFEST"))
        }
        _ => Err(Error::corrupt("CURRENT names no MANIFEST")),
    }
}

/// The name in it. LevelDB ends it with a newline; ports and text editors on Windows do otherwise, and a name without an end
/// counts if such a MANIFEST is there: half a name leads to none.
fn manifest_named(bytes: &[u8], directory: &HeldDirectory) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let ended = text.strip_suffix('\n');
    let name = ended.map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    let is_manifest = matches!(FileName::parse(name), Some(FileName::Manifest(_)));
    let is_whole = ended.is_some() || directory.open_file(name).is_ok();
    (is_manifest && is_whole).then(|| name.to_owned())
}

/// A file called CURRENT among files of which none is LevelDB's.
fn has_no_other_leveldb_file(names: &[String]) -> bool {
    names
        .iter()
        .all(|name| matches!(FileName::parse(name), None | Some(FileName::Current)))
}
