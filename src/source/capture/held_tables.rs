//! Holds tables by links, descriptors or copies.
//!
//! Holding tables: by a link, by a descriptor, by a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Access, AtFlags, FileType};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::hold_directory::{HoldDirectory, LinkOutcome};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::{HeldDirectory, file_type_of};
use crate::leveldb::TableExtension;
use crate::leveldb::block_decompressor::Decompressor;
use crate::leveldb::file_name::table_name;
use crate::leveldb::odd_sized_table::open_sized;
use crate::leveldb::read_at::ReadAt;
use crate::leveldb::version::TableMeta;
use crate::source::bounded_file::BoundedFile;
use crate::source::file_set::{DatabaseFile, HeldBytes, HeldName, HeldTable};
use crate::source::pins::{DatabasePins as Kept, PinOutcome, PinnedFileStat};
use crate::source::touched_directories::TouchedDirectories;
use crate::source::unchanged_proof::fingerprint_of;
use crate::source::walk::FileFingerprint;

/// Descriptors that pins leave to everything else.
const DESCRIPTORS_RESERVED: usize = 192;

/// Bytes of a table that are compared with its copy at once.
const COMPARE_CHUNK_BYTES: usize = 256 << 10;

/// What holds the tables of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldMethod {
    /// Hard links in a hidden directory beside the database's.
    #[default]
    Links,
    /// Open descriptors.
    Descriptors,
    /// Copies in a hidden directory.
    Copies,
}

impl HoldMethod {
    /// This, and what is tried when it fails: what needs no place of its own first.
    fn with_fallbacks(self) -> &'static [Self] {
        match self {
            Self::Links => &[Self::Links, Self::Descriptors, Self::Copies],
            Self::Descriptors => &[Self::Descriptors, Self::Links, Self::Copies],
            Self::Copies => &[Self::Copies],
        }
    }
}

impl fmt::Display for HoldMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Links => "links",
            Self::Descriptors => "descriptors",
            Self::Copies => "copies",
        })
    }
}

/// The tables held so far. They stay held over retries, so that each holds only what the one before did not.
pub(super) struct HeldTables {
    directory: HeldDirectory,
    /// How the next table is held, and what to try when that fails.
    methods: &'static [HoldMethod],
    /// Where links and copies go.
    hold_directories: Vec<HoldDirectory>,
    descriptors_left: usize,
    tables: BTreeMap<u64, HeldTable>,
    /// The database's own files as they were when they were held, by the numbers of the tables.
    originals: BTreeMap<u64, OriginalFile>,
    pins: Option<Arc<Kept>>,
    /// No table has failed to be pinned.
    pinnable: bool,
}

/// The database's own file of a table that is held.
struct OriginalFile {
    stamp: FileFingerprint,
    /// The file itself where a copy is held: it tells of writes when its name is gone. `None` if no descriptor was to spare.
    file: Option<Arc<File>>,
}

/// A way of holding, tried.
enum HoldAttempt {
    Held(Box<HeldTableFile>),
    Absent,
    MethodUnavailable,
}

/// A table's file, held.
struct HeldTableFile {
    held: HeldBytes,
    /// What is held; `None` for what is no regular file.
    stamp: Option<FileFingerprint>,
    /// The database's own file, which for links and descriptors is what is held; `None` for what is no regular file.
    origin: Option<OriginalFile>,
}

impl HeldTableFile {
    /// What the database's own name leads to, or did.
    fn original(held: HeldBytes, stamp: FileFingerprint) -> HoldAttempt {
        HoldAttempt::Held(Box::new(Self {
            held,
            stamp: Some(stamp),
            origin: Some(OriginalFile { stamp, file: None }),
        }))
    }

    /// Not a regular file: whoever reads it says so, and lists it.
    fn irregular_file(directory: &HeldDirectory, name: &str) -> HoldAttempt {
        HoldAttempt::Held(Box::new(Self {
            held: HeldBytes::ByName(HeldName::new(directory, name)),
            stamp: None,
            origin: None,
        }))
    }
}

impl HeldTables {
    /// For the database in `directory`.
    pub fn new(
        directory: &HeldDirectory,
        by: HoldMethod,
        scratch: Option<&Path>,
        pins: Option<Arc<Kept>>,
        touched: &Arc<TouchedDirectories>,
    ) -> Self {
        let temporary = scratch.map_or_else(std::env::temp_dir, Path::to_owned);
        let places = [directory.parent().ok(), HeldDirectory::open_path(&temporary).ok()];
        Self {
            directory: directory.clone(),
            methods: by.with_fallbacks(),
            hold_directories: places
                .map(|place| HoldDirectory::new(place, directory.path(), touched.clone()))
                .into(),
            descriptors_left: descriptors_left(),
            tables: BTreeMap::new(),
            originals: BTreeMap::new(),
            pins,
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
                    read_ranges: Arc::default(),
                    extension,
                    len: file.stamp.map_or(0, |stamp| stamp.len),
                    held: file.held,
                    fingerprint: file.stamp,
                };
                self.tables.insert(number, table);
                self.originals.extend(file.origin.map(|origin| (number, origin)));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The length of the table that is held for this one, if it is another than the MANIFEST says and the table is not
    /// proven otherwise: some writers record other lengths.
    pub fn unexpected_len(&self, meta: &TableMeta) -> Option<u64> {
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
    pub fn release(&mut self, number: u64) {
        let others = self.tables.keys().copied().filter(|other| *other != number);
        self.release_all_but(&others.collect());
    }

    /// Goes on with another directory; what was held of the one before counts no more.
    pub fn switch_directory(&mut self, directory: &HeldDirectory) {
        self.release_all_but(&BTreeSet::new());
        self.directory = directory.clone();
    }

    /// True if each table is still the file that was held under its name, or the name is gone. Lets go of the others.
    pub fn all_are_unchanged(&mut self) -> bool {
        let stand = |(number, table): (&u64, &HeldTable)| {
            let named = HeldName::new(&self.directory, table_name(*number, table.extension));
            self.originals
                .get(number)
                .is_none_or(|origin| is_unchanged(&named, origin, table))
                .then_some(*number)
        };
        let standing: BTreeSet<u64> = self.tables.iter().filter_map(stand).collect();
        let all = standing.len() == self.tables.len();
        self.release_all_but(&standing);
        all
    }

    /// True if a table was written to behind this moment: no owner does so behind the edit that names the table.
    pub fn has_table_written_after(&self, nanos: i128) -> bool {
        self.originals
            .values()
            .any(|origin| origin.stamp.mtime_nanos > nanos)
    }

    /// Lets go of all tables but these.
    pub fn release_all_but(&mut self, numbers: &BTreeSet<u64>) {
        self.originals.retain(|number, origin| {
            let keep = numbers.contains(number);
            self.descriptors_left += usize::from(!keep && origin.file.is_some());
            keep
        });
        self.tables.retain(|number, table| {
            let keep = numbers.contains(number);
            self.descriptors_left += usize::from(!keep && matches!(table.held, HeldBytes::Descriptor(_)));
            if let (false, HeldBytes::ByName(named)) = (keep, &table.held)
                && !named.directory.is_same_handle(&self.directory)
                && !self
                    .pins
                    .as_ref()
                    .is_some_and(|kept| named.directory.is_same_handle(kept.directory()))
            {
                // One that cannot be removed goes with its pool.
                let _ = named.directory.remove_file(&named.name);
            }
            keep
        });
    }

    /// The tables, what holds them, and what must live as long.
    pub fn finish(self) -> (BTreeMap<u64, HeldTable>, HoldMethod, Vec<HoldDirectory>) {
        let by = if self.pins.is_some() && self.pinnable {
            HoldMethod::Links
        } else {
            self.current_method()
        };
        (self.tables, by, self.hold_directories)
    }

    #[cfg(test)]
    pub fn drop_hold_directory(&mut self, index: usize) {
        self.hold_directories.remove(index);
    }

    #[cfg(test)]
    pub fn disable_links(&mut self) {
        self.hold_directories
            .iter_mut()
            .for_each(HoldDirectory::disable_links);
    }

    #[cfg(test)]
    pub fn set_descriptors_left(&mut self, count: usize) {
        self.descriptors_left = count;
    }

    fn hold_named(&mut self, number: u64, name: &str) -> Result<Option<HeldTableFile>> {
        let mut tried = self.hold_by_pin(number, name)?;
        loop {
            match tried {
                HoldAttempt::Held(file) => return Ok(Some(*file)),
                HoldAttempt::Absent => return Ok(None),
                HoldAttempt::MethodUnavailable => {}
            }
            tried = match self.current_method() {
                HoldMethod::Links => self.hold_by_link(name)?,
                HoldMethod::Descriptors => self.hold_by_descriptor(name)?,
                HoldMethod::Copies => self.hold_by_copy(name)?,
            };
            if let HoldAttempt::MethodUnavailable = tried {
                self.fall_back()?;
            }
        }
    }

    fn current_method(&self) -> HoldMethod {
        self.methods.first().copied().unwrap_or(HoldMethod::Copies)
    }

    fn fall_back(&mut self) -> Result<()> {
        match self.methods {
            [_, left @ ..] if !left.is_empty() => {
                self.methods = left;
                Ok(())
            }
            _ => Err(Error::new(
                ErrorKind::Denied,
                "tables cannot be linked, there are more than files may be open, and no place takes copies",
            )),
        }
    }

    /// By the pins, before any other way: there it stays until the next backup.
    fn hold_by_pin(&mut self, number: u64, name: &str) -> Result<HoldAttempt> {
        let kept = self.pins.as_ref().filter(|_| self.pinnable);
        match kept.map(|kept| kept.hold(&self.directory, number, name)) {
            Some(PinOutcome::Linked(link)) => return self.verify_link(name, link),
            Some(PinOutcome::Copied(copy, facts)) => return self.verify_copy(name, copy, facts),
            Some(PinOutcome::Absent) => return Ok(HoldAttempt::Absent),
            Some(PinOutcome::Unavailable) => self.pinnable = false,
            None => {}
        }
        Ok(HoldAttempt::MethodUnavailable)
    }

    fn hold_by_link(&mut self, name: &str) -> Result<HoldAttempt> {
        for pool in &mut self.hold_directories {
            match pool.link(&self.directory, name) {
                LinkOutcome::Linked(link) => return self.verify_link(name, link),
                LinkOutcome::Absent => return Ok(HoldAttempt::Absent),
                LinkOutcome::Unavailable => {}
            }
        }
        Ok(HoldAttempt::MethodUnavailable)
    }

    /// What was linked need not be a file.
    fn verify_link(&mut self, name: &str, link: HeldName) -> Result<HoldAttempt> {
        let shown = || link.directory.display_path(&link.name);
        let stat = link.directory.stat(&link.name);
        let stat = stat.context(|| format!("look at {}", shown().display()))?;
        if file_type_of(&stat) != FileType::RegularFile {
            let _ = link.directory.remove_file(&link.name);
            return Ok(HeldTableFile::irregular_file(&self.directory, name));
        }
        match rustix::fs::accessat(&link.directory, &link.name, Access::READ_OK, AtFlags::empty()) {
            Err(Errno::ACCESS) => Err(denied(&self.directory.display_path(name))),
            _ => Ok(HeldTableFile::original(
                HeldBytes::ByName(link),
                FileFingerprint::of_stat(&stat),
            )),
        }
    }

    /// A copy among the pins, of the file that has the name. [`ErrorKind::Torn`] if that is another by now.
    fn verify_copy(&mut self, name: &str, copy: HeldName, of: PinnedFileStat) -> Result<HoldAttempt> {
        let (file, facts) = match self.directory.open_file(name) {
            Ok((file, _)) => {
                let facts = file.metadata().context(|| format!("look at {name}"))?;
                (file, facts)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HoldAttempt::Absent),
            Err(error) => return Err(error),
        };
        if PinnedFileStat::of(&facts) != of {
            return Err(Error::new(
                ErrorKind::Torn,
                format!("{name} is not what was copied"),
            ));
        }
        Ok(HoldAttempt::Held(Box::new(HeldTableFile {
            stamp: Some(copy.fingerprint()?),
            held: HeldBytes::ByName(copy),
            origin: Some(OriginalFile {
                stamp: FileFingerprint::of(&facts),
                file: self.keep_open_if_spare(file),
            }),
        })))
    }

    /// The file, held open if a descriptor is to spare.
    fn keep_open_if_spare(&mut self, file: File) -> Option<Arc<File>> {
        self.descriptors_left = self.descriptors_left.checked_sub(1)?;
        Some(Arc::new(file))
    }

    fn hold_by_descriptor(&mut self, name: &str) -> Result<HoldAttempt> {
        if self.descriptors_left == 0 {
            return Ok(HoldAttempt::MethodUnavailable);
        }
        match self.directory.open_file(name) {
            Ok((file, _)) => {
                let facts = file.metadata().context(|| format!("look at {name}"))?;
                self.descriptors_left -= 1;
                Ok(HeldTableFile::original(
                    HeldBytes::Descriptor(Arc::new(file)),
                    FileFingerprint::of(&facts),
                ))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(HoldAttempt::Absent),
            Err(error) if error.kind() == ErrorKind::Denied => Err(error),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                Ok(HeldTableFile::irregular_file(&self.directory, name))
            }
            // No descriptor to be had, most likely.
            Err(_) => Ok(HoldAttempt::MethodUnavailable),
        }
    }

    fn hold_by_copy(&mut self, name: &str) -> Result<HoldAttempt> {
        let (mut file, len) = match self.directory.open_file(name) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HoldAttempt::Absent),
            Err(error) if error.kind() == ErrorKind::Denied => return Err(error),
            Err(_) => return Ok(HeldTableFile::irregular_file(&self.directory, name)),
        };
        let mut full = None;
        for pool in &mut self.hold_directories {
            match pool.copy(&mut file, len, name) {
                Ok(copied) => {
                    return Ok(HoldAttempt::Held(Box::new(HeldTableFile {
                        stamp: Some(copied.named.fingerprint()?),
                        held: HeldBytes::ByName(copied.named),
                        origin: Some(OriginalFile {
                            stamp: copied.original,
                            file: self.keep_open_if_spare(file),
                        }),
                    })));
                }
                Err(error) => full = Some(error),
            }
        }
        full.map_or(Ok(HoldAttempt::MethodUnavailable), Err)
    }
}

/// True if the name still has the file that was held, or has none and nothing was written to that file. Of a copy whose
/// original is gone, and was not kept open, that cannot be told: then it is false, and another try holds it anew.
fn is_unchanged(named: &HeldName, origin: &OriginalFile, table: &HeldTable) -> bool {
    let now = match named.directory.stat(&named.name) {
        Ok(stat) => Some(FileFingerprint::of_stat(&stat)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match &origin.file {
            Some(file) => file.metadata().ok().map(|facts| FileFingerprint::of(&facts)),
            None => fingerprint_of(&table.held).ok().flatten(),
        },
        Err(_) => None,
    };
    let Some(now) = now else { return false };
    let is_copy = !table
        .fingerprint
        .is_some_and(|held| held.is_same_file(&origin.stamp));
    let has_other_names = now.has_same_content_but_links(&origin.stamp);
    if is_copy && has_other_names && !now.has_same_content(&origin.stamp) {
        origin.has_the_bytes_of(table).unwrap_or(false)
    } else {
        has_other_names
    }
}

impl OriginalFile {
    fn has_the_bytes_of(&self, copy: &HeldTable) -> Result<bool> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let (original, copy) = (
            BoundedFile(Arc::clone(file), copy.len),
            copy.open_unrecorded(true)?,
        );
        let (mut one, mut other) = (vec![0; COMPARE_CHUNK_BYTES], vec![0; COMPARE_CHUNK_BYTES]);
        let mut at = 0;
        while at < copy.len() {
            let len = usize::try_from(copy.len() - at)
                .map_or(COMPARE_CHUNK_BYTES, |left| left.min(COMPARE_CHUNK_BYTES));
            original.read_at(&mut one[..len], at)?;
            copy.read_at(&mut other[..len], at)?;
            if one[..len] != other[..len] {
                return Ok(false);
            }
            at += len as u64;
        }
        Ok(true)
    }
}

fn denied(path: &Path) -> Error {
    Error::new(ErrorKind::Denied, format!("{} may not be read", path.display()))
}

/// How many more files this process may open, less those it needs for other things.
fn descriptors_left() -> usize {
    let max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let open = fs::read_dir("/proc/self/fd").map_or(DESCRIPTORS_RESERVED, Iterator::count);
    usize::try_from(max)
        .unwrap_or(usize::MAX)
        .saturating_sub(open + DESCRIPTORS_RESERVED)
}
