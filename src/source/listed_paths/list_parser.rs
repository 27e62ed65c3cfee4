//! Parses lists of paths.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::glob::expand;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::OperationReport;

/// How a list is written; restic's three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// A pattern a line, as a shell would expand it. Space around it does not count, nor do empty lines and those that
    /// begin with `#`.
    Patterns,
    /// A path a line, as it is; empty lines do not count.
    Lines,
    /// Paths of any bytes, each with a zero byte behind it.
    Raw,
}

/// The paths of a list, in its order. A pattern that matches nothing is a problem.
///
/// # Errors
/// [`ErrorKind::Usage`] for a list that is not of this form.
pub fn parse_list(bytes: &[u8], form: ListFormat, report: &OperationReport) -> Result<Vec<PathBuf>> {
    match form {
        ListFormat::Patterns => parse_patterns(bytes, report),
        ListFormat::Lines => {
            let lines = bytes.split(|byte| *byte == b'\n');
            let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            Ok(lines.filter(|line| !line.is_empty()).map(path).collect())
        }
        ListFormat::Raw => parse_raw(bytes),
    }
}

fn parse_patterns(bytes: &[u8], report: &OperationReport) -> Result<Vec<PathBuf>> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut paths = Vec::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let act = || format!("line {}", at + 1);
        let line = line.trim_ascii();
        let Ok(line) = std::str::from_utf8(line) else {
            paths.push(plain_path(line).context(act)?);
            continue;
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let expanded = expand(line).context(act)?;
        if expanded.is_empty() {
            report.problem_at(Path::new(line), format!("nothing is called {line}"));
        }
        paths.extend(expanded);
    }
    Ok(paths)
}

/// A line that is not UTF-8: a path as it is.
fn plain_path(line: &[u8]) -> Result<PathBuf> {
    let is_pattern = line.iter().any(|byte| b"*?[]{}\\!".contains(byte));
    if is_pattern {
        Err(Error::new(
            ErrorKind::Usage,
            "a pattern that is not UTF-8; --files-from-verbatim takes paths of any bytes",
        ))
    } else {
        Ok(path(line))
    }
}

/// The last name must have its end too: a list that was cut short must not pass for a whole one.
fn parse_raw(bytes: &[u8]) -> Result<Vec<PathBuf>> {
    let wrong = |what| Err(Error::new(ErrorKind::Usage, what));
    let Some(names) = bytes.strip_suffix(&[0]) else {
        return match bytes {
            [] => Ok(Vec::new()),
            _ => wrong("it ends inside a name: there is no zero byte behind the last"),
        };
    };
    let names: Vec<_> = names.split(|byte| *byte == 0).collect();
    if names.iter().any(|name| name.is_empty()) {
        wrong("it has a name of no bytes")
    } else {
        Ok(names.into_iter().map(path).collect())
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    OsStr::from_bytes(bytes).into()
}
