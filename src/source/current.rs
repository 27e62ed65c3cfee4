//! CURRENT: the small file that names the MANIFEST in force.

use std::io::Read;
use std::path::Path;

use super::detect::{Detected, judge, names};
use super::file::open_regular;
use crate::error::{Act, Error, Kind, Result};
use crate::leveldb::name::FileName;

/// Longest CURRENT that is believed to be one, bytes.
const CURRENT_BYTES_MAX: u64 = 4096;

/// What CURRENT says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Current {
    /// All of it.
    pub bytes: Vec<u8>,
    /// The name of the MANIFEST.
    pub manifest: String,
}

/// [`Kind::NotLevelDb`] for a directory that is no LevelDB, or RocksDB's.
pub(super) fn check_kind(directory: &Path, names: &[String]) -> Result<()> {
    match judge(directory, names) {
        Detected::LevelDb(_) => Ok(()),
        Detected::RocksDb(why) => Err(Error::new(Kind::NotLevelDb, format!("RocksDB: {why}"))),
        Detected::Other => Err(Error::new(Kind::NotLevelDb, "no LevelDB here")),
    }
}

/// Reads it.
pub(super) fn read(directory: &Path) -> Result<Current> {
    let path = directory.join("CURRENT");
    let file = match open_regular(&path) {
        Err(error) if error.kind() == Kind::NotFound => return Err(Error::corrupt("CURRENT is missing")),
        opened => opened?.0,
    };
    let mut bytes = Vec::new();
    file.take(CURRENT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .act(|| format!("read {}", path.display()))?;
    let name = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.strip_suffix('\n'));
    match name.map(|name| (name, FileName::parse(name))) {
        Some((name, Some(FileName::Manifest(_)))) => Ok(Current {
            manifest: name.to_owned(),
            bytes,
        }),
        _ if is_alone(&names(directory)?) => Err(Error::new(Kind::NotLevelDb, "CURRENT names no MANIFEST")),
        _ => Err(Error::corrupt("CURRENT names no MANIFEST")),
    }
}

/// A file called CURRENT among files of which none is LevelDB's.
fn is_alone(names: &[String]) -> bool {
    names
        .iter()
        .all(|name| matches!(FileName::parse(name), None | Some(FileName::Current)))
}
