//! The interface of object storages.
//!
//! Where the repository lives: objects that are written once, under names that say where they belong.
//!
//! ```text
//!   repo/  --put_new, get, get_range, stat, list, delete, heal-->  dyn Storage
//!                                                                     |
//!            Traced, Retrying, Faulty (wrappers, compose freely)      |
//!                                                                     v
//!            LocalStorage (a directory, durable)      MemoryStorage (tests)
//! ```
//!
//! This layer knows names and bytes. It does not know keys, nor what any object means; it never looks
//! inside one. The promises stand at each method of [`Storage`]; `suite` (feature `test-util`) checks them on every backend and
//! on every wrapper, and docs/ORDERING.md argues from them why nothing is lost.

mod direct_io;
#[cfg(any(test, feature = "test-util"))]
pub mod faulty_storage;
mod local_storage;
mod memory_storage;
mod object_name;
mod reserved_space;
mod retrying_storage;
mod storage_reader;
#[cfg(any(test, feature = "test-util"))]
pub mod storage_suite;
mod temp_objects;
mod traced_storage;

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::UnixNanos;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;

pub use local_storage::LocalStorage;
pub use memory_storage::MemoryStorage;
pub use object_name::{ObjectKind, ObjectName};
pub use retrying_storage::{RetryPolicy, RetryingStorage, is_worth_retrying};
pub use storage_reader::{HealableStorage, StorageReader};
pub use traced_storage::{StorageCall, StorageCounts, StorageVerb, TracedStorage};

/// What a listing tells of one object, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Which object.
    pub name: ObjectName,
    /// Stored bytes.
    pub len: u64,
    /// When the *store's* clock says it was written; `None` where the store has no times.
    pub modified: Option<UnixNanos>,
}

/// Whether bytes may be stored.
pub type WritePrecondition<'a> = dyn Fn() -> Result<()> + Sync + 'a;

/// A place for objects. Every call may block; every call may be made from many threads at once.
///
/// What all calls promise: an error means that this call cannot vouch for its result, never that the result
/// is "nothing". A write that ends in an error may still have had its effect (a lost reply), and each write
/// may be repeated without harm.
pub trait Storage: Send + Sync {
    /// Stores a new object, whole or not at all.
    ///
    /// On return it is durable: a power loss does not take it back. An object of this name with equal length
    /// and content is success (and durable too); one with other content is [`ErrorKind::Exists`] and stays as it
    /// is. The name is not compared with the content: for content-named kinds that is the caller's to do.
    /// A full store is [`ErrorKind::Full`] and leaves no half object.
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()>;

    /// The same for bytes that are looked at while they are on their way: the object appears only behind a `sound` that was
    /// well, and its error is passed on. A store that cannot begin early asks first.
    fn put_new_if(&self, name: ObjectName, bytes: &[u8], sound: &WritePrecondition) -> Result<()> {
        sound()?;
        self.put_new(name, bytes)
    }

    /// The whole object. [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Limit`] if it is longer than `len_max`
    /// bytes (found out before it is all in memory).
    fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>>;

    /// Exactly `len` bytes from `offset` on; [`ErrorKind::Torn`] if the object ends before.
    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>>;

    /// Length and time of one object, or [`ErrorKind::NotFound`].
    fn stat(&self, name: ObjectName) -> Result<ListedObject>;

    /// All objects of one kind, sorted by id: complete, or an error. Objects that were there before the call
    /// and are not deleted during it are in; files that are no object of ours are left out.
    fn list(&self, kind: ObjectKind) -> Result<Vec<ListedObject>>;

    /// Removes an object; one that is not there is success. Durable on return.
    fn delete(&self, name: ObjectName) -> Result<()>;

    /// Puts the right bytes under a content name, whatever stands there now: the only call that overwrites.
    /// Refuses with [`ErrorKind::Mismatch`], before it touches anything, unless BLAKE3(`bytes`) is the name's id,
    /// so it can replace damage and nothing else. Whole or not at all, and durable, like [`Storage::put_new`].
    fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()>;

    /// Files that are no object of ours, by path and not in any order, some of them if there are many: for people. A
    /// store that cannot tell names none.
    fn foreign_files(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// What time it is where modification times are made, if that can be told without storing anything: for when the
    /// store is full.
    fn now(&self) -> Result<Option<UnixNanos>> {
        Ok(None)
    }

    /// The directory on this machine that it is, if it is one.
    fn directory(&self) -> Option<PathBuf> {
        None
    }

    /// The place in words, for messages: no secret, one line.
    fn describe(&self) -> String;
}

/// The check every backend makes before it overwrites.
fn must_be_content_of(name: ObjectName, bytes: &[u8]) -> Result<()> {
    if ObjectId(*blake3::hash(bytes).as_bytes()) == name.id {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Mismatch,
            format!("heal {name}: these bytes are not what the name stands for"),
        ))
    }
}

fn exists_with_other_content(name: ObjectName) -> Error {
    Error::new(
        ErrorKind::Exists,
        format!("{name} is there already, with other content"),
    )
}

fn longer_than(name: ObjectName, len: u64, len_max: u64) -> Error {
    Error::new(
        ErrorKind::Limit,
        format!("{name} has {len} bytes, at most {len_max} can be right"),
    )
}

fn ends_before(name: ObjectName, offset: u64, len: usize) -> Error {
    Error::new(
        ErrorKind::Torn,
        format!("{name} ends before byte {}", offset.saturating_add(len as u64)),
    )
}

macro_rules! forward_storage {
    ($($holder:ty),*) => {$(
        impl<S: Storage + ?Sized> Storage for $holder {
            fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
                (**self).put_new(name, bytes)
            }
            fn put_new_if(&self, name: ObjectName, bytes: &[u8], sound: &WritePrecondition) -> Result<()> {
                (**self).put_new_if(name, bytes, sound)
            }
            fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>> {
                (**self).get(name, len_max)
            }
            fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
                (**self).get_range(name, offset, len)
            }
            fn stat(&self, name: ObjectName) -> Result<ListedObject> {
                (**self).stat(name)
            }
            fn list(&self, kind: ObjectKind) -> Result<Vec<ListedObject>> {
                (**self).list(kind)
            }
            fn delete(&self, name: ObjectName) -> Result<()> {
                (**self).delete(name)
            }
            fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
                (**self).heal(name, bytes)
            }
            fn foreign_files(&self) -> Result<Vec<String>> {
                (**self).foreign_files()
            }
            fn now(&self) -> Result<Option<UnixNanos>> {
                (**self).now()
            }
            fn directory(&self) -> Option<PathBuf> {
                (**self).directory()
            }
            fn describe(&self) -> String {
                (**self).describe()
            }
        }
    )*};
}

forward_storage!(&S, Box<S>, Arc<S>);
