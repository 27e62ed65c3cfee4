//! Arguments of `restore`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{DatabaseArg, SelectionArgs};

#[derive(Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub pick: DatabaseArg,
    /// Where to: absent or empty. A directory or a database becomes this directory; a file, and each of several things,
    /// goes into it under its name
    #[arg(short, long, value_name = "DIR", value_parser = crate::address::parser())]
    pub target: PathBuf,
    #[command(flatten)]
    pub parts: IncludeArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What becomes of what stands there; without this, the target must be absent or empty
    #[arg(long, value_enum)]
    pub overwrite: Option<OverwriteArg>,
    /// Remove what the target has and the snapshot does not, below what is restored
    #[arg(long, requires = "overwrite")]
    pub delete: bool,
    /// Let --delete empty the root, a home directory or a mount point, and remove more than stays
    #[arg(long, requires = "delete")]
    pub unsafe_allow_delete: bool,
    /// Read everything again afterwards and compare it with what was saved
    #[arg(long, value_enum, default_value_t = VerifyArg::Full, num_args = 0..=1, default_missing_value = "full")]
    pub verify: VerifyArg,
    /// Also records that damage in the source made uncertain
    #[arg(long)]
    pub with_uncertain: bool,
    /// Print what would be done (with -v, of each thing)
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Which parts of trees. Patterns are as in .gitignore; the last that matches decides.
#[derive(Args)]
pub struct IncludeArgs {
    /// Only what matches, with all that is in it; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<OsString>,
    /// The same, whatever the case of letters
    #[arg(long, value_name = "PATTERN")]
    pub iinclude: Vec<OsString>,
    /// Not what matches; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<OsString>,
    /// The same, whatever the case of letters
    #[arg(long, value_name = "PATTERN")]
    pub iexclude: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverwriteArg {
    /// It is left, and what is missing is restored; a database that is asked for by itself is refused
    Never,
    /// It is left unless it is older
    IfNewer,
    /// It is left if it is the same; of a database what differs is written above its own tables
    IfChanged,
    /// It is replaced
    Always,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifyArg {
    None,
    Full,
}
