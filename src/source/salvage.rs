//! Lists a database's files without a usable CURRENT or MANIFEST.
//!
//! A database whose CURRENT or MANIFEST is lost: the list of its files by other means.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::bounded_file::BoundedFile;
use super::current_file;
use super::database::{Database, read_manifest, stat_file};
use super::detect_database::list_utf8_names;
use super::file_set::{DatabaseFile, FileSet, HeldBytes, HeldLog, HeldName, HeldTable};
use crate::codec::Reader;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::HeldDirectory;
use crate::leveldb::block::BlockEntries;
use crate::leveldb::block_decompressor::Decompressor;
use crate::leveldb::comparator::Comparator;
use crate::leveldb::file_name::FileName;
use crate::leveldb::odd_sized_table::block_ends;
use crate::leveldb::scan_context::ScanBudget;
use crate::leveldb::table_reader::{BlockHandle, Table};
use crate::leveldb::version::{TAG_BYTES, TableMeta, Version};

impl Database {
    /// Opens by the MANIFEST of the highest number, whatever CURRENT says; its name. An owner that begins a MANIFEST
    /// writes all of it, and then points CURRENT to it, so the newest one that is whole leads to the same records.
    pub fn open_by_newest_manifest(path: &Path) -> Result<(Self, String)> {
        let directory = &HeldDirectory::open_path(path)?;
        let names = list_utf8_names(directory)?;
        current_file::check_kind(directory, &names)?;
        let manifests = names.iter().filter_map(|name| match FileName::parse(name) {
            Some(FileName::Manifest(number)) => Some((number, name)),
            _ => None,
        });
        let (_, name) = manifests
            .max()
            .ok_or_else(|| Error::corrupt("there is no MANIFEST"))?;
        let manifest = stat_file(directory, name.clone());
        let version = read_manifest(&manifest).context(|| name.clone())?;
        let current = format!("{name}\n").into_bytes();
        let current = DatabaseFile::in_memory(directory, "CURRENT".to_owned(), current);
        let database = Self::of_directory(
            directory,
            &names,
            current,
            manifest,
            version,
            ScanBudget::default(),
        );
        Ok((database, name.clone()))
    }

    /// Opens without any MANIFEST: all tables and logs that are there, of which the entry with the highest sequence number
    /// counts. Some of them may have been obsolete: what a compaction has deleted may be there again. So all that it
    /// reads is uncertain. Tables that cannot be opened at all are named, with the reason, and left out.
    pub fn open_all_files(path: &Path, comparator: &Comparator) -> Result<(Self, Vec<(String, Error)>)> {
        let directory = &HeldDirectory::open_path(path)?;
        let names = list_utf8_names(directory)?;
        current_file::check_kind(directory, &names)?;
        let (mut tables, mut logs, mut metas) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut unreadable = Vec::new();
        for name in &names {
            let held = HeldBytes::ByName(HeldName::new(directory, name.as_str()));
            let len = stat_file(directory, name.clone()).len;
            match FileName::parse(name) {
                Some(FileName::Table(number, extension)) => match table_meta(directory, name, number) {
                    Ok(Some(meta)) => {
                        metas.insert((0, number), meta);
                        tables.insert(
                            number,
                            HeldTable {
                                read_ranges: Arc::default(),
                                extension,
                                len,
                                held,
                                fingerprint: None,
                            },
                        );
                    }
                    Ok(None) => {}
                    Err(error) => unreadable.push((name.clone(), error)),
                },
                Some(FileName::Log(number)) => drop(logs.insert(
                    number,
                    HeldLog {
                        len,
                        held,
                        tail: None,
                        proof: None,
                    },
                )),
                _ => {}
            }
        }
        let nothing = |name: &str| DatabaseFile::in_memory(directory, name.to_owned(), Vec::new());
        let files = FileSet {
            directory: directory.clone(),
            current: nothing("CURRENT"),
            manifest: nothing("MANIFEST"),
            manifest_fingerprint: None,
            tables,
            logs,
            hold_directories: Vec::new(),
            pins: None,
        };
        let version = Version {
            comparator: comparator.clone(),
            log_number: 0,
            previous_log_number: 0,
            previous_log_told: false,
            next_file: 0,
            last_sequence: 0,
            tables: metas,
        };
        let mut database = Self::new(files, version, ScanBudget::default(), None);
        database.is_without_manifest = true;
        Ok((database, unreadable))
    }

    /// True if the directory has a whole table that is newer than all its MANIFEST can know: edits are lost. (One that is
    /// not whole was being written when its owner ended, and holds nothing that is not elsewhere.)
    pub fn has_newer_tables(&self) -> Result<bool> {
        let next = self.version().next_file;
        let names = list_utf8_names(&self.files.directory)?;
        let is_newer = |name: &String| match FileName::parse(name) {
            Some(FileName::Table(number, _)) if number >= next => {
                table_meta(&self.files.directory, name, number).is_ok()
            }
            _ => false,
        };
        Ok(names.iter().any(is_newer))
    }
}

/// First and last key of a table, from its blocks; `None` for one without entries.
fn table_meta(directory: &HeldDirectory, name: &str, number: u64) -> Result<Option<TableMeta>> {
    let (file, len) = directory.open_file(name)?;
    let file = BoundedFile(Arc::new(file), len);
    let mut decompressor = Decompressor::default();
    let table = Table::open(&file, len, &mut decompressor)?;
    let (mut index, mut handles) = (BlockEntries::new(&table.index)?, Vec::new());
    while let Some((key, value)) = index.next()? {
        let handle = BlockHandle::read(&mut Reader::new(value))?;
        match handles.len() {
            0 | 1 => handles.push((key.to_vec(), handle)),
            _ => handles[1] = (key.to_vec(), handle),
        }
    }
    let (Some((first_bound, first)), Some((last_bound, last))) = (handles.first(), handles.last()) else {
        return Ok(None);
    };
    let mut ends = |handle: &BlockHandle| block_ends(&file, *handle, table.data_end, &mut decompressor);
    // Where a block cannot be read, the scan says so; its index key bounds what it held.
    let smallest = ends(first).map_or_else(|_| lowest_internal_key(), |(smallest, _)| smallest);
    let largest = ends(last).map_or_else(|_| last_bound.clone(), |(_, largest)| largest);
    let whole = [first_bound, &smallest, &largest]
        .iter()
        .all(|key| key.len() >= TAG_BYTES);
    if whole {
        Ok(Some(TableMeta {
            number,
            size: len,
            smallest,
            largest,
        }))
    } else {
        Err(Error::new(ErrorKind::Corrupt, "a key without a sequence number"))
    }
}

/// The internal key before all others.
fn lowest_internal_key() -> Vec<u8> {
    vec![0xff; TAG_BYTES]
}
