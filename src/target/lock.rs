//! Is a LevelDB's `LOCK` held?
//!
//! C++ LevelDB locks it with fcntl, goleveldb and rusty-leveldb with flock, and neither sees the other: both
//! are asked. Closing any descriptor of a file drops this process's own fcntl locks on it, so a program must
//! not ask about a database that its own C++ LevelDB holds open.

use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Flock, FlockOffsetType, FlockType};

use crate::error::{Error, Kind, Result};

/// [`Kind::Busy`] if another process holds the database in `directory`.
pub(super) fn refuse_held(directory: &Path) -> Result<()> {
    let path = directory.join("LOCK");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(lock) => lock,
        // Whoever we are, an unreadable or strange LOCK still makes the directory a used one.
        Err(_) => return Ok(()),
    };
    let whole_file = Flock {
        start: 0,
        length: 0,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    let by_fcntl = matches!(rustix::process::fcntl_getlk(&lock, &whole_file), Ok(Some(_)));
    let by_flock = match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // Said aloud: a process that another thread forks just now holds a copy of the descriptor.
            let _ = rustix::fs::flock(&lock, FlockOperation::Unlock);
            false
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    match by_fcntl || by_flock {
        true => Err(Error::new(
            Kind::Busy,
            format!("{} is held by another process", path.display()),
        )),
        false => Ok(()),
    }
}
