//! Stores objects in memory, for tests.
//!
//! A repository in memory: for tests, and as the plainest statement of what a backend does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{ListedObject, ObjectKind, ObjectName, Storage};
use super::{ends_before, exists_with_other_content, longer_than, must_be_content_of};
use crate::clock::{Clock, SystemClock, UnixNanos};
use crate::error::{Error, ErrorKind, Result};

#[derive(Clone)]
struct MemoryObject {
    bytes: Arc<[u8]>,
    modified: UnixNanos,
}

/// A map from names to bytes, gone with the process.
pub struct MemoryStorage {
    objects: Mutex<BTreeMap<ObjectName, MemoryObject>>,
    clock: Arc<dyn Clock>,
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }
}

impl MemoryStorage {
    /// An empty one whose modification times come from `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            objects: Mutex::new(BTreeMap::new()),
            clock,
        }
    }

    /// A copy of what is stored now; the two go their own ways from here.
    pub fn snapshot(&self) -> MemoryStorage {
        MemoryStorage {
            objects: Mutex::new(self.lock().clone()),
            clock: self.clock.clone(),
        }
    }

    /// The names of all objects, sorted.
    pub fn names(&self) -> Vec<ObjectName> {
        self.lock().keys().copied().collect()
    }

    /// Changes the stored bytes of an object behind the repository's back; `false` if there is none.
    #[cfg(any(test, feature = "test-util"))]
    pub fn corrupt(&self, name: ObjectName, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut objects = self.lock();
        let Some(object) = objects.get_mut(&name) else {
            return false;
        };
        let mut bytes = object.bytes.to_vec();
        change(&mut bytes);
        object.bytes = bytes.into();
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectName, MemoryObject>> {
        self.objects
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn find(&self, name: ObjectName) -> Result<MemoryObject> {
        let missing = || Error::new(ErrorKind::NotFound, format!("{name} is not there"));
        self.lock().get(&key(name)).cloned().ok_or_else(missing)
    }

    fn object(&self, bytes: &[u8]) -> MemoryObject {
        MemoryObject {
            bytes: bytes.into(),
            modified: self.clock.now(),
        }
    }
}

/// Single objects have no id, whatever the name at hand says.
fn key(name: ObjectName) -> ObjectName {
    ObjectName::new(name.kind, name.id)
}

fn listed((name, object): (&ObjectName, &MemoryObject)) -> ListedObject {
    ListedObject {
        name: *name,
        len: object.bytes.len() as u64,
        modified: Some(object.modified),
    }
}

impl Storage for MemoryStorage {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        let object = self.object(bytes);
        if &*self.lock().entry(key(name)).or_insert(object).bytes == bytes {
            Ok(())
        } else {
            Err(exists_with_other_content(name))
        }
    }

    fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>> {
        let bytes = self.find(name)?.bytes;
        if bytes.len() as u64 <= len_max {
            Ok(bytes.to_vec())
        } else {
            Err(longer_than(name, bytes.len() as u64, len_max))
        }
    }

    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
        let bytes = self.find(name)?.bytes;
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| bytes.get(start..start.checked_add(len)?));
        range
            .map(<[u8]>::to_vec)
            .ok_or_else(|| ends_before(name, offset, len))
    }

    fn stat(&self, name: ObjectName) -> Result<ListedObject> {
        self.find(name).map(|object| listed((&name, &object)))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ListedObject>> {
        let objects = self.lock();
        Ok(objects
            .iter()
            .filter(|(name, _)| name.kind == kind)
            .map(listed)
            .collect())
    }

    fn delete(&self, name: ObjectName) -> Result<()> {
        self.lock().remove(&key(name));
        Ok(())
    }

    fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        must_be_content_of(name, bytes)?;
        self.lock().insert(key(name), self.object(bytes));
        Ok(())
    }

    fn now(&self) -> Result<Option<UnixNanos>> {
        Ok(Some(self.clock.now()))
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_every_promise_of_a_storage() {
        super::super::storage_suite::run(&|| Box::new(MemoryStorage::default()));
    }

    #[test]
    fn a_snapshot_of_the_content_stands_still_and_damage_is_seen() {
        let storage = MemoryStorage::default();
        let name = ObjectName::of_content(ObjectKind::Pack, b"before");
        storage.put_new(name, b"before").unwrap();
        let kept = storage.snapshot();
        assert!(storage.corrupt(name, |bytes| bytes[0] ^= 1));
        assert_eq!(storage.get(name, 99).unwrap(), b"cefore");
        assert_eq!(kept.get(name, 99).unwrap(), b"before");
        assert_eq!(kept.names(), [name]);
        assert!(!storage.corrupt(ObjectName::CONFIG, |_| ()));
    }
}
