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
use super::overwrite_mode::OtherFiles;
use super::restore_database::DatabaseRestore;
use super::tree::{PatternOrigin, WalkStart, attributes, taken_for_another};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::read_records::{self, DatabaseChoice};
use crate::ops::tree::{ResolvedAddress, SnapshotView, parts};
use crate::pattern::{PatternPath, Selector, SelectorChoice};
use crate::snapshot::restore_paths::places;
use crate::snapshot::{EntryKind, FileMetadata, SnapshotSource};
use crate::target::tree::{TargetAttributes, TargetDirectory};

/// Begins the walks below a target's root.
pub type StartWalks<'s> = Box<dyn FnOnce(&Arc<TargetDirectory>) -> Result<Vec<WalkStart>> + 's>;

/// Mode of a directory that only leads to a place; the target itself decides who comes there.
const WAY_MODE: u32 = 0o755;

/// A directory that is restored, and the one that it comes into.
pub struct DirectoryPair {
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
        directories: Vec<DirectoryPair>,
    },
}

impl RestoreContext<'_> {
    /// What was asked for.
    pub(super) fn selection(&self) -> Result<RestoreSelection<'_>> {
        let found = self.found()?;
        match (&self.wish.database, &self.wish.address[..]) {
            // A source of which nothing could be read is below none that was found.
            (None, []) => self.report_not_read(b""),
            _ => found.iter().for_each(|found| self.report_not_read(&found.path)),
        }
        let numbers: Option<Vec<_>> = found.iter().map(database_number).collect();
        if let Some(numbers) = numbers.filter(|_| self.are_whole(&found)) {
            return self.steps(&found, &numbers).map(RestoreSelection::Databases);
        }
        self.refuse_keys()?;
        let bytes = self.bytes(&found);
        let places = self.places(&found);
        let directories = self.directories(&found, &places);
        let starts = move |root: &Arc<TargetDirectory>| {
            let mut ways = PathDirectories::new(root);
            let start = |(found, place): (ResolvedAddress, Option<Vec<u8>>)| {
                let (directory, name) = ways.lead(place)?;
                Ok(start(&self.wish.selector, found, name, directory))
            };
            found.into_iter().zip(places).map(start).collect()
        };
        Ok(RestoreSelection::Trees {
            bytes,
            starts: Box::new(starts),
            directories,
        })
    }

    fn found(&self) -> Result<Vec<ResolvedAddress>> {
        let view = SnapshotView::new(self.snapshot, self.reader);
        match (&self.wish.database, &self.wish.address[..]) {
            (Some(_), [_, ..]) => Err(Error::new(
                ErrorKind::Usage,
                "what to restore is named twice, by database and by path",
            )),
            (Some(choice), _) => {
                let number = match choice {
                    DatabaseChoice::Named(name) => {
                        read_records::number_of_database(self.snapshot, Some(name))?
                    }
                    DatabaseChoice::Number(number) => *number,
                };
                view.database(number)?;
                Ok(vec![view.source(number as usize)?])
            }
            (None, []) => view
                .tops()
                .into_iter()
                .map(|number| view.source(number))
                .collect(),
            (None, address) => Ok(vec![view.resolve(address)?]),
        }
    }

    /// True if the patterns leave these databases in, at most some of what lies beside one.
    fn are_whole(&self, found: &[ResolvedAddress]) -> bool {
        let selector = &self.wish.selector;
        let is_taken = |found: &ResolvedAddress| {
            let place = PatternPath::stored(&found.path, b"", true);
            selector.choose(&place, selector.above()) == SelectorChoice::Take
        };
        !self.has_patterns() || found.len() == 1 && found.iter().all(is_taken)
    }

    pub(super) fn has_patterns(&self) -> bool {
        !self.wish.selector.include.is_empty() || !self.wish.selector.exclude.is_empty()
    }

    fn steps(&self, found: &[ResolvedAddress], numbers: &[u32]) -> Result<Vec<DatabaseRestore<'_>>> {
        let view = SnapshotView::new(self.snapshot, self.reader);
        let step = |((found, number), place): ((&ResolvedAddress, &u32), Option<Vec<u8>>)| {
            let root = view.database(*number)?;
            let target = match place {
                Some(place) => self.wish.target.join(Path::new(OsStr::from_bytes(&place))),
                None => self.wish.target.clone(),
            };
            let meta = &found.node.entry.meta;
            Ok(DatabaseRestore {
                number: *number,
                top: found.node.source,
                root,
                shown: target.clone(),
                target,
                others: match root.beside {
                    Some(_) => OtherFiles::Keep,
                    None => OtherFiles::Refuse,
                },
                attributes: (*meta != FileMetadata::default() && !self.wish.records_only())
                    .then(|| attributes(meta)),
                place: PatternOrigin {
                    absolute: found.path.clone(),
                    inner: Vec::new(),
                },
                choice: self.wish.selector.above(),
                nesting: 0,
            })
        };
        found
            .iter()
            .zip(numbers)
            .zip(self.places(found))
            .map(step)
            .collect()
    }

    /// The paths below the target; `None` for what the target itself becomes.
    fn places(&self, found: &[ResolvedAddress]) -> Vec<Option<Vec<u8>>> {
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

    fn directories(&self, found: &[ResolvedAddress], places: &[Option<Vec<u8>>]) -> Vec<DirectoryPair> {
        let is_directory = |found: &ResolvedAddress| {
            matches!(
                found.node.entry.kind,
                EntryKind::Directory(_) | EntryKind::Database(_)
            )
        };
        let pair = |(found, place): (&ResolvedAddress, &Option<Vec<u8>>)| {
            is_directory(found).then(|| DirectoryPair {
                saved: found.path.clone(),
                target: match place {
                    Some(place) => self.wish.target.join(OsStr::from_bytes(place)),
                    None => self.wish.target.clone(),
                },
            })
        };
        found.iter().zip(places).filter_map(pair).collect()
    }

    fn refuse_keys(&self) -> Result<()> {
        if self.wish.selection.is_all() {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Usage,
                "keys are selected from one database; name it, as SNAPSHOT:PATH or by --db",
            ))
        }
    }

    /// As far as the snapshot says, of whole sources.
    fn bytes(&self, found: &[ResolvedAddress]) -> u64 {
        let is_whole = self.wish.address.is_empty() && !self.has_patterns();
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

fn start(
    selector: &Selector,
    found: ResolvedAddress,
    name: Option<Vec<u8>>,
    directory: Arc<TargetDirectory>,
) -> WalkStart {
    WalkStart {
        top: found.node.source,
        node: found.node,
        directory,
        name,
        place: PatternOrigin {
            absolute: found.path,
            inner: Vec::new(),
        },
        choice: selector.above(),
    }
}

/// The directories that lead to places below a target, each made once.
struct PathDirectories<'r> {
    root: &'r Arc<TargetDirectory>,
    known: HashMap<Vec<u8>, Arc<TargetDirectory>>,
}

impl<'r> PathDirectories<'r> {
    fn new(root: &'r Arc<TargetDirectory>) -> Self {
        let known = HashMap::new();
        Self { root, known }
    }

    /// The directory that a place is in, and its name there.
    fn lead(&mut self, place: Option<Vec<u8>>) -> Result<(Arc<TargetDirectory>, Option<Vec<u8>>)> {
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
            directory = match self.known.get(&path) {
                Some(known) => known.clone(),
                None => enter(&directory, name)?,
            };
            self.known.insert(path.clone(), directory.clone());
        }
        Ok((directory, Some(last.to_vec())))
    }
}

/// A directory that stands, or one that will be made; no link is followed.
fn enter(above: &Arc<TargetDirectory>, name: &[u8]) -> Result<Arc<TargetDirectory>> {
    match above.entry(name)? {
        // Where the filesystem folds names, the directory of another name is found.
        Some(_) if !above.names()?.iter().any(|listed| listed == name) => {
            Err(taken_for_another(&above.shown_in(name)))
        }
        Some(standing) if standing.is_directory() => above.standing_child(name, &standing, None),
        Some(_) => Err(Error::new(
            ErrorKind::Exists,
            format!("{} is no directory", above.shown_in(name)),
        )),
        None => {
            let attributes = TargetAttributes {
                mode: Some(WAY_MODE),
                ..TargetAttributes::default()
            };
            above.child(name, Some(attributes), None)
        }
    }
}
