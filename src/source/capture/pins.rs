//! Holding tables: by a link, by a descriptor, by a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::pool::{Linked, Pool};
use crate::error::{Act, Error, Kind, Result};
use crate::leveldb::TableExtension;
use crate::leveldb::name::table_name;
use crate::source::file::open_regular;
use crate::source::held::{Held, HeldTable};
use crate::source::pins::{Pinned, Pins as Kept};
use crate::source::touched::Touched;

/// Descriptors that pins leave to everything else.
const DESCRIPTORS_SPARED: usize = 192;

/// What holds the tables of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeldBy {
    /// Hard links in a hidden directory beside the database's.
    #[default]
    Links,
    /// Open descriptors.
    Descriptors,
    /// Copies in a hidden directory.
    Copies,
}

impl HeldBy {
    /// This, and what is tried when it fails: what needs no place of its own first.
    fn and_behind(self) -> &'static [Self] {
        match self {
            Self::Links => &[Self::Links, Self::Descriptors, Self::Copies],
            Self::Descriptors => &[Self::Descriptors, Self::Links, Self::Copies],
            Self::Copies => &[Self::Copies],
        }
    }
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Links => "links",
            Self::Descriptors => "descriptors",
            Self::Copies => "copies",
        })
    }
}

/// The tables held so far. They stay held over retries, so that each holds only what the one before did not.
pub(super) struct Pins {
    directory: PathBuf,
    /// How the next table is held, and what to try when that fails.
    ways: &'static [HeldBy],
    /// Where links and copies go.
    pools: Vec<Pool>,
    descriptors_left: usize,
    tables: BTreeMap<u64, HeldTable>,
    kept: Option<Arc<Kept>>,
    /// No table has failed to be pinned.
    pinnable: bool,
}

/// A way of holding, tried.
enum Tried {
    Held(Held, u64),
    Absent,
    NotThisWay,
}

impl Pins {
    /// `directory` is a whole path without links.
    pub fn new(
        directory: &Path,
        by: HeldBy,
        scratch: Option<&Path>,
        kept: Option<Arc<Kept>>,
        touched: &Arc<Touched>,
    ) -> Self {
        let temporary = scratch.map_or_else(std::env::temp_dir, Path::to_owned);
        let places = directory.parent().map(Path::to_owned).into_iter();
        Self {
            directory: directory.to_owned(),
            ways: by.and_behind(),
            pools: places
                .chain([temporary])
                .map(|place| Pool::new(place, directory, touched.clone()))
                .collect(),
            descriptors_left: descriptors_left(),
            tables: BTreeMap::new(),
            kept,
            pinnable: true,
        }
    }

    /// True when a try before this one held the table.
    pub fn holds(&self, number: u64) -> bool {
        self.tables.contains_key(&number)
    }

    /// Holds a table; false when there is none of that number.
    pub fn hold(&mut self, number: u64) -> Result<bool> {
        // Where both names exist LevelDB reads .ldb.
        for extension in [TableExtension::Ldb, TableExtension::Sst] {
            if let Some((held, len)) = self.hold_named(number, &table_name(number, extension))? {
                let table = HeldTable { extension, len, held };
                self.tables.insert(number, table);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets go of all tables but these.
    pub fn keep_only(&mut self, numbers: &BTreeSet<u64>) {
        self.tables.retain(|number, table| {
            let keep = numbers.contains(number);
            if let (false, Held::Named(path)) = (keep, &table.held)
                && !path.starts_with(&self.directory)
                && !self
                    .kept
                    .as_ref()
                    .is_some_and(|kept| path.starts_with(kept.path()))
            {
                // One that cannot be removed goes with its pool.
                let _ = fs::remove_file(path);
            }
            keep
        });
    }

    /// The tables, what holds them, and what must live as long.
    pub fn finish(self) -> (BTreeMap<u64, HeldTable>, HeldBy, Vec<Pool>) {
        let by = match self.kept.is_some() && self.pinnable {
            true => HeldBy::Links,
            false => self.way(),
        };
        (self.tables, by, self.pools)
    }

    #[cfg(test)]
    pub fn forget_place(&mut self, index: usize) {
        self.pools.remove(index);
    }

    #[cfg(test)]
    pub fn link_nothing(&mut self) {
        self.pools.iter_mut().for_each(Pool::link_nothing);
    }

    #[cfg(test)]
    pub fn leave_descriptors(&mut self, count: usize) {
        self.descriptors_left = count;
    }

    fn hold_named(&mut self, number: u64, name: &str) -> Result<Option<(Held, u64)>> {
        let path = self.directory.join(name);
        let mut tried = self.keep(number, &path)?;
        loop {
            match tried {
                Tried::Held(held, len) => return Ok(Some((held, len))),
                Tried::Absent => return Ok(None),
                Tried::NotThisWay => {}
            }
            tried = match self.way() {
                HeldBy::Links => self.link(&path, name)?,
                HeldBy::Descriptors => self.open(&path)?,
                HeldBy::Copies => self.copy(&path, name)?,
            };
            if let Tried::NotThisWay = tried {
                self.fall_back()?;
            }
        }
    }

    fn way(&self) -> HeldBy {
        self.ways.first().copied().unwrap_or(HeldBy::Copies)
    }

    fn fall_back(&mut self) -> Result<()> {
        match self.ways {
            [_, left @ ..] if !left.is_empty() => {
                self.ways = left;
                Ok(())
            }
            _ => Err(Error::new(
                Kind::Denied,
                "tables cannot be linked, there are more than files may be open, and no place takes copies",
            )),
        }
    }

    /// By the pins, before any other way: there it stays until the next backup.
    fn keep(&mut self, number: u64, path: &Path) -> Result<Tried> {
        let kept = self.kept.as_ref().filter(|_| self.pinnable);
        match kept.map(|kept| kept.hold(number, path)) {
            Some(Pinned::By(link)) => return self.linked(path, link),
            Some(Pinned::Absent) => return Ok(Tried::Absent),
            Some(Pinned::No) => self.pinnable = false,
            None => {}
        }
        Ok(Tried::NotThisWay)
    }

    fn link(&mut self, path: &Path, name: &str) -> Result<Tried> {
        for pool in &mut self.pools {
            match pool.link(path, name) {
                Linked::Done(link) => return self.linked(path, link),
                Linked::Absent => return Ok(Tried::Absent),
                Linked::No => {}
            }
        }
        Ok(Tried::NotThisWay)
    }

    /// A link to a symbolic link holds nothing: such a table is held open.
    fn linked(&mut self, path: &Path, link: PathBuf) -> Result<Tried> {
        let facts = fs::symlink_metadata(&link).act(|| format!("look at {}", link.display()))?;
        if facts.is_symlink() {
            let _ = fs::remove_file(&link);
            return self.open(path);
        }
        match rustix::fs::access(&link, rustix::fs::Access::READ_OK) {
            Err(Errno::ACCESS) => Err(denied(path)),
            _ => Ok(Tried::Held(Held::Named(link), facts.len())),
        }
    }

    fn open(&mut self, path: &Path) -> Result<Tried> {
        if self.descriptors_left == 0 {
            return Ok(Tried::NotThisWay);
        }
        match open_regular(path) {
            Ok((file, len)) => {
                self.descriptors_left -= 1;
                Ok(Tried::Held(Held::Open(Arc::new(file)), len))
            }
            Err(error) if error.kind() == Kind::NotFound => Ok(Tried::Absent),
            Err(error) if error.kind() == Kind::Denied => Err(error),
            // Not a regular file: whoever reads it says so, and lists it.
            Err(error) if error.kind() == Kind::Corrupt => Ok(Tried::Held(Held::Named(path.to_owned()), 0)),
            // No descriptor to be had, most likely.
            Err(_) => Ok(Tried::NotThisWay),
        }
    }

    fn copy(&mut self, path: &Path, name: &str) -> Result<Tried> {
        let (mut file, len) = match open_regular(path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == Kind::NotFound => return Ok(Tried::Absent),
            Err(error) if error.kind() == Kind::Denied => return Err(error),
            Err(_) => return Ok(Tried::Held(Held::Named(path.to_owned()), 0)),
        };
        let mut full = None;
        for pool in &mut self.pools {
            match pool.copy(&mut file, len, name) {
                Ok(copy) => return Ok(Tried::Held(Held::Named(copy), len)),
                Err(error) => full = Some(error),
            }
        }
        full.map_or(Ok(Tried::NotThisWay), Err)
    }
}

fn denied(path: &Path) -> Error {
    Error::new(Kind::Denied, format!("{} may not be read", path.display()))
}

/// How many more files this process may open, less those it needs for other things.
fn descriptors_left() -> usize {
    let max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let open = fs::read_dir("/proc/self/fd").map_or(DESCRIPTORS_SPARED, Iterator::count);
    usize::try_from(max)
        .unwrap_or(usize::MAX)
        .saturating_sub(open + DESCRIPTORS_SPARED)
}
