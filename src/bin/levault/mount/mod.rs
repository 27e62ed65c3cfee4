//! Mounts a repository as a read-only filesystem.
//!
//! ```text
//! ids/1f2e3d4c/                    snapshot by id       hosts/web1/2024-05-06T07:08:09Z/   by host, and `latest`
//! snapshots/2024-05-06T07:08:09Z/  by time, `latest`    tags/nightly/2024-05-06T07:08:09Z/ by tag, and `latest`
//!   profile/                       a source, by its name
//!     Default/leveldb/             a database: restored when it is looked into, in a directory of this process
//!     Default/leveldb.records.jsonl   its records, read as they are asked for
//! ```
//!
//! `shelves` arranges snapshots, `world` has what is behind them, `item` says what there is and what is in it, `fuse` talks
//! to the kernel; content comes through `cache`, `databases` and `records`. What fails is an EIO for who asked, and a line
//! on standard error.

mod blob_cache;
mod directory_listing;
mod fuse_requests;
mod inodes;
mod item_attributes;
mod mount_context;
mod mount_item;
mod record_stream;
mod restored_databases;
mod snapshot_directories;
mod unmount;

use std::io;
use std::path::Path;
use std::time::Duration;

use fuser::{Config, MountOption, Session, SessionACL};
use levault::error::{Error, Result, ResultExt};

use crate::args::MountArgs;
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use fuse_requests::MountedRepository;
use mount_context::MountContext;

/// Requests answered at once: while one makes a database, others go on.
const THREADS: usize = 4;

/// How often is looked whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Mounts, and stays until it is unmounted or interrupted.
pub fn run(run: &CommandContext, args: &MountArgs) -> Result<ExitStatus> {
    let at = args.mountpoint.canonicalize();
    let at = at.map_err(|cause| not_mounted(&args.mountpoint, cause))?;
    must_be_a_directory(&at)?;
    // What is mounted over could not be reached any more.
    run.forbidden_paths().refuse_to_empty(&at)?;
    let world = MountContext::open(run, args)?;
    let databases = world.databases.clone();
    let session = Session::new(MountedRepository::new(world), &at, &config(args));
    let session = session.map_err(|cause| not_mounted(&at, cause))?;
    let session = session.spawn().context(|| format!("mount at {}", at.display()))?;
    let at_text = at.display();
    run.output.print(format!(
        "mounted at {at_text}; Ctrl-C or `fusermount3 -u {at_text}` ends it"
    ))?;
    while !session.guard.is_finished() && run.report.go_on().is_ok() {
        std::thread::sleep(LOOK_EVERY);
    }
    let ended = if session.guard.is_finished() {
        session.join().context(|| format!("serve {at_text}"))
    } else {
        unmount::unmount(run, &at, session)
    };
    databases.remove_all();
    ended.map(|()| ExitStatus::Done)
}

fn config(args: &MountArgs) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
        MountOption::FSName("levault".into()),
        MountOption::Subtype("levault".into()),
    ];
    // Alone, the one who mounts sees all: that is what the repository's password is for.
    if args.allow_other {
        config.acl = SessionACL::All;
        if !args.no_default_permissions {
            config.mount_options.push(MountOption::DefaultPermissions);
        }
    }
    config.n_threads = Some(THREADS);
    config
}

/// The kernel would mount over a file, too.
fn must_be_a_directory(at: &Path) -> Result<()> {
    match std::fs::metadata(at) {
        Ok(facts) if facts.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::from(io::ErrorKind::NotADirectory)),
        Err(error) => Err(error),
    }
    .map_err(|cause| not_mounted(at, cause))
}

fn not_mounted(at: &Path, cause: io::Error) -> Error {
    let hint = match cause.kind() {
        io::ErrorKind::NotConnected => " (a mount that was killed stands there: fusermount3 -u frees it)",
        io::ErrorKind::NotFound if at.exists() => " (is fusermount3 installed? Debian: apt install fuse3)",
        _ => "",
    };
    Error::io(format!("mount at {}{hint}", at.display()), cause)
}
