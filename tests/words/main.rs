//! What the tool says and takes, held to what it does: addresses, tags, signals, children, clocks, gaps, dry runs.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod addresses;
mod children;
mod clocks;
mod dry_runs;
mod full_disk;
mod missing;
mod signals;
#[path = "../support/mod.rs"]
mod support;
mod tags;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::tool::Tool;

/// The tool in a directory of its own, which is the current one.
fn command(tool: &Tool, at: &Path, words: &[&str]) -> Command {
    let mut command = tool.command();
    command.current_dir(at).args(words);
    command
}

/// A repository, and a directory `source` with one file beside it.
fn with_source() -> Tool {
    let tool = Tool::new();
    fs::create_dir(tool.path("source")).unwrap();
    fs::write(tool.path("source/f"), "content").unwrap();
    tool
}
