//! Combines owner, mode and attributes of a database's files.
//!
//! Owner, group and mode of a database's files as one value: what a restore gives the files that it writes.
//!
//! The records of all files come into new files, so no new file may be readable by more users than each old file was:
//!
//! - owner and group are those of most files; at a tie, those of the directory, or of the newest file
//! - the mode is that of most files, without each bit of group and others that some file with records lacks
//! - extended attributes are those that all files share; where an access list is not shared by all, the group has no
//!   rights, because a mode's group bits are then only the bound of that list
//!
//! LOCK, LOG and CURRENT hold no records and do not count, unless there is nothing else.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::hash::Hash;
use std::path::Path;

use rustix::fs::FileType;

use super::walk::xattrs;
use crate::held_directory::{DirectoryEntry, HeldDirectory, file_type_of};
use crate::leveldb::file_name::FileName;
use crate::snapshot::FileMetadata;

const GROUP_AND_OTHERS: u32 = 0o077;
const GROUP: u32 = 0o070;

/// An extended attribute's name that stands for an access list.
const ACL_XATTR_NAME: &[u8] = b"system.posix_acl_access";

/// What one file has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileAttributes {
    holds_records: bool,
    /// Owners count numbers up.
    number: u64,
    mode: u32,
    owner: (u32, u32),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads it from the files in `directory`; `None` if there are none that can be looked at.
pub fn database_file_metadata(directory: &Path) -> Option<FileMetadata> {
    database_file_metadata_in(&HeldDirectory::open_path(directory).ok()?)
}

/// [`database_file_metadata`] of a directory that is held.
pub fn database_file_metadata_in(directory: &HeldDirectory) -> Option<FileMetadata> {
    let facts = |entry: DirectoryEntry| {
        let kind = FileName::parse(entry.name.to_str()?)?;
        of_file(directory, &entry.name, kind)
    };
    let owner = directory.stat_self().map(|stat| (stat.st_uid, stat.st_gid));
    let entries = directory.list().ok()?.into_iter();
    combine_metadata(&entries.filter_map(facts).collect::<Vec<_>>(), owner.ok())
}

/// `None` for what is no regular file, and for what is gone by now.
fn of_file(directory: &HeldDirectory, name: &OsStr, kind: FileName) -> Option<FileAttributes> {
    let stat = directory.stat(name).ok()?;
    if file_type_of(&stat) != FileType::RegularFile {
        return None;
    }
    Some(FileAttributes {
        holds_records: matches!(
            kind,
            FileName::Table(..) | FileName::Log(_) | FileName::Manifest(_)
        ),
        number: kind.number().unwrap_or(0),
        mode: stat.st_mode & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        xattrs: xattrs::read(directory, name).unwrap_or_default(),
    })
}

/// `directory` is the owner of the directory.
fn combine_metadata(files: &[FileAttributes], directory: Option<(u32, u32)>) -> Option<FileMetadata> {
    let with_records: Vec<_> = files.iter().filter(|file| file.holds_records).collect();
    let files = if with_records.is_empty() {
        files.iter().collect()
    } else {
        with_records
    };
    let newest = *files.iter().max_by_key(|file| file.number)?;
    let (uid, gid) = most_frequent(
        files.iter().map(|file| file.owner),
        &[directory.unwrap_or(newest.owner), newest.owner],
    );
    let common = files.iter().fold(GROUP_AND_OTHERS, |bits, file| bits & file.mode);
    let mode = most_frequent(files.iter().map(|file| file.mode), &[newest.mode]);
    let mut mode = mode & (common | !GROUP_AND_OTHERS);
    let is_shared =
        |xattr: &&(Vec<u8>, Vec<u8>)| files.iter().all(|file| file.xattrs.binary_search(xattr).is_ok());
    let xattrs: Vec<_> = newest.xattrs.iter().filter(is_shared).cloned().collect();
    let has_list = |xattrs: &[(Vec<u8>, Vec<u8>)]| xattrs.iter().any(|(name, _)| name == ACL_XATTR_NAME);
    if files.iter().any(|file| has_list(&file.xattrs)) && !has_list(&xattrs) {
        mode &= !GROUP;
    }
    Some(FileMetadata {
        mode: Some(mode),
        uid: Some(uid),
        gid: Some(gid),
        xattrs,
        ..FileMetadata::default()
    })
}

/// At a tie the first of the preferred ones that is among the most frequent; else the smallest.
fn most_frequent<T: Copy + Eq + Hash + Ord + Default>(values: impl Iterator<Item = T>, preferred: &[T]) -> T {
    let mut counts: HashMap<T, usize> = HashMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(0);
    if let Some(value) = preferred.iter().find(|value| counts.get(value) == Some(&most)) {
        return *value;
    }
    let frequent = counts.iter().filter(|(_, count)| **count == most);
    frequent.map(|(value, _)| *value).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn file(number: u64, mode: u32, owner: (u32, u32)) -> FileAttributes {
        FileAttributes {
            holds_records: true,
            number,
            mode,
            owner,
            xattrs: Vec::new(),
        }
    }

    fn of(files: &[FileAttributes]) -> (u32, u32, u32) {
        let meta = combine_metadata(files, None).unwrap();
        (meta.mode.unwrap(), meta.uid.unwrap(), meta.gid.unwrap())
    }

    #[test]
    fn most_files_decide_and_none_becomes_readable_by_more() {
        let alike = [
            file(1, 0o640, (1, 2)),
            file(2, 0o640, (1, 2)),
            file(3, 0o644, (0, 0)),
        ];
        assert_eq!(of(&alike), (0o640, 1, 2));
        let one_secret = [
            file(1, 0o644, (1, 2)),
            file(2, 0o644, (1, 2)),
            file(3, 0o600, (0, 0)),
        ];
        assert_eq!(of(&one_secret), (0o600, 1, 2));
        assert_eq!(
            of(&[file(1, 0o600, (5, 5)), file(2, 0o640, (6, 6))]),
            (0o600, 6, 6)
        );
    }

    #[test]
    fn what_holds_no_records_does_not_count_where_something_does() {
        let mut log = file(9, 0o600, (0, 0));
        log.holds_records = false;
        assert_eq!(
            of(&[log.clone(), log.clone(), file(1, 0o660, (1, 1))]),
            (0o660, 1, 1)
        );
        assert_eq!(of(&[log]), (0o600, 0, 0));
        assert_eq!(combine_metadata(&[], None), None);
    }

    #[test]
    fn an_access_list_that_not_all_have_leaves_the_group_nothing() {
        let list = (ACL_XATTR_NAME.to_vec(), b"list".to_vec());
        let mut listed = file(1, 0o664, (1, 1));
        listed.xattrs = vec![list.clone(), (b"user.a".to_vec(), b"1".to_vec())];
        let mut other = listed.clone();
        other.xattrs.pop();
        assert_eq!(
            combine_metadata(&[listed.clone(), other], None).unwrap().xattrs,
            vec![list]
        );
        assert_eq!(of(&[listed, file(2, 0o664, (1, 1))]).0, 0o604);
    }

    proptest! {
        #[test]
        fn no_file_becomes_readable_by_group_or_others(modes in vec(0..0o1000u32, 1..8)) {
            let files: Vec<_> = (0..).zip(&modes).map(|(number, mode)| file(number, *mode, (1, 1))).collect();
            let (mode, ..) = of(&files);
            for old in modes {
                prop_assert_eq!(mode & GROUP_AND_OTHERS & !old, 0, "{:o} from {:o}", mode, old);
            }
        }
    }
}
