//! Checks a repository without its keys.
//!
//! Check without a key: whoever stores a repository can tell that nothing is damaged or gone, and read nothing.
//!
//! Names are hashes, so every object is held to its name; what lies in the clear is parsed and compared: config and its
//! copy, the chain of keyrings, the packs that index segments name, the marks that say which of them are to go. What no
//! hash can tell stays for the owner's check: whether the bytes open, and whether all that a snapshot needs is there.
//!
//! ```text
//! config, copy --> every small object: hash, header, clear part --> packs: listed? size? --> contents by audits' age
//! ```
//! Memory is one object at a time for each of two threads, and 40 bytes for each pack.

mod config;
mod objects;
mod packs;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::repo::KeylessRepo;
use crate::report::OperationReport;

use super::findings::CheckFindings;
use super::{CheckNotice, CheckOutcome, ReadData};

/// Threads that read and hash.
const THREADS: usize = 2;

/// A check that needs no password.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeylessCheck {
    /// How much pack data to read. All other objects are read in any case.
    pub read: ReadData,
}

impl KeylessCheck {
    /// Looks at everything that can be seen; the findings are all there are.
    pub fn run(&self, vault: &KeylessRepo, report: &OperationReport) -> Result<CheckOutcome> {
        let mut findings = CheckFindings::default();
        let mut outcome = CheckOutcome::default();
        let anchors = config::check(vault, &mut findings)?;
        let seen = objects::check(vault, &mut findings, &mut outcome, report)?;
        config::chain(&anchors, &seen.rings, &mut findings);
        packs::check(vault, &seen, self.read, &mut findings, &mut outcome, report)?;
        outcome.notices.extend(foreign_files(vault)?);
        outcome.findings = findings.finish();
        Ok(outcome)
    }
}

/// Files that are no object of any repository.
fn foreign_files(vault: &KeylessRepo) -> Result<impl Iterator<Item = CheckNotice>> {
    let foreign = vault.storage_reader().foreign_files()?;
    Ok(foreign.into_iter().map(|path| CheckNotice {
        object: path,
        what: "is no object of a repository".into(),
        since: None,
        helps: "nothing looks at it; remove it if it is nobody's".into(),
    }))
}

/// Calls `each` for every item on two threads; the first error ends both.
fn on_threads<T: Send>(
    next: &(dyn Fn() -> Result<Option<T>> + Sync),
    each: &(dyn Fn(T) -> Result<()> + Sync),
) -> Result<()> {
    let failed = AtomicBool::new(false);
    let go_on = || {
        if failed.load(Ordering::Relaxed) {
            Ok(None)
        } else {
            next()
        }
    };
    let work = || {
        let mut items = std::iter::from_fn(|| go_on().transpose());
        let ended = items.try_for_each(|item| each(item?));
        failed.fetch_or(ended.is_err(), Ordering::Relaxed);
        ended
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| match thread.join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        // All have ended before one of them is looked at.
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}
