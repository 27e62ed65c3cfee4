//! A storage in memory with something done before each call, and behind each that succeeded.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use levault::clock::UnixNanos;
use levault::error::Result;
use levault::storage::StorageVerb;
use levault::storage::{ListedObject, MemoryStorage, ObjectKind, ObjectName, Storage};

/// One call.
pub struct Asked {
    pub verb: StorageVerb,
    pub kind: ObjectKind,
    /// `None` for a listing.
    pub name: Option<ObjectName>,
    /// Which bytes are read, or written.
    pub bytes: Range<u64>,
}

type Before = dyn Fn(&Asked) -> Result<()> + Send + Sync;
type Behind = dyn Fn(&Asked) + Send + Sync;

pub struct Hooked {
    inner: Arc<MemoryStorage>,
    before: Box<Before>,
    behind: Box<Behind>,
}

impl Hooked {
    /// `before` each call, which it may refuse.
    pub fn before(
        inner: &Arc<MemoryStorage>,
        before: impl Fn(&Asked) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner: inner.clone(),
            before: Box::new(before),
            behind: Box::new(|_| ()),
        }
    }

    #[must_use]
    pub fn behind(mut self, behind: impl Fn(&Asked) + Send + Sync + 'static) -> Self {
        self.behind = Box::new(behind);
        self
    }

    /// `act` once, behind the first of these calls.
    pub fn once(
        inner: &Arc<MemoryStorage>,
        at: (StorageVerb, ObjectKind),
        act: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        let done = AtomicBool::new(false);
        let hooked = Self::before(inner, |_| Ok(())).behind(move |asked| {
            if at == (asked.verb, asked.kind) && !done.swap(true, Ordering::SeqCst) {
                act();
            }
        });
        Arc::new(hooked)
    }

    /// `act` right before the n-th call.
    pub fn at_call(
        inner: &Arc<MemoryStorage>,
        nth: u64,
        act: impl Fn() + Send + Sync + 'static,
    ) -> (Arc<Self>, Arc<AtomicU64>) {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = calls.clone();
        let hooked = Self::before(inner, move |_| {
            if counted.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                act();
            }
            Ok(())
        });
        (Arc::new(hooked), calls)
    }

    fn call<T>(
        &self,
        verb: StorageVerb,
        name: ObjectName,
        bytes: Range<u64>,
        call: impl FnOnce(&MemoryStorage) -> Result<T>,
    ) -> Result<T> {
        let asked = Asked {
            verb,
            kind: name.kind,
            name: Some(name),
            bytes,
        };
        self.hook(&asked, call)
    }

    fn hook<T>(&self, asked: &Asked, call: impl FnOnce(&MemoryStorage) -> Result<T>) -> Result<T> {
        (self.before)(asked)?;
        let done = call(&self.inner)?;
        (self.behind)(asked);
        Ok(done)
    }
}

impl Storage for Hooked {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        let all = 0..bytes.len() as u64;
        self.call(StorageVerb::Put, name, all, |inner| inner.put_new(name, bytes))
    }

    fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>> {
        self.call(StorageVerb::Get, name, 0..u64::MAX, |inner| {
            inner.get(name, len_max)
        })
    }

    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
        let range = offset..offset + len as u64;
        self.call(StorageVerb::GetRange, name, range, |inner| {
            inner.get_range(name, offset, len)
        })
    }

    fn stat(&self, name: ObjectName) -> Result<ListedObject> {
        self.call(StorageVerb::Stat, name, 0..0, |inner| inner.stat(name))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ListedObject>> {
        let asked = Asked {
            verb: StorageVerb::List,
            kind,
            name: None,
            bytes: 0..0,
        };
        self.hook(&asked, |inner| inner.list(kind))
    }

    fn delete(&self, name: ObjectName) -> Result<()> {
        self.call(StorageVerb::Delete, name, 0..0, |inner| inner.delete(name))
    }

    fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        let all = 0..bytes.len() as u64;
        self.call(StorageVerb::Heal, name, all, |inner| inner.heal(name, bytes))
    }

    fn now(&self) -> Result<Option<UnixNanos>> {
        self.inner.now()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
