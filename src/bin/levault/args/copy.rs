//! Arguments of `copy` and `rescue`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::retention::FilterArgs;

/// The repository that is copied from. (restic's words.)
#[derive(Args)]
pub struct SourceArgs {
    /// The repository to copy from; -r names the one to copy to [env: LEVAULT_FROM_REPOSITORY]
    #[arg(long, value_name = "REPOSITORY")]
    pub from_repo: Option<String>,
    /// A file whose first line names it [env: LEVAULT_FROM_REPOSITORY_FILE]
    #[arg(long, value_name = "FILE")]
    pub from_repository_file: Option<PathBuf>,
    /// A file whose first line is its password [env: LEVAULT_FROM_PASSWORD_FILE]
    #[arg(long, value_name = "FILE")]
    pub from_password_file: Option<PathBuf>,
    /// A command whose first line of output is its password, run by sh [env: LEVAULT_FROM_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND")]
    pub from_password_command: Option<String>,
    /// Its password is empty
    #[arg(long)]
    pub from_insecure_no_password: bool,
}

#[derive(Args)]
pub struct CopyArgs {
    /// Only these snapshots of the source (ids, `latest`, `latest~N`); all by default
    #[arg(value_name = "SNAPSHOT")]
    pub ids: Vec<String>,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Make the destination if there is none, cutting chunks where the source does
    #[arg(long, conflicts_with = "dry_run")]
    pub init: bool,
    /// Print what would be copied
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Args)]
pub struct RescueArgs {
    /// The damaged LevelDB directory, closed; it is only read
    #[arg(value_name = "DB")]
    pub directory: PathBuf,
    /// Where the new database goes: absent or an empty directory
    #[arg(short, long, value_name = "DIR", value_parser = crate::address::parser())]
    pub output: PathBuf,
    /// Only this snapshot supplies what is lost (default: the newest that is good there)
    #[arg(long, value_name = "SNAPSHOT")]
    pub snapshot: Option<String>,
    /// The database's name in the snapshots, or the whole path where it stood (default: the one that was saved from this
    /// directory)
    #[arg(long, value_name = "NAME")]
    pub db: Option<OsString>,
    /// Also keep records that may be stale where no snapshot has better ones
    #[arg(long)]
    pub with_uncertain: bool,
    /// Write it; without this everything is read and told, and nothing written
    #[arg(long)]
    pub apply: bool,
}
