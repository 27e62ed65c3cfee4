//! Reads the visible records of a closed or captured database.
//!
//! The files of one closed (or captured) database → its visible records.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FileType;

use super::capture::{CapturedFiles, CutPoint};
use super::current_file;
use super::detect_database::list_utf8_names;
use super::file_set::{DatabaseFile, FileSet, FileSetView, HeldBytes, HeldLog, HeldName, HeldTable};
use super::layout_sample;
use super::pins::DatabasePins;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::{HeldDirectory, file_type_of};
use crate::leveldb::block_decompressor::Decompressor;
use crate::leveldb::comparator::Comparator;
use crate::leveldb::damage::{LostEntries, SourceAge, SourceDamage, TornTail};
use crate::leveldb::database_layout::DatabaseLayout;
use crate::leveldb::file_name::FileName;
use crate::leveldb::internal_key::{SourceStep, compare_internal};
use crate::leveldb::level_iterator::{LevelIterator, LevelTable};
use crate::leveldb::manifest::version_of_manifest;
use crate::leveldb::memtable::{LogReport, Memtable};
use crate::leveldb::merging_iterator::{MergeCounts, RecordSink, SortedSource, merge};
use crate::leveldb::odd_sized_table::open_sized;
#[cfg(doc)]
use crate::leveldb::scan_context::is_buffering;
use crate::leveldb::scan_context::{OpenFiles, ScanBudget, ScanContext};
use crate::leveldb::version::Version;

/// Sources beyond this do not keep their files open.
pub(super) const OPEN_FILES_MAX: usize = 200;

/// A database whose CURRENT, MANIFEST and logs have been read.
pub struct Database {
    pub(super) files: FileSet,
    version: Version,
    pub(super) memtable: Memtable,
    pub(super) log_report: LogReport,
    pub(super) budget: ScanBudget,
    capture_details: Option<CutPoint>,
    /// No MANIFEST says which files count: nothing that is read is certain.
    pub(super) is_without_manifest: bool,
}

/// What a scan read and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanOutcome {
    /// Records handed out, uncertain ones included.
    pub records: u64,
    /// Records handed out with `certain == false`.
    pub uncertain: u64,
    /// Deletions that hide older entries and that a lost entry may have undone.
    pub uncertain_deletions: u64,
    /// Keys handed out, bytes.
    pub key_bytes: u64,
    /// Values handed out, bytes.
    pub value_bytes: u64,
    /// What could not be read, or is not what it should be. Anything here makes the source damaged.
    pub damage: Vec<SourceDamage>,
    /// Where that may have taken entries away.
    pub lost: LostEntries,
    /// Writes that were under way: normal, and not damage.
    pub torn_tails: Vec<TornTail>,
    /// Live tables by the MANIFEST.
    pub tables: u64,
    /// Those of them that could be opened.
    pub tables_read: u64,
    /// Those of these whose size is not the MANIFEST's, though all else agrees: a habit of other writers.
    pub odd_sizes: u64,
    /// Operations in the logs.
    pub log_entries: u64,
    /// Entries in tables, hidden ones and deletions included.
    pub table_entries: u64,
    /// Bytes read, logs included.
    pub bytes_read: u64,
}

impl Database {
    /// Reads CURRENT, MANIFEST and the live logs of a directory that nobody writes to. [`ErrorKind::NotLevelDb`] when it
    /// is none (or RocksDB's); [`ErrorKind::Corrupt`] when it is one and its list of files cannot be had: then no result
    /// would be better than a shorter one, and only the files themselves can be kept.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, ScanBudget::default()).context(|| format!("database {}", path.display()))
    }

    /// [`Database::open`] with other memory bounds.
    pub fn open_with(path: &Path, budget: ScanBudget) -> Result<Self> {
        Self::open_held(&HeldDirectory::open_path(path)?, budget)
    }

    /// [`Database::open`] of a directory that is held: no link in it is followed.
    pub fn open_in(directory: &HeldDirectory) -> Result<Self> {
        Self::open_held(directory, ScanBudget::default())
            .context(|| format!("database {}", directory.path().display()))
    }

    fn open_held(directory: &HeldDirectory, budget: ScanBudget) -> Result<Self> {
        let names = list_utf8_names(directory)?;
        current_file::check_kind(directory, &names)?;
        let text = current_file::read(directory)?;
        let current = DatabaseFile::in_memory(directory, "CURRENT".to_owned(), text.bytes);
        let manifest = stat_file(directory, text.manifest);
        let version = read_manifest(&manifest).context(|| manifest.name.clone())?;
        Ok(Self::of_directory(
            directory, &names, current, manifest, version, budget,
        ))
    }

    pub(super) fn of_directory(
        directory: &HeldDirectory,
        names: &[String],
        current: DatabaseFile,
        manifest: DatabaseFile,
        version: Version,
        budget: ScanBudget,
    ) -> Self {
        let (tables, logs) = live_files(directory, names, &version);
        let files = FileSet {
            directory: directory.clone(),
            current,
            manifest,
            manifest_fingerprint: None,
            tables,
            logs,
            hold_directories: Vec::new(),
            pins: None,
        };
        Self::new(files, version, budget, None)
    }

    /// A database as a capture has it, whatever its owner does meanwhile.
    pub fn from_captured(captured: CapturedFiles, budget: ScanBudget) -> Self {
        let (files, version, cut) = captured.into_parts();
        Self::new(files, version, budget, Some(cut))
    }

    pub(super) fn new(
        files: FileSet,
        version: Version,
        budget: ScanBudget,
        capture_details: Option<CutPoint>,
    ) -> Self {
        let logs: Vec<_> = files.logs.keys().copied().collect();
        let absent = version.absent_log(logs.iter().copied());
        let (memtable, log_report) = Memtable::read(
            &files.view(true),
            &version.comparator,
            logs,
            absent,
            version.last_sequence,
            budget.log_bytes_max,
        );
        Self {
            files,
            version,
            memtable,
            log_report,
            budget,
            capture_details,
            is_without_manifest: false,
        }
    }

    /// The pins it was captured with.
    pub fn pins(&self) -> Option<&Arc<DatabasePins>> {
        self.files.pins.as_ref()
    }

    /// How and when it was captured; `None` for files that were read where they lie.
    pub fn capture_details(&self) -> Option<&CutPoint> {
        self.capture_details.as_ref()
    }

    /// Proves that what was read of it is one of its states: call it behind the last read. Nothing is to be proven of
    /// files that were not captured.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] if one of its files was written to or replaced since it was held.
    pub fn prove_unchanged(&self) -> Result<()> {
        self.files
            .prove_unchanged(&self.version)
            .context(|| format!("read {}", self.files.directory.path().display()))
    }

    /// The order of its keys. An unknown one cannot be scanned.
    pub fn comparator(&self) -> &Comparator {
        &self.version.comparator
    }

    /// Sequence number of its newest entry, logs included.
    pub fn last_sequence(&self) -> u64 {
        self.version.last_sequence.max(self.log_report.last_sequence)
    }

    /// Number of its MANIFEST; owners count up.
    pub fn manifest_number(&self) -> u64 {
        match FileName::parse(&self.files.manifest.name) {
            Some(FileName::Manifest(number)) => number,
            _ => 0,
        }
    }

    /// The state its MANIFEST records.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// How its files are laid out, from a sample of its tables.
    pub fn layout(&self) -> DatabaseLayout {
        let tables = self.all_tables();
        let files = self.open_view(tables.len());
        let directory = &self.files.directory;
        let mut shape =
            layout_sample::sample_layout(&files, directory, &tables, self.version.comparator.name());
        shape.last_sequence = self.last_sequence();
        shape.next_file = self.version.next_file;
        shape
    }

    /// The files that make up its state: CURRENT, MANIFEST, the live tables that are there, the live logs.
    pub fn files(&self) -> impl Iterator<Item = DatabaseFile> {
        self.files.all()
    }

    /// What is wrong as far as the logs, and the tables' names and sizes, tell: a table is read only where its size is odd,
    /// and only its ends.
    pub fn damage_at_a_glance(&self) -> Vec<SourceDamage> {
        let files = self.open_view(1);
        let tables = self.all_tables().into_iter().filter_map(|table| {
            let what = match self.files.tables.get(&table.meta.number) {
                None => "the MANIFEST names it, and it is not there".to_owned(),
                Some(held) if held.len != table.meta.size => {
                    let file = files.open_table(table.meta.number);
                    let opened = file.and_then(|file| {
                        open_sized(file.as_ref(), &table.meta, &mut Decompressor::default()).map(drop)
                    });
                    opened.err()?.to_string()
                }
                Some(_) => return None,
            };
            Some(table.damage(what))
        });
        self.log_report.damage.iter().cloned().chain(tables).collect()
    }

    /// Why its records cannot be had, as far as its MANIFEST and logs tell: a comparator or operations that are not known.
    pub fn unknown_format_error(&self) -> Option<Error> {
        let of_order = match self.comparator() {
            Comparator::Unknown(name) => Some(format!("its order of keys, {name:?}, is not known")),
            _ => None,
        };
        let what = of_order.or_else(|| self.log_report.unknown.clone());
        what.map(|what| Error::new(ErrorKind::UnknownFormat, what))
    }

    /// Hands every visible record to `sink`, in key order, and checks everything it reads. Damage does not end it:
    /// what can be read is handed out, and the outcome lists what cannot.
    ///
    /// # Errors
    /// The sink's; and a kind that [`is_buffering`] where records cannot be had although nothing is damaged. Then what was
    /// handed out is not all.
    pub fn scan(&self, sink: &mut dyn RecordSink) -> Result<ScanOutcome> {
        let order = self.comparator();
        let act = || format!("scan {}", self.files.directory.path().display());
        if let Some(unknown) = self.unknown_format_error() {
            return Err(unknown.context(act()));
        }
        let (chains, overlaps) = self.disjoint_rows();
        let files = self.open_view(chains.len());
        let mut scan = ScanContext::new(&files, order, self.budget.for_sources(chains.len()));
        self.report_logs(&scan);
        if !self.version.previous_log_told {
            let tables_up_to = self.version.last_sequence;
            scan.findings.borrow_mut().order_by_sequence(tables_up_to);
        }
        if self.is_without_manifest {
            scan.findings.borrow_mut().mark_lost_below(u64::MAX);
        }
        for table in &overlaps {
            let what = "it overlaps another table of its level".to_owned();
            scan.findings.borrow_mut().list(table.damage(what));
        }
        let mut sources: Vec<SortedSource> = chains
            .into_iter()
            .map(|tables| SortedSource::Tables(Box::new(LevelIterator::new(&scan, tables))))
            .collect();
        sources.push(SortedSource::Logs(Box::new(self.memtable.cursor(&scan))));
        let counts = merge(&scan, sources, sink)?;
        match scan.take_refusal_error() {
            Some(refusal) => Err(refusal.context(act())),
            None => Ok(self.outcome(scan, counts)),
        }
    }

    /// Checks every table and log, one by one, for databases that cannot be scanned: what is not known is passed over.
    pub fn verify(&self) -> Result<ScanOutcome> {
        let files = self.open_view(1);
        let scan = ScanContext::new(&files, self.comparator(), self.budget).checks_only();
        self.report_logs(&scan);
        for table in self.all_tables() {
            let mut chain = LevelIterator::new(&scan, vec![table]);
            while chain.advance() != SourceStep::End {}
        }
        scan.check_foreign_share();
        scan.work.check()?;
        Ok(self.outcome(scan, MergeCounts::default()))
    }

    /// What is known without reading a table.
    pub fn outcome_without_tables(&self) -> ScanOutcome {
        let files = self.open_view(1);
        let scan = ScanContext::new(&files, self.comparator(), self.budget);
        self.report_logs(&scan);
        self.outcome(scan, MergeCounts::default())
    }

    fn report_logs(&self, scan: &ScanContext) {
        self.log_report.report_damage(&mut scan.findings.borrow_mut());
        scan.bytes_read.set(scan.bytes_read.get() + self.log_report.bytes);
    }

    pub(super) fn outcome(&self, scan: ScanContext, counts: MergeCounts) -> ScanOutcome {
        let (table_entries, bytes_read) = (scan.table_entries.get(), scan.bytes_read.get());
        let (tables_read, odd_sizes) = (scan.tables_opened.get(), scan.odd_sizes.get());
        let findings = scan.findings.into_inner();
        ScanOutcome {
            records: counts.records,
            uncertain: counts.uncertain,
            uncertain_deletions: counts.uncertain_deletions,
            key_bytes: counts.key_bytes,
            value_bytes: counts.value_bytes,
            torn_tails: self.torn_tails(),
            tables: self.version.tables.len() as u64,
            tables_read,
            odd_sizes,
            log_entries: self.log_report.entries,
            table_entries,
            bytes_read,
            lost: LostEntries {
                from: self.log_report.lost_after(),
                ..findings.lost_range()
            },
            damage: findings.into_damage(),
        }
    }

    /// Operations in its logs.
    pub fn log_entries(&self) -> u64 {
        self.log_report.entries
    }

    /// Writes that were under way.
    pub fn torn_tails(&self) -> Vec<TornTail> {
        let cut_off = self.files.cut_tails().cloned();
        self.log_report
            .torn_tails
            .iter()
            .cloned()
            .chain(cut_off)
            .collect()
    }

    pub(super) fn open_view(&self, sources: usize) -> FileSetView<'_> {
        self.files.view(sources <= OPEN_FILES_MAX)
    }

    pub(super) fn all_tables(&self) -> Vec<LevelTable> {
        let numbers_tell_age = self.version.log_number > 0;
        self.version
            .tables
            .iter()
            .map(|(&(level, number), meta)| LevelTable {
                meta: meta.clone(),
                level,
                rank: SourceAge::of_table(level, number, numbers_tell_age),
                extension: (self.files.tables.get(&number))
                    .map_or_else(Default::default, |table| table.extension),
            })
            .collect()
    }

    /// Tables in rows that do not overlap: a row for each level below 0, and as few as possible for level 0. The
    /// second list has tables that overlap another of their level where none may.
    pub(super) fn disjoint_rows(&self) -> (Vec<Vec<LevelTable>>, Vec<LevelTable>) {
        let order = self.comparator();
        let mut levels: BTreeMap<u8, Vec<LevelTable>> = BTreeMap::new();
        for table in self.all_tables() {
            levels.entry(table.level).or_default().push(table);
        }
        let (mut chains, mut overlaps) = (Vec::new(), Vec::new());
        for (level, tables) in levels {
            let rows = split_into_rows(order, tables);
            if level > 0 {
                overlaps.extend(rows.iter().skip(1).flatten().cloned());
            }
            chains.extend(rows);
        }
        (chains, overlaps)
    }
}

/// Puts each table, by its smallest key, behind the first row that ends before it.
pub(super) fn split_into_rows(order: &Comparator, mut tables: Vec<LevelTable>) -> Vec<Vec<LevelTable>> {
    tables.sort_by(|a, b| compare_internal(order, &a.meta.smallest, &b.meta.smallest));
    let mut rows: Vec<Vec<LevelTable>> = Vec::new();
    for table in tables {
        let ends_before = |row: &&mut Vec<LevelTable>| {
            row.last()
                .is_some_and(|last| compare_internal(order, &last.meta.largest, &table.meta.smallest).is_lt())
        };
        match rows.iter_mut().find(ends_before) {
            Some(row) => row.push(table),
            None => rows.push(vec![table]),
        }
    }
    rows
}

/// A file with the length it has now; what cannot be looked at has none, and says why when it is opened.
pub(super) fn stat_file(directory: &HeldDirectory, name: String) -> DatabaseFile {
    let is_file = |stat: &rustix::fs::Stat| file_type_of(stat) == FileType::RegularFile;
    let stat = directory.stat(&name).ok().filter(is_file);
    let len = stat.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
    DatabaseFile::in_directory(directory, name, len)
}

pub(super) fn read_manifest(file: &DatabaseFile) -> Result<Version> {
    let open = file.open().map_err(|error| match error.kind() {
        ErrorKind::NotFound => error.with_kind(ErrorKind::Corrupt),
        _ => error,
    })?;
    version_of_manifest(open.as_ref())
}

fn live_files(
    directory: &HeldDirectory,
    names: &[String],
    version: &Version,
) -> (BTreeMap<u64, HeldTable>, BTreeMap<u64, HeldLog>) {
    let live: BTreeSet<u64> = version.tables.keys().map(|&(_, number)| number).collect();
    let (mut tables, mut logs) = (BTreeMap::new(), BTreeMap::new());
    for name in names {
        let named = || {
            let len = stat_file(directory, name.clone()).len;
            (len, HeldBytes::ByName(HeldName::new(directory, name.as_str())))
        };
        match FileName::parse(name) {
            // Where both names exist LevelDB reads .ldb, which sorts first.
            Some(FileName::Table(number, extension)) if live.contains(&number) => {
                tables.entry(number).or_insert_with(|| {
                    let (len, held) = named();
                    HeldTable {
                        read_ranges: Arc::default(),
                        extension,
                        len,
                        held,
                        fingerprint: None,
                    }
                });
            }
            Some(FileName::Log(number)) if version.is_live_log(number) => {
                let (len, held) = named();
                logs.insert(
                    number,
                    HeldLog {
                        len,
                        held,
                        tail: None,
                        proof: None,
                    },
                );
            }
            _ => {}
        }
    }
    (tables, logs)
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
