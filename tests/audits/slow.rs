//! Storages that take their time, or are left early.

use std::sync::Arc;

use levault::clock::ManualClock;
use levault::report::Report;
use levault::storage::{Listed, MemoryStorage, ObjectKind, ObjectName, Storage};

use super::MINUTE;

/// Turns the clock on whenever a pack is read whole.
pub struct Slow {
    pub inner: Arc<MemoryStorage>,
    pub clock: Arc<ManualClock>,
    pub minutes: i64,
}

impl Storage for Slow {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> levault::error::Result<()> {
        self.inner.put_new(name, bytes)
    }
    fn get(&self, name: ObjectName, len_max: u64) -> levault::error::Result<Vec<u8>> {
        if name.kind == ObjectKind::Pack {
            self.clock.advance(self.minutes * MINUTE);
        }
        self.inner.get(name, len_max)
    }
    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> levault::error::Result<Vec<u8>> {
        self.inner.get_range(name, offset, len)
    }
    fn stat(&self, name: ObjectName) -> levault::error::Result<Listed> {
        self.inner.stat(name)
    }
    fn list(&self, kind: ObjectKind) -> levault::error::Result<Vec<Listed>> {
        self.inner.list(kind)
    }
    fn delete(&self, name: ObjectName) -> levault::error::Result<()> {
        self.inner.delete(name)
    }
    fn heal(&self, name: ObjectName, bytes: &[u8]) -> levault::error::Result<()> {
        self.inner.heal(name, bytes)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// Asks for an end when the second pack is read.
pub struct Stop {
    pub inner: Arc<MemoryStorage>,
    pub report: Arc<Report>,
}

impl Storage for Stop {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> levault::error::Result<()> {
        self.inner.put_new(name, bytes)
    }
    fn get(&self, name: ObjectName, len_max: u64) -> levault::error::Result<Vec<u8>> {
        if name.kind == ObjectKind::Pack && self.report.bytes_done.get() > 0 {
            self.report.stop();
        }
        self.inner.get(name, len_max)
    }
    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> levault::error::Result<Vec<u8>> {
        self.inner.get_range(name, offset, len)
    }
    fn stat(&self, name: ObjectName) -> levault::error::Result<Listed> {
        self.inner.stat(name)
    }
    fn list(&self, kind: ObjectKind) -> levault::error::Result<Vec<Listed>> {
        self.inner.list(kind)
    }
    fn delete(&self, name: ObjectName) -> levault::error::Result<()> {
        self.inner.delete(name)
    }
    fn heal(&self, name: ObjectName, bytes: &[u8]) -> levault::error::Result<()> {
        self.inner.heal(name, bytes)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}
