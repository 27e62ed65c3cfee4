//! Detects what kind of database a directory holds.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::held_directory::HeldDirectory;
use crate::leveldb::file_name::FileName;
use crate::leveldb::read_at::ReadAt;
use crate::leveldb::table_reader::{FOOTER_BYTES, TableFooter};

/// What a directory looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectedDirectory {
    /// It has files of a LevelDB; whether they can be read, opening tells.
    LevelDb(&'static str),
    /// Alike by its names, and another program's inside.
    Foreign(ForeignDatabase),
    /// Nothing of the kind.
    Other,
}

/// Another engine's database, or a fork's of LevelDB that keeps it otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignDatabase {
    /// Whose it is, as far as that shows.
    pub engine: ForeignEngine,
    /// How it shows.
    pub why: String,
}

/// Whose a foreign database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignEngine {
    /// RocksDB, or an engine with its tables: they have backups of their own.
    RocksDb,
    /// Riak's LevelDB, which keeps its tables in a directory for each level.
    Riak,
    /// A fork that is not known.
    Fork,
}

impl ForeignDatabase {
    fn new(engine: ForeignEngine, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { engine, why }
    }

    /// The error that refuses to read it as LevelDB.
    pub fn refusal(&self) -> Error {
        let kind = match self.engine {
            ForeignEngine::RocksDb => ErrorKind::NotLevelDb,
            ForeignEngine::Riak | ForeignEngine::Fork => ErrorKind::UnknownFormat,
        };
        Error::new(kind, self.to_string())
    }

    /// Whose MANIFEST it is that cannot be read for `error`; `None` if that only says that it is damaged.
    pub fn of_manifest(error: &Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::NotLevelDb => Some(Self::new(ForeignEngine::RocksDb, error.to_string())),
            ErrorKind::UnknownFormat => Some(Self::new(ForeignEngine::Fork, error.to_string())),
            _ => None,
        }
    }
}

impl fmt::Display for ForeignDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = match self.engine {
            ForeignEngine::RocksDb => "RocksDB",
            ForeignEngine::Riak => "Riak's LevelDB",
            ForeignEngine::Fork => "a fork of LevelDB that is not known",
        };
        write!(f, "{engine} ({})", self.why)
    }
}

/// Looks at the names in a directory, and into tables when names do not tell.
pub fn detect(directory: &Path) -> Result<DetectedDirectory> {
    detect_in(&HeldDirectory::open_path(directory)?)
}

/// [`detect`] in a directory that is held.
pub fn detect_in(directory: &HeldDirectory) -> Result<DetectedDirectory> {
    Ok(detect_by_names(directory, &list_utf8_names(directory)?))
}

/// The names of a directory's entries, sorted; those that are not UTF-8 are none of LevelDB's.
pub fn list_utf8_names(directory: &HeldDirectory) -> Result<Vec<String>> {
    let all = directory.list()?.into_iter();
    let mut names: Vec<_> = all.filter_map(|entry| entry.name.into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// [`detect`] over names already listed. Only regular files count: what a link names lies elsewhere.
pub fn detect_by_names(directory: &HeldDirectory, names: &[String]) -> DetectedDirectory {
    let has = |wanted: fn(&str) -> bool| names.iter().any(|name| wanted(name) && directory.has_file(name));
    if has(|name| name.strip_prefix("OPTIONS-").is_some_and(is_number)) {
        return DetectedDirectory::Foreign(ForeignDatabase::new(
            ForeignEngine::RocksDb,
            "it has an OPTIONS file",
        ));
    }
    if has(|name| name == "CURRENT" || is_manifest(name)) && has_riak_levels(directory, names) {
        let why = "its tables lie in directories sst_0 to sst_6";
        return DetectedDirectory::Foreign(ForeignDatabase::new(ForeignEngine::Riak, why));
    }
    match table_maker(directory, names) {
        Some(DetectedDirectory::Foreign(foreign)) => return DetectedDirectory::Foreign(foreign),
        _ if has(|name| name == "CURRENT") => return DetectedDirectory::LevelDb("it has a CURRENT"),
        Some(found) => return found,
        None => {}
    }
    if has(is_manifest) {
        DetectedDirectory::LevelDb("it has a MANIFEST")
    } else {
        DetectedDirectory::Other
    }
}

fn is_manifest(name: &str) -> bool {
    matches!(FileName::parse(name), Some(FileName::Manifest(_)))
}

/// Riak's directories for tables, and none in this one.
fn has_riak_levels(directory: &HeldDirectory, names: &[String]) -> bool {
    let is_table = |name: &String| matches!(FileName::parse(name), Some(FileName::Table(..)));
    let is_level = |name: &String| is_riak_level_name(name) && directory.child(OsStr::new(name)).is_ok();
    names.iter().any(is_level) && !names.iter().any(is_table)
}

/// What Riak calls the directory of a level.
pub fn is_riak_level_name(name: &str) -> bool {
    name.strip_prefix("sst_").is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What the footer of the first few whole tables says.
fn table_maker(directory: &HeldDirectory, names: &[String]) -> Option<DetectedDirectory> {
    let tables = names
        .iter()
        .filter(|name| matches!(FileName::parse(name), Some(FileName::Table(..))));
    tables.take(8).find_map(|name| {
        let (file, len) = directory.open_file(name).ok()?;
        let footer = read_footer(&file, len)?;
        match TableFooter::decode(&footer) {
            Ok(_) => Some(DetectedDirectory::LevelDb("it has tables of LevelDB")),
            Err(error) if error.kind() == ErrorKind::NotLevelDb => Some(DetectedDirectory::Foreign(
                ForeignDatabase::new(ForeignEngine::RocksDb, error.to_string()),
            )),
            Err(_) => None,
        }
    })
}

fn read_footer(file: &std::fs::File, len: u64) -> Option<[u8; FOOTER_BYTES]> {
    use std::os::unix::fs::FileExt;
    let mut footer = [0; FOOTER_BYTES];
    file.read_exact_at(&mut footer, len.checked_sub(FOOTER_BYTES as u64)?)
        .ok()?;
    Some(footer)
}

/// The first bytes of a file, at most `max`; empty when it cannot be read: good for hints only.
pub(super) fn read_prefix(file: &dyn ReadAt, max: usize) -> Vec<u8> {
    let mut bytes = vec![0; max.min(usize::try_from(file.len()).unwrap_or(max))];
    match file.read_at(&mut bytes, 0) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveldb::table_reader::TABLE_MAGIC;

    fn with_files(files: &[(&str, &[u8])]) -> DetectedDirectory {
        let directory = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(directory.path().join(name), bytes).unwrap();
        }
        detect(directory.path()).unwrap()
    }

    fn footer(magic: u64) -> Vec<u8> {
        [&[0; 40][..], &magic.to_le_bytes()].concat()
    }

    #[test]
    fn names_and_footers_tell_leveldb_from_rocksdb_and_from_anything_else() {
        let rocks = footer(0x88e2_41b7_85f4_cff7);
        let level = footer(TABLE_MAGIC);
        assert_eq!(with_files(&[]), DetectedDirectory::Other);
        assert_eq!(
            with_files(&[("000001.log", b""), ("LOG", b""), ("a.sst", b"")]),
            DetectedDirectory::Other
        );
        assert_eq!(with_files(&[("000005.sst", &[7; 100])]), DetectedDirectory::Other);
        assert!(matches!(
            with_files(&[("CURRENT", b"")]),
            DetectedDirectory::LevelDb(_)
        ));
        assert!(matches!(
            with_files(&[("MANIFEST-000002", b"")]),
            DetectedDirectory::LevelDb(_)
        ));
        assert!(matches!(
            with_files(&[("000005.sst", &level)]),
            DetectedDirectory::LevelDb(_)
        ));
        assert!(matches!(
            with_files(&[("CURRENT", b""), ("000005.sst", &rocks)]),
            DetectedDirectory::Foreign(_)
        ));
        assert!(matches!(
            with_files(&[("CURRENT", b""), ("OPTIONS-000007", b"")]),
            DetectedDirectory::Foreign(_)
        ));
    }
}
