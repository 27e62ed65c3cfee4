//! Directory → a LevelDB, or not, and why.

use std::path::Path;

use super::file::open_regular;
use crate::error::{Act, Result};
use crate::leveldb::name::FileName;
use crate::leveldb::read_at::ReadAt;
use crate::leveldb::table::{FOOTER_BYTES, Footer};

/// What a directory looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detected {
    /// It has files of a LevelDB; whether they can be read, opening tells.
    LevelDb(&'static str),
    /// RocksDB's files: alike by name, another format inside.
    RocksDb(&'static str),
    /// Nothing of the kind.
    Other,
}

/// Looks at the names in a directory, and into tables when names do not tell.
pub fn detect(directory: &Path) -> Result<Detected> {
    Ok(judge(directory, &names(directory)?))
}

/// The names of a directory's entries, sorted; names that are not UTF-8 are nobody's we know.
pub fn names(directory: &Path) -> Result<Vec<String>> {
    let act = || format!("list {}", directory.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).act(act)? {
        names.extend(entry.act(act)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// [`detect`] over names already listed.
pub fn judge(directory: &Path, names: &[String]) -> Detected {
    let has = |wanted: fn(&str) -> bool| names.iter().any(|name| wanted(name));
    if has(|name| name.strip_prefix("OPTIONS-").is_some_and(is_number)) {
        return Detected::RocksDb("it has an OPTIONS file");
    }
    match table_maker(directory, names) {
        Some(Detected::RocksDb(why)) => return Detected::RocksDb(why),
        _ if has(|name| name == "CURRENT") => return Detected::LevelDb("it has a CURRENT"),
        Some(found) => return found,
        None => {}
    }
    match has(|name| matches!(FileName::parse(name), Some(FileName::Manifest(_)))) {
        true => Detected::LevelDb("it has a MANIFEST"),
        false => Detected::Other,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What the footer of the first few whole tables says.
fn table_maker(directory: &Path, names: &[String]) -> Option<Detected> {
    let tables = names
        .iter()
        .filter(|name| matches!(FileName::parse(name), Some(FileName::Table(..))));
    tables.take(8).find_map(|name| {
        let (file, len) = open_regular(&directory.join(name)).ok()?;
        let footer = read_footer(&file, len)?;
        match Footer::decode(&footer) {
            Ok(_) => Some(Detected::LevelDb("it has tables of LevelDB")),
            Err(error) if error.kind() == crate::error::Kind::NotLevelDb => {
                Some(Detected::RocksDb("it has tables of RocksDB"))
            }
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
pub(super) fn head(file: &dyn ReadAt, max: usize) -> Vec<u8> {
    let mut bytes = vec![0; max.min(usize::try_from(file.len()).unwrap_or(max))];
    match file.read_at(&mut bytes, 0) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveldb::table::TABLE_MAGIC;

    fn with_files(files: &[(&str, &[u8])]) -> Detected {
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
        assert_eq!(with_files(&[]), Detected::Other);
        assert_eq!(
            with_files(&[("000001.log", b""), ("LOG", b""), ("a.sst", b"")]),
            Detected::Other
        );
        assert_eq!(with_files(&[("000005.sst", &[7; 100])]), Detected::Other);
        assert!(matches!(with_files(&[("CURRENT", b"")]), Detected::LevelDb(_)));
        assert!(matches!(
            with_files(&[("MANIFEST-000002", b"")]),
            Detected::LevelDb(_)
        ));
        assert!(matches!(
            with_files(&[("000005.sst", &level)]),
            Detected::LevelDb(_)
        ));
        assert!(matches!(
            with_files(&[("CURRENT", b""), ("000005.sst", &rocks)]),
            Detected::RocksDb(_)
        ));
        assert!(matches!(
            with_files(&[("CURRENT", b""), ("OPTIONS-000007", b"")]),
            Detected::RocksDb(_)
        ));
    }
}
