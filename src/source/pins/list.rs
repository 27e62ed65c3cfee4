//! Which pins there are beside a database: for people, and for who wants the space back.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::state::State;
use super::{Pins, STATE};
use crate::error::{Act, Error, Kind, Result};
use crate::id::{ObjectId, RepositoryId};
use crate::scratch::{is_locked, open_directory, try_lock};

/// The pins of one database for one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinSet {
    /// The hidden directory.
    pub path: PathBuf,
    /// Whose backup it is, and of which snapshot; `None` if nothing is kept, or it cannot be read.
    pub of: Option<(RepositoryId, ObjectId)>,
    /// Tables kept.
    pub tables: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes that only the pins keep: of copies, and of tables that the owner has deleted.
    pub bytes_alone: u64,
    /// A backup is using it.
    pub in_use: bool,
}

/// All pin sets of a database; it may be gone itself.
pub fn list(database: &Path) -> Result<Vec<PinSet>> {
    let database = std::path::absolute(database).act(|| format!("find {}", database.display()))?;
    let database = database.canonicalize().unwrap_or(database);
    let parent = database.parent().unwrap_or(Path::new("/"));
    let prefix = Pins::prefix(&database);
    let mut sets = Vec::new();
    for entry in fs::read_dir(parent).act(|| format!("list {}", parent.display()))? {
        let entry = entry.act(|| format!("list {}", parent.display()))?;
        let is_set = entry.file_name().as_bytes().starts_with(&prefix);
        if is_set && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sets.push(PinSet::at(entry.path()));
        }
    }
    sets.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sets)
}

impl PinSet {
    fn at(path: PathBuf) -> Self {
        let state = State::read(&path.join(STATE)).ok().flatten();
        let mut set = Self {
            of: state.as_ref().map(|state| (state.repository, state.snapshot)),
            tables: 0,
            bytes: 0,
            bytes_alone: 0,
            in_use: open_directory(&path).is_ok_and(|directory| is_locked(&directory)),
            path,
        };
        for table in state.iter().flat_map(|state| state.tables.values()) {
            set.tables += 1;
            set.bytes += table.facts.len;
            let facts = fs::symlink_metadata(set.path.join(&table.pin));
            if facts.is_ok_and(|facts| facts.nlink() == 1) {
                set.bytes_alone += table.facts.len;
            }
        }
        set
    }

    /// Removes it: the next backup reads everything. [`Kind::Busy`] while a backup uses it.
    pub fn remove(&self) -> Result<()> {
        let directory = open_directory(&self.path)?;
        match try_lock(&directory) {
            true => fs::remove_dir_all(&self.path).act(|| format!("remove {}", self.path.display())),
            false => Err(Error::new(
                Kind::Busy,
                format!("{} is in use", self.path.display()),
            )),
        }
    }
}
