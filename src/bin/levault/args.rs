//! Defines the command line: verbs and flags are restic's where it has them.
//!
//! Words on the command line, typed: parsed first, acted on later. restic's verbs and flags where it has them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod check;
mod copy;
mod database_keys;
mod init;
mod inputs;
mod pins;
mod prune;
mod quarantine;
mod repair;
mod restore;
mod retention;
mod snapshot_paths;

pub use check::CheckArgs;
pub use copy::{CopyArgs, RescueArgs, SourceArgs};
pub use database_keys::{KeyArg, SelectionArgs};
pub use init::InitArgs;
pub use inputs::{ExcludeArgs, InputArgs};
pub use pins::{PinsArgs, PinsCommand};
pub use prune::{MaxUnusedArg, PruneArgs, PruneOptions};
pub use quarantine::{QuarantineArgs, QuarantineCommand};
pub use repair::{
    AddParityArgs, HealArgs, ParityRequest, RepairApplyArgs, RepairArgs, RepairCommand, RepairIndexArgs,
    RepairTargetArgs,
};
pub use restore::{IncludeArgs, OverwriteArg, RestoreArgs, VerifyArg};
pub use retention::{ForgetArgs, PolicyArgs, SnapshotIdArgs, TagArgs, UndeleteArgs};
#[cfg(all(feature = "mount", target_os = "linux"))]
pub use snapshot_paths::MountArgs;
pub use snapshot_paths::{
    DatabaseArg, DatabaseFilterArgs, DiffArgs, DumpArgs, DumpFormat, FindArgs, GetArgs, HistoryArgs, LsArgs,
    SnapshotPath,
};

/// Deduplicated, encrypted, verifiable backups of LevelDB databases.
#[derive(Parser)]
#[command(
    name = "levault",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub verb: Command,
}

/// What every verb takes.
#[derive(Args)]
pub struct GlobalArgs {
    /// Where the repository lives (a directory) [env: LEVAULT_REPOSITORY]
    #[arg(short, long, global = true, value_name = "REPOSITORY")]
    pub repo: Option<String>,
    /// A file whose first line names the repository [env: LEVAULT_REPOSITORY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub repository_file: Option<PathBuf>,
    /// A file whose first line is the password [env: LEVAULT_PASSWORD_FILE]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// A command whose first line of output is the password, run by sh [env: LEVAULT_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND")]
    pub password_command: Option<String>,
    /// Use an empty password: whoever reads the repository reads the data
    #[arg(long, global = true)]
    pub insecure_no_password: bool,
    /// Back up as a write-only host with this credential; the password is the file's [env: LEVAULT_CREDENTIAL]
    #[arg(long, global = true, value_name = "FILE")]
    pub credential: Option<PathBuf>,
    /// JSON lines on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more (twice: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Where the local cache lives
    #[arg(long, global = true, env = "LEVAULT_CACHE_DIR", value_name = "DIR", value_parser = crate::address::parser())]
    pub cache_dir: Option<PathBuf>,
    /// Keep no local cache
    #[arg(long, global = true)]
    pub no_cache: bool,
    /// Go on with a repository that shows an older state than was seen from here before, and take that for the newest: for
    /// who brought an older copy of it back
    #[arg(long, global = true)]
    pub accept_rollback: bool,
    /// Compression of what is stored
    #[arg(long, global = true, env = "LEVAULT_COMPRESSION", value_enum, default_value_t = CompressionArg::Auto)]
    pub compression: CompressionArg,
    /// Size of packs, MiB
    #[arg(long, global = true, env = "LEVAULT_PACK_SIZE", value_name = "MIB", value_parser = clap::value_parser!(u32).range(4..=128))]
    pub pack_size: Option<u32>,
    /// Do not open and compare each finished pack before it is stored
    #[arg(long, global = true)]
    pub no_extra_verify: bool,
}

/// How hard to compress.
#[derive(Clone, Copy, ValueEnum)]
pub enum CompressionArg {
    Off,
    Fastest,
    Auto,
    Better,
    Max,
}

/// The verbs.
#[derive(Subcommand)]
pub enum Command {
    /// Copy a database, consistent even while its owner writes; needs no repository
    Capture(CaptureArgs),
    /// Read a database, live or closed, and list everything that is wrong; needs no repository
    VerifyDb(VerifyDbArgs),
    /// Make a repository
    #[command(alias = "repo-create")]
    Init(InitArgs),
    /// Save databases and files as one new snapshot
    #[command(alias = "create")]
    Backup(Box<BackupArgs>),
    /// List the snapshots
    Snapshots(SnapshotsArgs),
    /// List what a snapshot holds, or the keys of one of its databases
    Ls(LsArgs),
    /// Print the value of one key as it was
    Get(GetArgs),
    /// Print a file, a directory as an archive, or the records of a database as they were
    Dump(DumpArgs),
    /// List the files and records that differ between two snapshots
    Diff(DiffArgs),
    /// Show all snapshots as directories, read-only, until it is unmounted or interrupted
    #[cfg(all(feature = "mount", target_os = "linux"))]
    Mount(MountArgs),
    /// List what became of one key, snapshot by snapshot
    History(HistoryArgs),
    /// List the snapshots that have files of some name, or some keys
    Find(FindArgs),
    /// Bring back what a snapshot holds, or part of it
    #[command(alias = "extract")]
    Restore(Box<RestoreArgs>),
    /// Rebuild a damaged database from its good files and the newest good snapshot of what they lost
    Rescue(RescueArgs),
    /// Let go of snapshots, by a policy or by name; nothing is deleted, and `undelete` brings them back
    #[command(alias = "delete")]
    Forget(Box<ForgetArgs>),
    /// List forgotten snapshots that are still stored, or bring some back
    Undelete(UndeleteArgs),
    /// Give snapshots other tags
    Tag(TagArgs),
    /// Copy snapshots that are missing from another repository into this one; nothing is deleted
    #[command(alias = "sync")]
    Copy(Box<CopyArgs>),
    /// Keep snapshots whatever a policy says
    Protect(SnapshotIdArgs),
    /// Let policies forget them again
    Unprotect(SnapshotIdArgs),
    /// Prove that what is stored can be restored
    Check(CheckArgs),
    /// Put a damaged repository in order, step by step; nothing is done without --apply
    Repair(RepairArgs),
    /// Say what uses the space
    #[command(alias = "info")]
    Stats(StatsArgs),
    /// Give back the space of what no snapshot needs: marked now, deleted after the grace
    #[command(alias = "compact")]
    Prune(PruneArgs),
    /// Set aside objects that cannot be read, as whoever may write to the storage can put: they stop no prune any more
    Quarantine(QuarantineArgs),
    /// Take away the lease of a prune or repair that was killed; without this it is over in two hours
    Unlock,
    /// What is kept beside a database for its next backup; needs no repository
    Pins(PinsArgs),
    /// Passwords and keys
    Key(KeyArgs),
    /// Print version and formats
    Version,
}

#[derive(Args)]
pub struct BackupArgs {
    /// Directories and files; LevelDB databases among them, or in them, are saved as databases
    #[arg(value_name = "PATH", required_unless_present_any = ["files_from", "files_from_verbatim", "files_from_raw", "stdin"])]
    pub paths: Vec<PathBuf>,
    /// Mark the snapshot with these; may be given several times
    #[arg(long, value_name = "TAG[,TAG]")]
    pub tag: Vec<String>,
    /// Host name to record
    #[arg(long, env = "LEVAULT_HOST", value_name = "HOST")]
    pub host: Option<String>,
    /// What to call it, for one PATH (default: the last part of it)
    #[arg(long)]
    pub name: Option<String>,
    /// Store the files as they are instead of their records
    #[arg(long)]
    pub physical: bool,
    /// Read everything, and compare records with what the changes alone make of them
    #[arg(long)]
    pub full: bool,
    /// Read every file, also one that is as the snapshot before has it by length, times and inode
    #[arg(short, long)]
    pub force: bool,
    /// Take a file for unchanged though its metadata were changed (its time of change is another)
    #[arg(long)]
    pub ignore_ctime: bool,
    /// Take a file for unchanged though its inode is another, as on filesystems that number files anew
    #[arg(long)]
    pub ignore_inode: bool,
    /// Files that are open at once
    #[arg(long, env = "LEVAULT_READ_CONCURRENCY", value_name = "N", default_value_t = levault::ops::backup::READ_CONCURRENCY)]
    pub read_concurrency: usize,
    /// Do as with --full in one of so many backups of a database; 0: never
    #[arg(long, value_name = "N", default_value_t = levault::ops::backup::AUDIT_EVERY)]
    pub audit_every: u32,
    /// Store no snapshot if no record and no file changed since the one before
    #[arg(long)]
    pub skip_if_unchanged: bool,
    /// Keep nothing beside the database: each backup reads everything
    #[arg(long, conflicts_with_all = ["pin_copy", "pin_bytes_max"])]
    pub no_pins: bool,
    /// Keep copies of the tables where they cannot be linked: as much space again as they take
    #[arg(long)]
    pub pin_copy: bool,
    /// Keep nothing of a database whose tables are larger than this (500M, 20G)
    #[arg(long, value_name = "SIZE", value_parser = crate::format::size)]
    pub pin_bytes_max: Option<u64>,
    /// Read and count, store nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Command for sh, run before the databases are captured; if it fails, nothing is saved
    #[arg(long, value_name = "COMMAND")]
    pub pre_hook: Option<String>,
    /// Command for sh, run when they are captured and the files are read, whatever happened
    #[arg(long, value_name = "COMMAND")]
    pub post_hook: Option<String>,
    /// Run it as soon as the databases are captured: the files are read after it
    #[arg(long, requires = "post_hook")]
    pub post_hook_early: bool,
    /// Longest each of the two may take, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub hook_timeout: u64,
    #[command(flatten)]
    pub patience: CaptureTimeoutArgs,
    /// Have SQLite make an exact copy of each of its databases that is in use
    #[arg(long)]
    pub sqlite_backup: bool,
    #[command(flatten)]
    pub leave_out: ExcludeArgs,
    #[command(flatten)]
    pub given: InputArgs,
}

/// How long to go on when a database changes under every try.
#[derive(Args)]
pub struct CaptureTimeoutArgs {
    /// How long to try for a consistent cut of a database that keeps changing, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub capture_timeout: u64,
}

#[derive(Args)]
pub struct CaptureArgs {
    /// The LevelDB directory
    #[arg(value_name = "DB")]
    pub source: PathBuf,
    /// Where the copy goes: absent or an empty directory
    #[arg(value_name = "DIR", value_parser = crate::address::parser())]
    pub target: PathBuf,
    /// Share the tables with the source by hard links: no space, but what damages one damages both
    #[arg(long)]
    pub link: bool,
    #[command(flatten)]
    pub patience: CaptureTimeoutArgs,
}

#[derive(Args)]
pub struct VerifyDbArgs {
    /// The LevelDB directory
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    #[command(flatten)]
    pub patience: CaptureTimeoutArgs,
}

#[derive(Args)]
pub struct SnapshotsArgs {
    /// Only these (ids, `latest`, `latest~N`)
    #[arg(value_name = "SNAPSHOT")]
    pub ids: Vec<String>,
    /// Only snapshots of this host
    #[arg(long)]
    pub host: Option<String>,
    /// Only snapshots that have all of these tags ('': those without tags); may be given several times, one must fit
    #[arg(long, value_name = "TAG[,TAG]")]
    pub tag: Vec<String>,
}

#[derive(Args)]
pub struct StatsArgs {
    /// Only this snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: Option<String>,
}

#[derive(Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    pub verb: KeyCommand,
}

#[derive(Subcommand)]
pub enum KeyCommand {
    /// List the passwords' slots
    List,
    /// Add a password, or a host that can back up and neither read nor delete
    Add(KeyAddArgs),
    /// Put a new password in the place of the one that is given; data stored from then on is out of the old one's reach
    Passwd(NewPasswordArgs),
    /// Take a password away, by the beginning of its slot's id; for a write-only host (domain:N) it says what to do
    Remove {
        #[arg(value_name = "SLOT")]
        slot: String,
    },
    /// Begin a new epoch of keys: what is stored from then on is sealed under it
    Rotate {
        /// Store again what is sealed under older epochs, as `prune --repack-outdated` does
        #[arg(long)]
        repack: bool,
    },
    /// Add a random password and print it with what it takes to use it: for paper, in a safe
    ExportRecovery,
}

#[derive(Args)]
pub struct KeyAddArgs {
    #[command(flatten)]
    pub new: NewPasswordArgs,
    /// Make a credential file for a host that can back up, and neither read nor delete; the new password is the file's
    #[arg(long)]
    pub write_only: bool,
    /// Where the credential goes
    #[arg(short, long, value_name = "FILE", requires = "write_only", value_parser = crate::address::parser())]
    pub output: Option<PathBuf>,
    /// Another credential for the host of this domain instead of a new host
    #[arg(long, value_name = "N", requires = "write_only", conflicts_with = "label")]
    pub domain: Option<u32>,
    /// Protect the credential by no password: whoever reads the file can write in the host's name
    #[arg(long, requires = "write_only", conflicts_with = "new_password_file")]
    pub new_insecure_no_password: bool,
}

#[derive(Args)]
pub struct NewPasswordArgs {
    /// Read the new password from this file's first line
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    /// What people are to call it
    #[arg(long, default_value = "")]
    pub label: String,
}
