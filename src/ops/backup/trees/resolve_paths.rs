//! Resolves paths and lists into roots to walk.

use std::ffi::OsStr;
use std::fs::{File, read_dir, symlink_metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::OperationReport;
use crate::source::exclude_rules::{ExcludeSubject, ExcludeVerdict, ExcludedItems, WalkScope};
use crate::source::listed_paths::{ListPosition, find_listed};
use crate::source::{ExcludeRules, wait_until_settled};

/// What a person gave.
pub struct BackupPaths<'a> {
    /// PATHs.
    pub paths: &'a [PathBuf],
    /// What lists name.
    pub listed: &'a [PathBuf],
    /// What is left out of all of it.
    pub rules: &'a ExcludeRules,
}

/// What is there of it.
#[derive(Debug, Default)]
pub struct ResolvedPaths {
    /// By where each begins: the paths, each once, and behind them the tree of what is listed.
    pub scopes: Vec<WalkScope>,
    /// What of the paths themselves is left out; that is told.
    pub left_out: ExcludedItems,
}

impl ResolvedPaths {
    /// Looks what is there. What is missing is a problem, but if nothing is there an error.
    pub fn resolve(given: &BackupPaths, report: &OperationReport) -> Result<Self> {
        let rules = Arc::new(given.rules.clone());
        let paths = existing_paths(given, report)?;
        let mut listed = find_listed(given.listed, report)?;
        listed.remove_inside(&paths);
        let bounds = |path: &PathBuf| WalkScope::new(rules.clone(), path, None);
        let mut roots: Vec<_> = paths.iter().map(bounds).collect();
        if let Some(root) = listed.root() {
            let is_whole = listed.position(&root) == ListPosition::Inside;
            let listed = (!is_whole).then(|| Arc::new(listed));
            roots.push(WalkScope::new(rules, &root, listed));
        }
        Self::apply_excludes(roots, report)
    }

    fn apply_excludes(roots: Vec<WalkScope>, report: &OperationReport) -> Result<Self> {
        let mut asked = Self::default();
        for bounds in roots {
            let path = bounds.root();
            let what =
                symlink_metadata(path).map_or(ExcludeSubject::Other, |facts| ExcludeSubject::from(&facts));
            if let ExcludeVerdict::Excluded(why) = bounds.judge(path, what) {
                report.notice(format!("{}: left out: {why}", path.display()));
                asked.left_out.add(path, why);
                continue;
            }
            asked.scopes.push(bounds);
        }
        if asked.scopes.is_empty() {
            let why = match asked.left_out.count() {
                0 => "nothing to save: no path is given, and no list names one",
                _ => "nothing to save: all that is asked for is left out",
            };
            return Err(Error::new(ErrorKind::Usage, why));
        }
        Ok(asked)
    }
}

/// The PATHs that are there and can be read, each once.
fn existing_paths(given: &BackupPaths, report: &OperationReport) -> Result<Vec<PathBuf>> {
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for path in given.paths {
        wait_until_settled(path);
        let found = absolute_path(path).and_then(|whole| check_readable(&whole).map(|()| whole));
        match found.context(|| format!("find {}", path.display())) {
            Ok(whole) if there.contains(&whole) => {}
            Ok(whole) => there.push(whole),
            Err(error) => missing.push((path, error)),
        }
    }
    let has_others = !there.is_empty() || !given.listed.is_empty();
    match (has_others, missing.pop()) {
        (false, Some((_, last))) => Err(last),
        (_, last) => {
            let missing = missing.into_iter().chain(last);
            missing.for_each(|(path, error)| report.problem_at(path, error.to_string()));
            Ok(there)
        }
    }
}

/// A PATH of which nothing can be read would make a snapshot of nothing, and that the latest one.
fn check_readable(path: &Path) -> io::Result<()> {
    match symlink_metadata(path)? {
        facts if facts.is_dir() => read_dir(path).map(drop),
        // A pipe that came in its place is not waited for.
        facts if facts.is_file() => {
            let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
            let opened = File::options().read(true).custom_flags(flags).open(path);
            opened.map(drop)
        }
        _ => Ok(()),
    }
}

/// The path from the root on, of something that is there. A link at its end stays one, unless a slash stands behind it.
fn absolute_path(path: &Path) -> io::Result<PathBuf> {
    // Without that slash, which would hide the link.
    let absolute: PathBuf = std::path::absolute(path)?.components().collect();
    let followed = path.as_os_str().as_bytes().ends_with(b"/");
    let facts = symlink_metadata(&absolute)?;
    let winds = absolute.components().any(|part| part == Component::ParentDir);
    match (absolute.parent(), absolute.file_name().map(OsStr::to_owned)) {
        _ if followed && facts.is_symlink() => absolute.canonicalize(),
        (Some(parent), Some(name)) if winds => Ok(parent.canonicalize()?.join(name)),
        _ if winds => absolute.canonicalize(),
        _ => Ok(absolute),
    }
}
