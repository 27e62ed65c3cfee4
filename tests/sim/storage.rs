//! A storage whose calls wait for the scheduler, and whose listings may lag.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use levault::clock::{Clock, ManualClock};
use levault::error::{Error, ErrorKind, Result};
use levault::storage::{ListedObject, MemoryStorage, ObjectKind, ObjectName, Storage};

use super::sched::{Sched, Verdict};

pub struct SimStorage {
    pub process: usize,
    pub inner: Arc<MemoryStorage>,
    pub sched: Arc<Sched>,
    pub clock: Arc<ManualClock>,
    /// When each object first came, by number: names depend on measured times, listings must not.
    pub order: Arc<Mutex<HashMap<ObjectName, usize>>>,
    /// Objects younger than that may be missing from listings, nanoseconds.
    pub lag: i64,
}

impl SimStorage {
    fn call<T>(&self, verb: &str, name: ObjectName, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let verdict = self
            .sched
            .arrive(self.process, (format!("{verb} {}", name.path()), name.kind));
        let failed = |why: &str| Err(Error::new(ErrorKind::Io, format!("{verb} {name}: {why}")));
        let result = match verdict {
            Verdict::Go => act(),
            Verdict::Fails => failed("it was made to fail"),
            Verdict::ReplyLost => act().and_then(|_| failed("the reply was lost")),
            Verdict::Dies => return self.dead(failed("the process is dead")),
            Verdict::DiesAfter => act().and_then(|_| failed("the process is dead")),
        };
        self.sched.done(self.process);
        result
    }

    fn dead<T>(&self, result: Result<T>) -> Result<T> {
        self.sched.done(self.process);
        result
    }
}

impl Storage for SimStorage {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.call("put", name, || {
            let mut order = self.order.lock().unwrap();
            let next = order.len();
            order.entry(name).or_insert(next);
            self.inner.put_new(name, bytes)
        })
    }

    fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>> {
        self.call("get", name, || self.inner.get(name, len_max))
    }

    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.call("get", name, || self.inner.get_range(name, offset, len))
    }

    fn stat(&self, name: ObjectName) -> Result<ListedObject> {
        self.call("stat", name, || self.inner.stat(name))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ListedObject>> {
        let name = ObjectName::new(kind, levault::id::ObjectId([0; 32]));
        self.call("list", name, || {
            let mut listed = self.inner.list(kind)?;
            let from = self.clock.now().0 - self.lag;
            listed.retain(|listed| listed.modified.is_none_or(|at| at.0 <= from));
            let order = self.order.lock().unwrap();
            listed.sort_by_key(|listed| order.get(&listed.name).copied());
            Ok(listed)
        })
    }

    fn delete(&self, name: ObjectName) -> Result<()> {
        self.call("delete", name, || self.inner.delete(name))
    }

    fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.call("heal", name, || self.inner.heal(name, bytes))
    }

    fn describe(&self) -> String {
        "simulated".into()
    }
}
