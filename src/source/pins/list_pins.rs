//! Lists the pins beside a database.
//!
//! Which pins there are beside a database: for people, and for who wants the space back.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::pin_state::PinState;
use super::{DatabasePins, is_own_pin_directory};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::HeldDirectory;
use crate::id::{ObjectId, RepositoryId};
use crate::scratch_directory::{MARKER_FILE, is_locked, is_scratch_name, try_lock};

/// The pins of one database for one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinSet {
    /// The hidden directory.
    pub path: PathBuf,
    /// Whose backup it is, and of which snapshot; `None` if nothing is kept, or it cannot be read.
    pub pinned_for: Option<(RepositoryId, ObjectId)>,
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
    let database = std::path::absolute(database).context(|| format!("find {}", database.display()))?;
    let database = database.canonicalize().unwrap_or(database);
    let parent = HeldDirectory::open_path(database.parent().unwrap_or(Path::new("/")))?;
    let prefix = DatabasePins::prefix(&database);
    let mut sets = Vec::new();
    for entry in parent.list()? {
        let name = entry.name.as_bytes();
        let is_set = name.starts_with(&prefix) && is_scratch_name(name) && entry.kind == FileType::Directory;
        if let (true, Ok(directory)) = (is_set, parent.child(&entry.name)) {
            sets.push(PinSet::of(&directory));
        }
    }
    sets.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sets)
}

impl PinSet {
    fn of(directory: &HeldDirectory) -> Self {
        let state = PinState::read(directory).ok().flatten();
        let mut set = Self {
            pinned_for: state.as_ref().map(|state| (state.repository, state.snapshot)),
            tables: 0,
            bytes: 0,
            bytes_alone: 0,
            in_use: directory.open().is_ok_and(|directory| is_locked(&directory)),
            path: directory.path().to_owned(),
        };
        for table in state.iter().flat_map(|state| state.tables.values()) {
            set.tables += 1;
            set.bytes += table.facts.len;
            if directory.stat(&table.pin).is_ok_and(|stat| stat.st_nlink == 1) {
                set.bytes_alone += table.facts.len;
            }
        }
        set
    }

    /// Removes it: the next backup reads everything.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] while a backup uses it; [`ErrorKind::Denied`] if nothing proves that this program made it.
    pub fn remove(&self) -> Result<()> {
        let shown = self.path.display();
        let name = self.path.file_name().unwrap_or_default();
        let parent = HeldDirectory::open_path(self.path.parent().unwrap_or(Path::new("/")))?;
        let directory = parent.child(name)?.reopen_readable()?;
        if !try_lock(&directory) {
            return Err(Error::new(ErrorKind::Busy, format!("{shown} is in use")));
        }
        if !is_own_pin_directory(&directory, None)? {
            let what =
                format!("{shown} is not proven to be made by levault: look into it, and remove it by hand");
            return Err(Error::new(ErrorKind::Denied, what));
        }
        parent
            .remove_child(name, &directory, MARKER_FILE.as_ref())
            .context(|| format!("remove {shown}"))
    }
}
