//! Selects what is restored, and its targets.
//!
//! ```text
//! one database, one directory     TARGET is it
//! one file, link, pipe            TARGET/NAME, by the name it had
//! several things                  TARGET/PLACE each (`snapshot::places`): a/db and b/db, or db alone
//! ```

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::RestoreContext;
use super::overwrite_mode::OtherFilesPolicy;
use super::restore_database::DatabaseRestore;
use super::tree::{PatternOrigin, RestoreWalkStart, name_conflict_error};
use crate::engine::file_attributes::attributes;
use crate::engine::read_records::{self, DatabaseChoice};
use crate::engine::tree::{ResolvedAddress, SnapshotView, parts};
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::{PatternPath, Selector, SelectorChoice};
use crate::snapshot::restore_paths::places;
use crate::snapshot::{EntryKind, FileMetadata, SnapshotSource};
use crate::target::tree::{TargetAttributes, TargetDirectory};

/// Begins the walks below a target's root.
pub type StartWalks<'s> = Box<dyn FnOnce(&Arc<TargetDirectory>) -> Result<Vec<RestoreWalkStart>> + 's>;

/// Mode of a directory that only leads to a place; the target itself decides who comes there.
const LEADING_DIRECTORY_MODE: u32 = 0o755;

/// A directory that is restored, and the one that it comes into.
pub struct RestoredDirectory {
    /// Where it stood when it was saved.
    pub saved: Vec<u8>,
    pub target: PathBuf,
}

/// What is restored.
pub enum RestoreSelection<'s> {
    /// Databases alone.
    Databases(Vec<DatabaseRestore<'s>>),
    /// At least one tree.
    Trees {
        bytes: u64,
        starts: StartWalks<'s>,
        /// Those that it is restored into, as far as something may be removed from them.
        directories: Vec<RestoredDirectory>,
    },
}

impl RestoreContext<'_> {
    /// What was asked for.
    pub(super) fn resolve_selection(&self) -> Result<RestoreSelection<'_>> {
        let found = self.resolve_addresses()?;
        match (&self.options.database, &self.options.address[..]) {
            // A source of which nothing could be read is below none that was found.
            (None, []) => self.report_not_read(b""),
            _ => found.iter().for_each(|found| self.report_not_read(&found.path)),
        }
        let numbers: Option<Vec<_>> = found.iter().map(database_number).collect();
        if let Some(numbers) = numbers.filter(|_| self.are_whole(&found)) {
            return self
                .plan_databases(&found, &numbers)
                .map(RestoreSelection::Databases);
        }
        self.refuse_key_selection()?;
        let bytes = self.stated_bytes(&found);
        let places = self.target_paths(&found);
        let directories = self.restored_directories(&found, &places);
        let starts = move |root: &Arc<TargetDirectory>| {
            let mut ways = LeadingDirectories::new(root);
            let start = |(found, place): (ResolvedAddress, Option<Vec<u8>>)| {
                let (directory, name) = ways.enter_parent(place)?;
                Ok(walk_start(&self.options.selector, found, name, directory))
            };
            found.into_iter().zip(places).map(start).collect()
        };
        Ok(RestoreSelection::Trees {
            bytes,
            starts: Box::new(starts),
            directories,
        })
    }

    fn resolve_addresses(&self) -> Result<Vec<ResolvedAddress>> {
        let view = SnapshotView::new(self.snapshot, self.reader);
        match (&self.options.database, &self.options.address[..]) {
            (Some(_), [_, ..]) => Err(Error::new(
                ErrorKind::Usage,
                "what to restore is named twice, by database and by path",
            )),
            (Some(choice), _) => {
                let number = match choice {
                    DatabaseChoice::Named(name) => {
                        read_records::find_database_number(self.snapshot, Some(name))?
                    }
                    DatabaseChoice::Number(number) => *number,
                };
                view.database(number)?;
                Ok(vec![view.resolve_source(number as usize)?])
            }
            (None, []) => view
                .top_sources()
                .into_iter()
                .map(|number| view.resolve_source(number))
                .collect(),
            (None, address) => Ok(vec![view.resolve(address)?]),
        }
    }

    /// True if the patterns leave these databases in, at most some of what lies beside one.
    fn are_whole(&self, found: &[ResolvedAddress]) -> bool {
        let selector = &self.options.selector;
        let is_taken = |found: &ResolvedAddress| {
            let place = PatternPath::stored(&found.path, b"", true);
            selector.is_selected(&place, selector.could_match_below()) == SelectorChoice::Take
        };
        !self.has_patterns() || found.len() == 1 && found.iter().all(is_taken)
    }

    pub(super) fn has_patterns(&self) -> bool {
        !self.options.selector.include.is_empty() || !self.options.selector.exclude.is_empty()
    }

    fn plan_databases(&self, found: &[ResolvedAddress], numbers: &[u32]) -> Result<Vec<DatabaseRestore<'_>>> {
        let view = SnapshotView::new(self.snapshot, self.reader);
        let step = |((found, number), place): ((&ResolvedAddress, &u32), Option<Vec<u8>>)| {
            let root = view.database(*number)?;
            let target = match place {
                Some(place) => self.options.target.join(Path::new(OsStr::from_bytes(&place))),
                None => self.options.target.clone(),
            };
            let meta = &found.node.entry.meta;
            Ok(DatabaseRestore {
                number: *number,
                top_source: found.node.source,
                root,
                display_path: target.clone(),
                target,
                other_files: match root.beside {
                    Some(_) => OtherFilesPolicy::Keep,
                    None => OtherFilesPolicy::Refuse,
                },
                attributes: (*meta != FileMetadata::default() && !self.options.records_only())
                    .then(|| attributes(meta)),
                pattern_origin: PatternOrigin {
                    absolute: found.path.clone(),
                    inner: Vec::new(),
                },
                choice: self.options.selector.could_match_below(),
                nesting: 0,
            })
        };
        found
            .iter()
            .zip(numbers)
            .zip(self.target_paths(found))
            .map(step)
            .collect()
    }

    /// The paths below the target; `None` for what the target itself becomes.
    fn target_paths(&self, found: &[ResolvedAddress]) -> Vec<Option<Vec<u8>>> {
        match found {
            [only] => match &only.node.entry.kind {
                EntryKind::Directory(_) | EntryKind::Database(_) => vec![None],
                _ => vec![Some(only.node.entry.name.clone())],
            },
            several => {
                let numbers: Vec<_> = several.iter().map(|found| found.node.source).collect();
                places(self.snapshot, &numbers).into_iter().map(Some).collect()
            }
        }
    }

    fn restored_directories(
        &self,
        found: &[ResolvedAddress],
        places: &[Option<Vec<u8>>],
    ) -> Vec<RestoredDirectory> {
        let is_directory = |found: &ResolvedAddress| {
            matches!(
                found.node.entry.kind,
                EntryKind::Directory(_) | EntryKind::Database(_)
            )
        };
        let pair = |(found, place): (&ResolvedAddress, &Option<Vec<u8>>)| {
            is_directory(found).then(|| RestoredDirectory {
                saved: found.path.clone(),
                target: match place {
                    Some(place) => self.options.target.join(OsStr::from_bytes(place)),
                    None => self.options.target.clone(),
                },
            })
        };
        found.iter().zip(places).filter_map(pair).collect()
    }

    fn refuse_key_selection(&self) -> Result<()> {
        if self.options.selection.is_all() {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Usage,
                "keys are selected from one database; name it, as SNAPSHOT:PATH or by --db",
            ))
        }
    }

    /// As far as the snapshot says, of whole sources.
    fn stated_bytes(&self, found: &[ResolvedAddress]) -> u64 {
        let is_whole = self.options.address.is_empty() && !self.has_patterns();
        let of = |source: &SnapshotSource| match source {
            SnapshotSource::Database(database) => database.bytes(),
            SnapshotSource::Tree(tree) => tree.bytes,
        };
        if is_whole && !found.is_empty() {
            self.snapshot
                .sources
                .iter()
                .fold(0, |sum: u64, source| sum.saturating_add(of(source)))
        } else {
            0
        }
    }
}

fn database_number(found: &ResolvedAddress) -> Option<u32> {
    match found.node.entry.kind {
        EntryKind::Database(number) => Some(number),
        _ => None,
    }
}

fn walk_start(
    selector: &Selector,
    found: ResolvedAddress,
    name: Option<Vec<u8>>,
    directory: Arc<TargetDirectory>,
) -> RestoreWalkStart {
    RestoreWalkStart {
        top_source: found.node.source,
        node: found.node,
        directory,
        name,
        pattern_origin: PatternOrigin {
            absolute: found.path,
            inner: Vec::new(),
        },
        choice: selector.could_match_below(),
    }
}

/// The directories that lead to places below a target, each made once.
struct LeadingDirectories<'r> {
    root: &'r Arc<TargetDirectory>,
    entered: HashMap<Vec<u8>, Arc<TargetDirectory>>,
}

impl<'r> LeadingDirectories<'r> {
    fn new(root: &'r Arc<TargetDirectory>) -> Self {
        let entered = HashMap::new();
        Self { root, entered }
    }

    /// The directory that a place is in, and its name there.
    fn enter_parent(&mut self, place: Option<Vec<u8>>) -> Result<(Arc<TargetDirectory>, Option<Vec<u8>>)> {
        let Some(place) = place else {
            return Ok((self.root.clone(), None));
        };
        let names: Vec<_> = parts(&place).collect();
        let Some((last, above)) = names.split_last() else {
            return Err(Error::corrupt("a place without a name"));
        };
        let (mut directory, mut path) = (self.root.clone(), Vec::new());
        for name in above {
            path.extend_from_slice(&[name, &b"/"[..]].concat());
            directory = match self.entered.get(&path) {
                Some(known) => known.clone(),
                None => enter_or_make(&directory, name)?,
            };
            self.entered.insert(path.clone(), directory.clone());
        }
        Ok((directory, Some(last.to_vec())))
    }
}

/// A directory that stands, or one that will be made; no link is followed.
fn enter_or_make(above: &Arc<TargetDirectory>, name: &[u8]) -> Result<Arc<TargetDirectory>> {
    match above.entry(name)? {
        // Where the filesystem folds names, the directory of another name is found.
        Some(_) if !above.names()?.iter().any(|listed| listed == name) => {
            Err(name_conflict_error(&above.display_path_of(name)))
        }
        Some(standing) if standing.is_directory() => above.existing_child(name, &standing, None),
        Some(_) => Err(Error::new(
            ErrorKind::Exists,
            format!("{} is no directory", above.display_path_of(name)),
        )),
        None => {
            let attributes = TargetAttributes {
                mode: Some(LEADING_DIRECTORY_MODE),
                ..TargetAttributes::default()
            };
            above.child(name, Some(attributes), None)
        }
    }
}
