//! Plans which paths are databases and which are trees.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::resolve_paths::{BackupPaths, ResolvedPaths};
use super::{WalkRoot, requested_parent};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::limits::SNAPSHOT_SOURCES_MAX;
use crate::report::OperationReport;
use crate::snapshot::restore_paths::{ROOT_NAME, distinct_paths};
use crate::snapshot::source_label::parts;
use crate::source::exclude_rules::{ExcludeSubject, ExcludedItems, WalkScope};
use crate::source::walk::{detect_candidate, find_databases_below};
use crate::source::{DetectedDirectory, ForeignEngine, HeldDirectory, TouchedDirectories};

/// A database to be captured.
#[derive(Clone, Debug)]
pub struct PlannedDatabaseBackup {
    /// Its directory, from the root on.
    pub path: PathBuf,
    /// What it is called in the snapshot.
    pub name: String,
    /// It was asked for by its own path; if it cannot be saved, there is no backup.
    pub is_requested: bool,
    /// Those of what was asked for that it lies in.
    pub scope: WalkScope,
    /// The directory of the walk that met it, held; `None` if it was planned before the walk.
    pub walked_from: Option<HeldDirectory>,
    /// What this backup does to the times of directories.
    pub touched: Arc<TouchedDirectories>,
}

impl PlannedDatabaseBackup {
    /// Its directory, held. Links are followed on the way that was asked for, at its end too; below that, none.
    pub fn open_held(&self) -> Result<HeldDirectory> {
        // What the walk followed to get there, the capture follows: what was asked for may be a link to a database.
        if let Some(above) = &self.walked_from {
            return above.descendant(&self.path);
        }
        if self.path == self.scope.root() {
            let whole = self.path.canonicalize();
            return HeldDirectory::open_path(&whole.context(|| format!("find {}", self.path.display()))?);
        }
        HeldDirectory::open_path(requested_parent(&self.scope))?.descendant(&self.path)
    }

    /// What else lies in its directory, to be walked, when it is saved under this number.
    pub fn walk_root_beside(&self, number: Option<u32>, held: Option<HeldDirectory>) -> Option<WalkRoot> {
        Some(WalkRoot::Beside {
            number: number?,
            directory: self.path.clone(),
            held,
            scope: self.scope.clone(),
        })
    }
}

/// A file or directory to be walked.
#[derive(Clone, Debug)]
pub struct PlannedTree {
    /// Where it stands, from the root on.
    pub path: PathBuf,
    /// What it is called in the snapshot.
    pub name: String,
    /// What of it is wanted.
    pub scope: WalkScope,
}

impl PlannedTree {
    /// What it is called in its tree.
    pub fn entry_name(&self) -> OsString {
        self.path.file_name().unwrap_or(OsStr::new(ROOT_NAME)).to_owned()
    }
}

/// What is backed up.
#[derive(Clone, Debug, Default)]
pub struct BackupPlan {
    /// In the order in which they are captured.
    pub databases: Vec<PlannedDatabaseBackup>,
    pub trees: Vec<PlannedTree>,
    /// What of the paths themselves is left out.
    pub left_out: ExcludedItems,
    /// What the backup does to the times of directories.
    pub touched: Arc<TouchedDirectories>,
}

impl BackupPlan {
    /// Looks what stands at the paths, and for databases below them.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if all paths are missing; [`ErrorKind::Usage`] for one name for several paths.
    pub fn plan_paths(given: &BackupPaths, name: Option<&str>, report: &OperationReport) -> Result<Self> {
        let asked = ResolvedPaths::resolve(given, report)?;
        let mut taken = HashSet::new();
        let names = match name {
            Some(name) if asked.scopes.len() == 1 => vec![unique_name(name.to_owned(), &mut taken)],
            Some(_) => return Err(Error::new(ErrorKind::Usage, "one name for several paths")),
            None => unique_labels(&asked.scopes, &mut taken),
        };
        let mut plan = Self {
            left_out: asked.left_out,
            ..Self::default()
        };
        let mut seen = HashSet::new();
        for (bounds, name) in asked.scopes.into_iter().zip(names) {
            plan.add_path(bounds, name, &mut taken, &mut seen, report)?;
        }
        plan.check_source_count().map(|()| plan)
    }

    /// What was asked for, and the databases below it.
    fn add_path(
        &mut self,
        bounds: WalkScope,
        name: String,
        taken: &mut HashSet<String>,
        seen: &mut HashSet<PathBuf>,
        report: &OperationReport,
    ) -> Result<()> {
        let path = bounds.root().to_owned();
        let thing = |is_directory| {
            if is_directory {
                ExcludeSubject::Directory
            } else {
                ExcludeSubject::Other
            }
        };
        let wanted = |path: &Path, is_directory| bounds.is_searched(path, thing(is_directory));
        let found = if wanted(&path, true) {
            find_databases_below(&path, &wanted, report)?
        } else {
            Vec::new()
        };
        // A database's directory may be no more than on the way to what is listed.
        let is_asked = bounds.is_whole() && wanted(&path, true) && is_database(&path);
        let is_database = is_asked || found.contains(&path);
        if is_database && seen.insert(path.clone()) {
            self.databases.push(PlannedDatabaseBackup {
                path: path.clone(),
                name: name.clone(),
                is_requested: is_asked,
                scope: bounds.clone(),
                walked_from: None,
                touched: self.touched.clone(),
            });
        }
        for found in found {
            if found != path && seen.insert(found.clone()) {
                let name = unique_name(label_below(&name, &path, &found), taken);
                self.databases.push(PlannedDatabaseBackup {
                    path: found,
                    name,
                    is_requested: false,
                    scope: bounds.clone(),
                    walked_from: None,
                    touched: self.touched.clone(),
                });
            }
        }
        if !is_database {
            self.trees.push(PlannedTree {
                path,
                name,
                scope: bounds,
            });
        }
        Ok(())
    }

    fn check_source_count(&self) -> Result<()> {
        let sources = self.databases.len() + self.trees.len();
        if sources <= SNAPSHOT_SOURCES_MAX {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Limit,
                format!("{sources} databases and trees, {SNAPSHOT_SOURCES_MAX} at most"),
            ))
        }
    }
}

/// A name for a database that is found below a path when the others have theirs.
pub fn unique_name_below(plan: &BackupPlan, found: &Path, taken: &mut HashSet<String>) -> String {
    let trees = plan.trees.iter().map(|tree| (&tree.path, &tree.name));
    let databases = plan
        .databases
        .iter()
        .map(|database| (&database.path, &database.name));
    let above = trees.chain(databases).find(|(path, _)| found.starts_with(path));
    let name = above.map_or_else(
        || text(found.as_os_str()),
        |(path, name)| label_below(name, path, found),
    );
    unique_name(name, taken)
}

fn is_database(path: &Path) -> bool {
    let held = path.is_dir().then(|| HeldDirectory::open_path(path));
    let found = held.map(|held| detect_candidate(&held?));
    match found {
        Some(Ok(DetectedDirectory::LevelDb(_))) => true,
        // RocksDB is refused by the capture, aloud. A fork has no other backup: its files are a tree.
        Some(Ok(DetectedDirectory::Foreign(foreign))) => foreign.engine == ForeignEngine::RocksDb,
        _ => false,
    }
}

/// A label for each: as a restore of all names them, as text.
fn unique_labels(asked: &[WalkScope], taken: &mut HashSet<String>) -> Vec<String> {
    let names: Vec<Vec<&[u8]>> = asked
        .iter()
        .map(|bounds| parts(bounds.root().as_os_str().as_bytes()).collect())
        .collect();
    let places = distinct_paths(&names).into_iter();
    places
        .map(|place| unique_name(String::from_utf8_lossy(&place).into_owned(), taken))
        .collect()
}

fn label_below(name: &str, path: &Path, found: &Path) -> String {
    let inner = found.strip_prefix(path).unwrap_or(found);
    format!("{name}/{}", inner.to_string_lossy())
}

fn unique_name(name: String, taken: &mut HashSet<String>) -> String {
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
    name.to_string_lossy().into_owned()
}
