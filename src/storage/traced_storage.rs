//! Counts and records storage calls.
//!
//! A wrapper that counts calls and remembers the last ones: for metrics, and for tests about order.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use super::{ListedObject, ObjectKind, ObjectName, Storage, WritePrecondition};
use crate::error::{ErrorKind, Result};

/// Calls remembered at most: older ones are only counted. About 4 MiB.
const CALLS_REMEMBERED_MAX: usize = 1 << 16;

/// What was asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageVerb {
    /// [`Storage::put_new`].
    Put,
    /// [`Storage::get`].
    Get,
    /// [`Storage::get_range`].
    GetRange,
    /// [`Storage::stat`].
    Stat,
    /// [`Storage::list`].
    List,
    /// [`Storage::delete`].
    Delete,
    /// [`Storage::heal`].
    Heal,
}

impl StorageVerb {
    /// True for calls that change what is stored.
    pub fn is_write(self) -> bool {
        matches!(self, Self::Put | Self::Delete | Self::Heal)
    }
}

/// One call that has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageCall {
    /// What was asked.
    pub verb: StorageVerb,
    /// Of which kind of object.
    pub kind: ObjectKind,
    /// Of which object; `None` for a listing.
    pub name: Option<ObjectName>,
    /// Object bytes that went in or came out; 0 for the others and for failures.
    pub bytes: u64,
    /// How it failed, if it did.
    pub error: Option<ErrorKind>,
}

/// Sums over all calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageCounts {
    /// Calls made.
    pub calls: u64,
    /// Of these, calls that ended in an error.
    pub errors: u64,
    /// Object bytes read.
    pub bytes_read: u64,
    /// Object bytes written.
    pub bytes_written: u64,
}

/// Passes every call on, counts it, and remembers the last ones in the order in which they returned.
pub struct TracedStorage<S> {
    inner: S,
    log: Mutex<CallLog>,
}

#[derive(Default)]
struct CallLog {
    counts: StorageCounts,
    calls: VecDeque<StorageCall>,
}

impl<S: Storage> TracedStorage<S> {
    /// Watches `inner` from now on.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            log: Mutex::default(),
        }
    }

    /// What is watched.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The sums so far.
    pub fn counts(&self) -> StorageCounts {
        self.lock().counts
    }

    /// Takes the remembered calls, oldest first; the sums go on.
    pub fn take_calls(&self) -> Vec<StorageCall> {
        std::mem::take(&mut self.lock().calls).into()
    }

    fn lock(&self) -> MutexGuard<'_, CallLog> {
        self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn note<T>(
        &self,
        verb: StorageVerb,
        name: ObjectName,
        result: Result<T>,
        bytes: impl Fn(&T) -> u64,
    ) -> Result<T> {
        let call = StorageCall {
            verb,
            kind: name.kind,
            name: (verb != StorageVerb::List).then_some(name),
            bytes: result.as_ref().map_or(0, bytes),
            error: result.as_ref().err().map(|error| error.kind()),
        };
        self.lock().add(call);
        result
    }
}

impl CallLog {
    fn add(&mut self, call: StorageCall) {
        self.counts.calls += 1;
        self.counts.errors += u64::from(call.error.is_some());
        if call.verb.is_write() {
            self.counts.bytes_written += call.bytes
        } else {
            self.counts.bytes_read += call.bytes
        }
        if self.calls.len() == CALLS_REMEMBERED_MAX {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }
}

impl<S: Storage> Storage for TracedStorage<S> {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        let result = self.inner.put_new(name, bytes);
        self.note(StorageVerb::Put, name, result, |()| bytes.len() as u64)
    }

    fn put_new_if(&self, name: ObjectName, bytes: &[u8], sound: &WritePrecondition) -> Result<()> {
        let result = self.inner.put_new_if(name, bytes, sound);
        self.note(StorageVerb::Put, name, result, |()| bytes.len() as u64)
    }

    fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>> {
        let result = self.inner.get(name, len_max);
        self.note(StorageVerb::Get, name, result, |bytes| bytes.len() as u64)
    }

    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
        let result = self.inner.get_range(name, offset, len);
        self.note(StorageVerb::GetRange, name, result, |bytes| bytes.len() as u64)
    }

    fn stat(&self, name: ObjectName) -> Result<ListedObject> {
        let result = self.inner.stat(name);
        self.note(StorageVerb::Stat, name, result, |_| 0)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ListedObject>> {
        let result = self.inner.list(kind);
        let name = ObjectName::new(kind, crate::id::ObjectId([0; 32]));
        self.note(StorageVerb::List, name, result, |_| 0)
    }

    fn delete(&self, name: ObjectName) -> Result<()> {
        let result = self.inner.delete(name);
        self.note(StorageVerb::Delete, name, result, |()| 0)
    }

    fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        let result = self.inner.heal(name, bytes);
        self.note(StorageVerb::Heal, name, result, |()| bytes.len() as u64)
    }

    fn now(&self) -> Result<Option<crate::clock::UnixNanos>> {
        self.inner.now()
    }

    fn foreign_files(&self) -> Result<Vec<String>> {
        self.inner.foreign_files()
    }

    fn directory(&self) -> Option<std::path::PathBuf> {
        self.inner.directory()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryStorage;
    use super::*;

    #[test]
    fn a_traced_storage_keeps_every_promise() {
        super::super::storage_suite::run(&|| Box::new(TracedStorage::new(MemoryStorage::default())));
    }

    #[test]
    fn calls_are_remembered_in_order_and_summed() {
        let storage = TracedStorage::new(MemoryStorage::default());
        let name = ObjectName::of_content(ObjectKind::Note, b"four");
        storage.put_new(name, b"four").unwrap();
        storage.get_range(name, 1, 2).unwrap();
        storage.list(ObjectKind::Note).unwrap();
        assert!(storage.get(ObjectName::CONFIG, 1).is_err());
        let calls = storage.take_calls();
        let verbs: Vec<_> = calls
            .iter()
            .map(|call| (call.verb, call.kind, call.error))
            .collect();
        assert_eq!(
            verbs,
            [
                (StorageVerb::Put, ObjectKind::Note, None),
                (StorageVerb::GetRange, ObjectKind::Note, None),
                (StorageVerb::List, ObjectKind::Note, None),
                (StorageVerb::Get, ObjectKind::Config, Some(ErrorKind::NotFound)),
            ]
        );
        let sums = StorageCounts {
            calls: 4,
            errors: 1,
            bytes_read: 2,
            bytes_written: 4,
        };
        assert_eq!(storage.counts(), sums);
        assert!(storage.take_calls().is_empty());
    }
}
