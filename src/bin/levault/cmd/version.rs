//! `version`: prints the program's version and its formats.

use levault::error::Result;
use serde_json::json;

use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;

/// Prints both.
pub fn run(run: &CommandContext) -> Result<ExitStatus> {
    let (version, format) = (env!("CARGO_PKG_VERSION"), levault::repo::FORMAT_VERSION);
    run.output
        .write_json(&json!({"message_type": "version", "version": version, "repository_format": format}))?;
    run.output
        .print(format!("levault {version}, repository format {format}"))?;
    Ok(ExitStatus::Done)
}
