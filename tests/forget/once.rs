//! Others at work between two calls of ours.

use super::*;

/// A storage in which something happens once, behind the first of these calls about objects of a kind.
pub struct Once<F> {
    inner: Arc<MemoryStorage>,
    behind: (Verb, ObjectKind),
    done: AtomicBool,
    act: F,
}

impl<F: Fn() + Send + Sync> Once<F> {
    pub fn new(inner: &Arc<MemoryStorage>, behind: (Verb, ObjectKind), act: F) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            behind,
            done: AtomicBool::new(false),
            act,
        })
    }

    fn called(&self, verb: Verb, kind: ObjectKind) {
        if self.behind == (verb, kind) && !self.done.swap(true, Ordering::SeqCst) {
            (self.act)();
        }
    }
}

impl<F: Fn() + Send + Sync> Storage for Once<F> {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.inner.put_new(name, bytes)?;
        self.called(Verb::Put, name.kind);
        Ok(())
    }
    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let listed = self.inner.list(kind)?;
        self.called(Verb::List, kind);
        Ok(listed)
    }
    fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>> {
        self.inner.get(name, len_max)
    }
    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.inner.get_range(name, offset, len)
    }
    fn stat(&self, name: ObjectName) -> Result<Listed> {
        self.inner.stat(name)
    }
    fn delete(&self, name: ObjectName) -> Result<()> {
        self.inner.delete(name)
    }
    fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.inner.heal(name, bytes)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}
