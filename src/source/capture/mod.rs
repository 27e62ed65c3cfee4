//! Captures a consistent set of files of a live database.
//!
//! A consistent file set of a database whose owner may be writing: no lock, no write in its directory, no waiting.
//!
//! ```text
//! 1  CURRENT names the MANIFEST; its whole edits give version V: tables T, first log N, last sequence L
//! 2  hold every table of T: a hard link elsewhere, an open descriptor, or a copy
//! 3  list the directory, then open every live log, the oldest first; N must be there, or be goleveldb's
//! 4  cut the newest log behind its last whole record
//! 5  the batches form one unbroken run that begins at or before L + 1
//! 6  each table's name still has the file that is held, or none; CURRENT and the MANIFEST it names are still the same
//!    files, and the MANIFEST still begins with what was read                     (else begin again with what is held)
//! ...  all is read
//! 7  what is held was not written to since                                     ([`super::proof`]; else begin again anew)
//! ```
//!
//! **What the result is**: the state after some record of the logs, that is, between two writes; a batch is one
//! record, so it is in or out as a whole. It is a state the owner could have crashed into. Every write acknowledged
//! before step 1 is in it.
//!
//! **Why.** A table that V names was finished before the edit that names it was written, and is never written
//! again; held in step 2, it is whole whatever the owner deletes afterwards. V's tables hold exactly the writes
//! that are not in logs from N on (a write in both is the same entry twice). Logs are written at their end only,
//! one after the other in the order of their numbers, and a record is in the page cache before its write is
//! acknowledged. So V and an unbroken run of records from N on are the state after the run's last record, and
//! edits, flushes and compactions that came behind V change which files hold the state, not the state. The logs
//! are opened after step 1 began, hence hold all that was acknowledged before. Nothing is said of age: goleveldb's
//! transactions lie in tables of V and are newer than logs that are still live, so readers go by sequence numbers.
//!
//! **What could break it, and what each step is for.**
//! - A table of V is gone in step 2: it was compacted away, and the edit that says so was written before it was
//!   deleted. We begin again. If a MANIFEST that was read *after* the table was found missing still names it,
//!   nobody compacted it: that is damage, if it stays so for `SIGHTED_FOR` while nobody else is at work in the
//!   directory, and the capture goes on without it, so that the rest is saved.
//! - Log N is gone: likewise; V's successor names a later one. It must be there and not merely be covered by L:
//!   N may have been filled before V was written, and then L hides that it is missing. One exception: goleveldb
//!   deletes an empty log without an edit ([`missing_log`](crate::leveldb::missing_log)). If its N is missing, a later
//!   log was listed, and a MANIFEST read *after* N was missed still names N, no edit came before the deletion: N was
//!   empty. Were it lost, step 5 would find the gap, or no batch was written since and nothing could tell.
//! - A log between is missing, because a listing is not a moment: the run is broken, unless L bridges the step. L may
//!   bridge it rightly (goleveldb puts transactions into tables at once, past the log) or hide the loss; as logs go
//!   in order of their numbers, none that was listed can be gone while N is still the first live one. So a step from
//!   log to log that L bridges counts only if a MANIFEST read afterwards still says N.
//! - A gap in the run that stays through several tries, each against a MANIFEST read after the logs, is none of
//!   ours: a write failed in the owner, which counts its numbers all the same. It is reported with the damage.
//! - The owner opened the database anew, or it was replaced (restored, repaired): CURRENT says another name, or the
//!   name has another inode; step 6.
//! - The database was destroyed and made anew, restored, or another took its place: file numbers begin anew. What is held
//!   counts under one MANIFEST only; behind another inode, or other first bytes, nothing that is held is known to belong to
//!   it, and all is held anew.
//! - Somebody copies another state onto the same files. Before step 6 that shows in the tables' times or in the MANIFEST's
//!   beginning, and behind it in step 7. A copy under way whose MANIFEST is still to come has tables that are younger than
//!   their MANIFEST, as no owner has them: that is waited for, for a while.
//! - A repair moves the logs away first and writes its MANIFEST last. What lies in its directory `lost` is waited for.
//! - N = 0 (a repaired or a restored database whose owner has not written an edit yet): every log counts. An edit
//!   may make some obsolete while we list, so the MANIFEST is read again and must still say 0.
//!
//! **What is not promised.** We read the page cache, so writes that a power loss would still take are in. Network
//! filesystems whose clients do not share a cache with the owner break "in the page cache before acknowledged".
//! The user's page is `docs/CAPTURE.md`; the measurements are `scripts/soak live`.

mod capture_attempt;
mod directory_fingerprint;
mod held_tables;
mod hold_directory;
mod retry_causes;
mod running_repair;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::current_file;
use super::detect_database::list_utf8_names;
use super::file_set::FileSet;
use super::pins::DatabasePins;
use super::touched_directories::TouchedDirectories;
use super::wait_for_settling::wait_until_settled;
use crate::clock::{Clock, SystemClock, UnixNanos};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::HeldDirectory;
use crate::leveldb::version::Version;
use capture_attempt::{AttemptEnd, CaptureAttempts};
pub use held_tables::HoldMethod;
pub(super) use hold_directory::HoldDirectory;
use retry_causes::{OwnerChange, RetryCause, RetryHistory, RetrySchedule};

/// How long a capture tries when it is not said.
const CAPTURE_TIMEOUT: Duration = Duration::from_secs(30);

/// How captures are taken.
#[derive(Clone)]
pub struct CaptureOptions<'a> {
    /// What to try first to hold the tables; what does not work falls back to the next.
    pub hold: HoldMethod,
    /// Where links and copies may be made besides the directory above the database's.
    pub scratch: Option<PathBuf>,
    /// How long to go on trying while the database changes under us.
    pub timeout: Duration,
    /// Pins of the database: tables they hold already are not linked again, and new links go there.
    pub pins: Option<Arc<DatabasePins>>,
    /// What is made and removed beside databases is noted here.
    pub touched: Arc<TouchedDirectories>,
    /// Called before each step; tests make it sleep.
    pub before_step: Option<&'a (dyn Fn(CaptureStep) + Sync)>,
}

/// The steps of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CaptureStep {
    /// Reading CURRENT.
    Current,
    /// Opening and reading the MANIFEST.
    Manifest,
    /// Holding a table.
    Table,
    /// Listing the directory.
    List,
    /// Opening a log.
    Log,
    /// Reading the logs.
    ReadLogs,
    /// Looking at CURRENT and the MANIFEST again.
    Recheck,
}

/// When and how a capture was had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutPoint {
    /// When its newest log was read: the state is of this moment.
    pub time: UnixNanos,
    /// From the first step to the last, retries included.
    pub duration: Duration,
    /// Tries that met a change.
    pub retries: u32,
    /// What holds the tables.
    pub held_by: HoldMethod,
    /// Sequence number of the newest operation.
    pub last_sequence: u64,
    /// Bytes of the live logs that the system had not written to disk: a power loss at the cut could have taken
    /// them. `None` where the system does not tell.
    pub unsynced_bytes: Option<u64>,
}

/// A consistent set of files, held until it is dropped.
#[derive(Debug)]
pub struct CapturedFiles {
    files: FileSet,
    version: Version,
    details: CutPoint,
}

impl Default for CaptureOptions<'_> {
    fn default() -> Self {
        Self {
            hold: HoldMethod::Links,
            scratch: None,
            timeout: CAPTURE_TIMEOUT,
            pins: None,
            touched: Arc::default(),
            before_step: None,
        }
    }
}

impl CaptureOptions<'_> {
    /// Captures the database in `directory`, whether or not a process has it open.
    ///
    /// # Errors
    /// [`ErrorKind::NotLevelDb`] when it is none; [`ErrorKind::NoConsistentCut`] when it changed under every try;
    /// [`ErrorKind::Corrupt`] when CURRENT or the MANIFEST cannot be read, for then nothing says which files count.
    pub fn capture(&self, directory: &Path) -> Result<CapturedFiles> {
        wait_until_settled(directory);
        let hold = || {
            let whole = directory.canonicalize().context(|| "find the whole path")?;
            HeldDirectory::open_path(&whole)
        };
        hold()
            .and_then(|held| self.capture_with_retries(&hold, held))
            .context(|| format!("capture {}", directory.display()))
    }

    /// [`CaptureOptions::capture`] of a directory that is held: whatever comes in its path's place, this one is captured.
    pub fn capture_in(&self, directory: &HeldDirectory) -> Result<CapturedFiles> {
        self.capture_held_by(&|| Ok(directory.clone()))
    }

    /// The same of what `hold` holds, which is asked again before each try: an owner may have renamed another directory to
    /// the database's path.
    pub fn capture_held_by(&self, hold: &dyn Fn() -> Result<HeldDirectory>) -> Result<CapturedFiles> {
        let directory = hold()?;
        let shown = directory.path().to_owned();
        self.capture_with_retries(hold, directory)
            .context(|| format!("capture {}", shown.display()))
    }

    fn capture_with_retries(
        &self,
        hold: &dyn Fn() -> Result<HeldDirectory>,
        directory: HeldDirectory,
    ) -> Result<CapturedFiles> {
        current_file::check_kind(&directory, &list_utf8_names(&directory)?)?;
        let begin = Instant::now();
        let mut attempts = CaptureAttempts::new(self, hold, directory);
        let mut setbacks = RetryHistory::default();
        let mut patience = RetrySchedule::new(begin, self.timeout);
        loop {
            match attempts.attempt(&setbacks) {
                Ok(found) => return attempts.finish(found, begin.elapsed(), setbacks.count()),
                Err(AttemptEnd::Retry(setback)) => {
                    setbacks.record(setback, || attempts.fingerprint_directory())?
                }
                Err(AttemptEnd::Failure(error)) if attempts.is_database_gone(&error) => {
                    setbacks.record(RetryCause::Race(OwnerChange::Directory), || {
                        attempts.fingerprint_directory()
                    })?;
                }
                Err(AttemptEnd::Failure(error)) => return Err(error),
            }
            if !patience.pause() {
                return Err(setbacks.final_error(begin.elapsed()));
            }
        }
    }

    fn announce_step(&self, step: CaptureStep) {
        if let Some(before_step) = self.before_step {
            before_step(step);
        }
    }
}

impl CapturedFiles {
    /// The database's directory, held.
    pub fn directory(&self) -> &HeldDirectory {
        &self.files.directory
    }

    /// How it was had.
    pub fn details(&self) -> &CutPoint {
        &self.details
    }

    /// Directories beside the database that are called as those of killed captures and are not proven to be: they were
    /// left alone.
    pub fn unproven_leftovers(&self) -> Vec<PathBuf> {
        let pools = self.files.hold_directories.iter();
        pools
            .flat_map(|pool| pool.unproven_leftovers().to_vec())
            .collect()
    }

    /// Copies MANIFEST and logs to the pins it was captured with, if any, and has them read from the copies: what is
    /// pinned must be what was read. After an error all is read where it lies, and will not be pinned.
    pub fn pin_logs(&mut self) -> Result<()> {
        match self.files.pins.clone() {
            Some(pins) => pins.pin_logs(&mut self.files, &self.version),
            None => Ok(()),
        }
    }

    pub(super) fn into_parts(self) -> (FileSet, Version, CutPoint) {
        (self.files, self.version, self.details)
    }
}

fn now() -> UnixNanos {
    SystemClock.now()
}

fn no_capture_error(message: String) -> Error {
    Error::new(ErrorKind::NoConsistentCut, message)
}

#[cfg(test)]
mod tests;
