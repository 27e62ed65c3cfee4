//! Records in a snapshot what a backup could not read.

use std::collections::HashSet;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::report::OperationReport;
use crate::snapshot::MissingPaths;

/// Everything that makes the backup incomplete, each once: an attempt that is begun again meets the same again.
pub fn collect_missing_paths(report: &OperationReport) -> MissingPaths {
    let mut missing = MissingPaths::default();
    let mut seen = HashSet::new();
    for problem in report.all_problems() {
        let path = problem.path.as_deref().map(absolute).unwrap_or_default();
        if seen.insert((path.clone(), problem.text.clone())) {
            missing.add(path, &problem.text);
        }
    }
    missing
}

/// From the root on, as the sources' own paths are recorded.
fn absolute(path: &Path) -> Vec<u8> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole
        .components()
        .as_path()
        .to_owned()
        .into_os_string()
        .into_vec()
}
