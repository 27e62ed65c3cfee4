//! Resolves listed paths to what they name.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ListedPaths;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::OperationReport;

/// Looks for what is listed. What is not there is a problem; if nothing is, that is an error.
pub fn find_listed(paths: &[PathBuf], report: &OperationReport) -> Result<ListedPaths> {
    let (mut parents, mut found) = (HashMap::new(), Vec::new());
    for path in paths {
        report.go_on()?;
        let act = || format!("find {}, which a list names", path.display());
        match resolve_parents(path, &mut parents).context(act) {
            Ok(place) => found.push(place),
            Err(error) => report.problem_at(path, error.to_string()),
        }
    }
    if found.is_empty() && !paths.is_empty() {
        Err(Error::new(
            ErrorKind::NotFound,
            "nothing of what is listed is there",
        ))
    } else {
        Ok(ListedPaths::new(found))
    }
}

/// The path from the root on, through no link. One at its end stays, unless a slash stands behind it.
fn resolve_parents(path: &Path, parents: &mut HashMap<PathBuf, PathBuf>) -> io::Result<PathBuf> {
    // Without a slash at its end, which would lead through a link.
    let absolute: PathBuf = std::path::absolute(path)?.components().collect();
    let facts = std::fs::symlink_metadata(&absolute)?;
    let followed = facts.is_symlink() && path.as_os_str().as_bytes().ends_with(b"/");
    let (Some(parent), Some(name), false) = (absolute.parent(), absolute.file_name(), followed) else {
        return absolute.canonicalize();
    };
    let name: OsString = name.to_owned();
    if let Some(known) = parents.get(parent) {
        return Ok(known.join(name));
    }
    let real = parent.canonicalize()?;
    parents.insert(parent.to_owned(), real.clone());
    Ok(real.join(name))
}
