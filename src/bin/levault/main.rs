//! The command-line tool, on the library's public API.
//!
//! The tool: parses, runs, turns endings into exit codes. It sees the library's public API and nothing else.

mod address;
mod args;
mod cmd;
mod command_context;
mod exit_status;
mod format;
#[cfg(all(feature = "mount", target_os = "linux"))]
mod mount;
mod output;
mod password;
mod progress;
mod signals;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use levault::report::OperationReport;

use crate::args::Cli;
use crate::output::OutputSettings;

fn main() -> ExitCode {
    // First of all: a number may be given to another file as soon as one is opened.
    password::take_descriptors();
    let cli = Cli::parse();
    let output = OutputSettings::new(&cli.global);
    let report = Arc::new(OperationReport::default());
    open_more_files();
    if let Err(error) = signals::handle(&report, output.json) {
        output.warn(&error.to_string());
    }
    match cmd::run(cli, output, &report) {
        Ok(ending) => ExitCode::from(ending.code()),
        Err(error) => {
            output.fail(&error);
            ExitCode::from(exit_status::exit_code(&error))
        }
    }
}

/// As many files as this user may: a large database has thousands of tables, and they may be held open.
fn open_more_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Fewer are enough for most databases, and a capture knows how many it has.
    let _ = setrlimit(Resource::Nofile, raised);
}
