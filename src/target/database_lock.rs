//! Takes a LevelDB's LOCK.
//!
//! A LevelDB's `LOCK`: is it held, and holding it.
//!
//! C++ LevelDB locks it with fcntl, goleveldb and rusty-leveldb with flock, and neither sees the other: both
//! are asked. Closing any descriptor of a file drops this process's own fcntl locks on it, so a program must
//! not ask about a database that its own C++ LevelDB holds open.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Flock, FlockOffsetType, FlockType};

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::HeldDirectory;

/// How long a held LOCK is asked for again. A closed database's flock lasts while a child that its owner's process forked
/// meanwhile has not executed its program: the child has a copy of the descriptor until then.
const LOCK_WAIT_MAX: Duration = Duration::from_millis(300);

/// How often it is asked for.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// [`ErrorKind::Busy`] if another process holds the database in `directory`.
pub fn refuse_locked(directory: &Path) -> Result<()> {
    match HeldDirectory::open_path(directory) {
        Ok(directory) => refuse_locked_in(&directory),
        // What is not there holds nothing.
        Err(_) => Ok(()),
    }
}

/// [`refuse_locked`] for a directory that is held.
pub fn refuse_locked_in(directory: &HeldDirectory) -> Result<()> {
    let path = directory.display_path("LOCK");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = match rustix::fs::openat(directory, "LOCK", flags, Mode::empty()) {
        Ok(lock) => lock,
        // Whoever we are, an unreadable or strange LOCK still makes the directory a used one.
        Err(_) => return Ok(()),
    };
    if wait_while(|| is_locked(&lock)) {
        Err(locked_error(&path))
    } else {
        Ok(())
    }
}

/// Asks until the answer is no, or for [`LOCK_WAIT_MAX`]; the last answer.
fn wait_while(mut is_held: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while is_held() {
        if begin.elapsed() >= LOCK_WAIT_MAX {
            return true;
        }
        thread::sleep(LOCK_POLL_INTERVAL);
    }
    false
}

fn is_locked(lock: &OwnedFd) -> bool {
    let whole_file = Flock {
        start: 0,
        length: 0,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    let by_fcntl = matches!(rustix::process::fcntl_getlk(lock, &whole_file), Ok(Some(_)));
    let by_flock = match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // Said aloud: a process that another thread forks just now holds a copy of the descriptor.
            let _ = rustix::fs::flock(lock, FlockOperation::Unlock);
            false
        }
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    };
    by_fcntl || by_flock
}

fn locked_error(path: &Path) -> Error {
    Error::new(
        ErrorKind::Busy,
        format!("{} is held by another process", path.display()),
    )
}

/// A database's LOCK, taken both ways; free again when dropped. Meanwhile nothing in this process may open that LOCK.
#[derive(Debug)]
pub struct DatabaseLock {
    _file: File,
}

#[cfg(any(test, feature = "test-util"))]
/// Takes the LOCK of the closed database in `directory`, which is made where it is missing.
///
/// # Errors
/// [`ErrorKind::Busy`] if another process has it.
pub fn lock_database(directory: &Path) -> Result<DatabaseLock> {
    lock_database_in(&HeldDirectory::open_path(directory)?)
}

/// `lock_database` for a directory that is held.
pub fn lock_database_in(directory: &HeldDirectory) -> Result<DatabaseLock> {
    let path = directory.display_path("LOCK");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, "LOCK", flags, Mode::from_raw_mode(0o644))
        .map(File::from)
        .map_err(std::io::Error::from)
        .context(|| format!("open {}", path.display()))?;
    let take = FlockOperation::NonBlockingLockExclusive;
    let mut taken = Ok(());
    wait_while(|| {
        taken = rustix::fs::flock(&file, take).and_then(|()| rustix::fs::fcntl_lock(&file, take));
        taken.is_err_and(is_held_elsewhere)
    });
    match taken {
        Ok(()) => Ok(DatabaseLock { _file: file }),
        Err(error) if is_held_elsewhere(error) => Err(locked_error(&path)),
        Err(error) => Err(Error::io(format!("lock {}", path.display()), error.into())),
    }
}

fn is_held_elsewhere(error: Errno) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied
    )
}
