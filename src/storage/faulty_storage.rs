//! Injects faults into a storage, for tests.
//!
//! The storage as the adversary: fails at the n-th call, loses replies, tears writes, dies, lists late.
//!
//! Calls are counted from 1, reads and writes alike. A test first lets an operation run to its end and asks
//! [`FaultyStorage::calls`]; then it runs it once for every n.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use super::{ListedObject, ObjectKind, ObjectName, Storage};
use crate::error::{Error, ErrorKind, Result};

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// Nothing reaches the store; the caller gets an error.
    BeforeEffect,
    /// The store does it; the caller gets an error all the same.
    LostReply,
    /// Of a put or heal only the first half arrives under the name, and the caller gets an error; what a
    /// store does that writes in place. Other calls fail before their effect.
    TornWrite,
    /// The store is full: no effect, and the error says so.
    Full,
}

/// Fails as told.
pub struct FaultyStorage<S> {
    inner: S,
    faults: BTreeMap<u64, InjectedFault>,
    dead_from: Option<u64>,
    list_lag_calls: u64,
    state: Mutex<FaultState>,
}

#[derive(Default)]
struct FaultState {
    calls: u64,
    put_at: HashMap<ObjectName, u64>,
}

impl<S: Storage> FaultyStorage<S> {
    /// Passes everything on, until told otherwise.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            faults: BTreeMap::new(),
            dead_from: None,
            list_lag_calls: 0,
            state: Mutex::default(),
        }
    }

    /// The `call`-th call from now (the first is 1) meets `fault`.
    #[must_use]
    pub fn fail_at(mut self, call: u64, fault: InjectedFault) -> Self {
        self.faults.insert(call, fault);
        self
    }

    /// From the `call`-th call on nothing has an effect and all fails: a crash of the writer, or a pulled
    /// cable. With a [`FaultyStorage::fail_at`] for the same call, that fault comes first.
    #[must_use]
    pub fn dead_from(mut self, call: u64) -> Self {
        self.dead_from = Some(call);
        self
    }

    /// An object shows in listings only when this many further calls have been made after its put: what
    /// stores do that replicate their listings late.
    #[must_use]
    pub fn list_lag(mut self, calls: u64) -> Self {
        self.list_lag_calls = calls;
        self
    }

    /// Calls made so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// What lies behind the faults.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn lock(&self) -> MutexGuard<'_, FaultState> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn fault_of_next_call(&self) -> (u64, Option<InjectedFault>) {
        let mut state = self.lock();
        state.calls += 1;
        let call = state.calls;
        let dead = self.dead_from.is_some_and(|from| call >= from);
        let fault = self.faults.get(&call).copied();
        (call, fault.or(dead.then_some(InjectedFault::BeforeEffect)))
    }

    fn call<T>(&self, act: impl FnOnce() -> Result<T>, tear: impl FnOnce()) -> Result<T> {
        let (call, fault) = self.fault_of_next_call();
        match fault {
            None => return act(),
            Some(InjectedFault::LostReply) => drop(act()),
            Some(InjectedFault::TornWrite) => tear(),
            Some(InjectedFault::BeforeEffect) => {}
            Some(InjectedFault::Full) => {
                return Err(Error::new(
                    ErrorKind::Full,
                    format!("injected: full at call {call}"),
                ));
            }
        }
        Err(Error::new(
            ErrorKind::Io,
            format!("injected: fault at call {call}"),
        ))
    }

    fn note_put(&self, name: ObjectName) {
        let mut state = self.lock();
        let call = state.calls;
        state.put_at.entry(name).or_insert(call);
    }

    fn is_listed_yet(&self, name: ObjectName) -> bool {
        let state = self.lock();
        let put_at = state.put_at.get(&name);
        put_at.is_none_or(|call| state.calls > call + self.list_lag_calls)
    }
}

impl<S: Storage> Storage for FaultyStorage<S> {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        let act = || {
            self.inner.put_new(name, bytes)?;
            self.note_put(name);
            Ok(())
        };
        self.call(act, || drop(self.inner.put_new(name, &bytes[..bytes.len() / 2])))
    }

    fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>> {
        self.call(|| self.inner.get(name, len_max), || ())
    }

    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.call(|| self.inner.get_range(name, offset, len), || ())
    }

    fn stat(&self, name: ObjectName) -> Result<ListedObject> {
        self.call(|| self.inner.stat(name), || ())
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ListedObject>> {
        let list = || {
            let mut listed = self.inner.list(kind)?;
            listed.retain(|object| self.is_listed_yet(object.name));
            Ok(listed)
        };
        self.call(list, || ())
    }

    fn delete(&self, name: ObjectName) -> Result<()> {
        self.call(|| self.inner.delete(name), || ())
    }

    fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        let tear = || {
            let _ = self.inner.delete(name);
            let _ = self.inner.put_new(name, &bytes[..bytes.len() / 2]);
        };
        self.call(|| self.inner.heal(name, bytes), tear)
    }

    fn foreign_files(&self) -> Result<Vec<String>> {
        self.call(|| self.inner.foreign_files(), || ())
    }

    fn now(&self) -> Result<Option<crate::clock::UnixNanos>> {
        self.inner.now()
    }

    fn directory(&self) -> Option<std::path::PathBuf> {
        self.inner.directory()
    }

    fn describe(&self) -> String {
        format!("{}, with faults", self.inner.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryStorage;
    use super::*;

    fn name() -> ObjectName {
        ObjectName::of_content(ObjectKind::Pack, b"whole")
    }

    #[test]
    fn without_faults_it_keeps_every_promise() {
        super::super::storage_suite::run(&|| Box::new(FaultyStorage::new(MemoryStorage::default())));
    }

    #[test]
    fn each_fault_has_just_its_own_effect() {
        let left = [
            (InjectedFault::BeforeEffect, None),
            (InjectedFault::LostReply, Some(&b"whole"[..])),
            (InjectedFault::TornWrite, Some(b"wh")),
            (InjectedFault::Full, None),
        ];
        for (fault, wanted) in left {
            let storage = FaultyStorage::new(MemoryStorage::default()).fail_at(2, fault);
            storage.list(ObjectKind::Pack).unwrap();
            let error = storage.put_new(name(), b"whole").unwrap_err();
            assert_eq!(error.kind() == ErrorKind::Full, fault == InjectedFault::Full);
            assert_eq!(
                storage.inner().get(name(), 9).ok().as_deref(),
                wanted,
                "{fault:?}"
            );
        }
    }

    #[test]
    fn the_dead_stay_dead() {
        let storage = FaultyStorage::new(MemoryStorage::default())
            .fail_at(2, InjectedFault::LostReply)
            .dead_from(2);
        storage.list(ObjectKind::Pack).unwrap();
        for _ in 0..3 {
            assert!(storage.put_new(name(), b"whole").is_err());
            assert!(storage.get(name(), 9).is_err());
        }
        assert_eq!((storage.inner().names(), storage.calls()), (vec![name()], 7));
    }

    #[test]
    fn a_late_listing_comes_late() {
        let storage = FaultyStorage::new(MemoryStorage::default()).list_lag(2);
        storage.put_new(name(), b"whole").unwrap();
        assert_eq!(storage.get(name(), 9).unwrap(), b"whole");
        assert!(storage.list(ObjectKind::Pack).unwrap().is_empty());
        assert_eq!(storage.list(ObjectKind::Pack).unwrap().len(), 1);
    }
}
