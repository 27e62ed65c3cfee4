//! Retries storage calls that failed for a passing reason.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{ListedObject, ObjectKind, ObjectName, Storage, WritePrecondition};
use crate::error::{Error, ErrorKind, Result};

/// How often, and how long between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Calls made at most for one request, the first included.
    pub attempts_max: u32,
    /// The longest first pause; each further one may be twice as long.
    pub pause_first: Duration,
    /// No pause is longer.
    pub pause_max: Duration,
}

impl Default for RetryPolicy {
    /// Six calls within about half a minute: long enough for a server's restart, short enough for a person.
    fn default() -> Self {
        Self {
            attempts_max: 6,
            pause_first: Duration::from_millis(500),
            pause_max: Duration::from_secs(15),
        }
    }
}

/// True for failures that may pass by themselves: the connection, the server, a busy resource. What is
/// missing, damaged, refused, full or there already is so at the next call too, and an interrupt is a wish.
pub fn is_worth_retrying(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Io | ErrorKind::Busy)
}

/// How a pause is made: the thread's sleep, or a test's notebook.
type SleepFn = dyn Fn(Duration) + Send + Sync;

/// Repeats calls that failed for a passing reason. Every call of [`Storage`] may be repeated: a put whose
/// first reply was lost finds its own bytes, and that is success.
pub struct RetryingStorage<S> {
    inner: S,
    policy: RetryPolicy,
    sleep: Box<SleepFn>,
    jitter: AtomicU64,
}

impl<S: Storage> RetryingStorage<S> {
    /// Wraps `inner`; pauses are slept through by the calling thread.
    pub fn new(inner: S, policy: RetryPolicy) -> Self {
        Self::with_sleep(inner, policy, Box::new(std::thread::sleep))
    }

    /// Wraps `inner`; pauses go to `sleep`.
    pub fn with_sleep(inner: S, policy: RetryPolicy, sleep: Box<SleepFn>) -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self {
            inner,
            policy,
            sleep,
            jitter: AtomicU64::new(RandomState::new().hash_one(0)),
        }
    }

    fn retry<T>(&self, call: impl Fn() -> Result<T>) -> Result<T> {
        let mut attempt = 1;
        loop {
            match call() {
                Err(error) if is_worth_retrying(error.kind()) && attempt < self.policy.attempts_max => {
                    (self.sleep)(self.pause(attempt));
                    attempt += 1;
                }
                Err(error) if attempt > 1 => return Err(with_attempts(error, attempt)),
                result => return result,
            }
        }
    }

    /// Between half of and the whole doubled pause, so that many clients of one server spread out.
    fn pause(&self, attempt: u32) -> Duration {
        let doubled = self.policy.pause_first.saturating_mul(1 << (attempt - 1).min(20));
        let longest = doubled.min(self.policy.pause_max);
        longest.mul_f64(0.5 + 0.5 * self.random_fraction())
    }

    /// SplitMix64, as a fraction of one.
    fn random_fraction(&self) -> f64 {
        let mut mixed = self.jitter.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn with_attempts(error: Error, attempts: u32) -> Error {
    error.context(format!("after {attempts} attempts"))
}

impl<S: Storage> Storage for RetryingStorage<S> {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.retry(|| self.inner.put_new(name, bytes))
    }

    fn put_new_if(&self, name: ObjectName, bytes: &[u8], sound: &WritePrecondition) -> Result<()> {
        self.retry(|| self.inner.put_new_if(name, bytes, sound))
    }

    fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>> {
        self.retry(|| self.inner.get(name, len_max))
    }

    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.retry(|| self.inner.get_range(name, offset, len))
    }

    fn stat(&self, name: ObjectName) -> Result<ListedObject> {
        self.retry(|| self.inner.stat(name))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ListedObject>> {
        self.retry(|| self.inner.list(kind))
    }

    fn delete(&self, name: ObjectName) -> Result<()> {
        self.retry(|| self.inner.delete(name))
    }

    fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.retry(|| self.inner.heal(name, bytes))
    }

    fn now(&self) -> Result<Option<crate::clock::UnixNanos>> {
        self.inner.now()
    }

    fn foreign_files(&self) -> Result<Vec<String>> {
        self.retry(|| self.inner.foreign_files())
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
    use std::sync::{Arc, Mutex};

    use super::super::MemoryStorage;
    use super::super::faulty_storage::{FaultyStorage, InjectedFault};
    use super::*;

    type RecordedPauses = Arc<Mutex<Vec<Duration>>>;

    fn retrying<S: Storage>(inner: S) -> (RetryingStorage<S>, RecordedPauses) {
        let pauses = RecordedPauses::default();
        let notebook = pauses.clone();
        let sleep = Box::new(move |pause| notebook.lock().unwrap().push(pause));
        (
            RetryingStorage::with_sleep(inner, RetryPolicy::default(), sleep),
            pauses,
        )
    }

    #[test]
    fn a_retrying_storage_keeps_every_promise() {
        super::super::storage_suite::run(&|| Box::new(retrying(MemoryStorage::default()).0));
    }

    #[test]
    fn a_passing_failure_is_tried_again_and_a_lost_reply_is_success() {
        for fault in [InjectedFault::BeforeEffect, InjectedFault::LostReply] {
            let faulty = FaultyStorage::new(MemoryStorage::default())
                .fail_at(1, fault)
                .fail_at(3, fault);
            let (storage, pauses) = retrying(&faulty);
            let name = ObjectName::of_content(ObjectKind::Pack, b"x");
            storage.put_new(name, b"x").unwrap();
            assert_eq!(storage.get(name, 9).unwrap(), b"x");
            assert_eq!(
                (faulty.calls(), pauses.lock().unwrap().len()),
                (4, 2),
                "{fault:?}"
            );
        }
    }

    #[test]
    fn what_cannot_pass_is_not_tried_again_and_what_does_not_pass_ends() {
        let faulty = FaultyStorage::new(MemoryStorage::default());
        let (storage, pauses) = retrying(&faulty);
        assert_eq!(
            storage.get(ObjectName::CONFIG, 1).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert_eq!((faulty.calls(), pauses.lock().unwrap().len()), (1, 0));

        let dead = FaultyStorage::new(MemoryStorage::default()).dead_from(1);
        let (storage, pauses) = retrying(&dead);
        let error = storage.list(ObjectKind::Pack).unwrap_err();
        assert!(error.to_string().starts_with("after 6 attempts: "), "{error}");
        assert_eq!(dead.calls(), 6);
        let pauses = pauses.lock().unwrap();
        let bounds = [500, 1000, 2000, 4000, 8000].map(Duration::from_millis);
        for (pause, most) in pauses.iter().zip(bounds) {
            assert!(*pause >= most / 2 && *pause <= most, "{pauses:?}");
        }
        assert_eq!(pauses.len(), 5);
    }
}
