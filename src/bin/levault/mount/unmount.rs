//! Unmounts when the process ends.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fuser::BackgroundSession;
use levault::error::{Error, ErrorKind, Result, ResultExt};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::LOOK_EVERY;
use crate::command_context::CommandContext;

/// How long open files are waited for.
const LAST_CLOSED_WITHIN: Duration = Duration::from_secs(3);

/// Unmounts; what is in use is detached, so that nobody finds it any more, and has a moment to be closed.
pub fn unmount(run: &CommandContext, at: &Path, session: BackgroundSession) -> Result<()> {
    if !detach(at, UnmountFlags::empty())? {
        run.output.warn(&format!(
            "{} is in use; it is detached, and what is open ends with this process",
            at.display()
        ));
        detach(at, UnmountFlags::DETACH)?;
    }
    let since = Instant::now();
    while !session.guard.is_finished() && since.elapsed() < LAST_CLOSED_WITHIN {
        std::thread::sleep(LOOK_EVERY);
    }
    if session.guard.is_finished() {
        session.join().context(|| format!("serve {}", at.display()))
    } else {
        std::mem::forget(session);
        Ok(())
    }
}

/// True if it is unmounted, false if it is in use.
fn detach(at: &Path, flags: UnmountFlags) -> Result<bool> {
    match rustix::mount::unmount(at, flags) {
        // EINVAL: somebody was faster.
        Ok(()) | Err(Errno::INVAL) => Ok(true),
        Err(Errno::BUSY) => Ok(false),
        Err(Errno::PERM) => by_fusermount(at, flags),
        Err(error) => Err(std::io::Error::from(error)).context(|| format!("unmount {}", at.display())),
    }
}

/// Plain users may not unmount; fusermount3 may, for them.
fn by_fusermount(at: &Path, flags: UnmountFlags) -> Result<bool> {
    let program = std::env::var_os("FUSERMOUNT_PATH").unwrap_or_else(|| OsString::from("fusermount3"));
    let detach = flags.contains(UnmountFlags::DETACH);
    let mut command = levault::ops::child_command(&program);
    command.args(["-u", "-q"]).args(detach.then_some("-z"));
    let ended = command.arg("--").arg(at).stdin(Stdio::null()).status();
    let ended = ended.context(|| format!("run {}", program.display()))?;
    match (ended.success(), detach) {
        (true, _) => Ok(true),
        (false, false) => Ok(false),
        (false, true) => Err(Error::new(
            ErrorKind::Busy,
            format!(
                "unmount {}: {} ended with {ended}",
                at.display(),
                program.display()
            ),
        )),
    }
}
