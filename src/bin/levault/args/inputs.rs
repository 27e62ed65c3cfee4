//! Arguments for what is backed up and what is excluded.
//!
//! Words for what is backed up besides PATHs, and for what is left out of it. (restic's words.)

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// What is left out. Patterns are as in .gitignore; those of files come first, and the last that matches decides.
#[derive(Args)]
#[command(next_help_heading = "What is left out")]
pub struct ExcludeArgs {
    /// Leave out what matches, as in .gitignore: `*.o`, `cache/`, `/an/absolute/path`, `dir/in/PATH`, `!taken-back`; may
    /// be given several times
    #[arg(short, long, value_name = "PATTERN")]
    pub exclude: Vec<OsString>,
    /// The same, in small or capital letters
    #[arg(long, value_name = "PATTERN")]
    pub iexclude: Vec<OsString>,
    /// Patterns from a file, one a line
    #[arg(long, value_name = "FILE")]
    pub exclude_file: Vec<PathBuf>,
    /// The same, in small or capital letters
    #[arg(long, value_name = "FILE")]
    pub iexclude_file: Vec<PathBuf>,
    /// Leave out what lies in a directory that has a file of this name (that begins so), but for that file
    #[arg(long, value_name = "NAME[:HEADER]")]
    pub exclude_if_present: Vec<OsString>,
    /// Leave out what lies in directories with a CACHEDIR.TAG, but for that file
    #[arg(long)]
    pub exclude_caches: bool,
    /// Leave out files larger than this (500M, 20G)
    #[arg(long, value_name = "SIZE", value_parser = crate::format::size)]
    pub exclude_larger_than: Option<u64>,
    /// Leave out what lies on other filesystems than the PATH
    #[arg(short = 'x', long)]
    pub one_file_system: bool,
}

/// Lists of paths, and bytes that come once.
#[derive(Args)]
#[command(next_help_heading = "What is saved besides PATHs")]
pub struct InputArgs {
    /// A file of paths and patterns as a shell expands them, one a line; `-` is standard input. All lists make one tree
    #[arg(long, value_name = "FILE")]
    pub files_from: Vec<PathBuf>,
    /// A file of paths as they are, one a line
    #[arg(long, value_name = "FILE")]
    pub files_from_verbatim: Vec<PathBuf>,
    /// A file of paths, each with a zero byte behind it (find -print0)
    #[arg(long, value_name = "FILE")]
    pub files_from_raw: Vec<PathBuf>,
    /// Save what comes from standard input, as one file
    #[arg(long, conflicts_with_all = ["stdin_from_command", "paths", "files_from", "files_from_verbatim", "files_from_raw"])]
    pub stdin: bool,
    /// Save what a command writes, as one file: the command stands where else PATHs stand, behind `--`. If it fails,
    /// nothing is saved
    #[arg(long, requires = "paths", conflicts_with_all = ["files_from", "files_from_verbatim", "files_from_raw"])]
    pub stdin_from_command: bool,
    /// What that file is called
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub stdin_filename: OsString,
}

impl InputArgs {
    /// Whether bytes are saved that come once.
    pub fn is_stream(&self) -> bool {
        self.stdin || self.stdin_from_command
    }
}
