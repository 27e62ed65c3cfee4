//! Wraps a storage so that it can only be read.

use std::path::PathBuf;

use crate::clock::UnixNanos;
use crate::error::Result;

use super::{ListedObject, ObjectKind, ObjectName, Storage};

/// A storage that can be listed and read: its calls are those of [`Storage`].
#[derive(Clone, Copy)]
pub struct StorageReader<'a>(&'a dyn Storage);

impl<'a> StorageReader<'a> {
    /// Of a storage.
    pub fn new(storage: &'a dyn Storage) -> Self {
        Self(storage)
    }

    /// See [`Storage::get`].
    pub fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>> {
        self.0.get(name, len_max)
    }

    /// See [`Storage::get_range`].
    pub fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.0.get_range(name, offset, len)
    }

    /// See [`Storage::stat`].
    pub fn stat(&self, name: ObjectName) -> Result<ListedObject> {
        self.0.stat(name)
    }

    /// See [`Storage::list`].
    pub fn list(&self, kind: ObjectKind) -> Result<Vec<ListedObject>> {
        self.0.list(kind)
    }

    /// See [`Storage::foreign_files`].
    pub fn foreign_files(&self) -> Result<Vec<String>> {
        self.0.foreign_files()
    }

    /// See [`Storage::now`].
    pub fn now(&self) -> Result<Option<UnixNanos>> {
        self.0.now()
    }

    /// See [`Storage::directory`].
    pub fn directory(&self) -> Option<PathBuf> {
        self.0.directory()
    }

    /// See [`Storage::describe`].
    pub fn describe(&self) -> String {
        self.0.describe()
    }
}

/// A storage whose damaged objects can be replaced by the bytes that hash to their names; and read.
#[derive(Clone, Copy)]
pub struct HealableStorage<'a>(&'a dyn Storage);

impl<'a> HealableStorage<'a> {
    /// Of a storage.
    pub fn new(storage: &'a dyn Storage) -> Self {
        Self(storage)
    }

    /// Its reader.
    pub fn reader(&self) -> StorageReader<'a> {
        StorageReader(self.0)
    }

    /// See [`Storage::heal`].
    pub fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.0.heal(name, bytes)
    }
}
