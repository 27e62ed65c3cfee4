//! What of a snapshot is restored, and where it goes.
//!
//! ```text
//! one database, one directory     TARGET is it
//! one file, link, pipe            TARGET/NAME, by the name it had
//! several things                  TARGET/NAME each, by the names of the sources
//! ```

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::Restoring;
use super::database::Step;
use super::overwrite::Others;
use super::tree::{Start, Where, attributes};
use crate::error::{Error, Kind, Result};
use crate::ops::read;
use crate::ops::tree::{Found, View};
use crate::pattern::{Choice, Place, Selector};
use crate::snapshot::{EntryKind, Meta, Source};
use crate::target::tree::Directory;

/// Begins the walks below a target's root.
pub type Starts<'s> = Box<dyn FnOnce(&Arc<Directory>) -> Vec<Start> + 's>;

/// A directory that is restored, and the one that it comes into.
pub struct DirectoryPair {
    /// Where it stood when it was saved.
    pub saved: Vec<u8>,
    pub target: PathBuf,
}

/// What is restored.
pub enum What<'s> {
    /// Databases alone.
    Databases(Vec<Step<'s>>),
    /// At least one tree.
    Trees {
        bytes: u64,
        starts: Starts<'s>,
        /// Those that it is restored into, as far as something may be removed from them.
        directories: Vec<DirectoryPair>,
    },
}

impl Restoring<'_> {
    /// What was asked for.
    pub(super) fn what(&self) -> Result<What<'_>> {
        let found = self.found()?;
        found.iter().for_each(|found| self.say_what_was_not_read(found));
        let numbers: Option<Vec<_>> = found.iter().map(database_number).collect();
        if let Some(numbers) = numbers.filter(|_| self.are_whole(&found)) {
            return self.steps(&found, &numbers).map(What::Databases);
        }
        self.refuse_keys()?;
        let bytes = self.bytes(&found);
        let several = found.len() > 1;
        let named = found
            .into_iter()
            .map(|found| {
                let name = self.name(&found, several)?;
                Ok((found, name))
            })
            .collect::<Result<Vec<_>>>()?;
        refuse_twice(&named)?;
        let directories = self.directories(&named);
        let starts = move |root: &Arc<Directory>| {
            let start = |(found, name)| start(&self.wish.selector, found, name, root);
            named.into_iter().map(start).collect()
        };
        Ok(What::Trees {
            bytes,
            starts: Box::new(starts),
            directories,
        })
    }

    fn found(&self) -> Result<Vec<Found>> {
        let view = View::new(self.snapshot, self.reader);
        match (&self.wish.database, &self.wish.address[..]) {
            (Some(_), [_, ..]) => Err(Error::new(
                Kind::Usage,
                "what to restore is named twice, by database and by path",
            )),
            (Some(name), _) => {
                read::database(self.snapshot, Some(name))?;
                let is_it = |source: &Source| matches!(source, Source::Database(_)) && source.name() == name;
                let number = self.snapshot.sources.iter().position(is_it);
                number.into_iter().map(|number| view.source(number)).collect()
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
    fn are_whole(&self, found: &[Found]) -> bool {
        let selector = &self.wish.selector;
        let is_taken = |found: &Found| {
            let place = Place::stored(&found.path, b"", true);
            selector.choose(&place, selector.above()) == Choice::Take
        };
        !self.has_patterns() || found.len() == 1 && found.iter().all(is_taken)
    }

    pub(super) fn has_patterns(&self) -> bool {
        !self.wish.selector.include.is_empty() || !self.wish.selector.exclude.is_empty()
    }

    fn steps(&self, found: &[Found], numbers: &[u32]) -> Result<Vec<Step<'_>>> {
        let below = found.len() > 1;
        let view = View::new(self.snapshot, self.reader);
        let step = |(found, number): (&Found, &u32)| {
            let root = view.database(*number)?;
            let target = match below {
                true => self.wish.target.join(plain_name(&root.name)?),
                false => self.wish.target.clone(),
            };
            let meta = &found.node.entry.meta;
            Ok(Step {
                number: *number,
                root,
                shown: target.clone(),
                target,
                others: match root.beside {
                    Some(_) => Others::Keep,
                    None => Others::Refuse,
                },
                attributes: (*meta != Meta::default() && !self.wish.records_only()).then(|| attributes(meta)),
                place: Where {
                    absolute: found.path.clone(),
                    inner: Vec::new(),
                },
                choice: self.wish.selector.above(),
                nesting: 0,
            })
        };
        found.iter().zip(numbers).map(step).collect()
    }

    /// The name below the target; `None` for what the target itself becomes.
    fn name(&self, found: &Found, several: bool) -> Result<Option<Vec<u8>>> {
        match (several, &found.node.entry.kind) {
            (true, _) => {
                let name = String::from_utf8_lossy(&found.name);
                plain_name(&name).map(|_| Some(found.name.clone()))
            }
            (false, EntryKind::Directory(_) | EntryKind::Database(_)) => Ok(None),
            (false, _) => Ok(Some(found.node.entry.name.clone())),
        }
    }

    fn directories(&self, named: &[(Found, Option<Vec<u8>>)]) -> Vec<DirectoryPair> {
        let is_directory = |found: &Found| {
            matches!(
                found.node.entry.kind,
                EntryKind::Directory(_) | EntryKind::Database(_)
            )
        };
        let pair = |(found, name): &(Found, Option<Vec<u8>>)| {
            is_directory(found).then(|| DirectoryPair {
                saved: found.path.clone(),
                target: match name {
                    Some(name) => self.wish.target.join(OsStr::from_bytes(name)),
                    None => self.wish.target.clone(),
                },
            })
        };
        named.iter().filter_map(pair).collect()
    }

    fn refuse_keys(&self) -> Result<()> {
        match self.wish.selection.is_all() {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Usage,
                "keys are selected from one database; name it, as SNAPSHOT:PATH or by --db",
            )),
        }
    }

    /// As far as the snapshot says, of whole sources.
    fn bytes(&self, found: &[Found]) -> u64 {
        let is_whole = self.wish.address.is_empty() && !self.has_patterns();
        let of = |source: &Source| match source {
            Source::Database(database) => database.bytes(),
            Source::Tree(tree) => tree.bytes,
        };
        match is_whole && !found.is_empty() {
            true => self
                .snapshot
                .sources
                .iter()
                .fold(0, |sum: u64, source| sum.saturating_add(of(source))),
            false => 0,
        }
    }
}

fn database_number(found: &Found) -> Option<u32> {
    match found.node.entry.kind {
        EntryKind::Database(number) => Some(number),
        _ => None,
    }
}

fn start(selector: &Selector, found: Found, name: Option<Vec<u8>>, root: &Arc<Directory>) -> Start {
    Start {
        node: found.node,
        directory: root.clone(),
        name,
        place: Where {
            absolute: found.path,
            inner: Vec::new(),
        },
        choice: selector.above(),
    }
}

fn refuse_twice(named: &[(Found, Option<Vec<u8>>)]) -> Result<()> {
    let mut names: Vec<_> = named.iter().filter_map(|(_, name)| name.as_ref()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(Error::corrupt(format!(
            "two things of the snapshot are called {}; name one",
            String::from_utf8_lossy(pair[0])
        ))),
    }
}

/// A name that stays below the directory it is joined to.
fn plain_name(name: &str) -> Result<&Path> {
    let path = Path::new(name);
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if part == path.as_os_str() => Ok(path),
        _ => Err(Error::new(
            Kind::Corrupt,
            format!("source name {name:?} is no directory name"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_cannot_leave_the_target() {
        assert!(plain_name("db").is_ok());
        for wrong in ["", ".", "..", "/", "/etc", "a/b", "../a", "a/", "./a"] {
            assert!(plain_name(wrong).is_err(), "{wrong}");
        }
    }
}
