//! Opens and verifies the pinned state of the parent.
//!
//! The state before, from its pins: whole and verified, or not used.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use rustix::fs::FileType;

use super::pin_state::{PinState, PinnedFile, PinnedTable};
use super::{DatabasePins, PinnedFileStat};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::{HeldDirectory, device_and_inode, file_type_of};
use crate::id::ObjectId;
use crate::leveldb::file_name::FileName;
use crate::leveldb::manifest::version_of_manifest;
use crate::leveldb::scan_context::ScanBudget;
use crate::source::database::Database;
use crate::source::file_set::{DatabaseFile, FileSet, HeldBytes, HeldLog, HeldName, HeldTable};
use crate::source::walk::FileFingerprint;

/// The state before.
pub struct ParentState {
    /// The snapshot that was made of it.
    pub snapshot: ObjectId,
    /// Its number among the sources of that.
    pub source: u32,
    /// Its files.
    pub database: Database,
    /// Numbers of the tables that the new state has, too: the same files.
    pub shared: BTreeSet<u64>,
}

impl DatabasePins {
    /// The state before `now`, which was captured with these pins; `None` when none is kept, an error when what is kept
    /// must not be used.
    pub fn parent_state(&self, now: &Database) -> Result<Option<ParentState>> {
        let Some(state) = &self.state else {
            return Ok(None);
        };
        if directory_id(&now.files)? != state.directory {
            let what =
                "another directory stands there than when it was pinned: it was moved, restored or replaced";
            return Err(Error::new(ErrorKind::Mismatch, what));
        }
        let tables: Vec<_> = state.tables.iter().collect();
        let check = |(number, table): (&u64, &PinnedTable)| Ok((*number, self.check_pin(table)?));
        let stamps: BTreeMap<u64, FileFingerprint> =
            tables.into_par_iter().map(check).collect::<Result<_>>()?;
        let shared = self.shared_tables(state, &now.files);
        let files = self.pinned_file_set(state, &stamps, &now.files.directory)?;
        let manifest = files.manifest.open()?;
        let version = version_of_manifest(manifest.as_ref()).context(|| "read the pinned MANIFEST")?;
        Ok(Some(ParentState {
            snapshot: state.snapshot,
            source: state.source,
            database: Database::new(files, version, ScanBudget::default(), None),
            shared,
        }))
    }

    /// Holds a pin to what was recorded of it; what it is now. Where it lost or gained a name since, that may have hidden a
    /// write: then its content counts. [`ErrorKind::Mismatch`] if it has other bytes: so may the rest of the database.
    fn check_pin(&self, table: &PinnedTable) -> Result<FileFingerprint> {
        let stat = self.directory.stat(&table.pin);
        let stat = stat.context(|| format!("look at the pin of {}", table.name))?;
        let facts = PinnedFileStat::of_stat(&stat);
        let same = if table.copied {
            facts.len == table.facts.len
        } else {
            facts == table.facts
        };
        let is_file = file_type_of(&stat) == FileType::RegularFile;
        let stamp = FileFingerprint::of_stat(&stat);
        if same {
            return Ok(stamp);
        }
        let is_it = |hash| is_file && hash_file(&self.directory, &table.pin).is_ok_and(|found| found == hash);
        match table.hash {
            Some(hash) if is_it(hash) => Ok(stamp),
            None if facts.has_same_content(&table.facts) => {
                let what = format!(
                    "{} was touched since it was pinned, perhaps by another link",
                    table.name
                );
                Err(Error::new(ErrorKind::Io, what))
            }
            _ => {
                let what = format!("{} was written over since it was pinned", table.name);
                Err(Error::new(ErrorKind::Mismatch, what))
            }
        }
    }

    /// Tables that the capture holds by a pin of the state.
    fn shared_tables(&self, state: &PinState, now: &FileSet) -> BTreeSet<u64> {
        let by_pin = |(number, held): (&u64, &HeldTable)| {
            let pinned = state.tables.get(number)?;
            let HeldBytes::ByName(named) = &held.held else {
                return None;
            };
            named.is_name_in(&self.directory, &pinned.pin).then_some(*number)
        };
        now.tables.iter().filter_map(by_pin).collect()
    }

    /// The pinned files as a set; the copies are verified.
    fn pinned_file_set(
        &self,
        state: &PinState,
        stamps: &BTreeMap<u64, FileFingerprint>,
        directory: &HeldDirectory,
    ) -> Result<FileSet> {
        let nothing = |name: &str| DatabaseFile::in_memory(directory, name.to_owned(), Vec::new());
        let mut files = FileSet {
            directory: directory.clone(),
            current: nothing("CURRENT"),
            manifest: nothing("MANIFEST"),
            manifest_fingerprint: None,
            tables: BTreeMap::new(),
            logs: BTreeMap::new(),
            hold_directories: Vec::new(),
            pins: None,
        };
        for (name, file) in &state.files {
            self.add_copy(&mut files, name, file)?;
        }
        for (number, table) in &state.tables {
            let Some(FileName::Table(_, extension)) = FileName::parse(&table.name) else {
                return Err(Error::corrupt(format!("{} is pinned as a table", table.name)));
            };
            let held = HeldBytes::ByName(HeldName::new(&self.directory, table.pin.as_str()));
            let len = table.facts.len;
            let stamp = stamps.get(number).copied();
            let table = HeldTable {
                read_ranges: Default::default(),
                extension,
                len,
                held,
                fingerprint: stamp,
            };
            files.tables.insert(*number, table);
        }
        Ok(files)
    }

    fn add_copy(&self, files: &mut FileSet, name: &str, file: &PinnedFile) -> Result<()> {
        let (_, len) = self.directory.open_file(&file.pin)?;
        if len != file.len || hash_file(&self.directory, &file.pin)? != file.hash {
            return Err(Error::corrupt(format!(
                "the pinned copy of {name} is not what was written"
            )));
        }
        let held = HeldBytes::ByName(HeldName::new(&self.directory, file.pin.as_str()));
        match FileName::parse(name) {
            Some(FileName::Manifest(_)) => files.manifest = DatabaseFile::new(name.to_owned(), len, held),
            Some(FileName::Log(number)) => {
                let tail = None;
                let proof = None;
                files.logs.insert(
                    number,
                    HeldLog {
                        len,
                        held,
                        tail,
                        proof,
                    },
                );
            }
            _ => {}
        }
        Ok(())
    }
}

/// Device and inode of the directory that a set of files stands in.
pub(super) fn directory_id(files: &FileSet) -> Result<(u64, u64)> {
    Ok(device_and_inode(&files.directory.stat_self()?))
}

/// BLAKE3 of a file.
pub(super) fn hash_file(directory: &HeldDirectory, name: &str) -> Result<[u8; 32]> {
    let (mut file, _) = directory.open_file(name)?;
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut file, &mut hasher)
        .context(|| format!("read {}", directory.display_path(name).display()))?;
    Ok(*hasher.finalize().as_bytes())
}
