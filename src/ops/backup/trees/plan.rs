//! PATHs → databases, and trees of files; told from names, before anything is read.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Act, Error, Kind, Result};
use crate::limits::SNAPSHOT_SOURCES_MAX;
use crate::report::Report;
use crate::source::Detected;
use crate::source::walk::{candidate, databases_below};

/// What a file system's root is called.
const NAMELESS: &str = "_";

/// A database to be captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDatabase {
    /// Its directory, from the root on.
    pub path: PathBuf,
    /// What it is called in the snapshot.
    pub name: String,
    /// It was asked for by its own path; if it cannot be saved, there is no backup.
    pub is_asked: bool,
}

/// A file or directory to be walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedTree {
    /// Where it stands, from the root on.
    pub path: PathBuf,
    /// What it is called in the snapshot.
    pub name: String,
}

impl WantedTree {
    /// What it is called in its tree.
    pub fn entry_name(&self) -> OsString {
        self.path.file_name().unwrap_or(OsStr::new(NAMELESS)).to_owned()
    }
}

/// What is backed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are captured.
    pub databases: Vec<FoundDatabase>,
    pub trees: Vec<WantedTree>,
}

impl Plan {
    /// Looks what stands at the paths, and for databases below them.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if all paths are missing; [`Kind::Usage`] for a name that does not tell which is meant.
    pub fn make(paths: &[PathBuf], name: Option<&str>, report: &Report) -> Result<Self> {
        let asked = asked(paths, report)?;
        let names = match name {
            Some(name) if asked.len() == 1 => vec![name.to_owned()],
            Some(_) => return Err(Error::new(Kind::Usage, "one name for several paths")),
            None => names(&asked)?,
        };
        let mut plan = Self::default();
        let mut taken: HashSet<String> = names.iter().cloned().collect();
        let mut seen = HashSet::new();
        for (path, name) in asked.into_iter().zip(names) {
            let is_database = is_database(&path);
            if is_database && seen.insert(path.clone()) {
                plan.databases.push(FoundDatabase {
                    path: path.clone(),
                    name: name.clone(),
                    is_asked: true,
                });
            }
            for found in databases_below(&path, &|_, _| true, report)? {
                if found != path && seen.insert(found.clone()) {
                    let name = unique(below(&name, &path, &found), &mut taken);
                    plan.databases.push(FoundDatabase {
                        path: found,
                        name,
                        is_asked: false,
                    });
                }
            }
            if !is_database {
                plan.trees.push(WantedTree { path, name });
            }
        }
        plan.must_fit().map(|()| plan)
    }

    fn must_fit(&self) -> Result<()> {
        let sources = self.databases.len() + self.trees.len();
        match sources <= SNAPSHOT_SOURCES_MAX {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Limit,
                format!("{sources} databases and trees, {SNAPSHOT_SOURCES_MAX} at most"),
            )),
        }
    }
}

/// A name for a database that is found below a path when the others have theirs.
pub fn name_below(plan: &Plan, found: &Path, taken: &mut HashSet<String>) -> String {
    let trees = plan.trees.iter().map(|tree| (&tree.path, &tree.name));
    let databases = plan
        .databases
        .iter()
        .map(|database| (&database.path, &database.name));
    let above = trees.chain(databases).find(|(path, _)| found.starts_with(path));
    let name = above.map_or_else(
        || text(found.as_os_str()),
        |(path, name)| below(name, path, found),
    );
    unique(name, taken)
}

/// The paths that are there, each once.
fn asked(paths: &[PathBuf], report: &Report) -> Result<Vec<PathBuf>> {
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for path in paths {
        match whole(path).act(|| format!("find {}", path.display())) {
            Ok(whole) if there.contains(&whole) => {}
            Ok(whole) => there.push(whole),
            Err(error) => missing.push(error),
        }
    }
    let last = match there.is_empty() {
        true => missing.pop(),
        false => None,
    };
    match last {
        Some(error) => Err(error),
        None => {
            missing.iter().for_each(|error| report.problem(error.to_string()));
            Ok(there)
        }
    }
}

/// The path from the root on, of something that is there. A link at its end stays one, unless a slash stands behind it.
fn whole(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let followed = path.as_os_str().as_bytes().ends_with(b"/");
    let facts = std::fs::symlink_metadata(&absolute)?;
    let winds = absolute.components().any(|part| part == Component::ParentDir);
    match (absolute.parent(), absolute.file_name()) {
        _ if followed && facts.is_symlink() => absolute.canonicalize(),
        (Some(parent), Some(name)) if winds => Ok(parent.canonicalize()?.join(name)),
        _ if winds => absolute.canonicalize(),
        _ => Ok(absolute.components().collect()),
    }
}

fn is_database(path: &Path) -> bool {
    let found = path.is_dir().then(|| candidate(path));
    // RocksDB is refused by the capture, aloud.
    matches!(found, Some(Ok(Detected::LevelDb(_) | Detected::RocksDb(_))))
}

/// The last part of each path; all of it where two end alike.
fn names(paths: &[PathBuf]) -> Result<Vec<String>> {
    let short = |path: &PathBuf| text(path.file_name().unwrap_or(path.as_os_str()));
    let shorts: Vec<_> = paths.iter().map(short).collect();
    let is_alone = |name: &String| shorts.iter().filter(|other| *other == name).count() == 1;
    let long = |path: &PathBuf| text(path.as_os_str()).trim_start_matches('/').to_owned();
    let mut seen = HashSet::new();
    let named = paths.iter().zip(&shorts);
    named
        .map(|(path, short)| {
            if is_alone(short) {
                short.clone()
            } else {
                long(path)
            }
        })
        .map(|name| match seen.insert(name.clone()) {
            true => Ok(name),
            false => Err(Error::new(
                Kind::Usage,
                format!("two paths are both called {name}; back them up apart"),
            )),
        })
        .collect()
}

fn below(name: &str, path: &Path, found: &Path) -> String {
    let inner = found.strip_prefix(path).unwrap_or(found);
    format!("{name}/{}", inner.to_string_lossy())
}

fn unique(name: String, taken: &mut HashSet<String>) -> String {
    let numbered = |number: u32| match number {
        1 => name.clone(),
        number => format!("{name}~{number}"),
    };
    let free = (1..).map(numbered).find(|name| !taken.contains(name));
    let free = free.expect("there are more numbers than names");
    taken.insert(free.clone());
    free
}

fn text(name: &OsStr) -> String {
    let text = name.to_string_lossy().into_owned();
    if text == "/" { NAMELESS.into() } else { text }
}
