//! Determines owner and mode of restored database files.

use std::collections::BTreeMap;
use std::fs::File;

use crate::error::{Result, ResultExt};
use crate::leveldb::file_name::FileName;
use crate::repo::BlobReader;
use crate::snapshot::{DatabaseContent, DatabaseRoot, DirectoryWalk, FileMetadata};
use crate::target::tree::TargetAttributes;

use super::RestoreContext;
use super::restore_database::DatabaseRestore;
use super::tree::attributes;

/// Whose a restored database's files are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DatabaseOwnership {
    /// As the snapshot says.
    #[default]
    Recorded,
    /// The process's own, and readable by no other user: for files that are only read and thrown away.
    Caller,
}

/// What is known of a database's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseFileMetadata {
    common: FileMetadata,
    /// Of a database that is stored as files.
    by_name: BTreeMap<Vec<u8>, FileMetadata>,
}

impl DatabaseFileMetadata {
    /// Reads it; `directory` is what the snapshot has of the database's directory.
    pub fn read(reader: &BlobReader, database: &DatabaseRoot, directory: &FileMetadata) -> Result<Self> {
        let mut by_name = BTreeMap::new();
        if let DatabaseContent::Physical { tree } = &database.content {
            for entry in DirectoryWalk::open(tree, reader)? {
                let entry = entry?;
                by_name.insert(entry.name, entry.meta);
            }
        }
        Ok(Self {
            common: file_meta(database, directory),
            by_name,
        })
    }

    /// Of one of its files.
    pub fn file(&self, name: &[u8]) -> &FileMetadata {
        self.by_name.get(name).unwrap_or(&self.common)
    }
}

/// What all its files get. A snapshot that does not say (of version 1 or 2, or of a database in memory) leaves them to
/// the owner of the directory alone: a wider mode could show to others what the old files did not.
pub fn file_meta(database: &DatabaseRoot, directory: &FileMetadata) -> FileMetadata {
    database.files.clone().unwrap_or_else(|| FileMetadata {
        mode: Some(0o600),
        uid: directory.uid,
        gid: directory.gid,
        ..FileMetadata::default()
    })
}

impl RestoreContext<'_> {
    /// What the files of a step's database get.
    pub(super) fn database_file_attributes(&self, step: &DatabaseRestore) -> TargetAttributes {
        match self.options.ownership {
            DatabaseOwnership::Recorded => {
                let directory = step.root.directory.clone().unwrap_or_default();
                attributes(&file_meta(step.root, &directory))
            }
            DatabaseOwnership::Caller => TargetAttributes::default(),
        }
    }

    /// A database that stands there with the right records gets its files' owner and mode.
    pub(super) fn refresh_database_files(&self, step: &DatabaseRestore) -> Result<()> {
        let act = || {
            format!(
                "set the attributes of the files in {}",
                step.display_path.display()
            )
        };
        let files = self.database_file_attributes(step);
        if files == TargetAttributes::default() {
            return Ok(());
        }
        let directory = File::open(&step.target).context(act)?;
        let is_leveldbs =
            |name: &[u8]| std::str::from_utf8(name).is_ok_and(|name| FileName::parse(name).is_some());
        let withheld = crate::target::update_file_attributes(&directory, &files, is_leveldbs).context(act)?;
        self.report_refused_attributes(&withheld);
        Ok(())
    }
}
