//! Reads the metadata that a snapshot has of a database's files.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::repo::BlobReader;
use crate::snapshot::{DatabaseContent, DatabaseRoot, DirectoryWalk, FileMetadata};

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
