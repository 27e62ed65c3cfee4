//! Adds tables to a closed database, staged.
//!
//! A closed database with some new tables above its own, staged: its tables are linked, not written again.
//!
//! ```text
//! parent/NAME/           000007.ldb  000009.ldb  000010.log  CURRENT  MANIFEST-000008     its LOCK held
//!                            | link      | link
//! parent/.NAME.levault-restore-.../new/  000007.ldb  000009.ldb  000011.ldb (new)  000012.log (empty)
//!                                        MANIFEST-000013 and CURRENT (new)
//! ```
//! A linked table is one file under two names until the old database is removed. Nobody writes to it: LevelDB never
//! changes a table, and here every file is made anew or not opened for writing. So until the two directories are
//! exchanged the old database is as it was, and a stage that is thrown away takes only names with it.

use std::ffi::OsStr;
use std::path::Path;

use rustix::io::Errno;

use super::database_target::{write_current, write_manifest, write_synced, write_table};
use super::file_syncer::FileSyncer;
use super::staging_directory::{OccupiedTarget, StagedResult, StagingDirectory};
use super::tree::TargetAttributes;
use crate::error::{Error, Result, ResultExt};
use crate::held_directory::HeldDirectory;
use crate::leveldb::continued_version::ContinuedVersion;
use crate::leveldb::database_layout::TableExtension;
use crate::leveldb::file_name::{FileName, log_name};
use crate::leveldb::table_builder::FinishedTable;
use crate::leveldb::version::TableMeta;

/// A database that goes on from one that stands there; its LOCK is held.
#[derive(Debug)]
pub struct InPlaceTarget {
    /// Before the stage: dropped, it has stopped before the files go.
    syncer: FileSyncer,
    stage: StagingDirectory,
}

impl InPlaceTarget {
    /// Takes the LOCK of the closed database at `target`, which can be read from now on and is not changed.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Busy`] when another process has it open, [`crate::error::ErrorKind::Exists`] when more than a
    /// database is there.
    pub fn begin(target: &Path, occupied: OccupiedTarget) -> Result<Self> {
        let stage = StagingDirectory::create(target, occupied)
            .context(|| format!("restore to {}", target.display()))?;
        Ok(Self {
            syncer: FileSyncer::start()?,
            stage,
        })
    }

    /// What the database's files get. Set it before any is written or kept.
    pub fn set_file_attributes(&mut self, files: TargetAttributes) {
        self.stage.set_file_attributes(files);
    }

    /// The old database's directory, held; `None` if there is none.
    pub fn old_directory(&self) -> Option<&HeldDirectory> {
        self.stage.replaced()
    }

    /// The highest number of any file in the old database's directory, live or not; 0 if none has one.
    pub fn highest_file_number(&self) -> Result<u64> {
        let mut highest = 0;
        let old = self
            .stage
            .replaced()
            .map_or_else(|| Ok(Vec::new()), |old| old.list());
        for entry in old? {
            let name = entry.name.to_string_lossy();
            let number = FileName::parse(&name).and_then(|name| name.number());
            highest = highest.max(number.unwrap_or(0));
        }
        Ok(highest)
    }

    /// Writes a new table.
    pub fn write_table(
        &self,
        number: u64,
        extension: TableExtension,
        table: &FinishedTable,
    ) -> Result<TableMeta> {
        write_table(&self.stage, &self.syncer, number, extension, table)
    }

    /// Gives a table of the old database a name here too, and makes it durable, for its owner need not have done so.
    /// Where the filesystem or its rules refuse the link, it is copied; the bytes that were. So is one that must get
    /// another owner or mode: until the exchange the old database stays as it was.
    pub fn link_or_copy_table(&self, old: &HeldDirectory, name: &OsStr) -> Result<u64> {
        let shown = name.to_string_lossy();
        let stat = old.stat(name).context(|| format!("look at {shown}"))?;
        if !self.stage.file_attributes().are_those_of(&stat) {
            return self.copy_table(old, &shown);
        }
        match old.link(name, self.stage.directory_file(), name) {
            Ok(()) => {
                // A link or a pipe that came in its place is none.
                let (file, _) = self.stage.handle().open_file(name)?;
                self.syncer.sync(shown.into_owned(), file, None)?;
                Ok(0)
            }
            Err(refused) if is_link_refused(refused) => self.copy_table(old, &shown),
            Err(error) => Err(Error::io(format!("link {shown}"), error.into())),
        }
    }

    fn copy_table(&self, old: &HeldDirectory, name: &str) -> Result<u64> {
        let doing = || format!("copy {name}");
        let (mut from, _) = old.open_file(name)?;
        let mut to = self.stage.create_file(name)?;
        let bytes = std::io::copy(&mut from, &mut to).context(doing)?;
        self.syncer.sync(name.to_owned(), to, None)?;
        Ok(bytes)
    }

    /// Syncs the tables, writes log, MANIFEST and CURRENT: the stage now holds a whole, durable database.
    pub fn finish(self, continued: &ContinuedVersion) -> Result<StagedResult> {
        self.syncer.finish()?;
        write_synced(&self.stage, &log_name(continued.log), &[])?;
        write_manifest(&self.stage, continued.manifest, &continued.edit)?;
        write_current(&self.stage, continued.manifest)?;
        Ok(StagedResult::new(self.stage))
    }
}

/// No links here, none across this mount, none to another's file, or no more to this one.
fn is_link_refused(error: Errno) -> bool {
    matches!(
        error,
        Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::ACCESS | Errno::NOSYS | Errno::NOTSUP
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_kept_table_is_the_same_file_and_where_links_are_refused_a_copy() {
        let parent = tempfile::tempdir().unwrap();
        let db = parent.path().join("db");
        fs::create_dir(&db).unwrap();
        for name in ["CURRENT", "000007.ldb", "000009.ldb", "000040.log", "LOG"] {
            fs::write(db.join(name), name).unwrap();
        }
        let mut staging = InPlaceTarget::begin(&db, OccupiedTarget::Replace).unwrap();
        assert_eq!(staging.highest_file_number().unwrap(), 40);
        let stage = staging.stage.path().to_owned();
        let inode = |directory: &Path, name| fs::metadata(directory.join(name)).unwrap().ino();

        let old = HeldDirectory::open_path(&db).unwrap();
        assert_eq!(
            staging
                .link_or_copy_table(&old, OsStr::new("000007.ldb"))
                .unwrap(),
            0
        );
        assert_eq!(inode(&stage, "000007.ldb"), inode(&db, "000007.ldb"));
        assert_eq!(staging.copy_table(&old, "000009.ldb").unwrap(), 10);
        assert_ne!(inode(&stage, "000009.ldb"), inode(&db, "000009.ldb"));
        assert_eq!(fs::read(stage.join("000009.ldb")).unwrap(), b"000009.ldb");
        assert!(
            staging
                .link_or_copy_table(&old, OsStr::new("000008.ldb"))
                .is_err(),
            "not there"
        );
        let (inode_of_old, new) = (inode(&db, "000009.ldb"), &stage.join("000009.ldb"));
        fs::remove_file(new).unwrap();
        staging.set_file_attributes(TargetAttributes {
            mode: Some(0o600),
            ..TargetAttributes::default()
        });
        fs::set_permissions(db.join("000009.ldb"), fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            staging
                .link_or_copy_table(&old, OsStr::new("000009.ldb"))
                .unwrap(),
            10
        );
        assert_ne!(
            inode(&stage, "000009.ldb"),
            inode_of_old,
            "one of another mode is copied"
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(new), mode(&db.join("000009.ldb"))), (0o600, 0o640));
        assert!(
            is_link_refused(Errno::XDEV) && is_link_refused(Errno::PERM) && is_link_refused(Errno::MLINK)
        );

        drop(staging);
        assert!(!stage.exists());
        assert_eq!(fs::read(db.join("000007.ldb")).unwrap(), b"000007.ldb");
    }
}
