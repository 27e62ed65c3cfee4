//! Prints lines, JSON and numbers with units.

use std::io::{IsTerminal, Write};

use levault::error::{Error, Result, ResultExt};
use serde_json::{Value, json};

use crate::args::GlobalArgs;
use crate::exit_status;

/// How this run talks.
#[derive(Clone, Copy)]
pub struct OutputSettings {
    pub json: bool,
    pub quiet: bool,
    pub verbose: u8,
}

impl OutputSettings {
    /// As the flags say.
    pub fn new(global: &GlobalArgs) -> Self {
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
        }
    }

    /// A line for people; programs and the quiet see nothing.
    pub fn print(&self, line: impl AsRef<str>) -> Result<()> {
        if self.json || self.quiet {
            Ok(())
        } else {
            print_line(line.as_ref())
        }
    }

    /// A line only for those who asked for more.
    pub fn detail(&self, line: impl AsRef<str>) -> Result<()> {
        if self.verbose > 0 {
            self.print(line)
        } else {
            Ok(())
        }
    }

    /// A line for people who asked for everything.
    pub fn indented(&self, line: impl AsRef<str>) -> Result<()> {
        if self.verbose > 1 {
            self.print(line)
        } else {
            Ok(())
        }
    }

    /// One JSON document on a line, for programs.
    pub fn write_json(&self, value: &Value) -> Result<()> {
        if self.json {
            print_line(&value.to_string())
        } else {
            Ok(())
        }
    }

    /// A problem that did not end the run: standard error, both for people and programs.
    pub fn warn(&self, text: &str) {
        if self.json {
            print_error(&json!({"message_type": "error", "error": {"message": text}}).to_string())
        } else {
            print_error(&format!("warning: {text}"))
        }
    }

    /// The error that ended the run, with advice.
    pub fn fail(&self, error: &Error) {
        let code = exit_status::exit_code(error);
        if self.json {
            let message = json!({"message_type": "exit_error", "code": code, "message": error.to_string(),
                "advice": exit_status::advice(error)});
            print_error(&message.to_string());
            return;
        }
        print_error(&format!("levault: {error}"));
        if let Some(advice) = exit_status::advice(error) {
            print_error(&format!("  {advice}"));
        }
    }

    /// True when a progress bar would be seen and not disturb.
    pub fn shows_progress(&self) -> bool {
        !self.json && !self.quiet && std::io::stderr().is_terminal()
    }
}

/// Writes a line; a closed pipe is an error like any other, not a panic.
pub fn print_line(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").context(|| "write to standard output")
}

/// Writes a line to standard error. If its reader is gone the work goes on, and the exit code tells how it ended.
pub fn print_error(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
