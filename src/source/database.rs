//! The files of one closed (or captured) database → its visible records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::detect::{Detected, judge, names};
use super::file::{Directory, OpenFile, open_regular};
use super::sample;
use crate::error::{Act, Error, Kind, Result};
use crate::leveldb::chain::{Chain, ChainTable};
use crate::leveldb::comparator::Comparator;
use crate::leveldb::damage::{Damage, Rank, TornTail};
use crate::leveldb::internal_key::{Step, compare_internal};
use crate::leveldb::manifest::version_of_manifest;
use crate::leveldb::memtable::{LogReport, Memtable};
use crate::leveldb::merge::{MergeCounts, RecordSink, Source, merge};
use crate::leveldb::name::{FileName, log_name, table_name};
use crate::leveldb::scan::{Budget, Scan};
use crate::leveldb::shape::{Shape, TableExtension};
use crate::leveldb::version::Version;

/// Sources beyond this do not keep their files open.
const OPEN_FILES_MAX: usize = 200;

/// Longest CURRENT that is believed to be one, bytes.
const CURRENT_BYTES_MAX: u64 = 4096;

/// A database whose CURRENT, MANIFEST and logs have been read.
pub struct Database {
    path: PathBuf,
    manifest: String,
    version: Version,
    /// Live tables that are there.
    extensions: BTreeMap<u64, TableExtension>,
    logs: Vec<u64>,
    memtable: Memtable,
    log_report: LogReport,
    budget: Budget,
}

/// A file that is part of the database's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseFile {
    /// Its name within the directory.
    pub name: String,
    /// Its size, bytes.
    pub len: u64,
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
    pub damage: Vec<Damage>,
    /// Writes that were under way: normal, and not damage.
    pub torn_tails: Vec<TornTail>,
    /// Live tables by the MANIFEST.
    pub tables: u64,
    /// Operations in the logs.
    pub log_entries: u64,
    /// Entries in tables, hidden ones and deletions included.
    pub table_entries: u64,
    /// Bytes read, logs included.
    pub bytes_read: u64,
}

impl Database {
    /// Reads CURRENT, MANIFEST and the live logs of a directory that nobody writes to. [`Kind::NotLevelDb`] when it
    /// is none (or RocksDB's); [`Kind::Corrupt`] when it is one and its list of files cannot be had: then no result
    /// would be better than a shorter one, and only the files themselves can be kept.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, Budget::default()).act(|| format!("database {}", path.display()))
    }

    /// [`Database::open`] with other memory bounds.
    pub fn open_with(path: &Path, budget: Budget) -> Result<Self> {
        let names = names(path)?;
        match judge(path, &names) {
            Detected::LevelDb(_) => {}
            Detected::RocksDb(why) => return Err(Error::new(Kind::NotLevelDb, format!("RocksDB: {why}"))),
            Detected::Other => return Err(Error::new(Kind::NotLevelDb, "no LevelDB here")),
        }
        let manifest = read_current(path, &names)?;
        let version = read_manifest(path, &manifest).act(|| manifest.clone())?;
        let (mut extensions, mut logs) = (BTreeMap::new(), Vec::new());
        for name in &names {
            match FileName::parse(name) {
                // Where both names exist LevelDB reads .ldb, which sorts first.
                Some(FileName::Table(number, extension)) => {
                    extensions.entry(number).or_insert(extension);
                }
                Some(FileName::Log(number)) if version.is_live_log(number) => logs.push(number),
                _ => {}
            }
        }
        logs.sort_unstable();
        let live: std::collections::BTreeSet<u64> =
            version.tables.keys().map(|&(_, number)| number).collect();
        extensions.retain(|number, _| live.contains(number));
        // With number 0 (a repaired or a restored database) every log counts, and there may be none.
        let missing = Some(version.log_number).filter(|number| *number > 0 && !logs.contains(number));
        let extension = |number: u64| extensions.get(&number).copied();
        let files = Directory {
            path,
            table_extension: &extension,
            keep_open: true,
        };
        let (memtable, log_report) = Memtable::read(
            &files,
            &version.comparator,
            logs.clone(),
            missing,
            version.last_sequence,
            budget.log_bytes_max,
        );
        Ok(Self {
            path: path.to_owned(),
            manifest,
            version,
            extensions,
            logs,
            memtable,
            log_report,
            budget,
        })
    }

    /// The order of its keys. An unknown one cannot be scanned.
    pub fn comparator(&self) -> &Comparator {
        &self.version.comparator
    }

    /// Sequence number of its newest entry, logs included.
    pub fn last_sequence(&self) -> u64 {
        self.version.last_sequence.max(self.log_report.last_sequence)
    }

    /// The state its MANIFEST records.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// How its files are laid out, from a sample of its tables.
    pub fn shape(&self) -> Shape {
        let tables = self.all_tables();
        let mut shape = self.with_files(tables.len(), |files| {
            sample::shape(files, &self.path, &tables, self.version.comparator.name())
        });
        shape.last_sequence = self.last_sequence();
        shape.next_file = self.version.next_file;
        shape
    }

    /// The files that make up its state: CURRENT, MANIFEST, the live tables that are there, the live logs.
    pub fn files(&self) -> Result<Vec<DatabaseFile>> {
        let tables = self
            .extensions
            .iter()
            .map(|(number, extension)| table_name(*number, *extension));
        let logs = self.logs.iter().map(|number| log_name(*number));
        ["CURRENT".to_owned(), self.manifest.clone()]
            .into_iter()
            .chain(tables)
            .chain(logs)
            .map(|name| {
                let (_, len) = open_regular(&self.path.join(&name))?;
                Ok(DatabaseFile { name, len })
            })
            .collect()
    }

    /// Hands every visible record to `sink`, in key order, and checks everything it reads. Damage does not end it:
    /// what can be read is handed out, and the outcome lists what cannot. Fails when the sink does, and for an
    /// unknown comparator ([`Kind::Usage`]).
    pub fn scan(&self, sink: &mut dyn RecordSink) -> Result<ScanOutcome> {
        let order = self.comparator();
        if !order.is_known() {
            let what = format!("the order of comparator {:?} is not known", order.name());
            return Err(Error::new(Kind::Usage, what).act(format!("scan {}", self.path.display())));
        }
        let (chains, overlaps) = self.chains();
        self.with_files(chains.len(), |files| {
            let scan = Scan::new(files, order, self.budget.for_sources(chains.len()));
            self.report_logs(&scan);
            for table in &overlaps {
                let what = "it overlaps another table of its level".to_owned();
                scan.findings.borrow_mut().list(table.damage(what));
            }
            let mut sources: Vec<Source> = chains
                .into_iter()
                .map(|tables| Source::Tables(Box::new(Chain::new(&scan, tables))))
                .collect();
            sources.push(Source::Logs(Box::new(self.memtable.cursor(&scan))));
            let counts = merge(&scan, sources, sink)?;
            Ok(self.outcome(scan, counts))
        })
    }

    /// Checks every table and log without the order of keys, for databases that cannot be scanned.
    pub fn verify(&self) -> Result<ScanOutcome> {
        let tables = self.all_tables();
        self.with_files(1, |files| {
            let scan = Scan::new(files, self.comparator(), self.budget);
            self.report_logs(&scan);
            for table in tables {
                let mut chain = Chain::new(&scan, vec![table]);
                while chain.advance() != Step::End {}
            }
            Ok(self.outcome(scan, MergeCounts::default()))
        })
    }

    fn report_logs(&self, scan: &Scan) {
        self.log_report.report_to(&mut scan.findings.borrow_mut());
        scan.bytes_read.set(scan.bytes_read.get() + self.log_report.bytes);
    }

    fn outcome(&self, scan: Scan, counts: MergeCounts) -> ScanOutcome {
        ScanOutcome {
            records: counts.records,
            uncertain: counts.uncertain,
            uncertain_deletions: counts.uncertain_deletions,
            key_bytes: counts.key_bytes,
            value_bytes: counts.value_bytes,
            torn_tails: self.log_report.torn_tails.clone(),
            tables: self.version.tables.len() as u64,
            log_entries: self.log_report.entries,
            table_entries: scan.table_entries.get(),
            bytes_read: scan.bytes_read.get(),
            damage: scan.findings.into_inner().into_damage(),
        }
    }

    fn with_files<T>(&self, sources: usize, use_files: impl FnOnce(&Directory) -> T) -> T {
        let extension = |number: u64| self.extensions.get(&number).copied();
        use_files(&Directory {
            path: &self.path,
            table_extension: &extension,
            keep_open: sources <= OPEN_FILES_MAX,
        })
    }

    fn all_tables(&self) -> Vec<ChainTable> {
        let numbers_tell_age = self.version.log_number > 0;
        self.version
            .tables
            .iter()
            .map(|(&(level, number), meta)| ChainTable {
                meta: meta.clone(),
                level,
                rank: Rank::of_table(level, number, numbers_tell_age),
                extension: self.extensions.get(&number).copied().unwrap_or_default(),
            })
            .collect()
    }

    /// Tables in rows that do not overlap: a row for each level below 0, and as few as possible for level 0. The
    /// second list has tables that overlap another of their level where none may.
    fn chains(&self) -> (Vec<Vec<ChainTable>>, Vec<ChainTable>) {
        let order = self.comparator();
        let mut levels: BTreeMap<u8, Vec<ChainTable>> = BTreeMap::new();
        for table in self.all_tables() {
            levels.entry(table.level).or_default().push(table);
        }
        let (mut chains, mut overlaps) = (Vec::new(), Vec::new());
        for (level, tables) in levels {
            let rows = in_rows(order, tables);
            if level > 0 {
                overlaps.extend(rows.iter().skip(1).flatten().cloned());
            }
            chains.extend(rows);
        }
        (chains, overlaps)
    }
}

/// Puts each table, by its smallest key, behind the first row that ends before it.
fn in_rows(order: &Comparator, mut tables: Vec<ChainTable>) -> Vec<Vec<ChainTable>> {
    tables.sort_by(|a, b| compare_internal(order, &a.meta.smallest, &b.meta.smallest));
    let mut rows: Vec<Vec<ChainTable>> = Vec::new();
    for table in tables {
        let ends_before = |row: &&mut Vec<ChainTable>| {
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

/// The MANIFEST that CURRENT names.
fn read_current(path: &Path, names: &[String]) -> Result<String> {
    if !names.iter().any(|name| name == "CURRENT") {
        return Err(Error::corrupt("CURRENT is missing"));
    }
    let text = read_small(&path.join("CURRENT"))?;
    let name = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.strip_suffix('\n'));
    match name.map(|name| (name, FileName::parse(name))) {
        Some((name, Some(FileName::Manifest(_)))) => Ok(name.to_owned()),
        _ if is_alone(names) => Err(Error::new(Kind::NotLevelDb, "CURRENT names no MANIFEST")),
        _ => Err(Error::corrupt("CURRENT names no MANIFEST")),
    }
}

fn read_small(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let (file, _) = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(CURRENT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .act(|| format!("read {}", path.display()))?;
    Ok(bytes)
}

/// A file called CURRENT among files of which none is LevelDB's.
fn is_alone(names: &[String]) -> bool {
    names
        .iter()
        .all(|name| matches!(FileName::parse(name), None | Some(FileName::Current)))
}

/// All edits of a MANIFEST, applied. An edit that was being written is left out, as LevelDB does; anything else that
/// cannot be read makes the whole unusable, for an edit less is another set of files.
fn read_manifest(path: &Path, name: &str) -> Result<Version> {
    let file = open_regular(&path.join(name)).map_err(|error| match error.kind() {
        Kind::NotFound => error.as_kind(Kind::Corrupt),
        _ => error,
    })?;
    version_of_manifest(&OpenFile(file.0, file.1))
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
