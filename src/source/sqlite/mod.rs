//! Detects SQLite databases that change while they are copied.
//!
//! SQLite's databases among the files: what a copy of them is worth.
//!
//! A SQLite database is a file, and while it is written also `-wal` or `-journal` beside it. Copied while nobody writes,
//! all of them together are a state that SQLite recovers. Copied one after the other under a writer, they may not fit
//! together, and nothing in them says so. So a walk looks at them before and behind the copy ([`SqliteWatch`]), or has SQLite
//! make an exact one (`exact_copy`, with the feature `sqlite`).

#[cfg(feature = "sqlite")]
mod online_backup;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::{OpenOptions, symlink_metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

#[cfg(feature = "sqlite")]
pub use online_backup::exact_copy;

/// How every such file begins.
const SQLITE_HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Behind the database's own name: what is not yet in it, or no longer.
const JOURNAL_SUFFIXES: [&str; 2] = ["-wal", "-journal"];

/// Behind the database's own name: how processes share the first.
const SHM_SUFFIX: &str = "-shm";

/// Whether a regular file is a database of SQLite. One that cannot be read is none.
pub fn is_database(path: &Path) -> bool {
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
    let mut header = [0; SQLITE_HEADER.len()];
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let read = opened.and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header == *SQLITE_HEADER
}

/// Whether what a database has beside it is among these names, which are sorted.
pub fn has_journal_file(name: &OsStr, names: &[OsString]) -> bool {
    JOURNAL_SUFFIXES.iter().any(|end| {
        let beside = with_suffix(name, end);
        names.binary_search(&beside).is_ok()
    })
}

/// The names of what belongs to a database and is not needed beside an exact copy.
pub fn companion_names(name: &OsStr) -> [OsString; 3] {
    [JOURNAL_SUFFIXES[0], JOURNAL_SUFFIXES[1], SHM_SUFFIX].map(|end| with_suffix(name, end))
}

/// Whose a database is, as the walk that found it saw.
#[derive(Clone, Copy, Debug)]
pub struct SqliteOwner {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A database whose files are about to be copied, one after the other.
#[derive(Debug)]
pub struct SqliteWatch {
    path: PathBuf,
    before: SqliteFiles,
}

/// The database, and what it has beside it.
type SqliteFiles = [Option<SqliteFileStat>; 3];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SqliteFileStat {
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl SqliteWatch {
    /// Looks at a file before it is read; `None` for one that is no database, or has nothing beside it.
    pub fn begin(path: &Path) -> Option<Self> {
        let watched = Self {
            path: path.to_owned(),
            before: stat_files(path),
        };
        let has_beside = watched.before.iter().skip(1).any(Option::is_some);
        (has_beside && is_database(path)).then_some(watched)
    }

    /// Whether there is something beside it, and not only a journal that was emptied.
    pub fn is_in_use(&self) -> bool {
        self.before.iter().skip(1).flatten().any(|stamp| stamp.len > 0)
    }

    /// The database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When all of its files are read: whether somebody wrote to them meanwhile.
    pub fn has_changed(&self) -> bool {
        stat_files(&self.path) != self.before
    }
}

fn stat_files(path: &Path) -> SqliteFiles {
    let stamp = |path: PathBuf| {
        let facts = symlink_metadata(path).ok()?;
        Some(SqliteFileStat {
            inode: facts.ino(),
            len: facts.len(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        })
    };
    ["", JOURNAL_SUFFIXES[0], JOURNAL_SUFFIXES[1]].map(|end| stamp(with_suffix(path.as_os_str(), end).into()))
}

fn with_suffix(name: &OsStr, end: &str) -> OsString {
    let mut joined = name.to_owned();
    joined.push(end);
    joined
}
