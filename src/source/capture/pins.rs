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
use crate::leveldb::decompress::Decompressor;
use crate::leveldb::name::table_name;
use crate::leveldb::sized::open_sized;
use crate::leveldb::version::TableMeta;
use crate::source::file::open_regular;
use crate::source::held::{DatabaseFile, Held, HeldTable};
use crate::source::pins::{Pinned, Pins as Kept};
use crate::source::proof::stamp_of;
use crate::source::touched::Touched;
use crate::source::walk::Stamp;

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
    /// What the database's own files were when they were held, by the numbers of the tables.
    origins: BTreeMap<u64, Stamp>,
    kept: Option<Arc<Kept>>,
    /// No table has failed to be pinned.
    pinnable: bool,
}

/// A way of holding, tried.
enum Tried {
    Held(Box<HeldFile>),
    Absent,
    NotThisWay,
}

/// A table's file, held.
struct HeldFile {
    held: Held,
    /// What is held; `None` for what is no regular file.
    stamp: Option<Stamp>,
    /// What the database's own file was; the same but for copies.
    origin: Option<Stamp>,
}

impl HeldFile {
    /// What the database's own name leads to, or did.
    fn original(held: Held, stamp: Stamp) -> Tried {
        let stamp = Some(stamp);
        Tried::Held(Box::new(Self {
            held,
            stamp,
            origin: stamp,
        }))
    }

    /// Not a regular file: whoever reads it says so, and lists it.
    fn unfit(path: &Path) -> Tried {
        Tried::Held(Box::new(Self {
            held: Held::Named(path.to_owned()),
            stamp: None,
            origin: None,
        }))
    }
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
            origins: BTreeMap::new(),
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
            if let Some(file) = self.hold_named(number, &table_name(number, extension))? {
                let table = HeldTable {
                    extension,
                    len: file.stamp.map_or(0, |stamp| stamp.len),
                    held: file.held,
                    stamp: file.stamp,
                };
                self.tables.insert(number, table);
                self.origins.extend(file.origin.map(|origin| (number, origin)));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The length of the table that is held for this one, if it is another than the MANIFEST says and the table is not
    /// proven otherwise: some writers record other lengths.
    pub fn len_of_another(&self, meta: &TableMeta) -> Option<u64> {
        let table = self
            .tables
            .get(&meta.number)
            .filter(|table| table.len != meta.size)?;
        let name = table_name(meta.number, table.extension);
        let file = DatabaseFile::new(name, table.len, table.held.clone()).open();
        let opened = file.and_then(|file| open_sized(file.as_ref(), meta, &mut Decompressor::default()));
        opened.is_err().then_some(table.len)
    }

    /// Lets go of one table.
    pub fn let_go(&mut self, number: u64) {
        let others = self.tables.keys().copied().filter(|other| *other != number);
        self.keep_only(&others.collect());
    }

    /// True if each table is still the file that was held under its name, or the name is gone. Lets go of the others.
    pub fn stand(&mut self) -> bool {
        let stand = |(number, table): (&u64, &HeldTable)| {
            let path = self.directory.join(table_name(*number, table.extension));
            self.origins
                .get(number)
                .is_none_or(|origin| stands(&path, origin, &table.held))
                .then_some(*number)
        };
        let standing: BTreeSet<u64> = self.tables.iter().filter_map(stand).collect();
        let all = standing.len() == self.tables.len();
        self.keep_only(&standing);
        all
    }

    /// True if a table was written to behind this moment: no owner does so behind the edit that names the table.
    pub fn are_younger_than(&self, nanos: i128) -> bool {
        self.origins.values().any(|origin| origin.mtime_nanos > nanos)
    }

    /// Lets go of all tables but these.
    pub fn keep_only(&mut self, numbers: &BTreeSet<u64>) {
        self.origins.retain(|number, _| numbers.contains(number));
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

    fn hold_named(&mut self, number: u64, name: &str) -> Result<Option<HeldFile>> {
        let path = self.directory.join(name);
        let mut tried = self.keep(number, &path)?;
        loop {
            match tried {
                Tried::Held(file) => return Ok(Some(*file)),
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
            Some(Pinned::Copied(copy)) => return copied(path, copy),
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
            _ => Ok(HeldFile::original(Held::Named(link), Stamp::of(&facts))),
        }
    }

    fn open(&mut self, path: &Path) -> Result<Tried> {
        if self.descriptors_left == 0 {
            return Ok(Tried::NotThisWay);
        }
        match open_regular(path) {
            Ok((file, _)) => {
                let facts = file.metadata().act(|| format!("look at {}", path.display()))?;
                self.descriptors_left -= 1;
                Ok(HeldFile::original(Held::Open(Arc::new(file)), Stamp::of(&facts)))
            }
            Err(error) if error.kind() == Kind::NotFound => Ok(Tried::Absent),
            Err(error) if error.kind() == Kind::Denied => Err(error),
            Err(error) if error.kind() == Kind::Corrupt => Ok(HeldFile::unfit(path)),
            // No descriptor to be had, most likely.
            Err(_) => Ok(Tried::NotThisWay),
        }
    }

    fn copy(&mut self, path: &Path, name: &str) -> Result<Tried> {
        let (mut file, len) = match open_regular(path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == Kind::NotFound => return Ok(Tried::Absent),
            Err(error) if error.kind() == Kind::Denied => return Err(error),
            Err(_) => return Ok(HeldFile::unfit(path)),
        };
        let mut full = None;
        for pool in &mut self.pools {
            match pool.copy(&mut file, len, name) {
                Ok(copied) => {
                    return Ok(Tried::Held(Box::new(HeldFile {
                        stamp: Some(Stamp::at(&copied.path)?),
                        held: Held::Named(copied.path),
                        origin: Some(copied.of),
                    })));
                }
                Err(error) => full = Some(error),
            }
        }
        full.map_or(Ok(Tried::NotThisWay), Err)
    }
}

/// A copy among the pins, of what stands at the path.
fn copied(path: &Path, copy: PathBuf) -> Result<Tried> {
    let origin = std::fs::metadata(path).ok().map(|facts| Stamp::of(&facts));
    Ok(Tried::Held(Box::new(HeldFile {
        stamp: Some(Stamp::at(&copy)?),
        held: Held::Named(copy),
        origin,
    })))
}

/// True if the name still has the file that was held, or has none and nothing was written to what is held.
fn stands(path: &Path, origin: &Stamp, held: &Held) -> bool {
    match fs::metadata(path) {
        Ok(facts) => Stamp::of(&facts).has_the_content_under_other_names_of(origin),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let now = stamp_of(held).ok().flatten();
            now.is_none_or(|now| {
                !now.is_of_the_file_of(origin) || now.has_the_content_under_other_names_of(origin)
            })
        }
        Err(_) => false,
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
