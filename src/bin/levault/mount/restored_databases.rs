//! Restores databases on demand into a private directory.
//!
//! Databases made on demand: restored, verified, into a directory of this process that nobody else may look into. A few
//! are kept; a file that is open stays readable when its database goes.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use levault::engine::database_file_attributes::DatabaseFileMetadata;
use levault::engine::read_records::DatabaseChoice;
use levault::engine::tree;
use levault::error::{Error, ErrorKind, Result, ResultExt};
use levault::id::ObjectId;
use levault::ops::restore::{DatabaseForm, DatabaseOwnership, Restore};
use levault::report::OperationReport;
use tempfile::TempDir;

use super::mount_context::ShownSnapshot;

/// Databases kept at once.
const KEPT_MAX: usize = 4;

/// The databases of one mount. Clones share them.
#[derive(Clone)]
pub struct MountedDatabases {
    directory: Arc<Mutex<Option<TempDir>>>,
    slots: Arc<Mutex<DatabaseSlots>>,
    made: Arc<AtomicU64>,
}

/// Used last stands last.
type DatabaseSlots = VecDeque<(DatabaseKey, Arc<DatabaseSlot>)>;

/// Snapshot and number of the source.
type DatabaseKey = (ObjectId, u32);

/// One of them; made by who asks first, while others wait.
#[derive(Default)]
struct DatabaseSlot(Mutex<Option<Arc<RestoredDatabase>>>);

/// A database that is there; its files go with it.
pub struct RestoredDatabase {
    pub path: PathBuf,
    /// What a restore would give its files.
    pub metas: DatabaseFileMetadata,
}

impl Drop for RestoredDatabase {
    fn drop(&mut self) {
        // What cannot be removed now goes with the whole directory.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl RestoredDatabase {
    /// The names of its files, sorted.
    pub fn names(&self) -> Result<Vec<OsString>> {
        let read = || {
            let entries = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name()));
            entries.collect::<std::io::Result<Vec<_>>>()
        };
        let mut names = read().context(|| format!("read {}", self.path.display()))?;
        names.sort();
        Ok(names)
    }
}

impl MountedDatabases {
    /// None yet.
    pub fn new() -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        // Whatever the umask says: what is restored is nobody else's to read.
        builder
            .prefix("levault-mount-")
            .permissions(fs::Permissions::from_mode(0o700));
        let directory = builder.tempdir();
        let directory = directory.context(|| "make a directory for databases")?;
        Ok(Self {
            directory: Arc::new(Mutex::new(Some(directory))),
            slots: Arc::default(),
            made: Arc::default(),
        })
    }

    /// The database, made if it is not there.
    pub fn get(
        &self,
        of: &ShownSnapshot,
        number: u32,
        report: &OperationReport,
    ) -> Result<Arc<RestoredDatabase>> {
        let slot = self.restored_slot((of.stored.id, number));
        let mut made = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made {
            return Ok(Arc::clone(made));
        }
        let new = Arc::new(self.restore_database(of, number, report)?);
        *made = Some(Arc::clone(&new));
        Ok(new)
    }

    fn restored_slot(&self, key: DatabaseKey) -> Arc<DatabaseSlot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let at = slots.iter().position(|(other, _)| *other == key);
        let slot = at
            .and_then(|at| slots.remove(at))
            .map(|(_, slot)| slot)
            .unwrap_or_default();
        slots.push_back((key, Arc::clone(&slot)));
        while slots.len() > KEPT_MAX {
            slots.pop_front();
        }
        slot
    }

    fn restore_database(
        &self,
        of: &ShownSnapshot,
        number: u32,
        report: &OperationReport,
    ) -> Result<RestoredDatabase> {
        let nth = self.made.fetch_add(1, Ordering::Relaxed);
        let target = self.root()?.join(nth.to_string());
        let restore = Restore {
            database: Some(DatabaseChoice::Number(number)),
            database_form: DatabaseForm::Records,
            ownership: DatabaseOwnership::Caller,
            ..Restore::new(&target)
        };
        restore.run(&of.opened.repo, &of.stored, report)?;
        let database = tree::database_by_number(&of.stored.snapshot, number)?;
        let directory = database.directory.clone().unwrap_or_default();
        let metas = of
            .opened
            .read(|reader| DatabaseFileMetadata::read(reader, database, &directory))?;
        Ok(RestoredDatabase { path: target, metas })
    }

    fn root(&self) -> Result<PathBuf> {
        let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        let path = directory.as_ref().map(|directory| directory.path().to_path_buf());
        path.ok_or_else(|| Error::new(ErrorKind::Interrupted, "the mount is ending"))
    }

    /// Takes all away, at the end.
    pub fn remove_all(&self) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drop(
            self.directory
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}
