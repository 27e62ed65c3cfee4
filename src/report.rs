//! Counts progress and collects problems of one operation.
//!
//! Counters, progress and non-fatal problems of one operation: the library never prints, it counts here, and
//! whoever started the operation looks when it likes. It also carries the wish to stop.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// What one operation has done so far; shared between its threads and its watcher.
#[derive(Debug, Default)]
pub struct OperationReport {
    /// Bytes this operation expects to work through; 0 while unknown.
    pub bytes_total: Counter,
    /// Bytes worked through.
    pub bytes_done: Counter,
    /// Records read or written.
    pub records: Counter,
    /// Blobs that were new to the repository.
    pub blobs_new: Counter,
    /// Plain bytes of those blobs.
    pub bytes_added: Counter,
    /// Stored bytes of those blobs, before pack overhead.
    pub bytes_added_packed: Counter,
    problems: Mutex<Vec<ReportedProblem>>,
    notices: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// Something that makes an operation incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedProblem {
    /// The file or directory that it is about, if it is about one.
    pub path: Option<PathBuf>,
    /// What is wrong, with the path in it.
    pub text: String,
}

impl OperationReport {
    /// Notes a problem that does not end the operation but makes it incomplete.
    pub fn problem(&self, text: impl Into<String>) {
        self.add(None, text.into());
    }

    /// The same with the path of the file or directory that it is about.
    pub fn problem_at(&self, path: &Path, text: impl Into<String>) {
        self.add(Some(path.to_owned()), text.into());
    }

    fn add(&self, path: Option<PathBuf>, text: String) {
        locked(&self.problems).push(ReportedProblem { path, text });
    }

    /// Texts of all problems noted so far, oldest first.
    pub fn problems(&self) -> Vec<String> {
        let problems = locked(&self.problems);
        problems.iter().map(|problem| problem.text.clone()).collect()
    }

    /// All problems noted so far, oldest first.
    pub fn all_problems(&self) -> Vec<ReportedProblem> {
        locked(&self.problems).clone()
    }

    /// Notes something the user should know although this operation is complete without it.
    pub fn notice(&self, text: impl Into<String>) {
        locked(&self.notices).push(text.into());
    }

    /// All notices so far, oldest first.
    pub fn notices(&self) -> Vec<String> {
        locked(&self.notices).clone()
    }

    /// Asks the operation to end at its next safe point.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// An error of [`ErrorKind::Interrupted`] once [`OperationReport::stop`] was called.
    pub fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            Err(Error::new(ErrorKind::Interrupted, "interrupted"))
        } else {
            Ok(())
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_to_stop_is_an_error_from_then_on() {
        let report = OperationReport::default();
        report.go_on().unwrap();
        report.stop();
        assert_eq!(report.go_on().unwrap_err().kind(), ErrorKind::Interrupted);
    }
}
