//! Tries to capture a database, reusing what earlier tries hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::directory_fingerprint::DirectoryFingerprint;
use super::held_tables::HeldTables;
use super::retry_causes::{OwnerChange, RetryCause, RetryHistory, SuspectedDamage};
use super::running_repair;
use super::{CaptureOptions, CaptureStep, CapturedFiles, CutPoint, now};
use crate::clock::UnixNanos;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::{HeldDirectory, device_and_inode};
use crate::leveldb::damage::TornTail;
use crate::leveldb::file_name::{FileName, log_name};
use crate::leveldb::log_cut_point::{LogContinuity, LogEnd};
use crate::leveldb::manifest::{ManifestReader, version_of_manifest};
use crate::leveldb::missing_log::MissingLog;
use crate::leveldb::version::Version;
use crate::source::bounded_file::BoundedFile;
use crate::source::current_file::{self, CurrentFile};
use crate::source::detect_database::list_utf8_names;
use crate::source::file_set::{DatabaseFile, FileSet, HeldBytes, HeldLog, HeldName, LogProof};
use crate::source::unsynced_bytes::unsynced_bytes;
use crate::source::wait_for_settling::was_written_lately;
use crate::source::walk::FileFingerprint;

/// A table that is younger than its MANIFEST by no more than this is waited for ...
const RECENT_COPY_NANOS: i64 = 500_000_000;

/// ... no longer than this.
const COPY_WAIT_MAX: Duration = Duration::from_secs(3);

/// Why a try ends.
pub(super) enum AttemptEnd {
    /// Another try may do better.
    Retry(RetryCause),
    /// None will.
    Failure(Error),
}

impl From<Error> for AttemptEnd {
    fn from(error: Error) -> Self {
        Self::Failure(error)
    }
}

impl From<RetryCause> for AttemptEnd {
    fn from(setback: RetryCause) -> Self {
        Self::Retry(setback)
    }
}

/// What all tries share.
pub(super) struct CaptureAttempts<'a> {
    capture: &'a CaptureOptions<'a>,
    /// Holds what has the database's path now.
    hold: &'a dyn Fn() -> Result<HeldDirectory>,
    directory: HeldDirectory,
    manifest: Option<OpenManifest>,
    held_tables: HeldTables,
    begin: Instant,
}

struct OpenManifest {
    current: CurrentFile,
    file: Arc<File>,
    reader: ManifestReader,
    /// Before it was last read, and the version that came of it.
    read: Option<(FileFingerprint, Version)>,
}

/// What a try that succeeded has read; the tables are held by the pins.
pub(super) struct AttemptResult {
    current: CurrentFile,
    version: Version,
    manifest_stamp: Option<FileFingerprint>,
    /// First byte behind the edits that `version` comes from.
    manifest_len: u64,
    logs: CapturedLogs,
}

struct CapturedLogs {
    held: BTreeMap<u64, HeldLog>,
    time: UnixNanos,
    last_sequence: u64,
    unsynced_bytes: Option<u64>,
}

/// A log by its number; not open if it is no regular file: then whoever reads it says so.
type OpenLog = (u64, Option<Arc<File>>);

impl<'a> CaptureAttempts<'a> {
    pub fn new(
        capture: &'a CaptureOptions<'a>,
        hold: &'a dyn Fn() -> Result<HeldDirectory>,
        directory: HeldDirectory,
    ) -> Self {
        Self {
            held_tables: HeldTables::new(
                &directory,
                capture.hold,
                capture.scratch.as_deref(),
                capture.pins.clone(),
                &capture.touched,
            ),
            capture,
            hold,
            directory,
            manifest: None,
            begin: Instant::now(),
        }
    }

    pub fn attempt(&mut self, setbacks: &RetryHistory) -> Result<AttemptResult, AttemptEnd> {
        self.follow_moved_directory()?;
        let (current, version) = self.read_version()?;
        let (manifest_len, manifest_stamp) = self.manifest_read();
        self.hold_tables(&current, &version, setbacks)?;
        let open = self.open_logs(&current, &version, setbacks)?;
        let logs = self.read_logs(&current, &version, open, setbacks)?;
        self.capture.announce_step(CaptureStep::Recheck);
        if !self.held_tables.all_are_unchanged() || self.is_being_copied(manifest_stamp) {
            return Err(RetryCause::Race(OwnerChange::Table).into());
        }
        self.check_current_unchanged(&current)?;
        if !self.is_directory_unmoved()? {
            return Err(RetryCause::Race(OwnerChange::Directory).into());
        }
        Ok(AttemptResult {
            current,
            version,
            manifest_stamp,
            manifest_len,
            logs,
        })
    }

    /// True if a table was written a moment ago and behind the MANIFEST: it seems to be one of a copy under way, whose
    /// MANIFEST is still to come. Where MANIFESTs are written through a map their times tell less, so nobody waits long.
    fn is_being_copied(&self, manifest: Option<FileFingerprint>) -> bool {
        let since = i128::from(now().0.saturating_sub(RECENT_COPY_NANOS));
        let behind = manifest.map_or(0, |manifest| manifest.mtime_nanos).max(since);
        self.begin.elapsed() < COPY_WAIT_MAX && self.held_tables.has_table_written_after(behind)
    }

    /// True if what was a database a moment ago is none now, as between destruction and rebuilding. Another kind of
    /// database is no such thing.
    pub fn is_database_gone(&self, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::NotFound => true,
            ErrorKind::NotLevelDb => was_written_lately(&self.directory, "CURRENT"),
            _ => false,
        }
    }

    /// What is there, to tell whether somebody is at work.
    pub fn fingerprint_directory(&self) -> DirectoryFingerprint {
        DirectoryFingerprint::of(&self.directory)
    }

    /// One directory may take the place of another by a rename. That one is held from now on, and nothing of the other.
    fn follow_moved_directory(&mut self) -> Result<(), AttemptEnd> {
        if !self.is_directory_unmoved()? {
            self.directory = (self.hold)().map_err(|_| RetryCause::Race(OwnerChange::Directory))?;
            self.manifest = None;
            self.held_tables.switch_directory(&self.directory);
        }
        Ok(())
    }

    fn is_directory_unmoved(&self) -> Result<bool, AttemptEnd> {
        let now = (self.hold)().and_then(|now| now.stat_self());
        let now = now.map_err(|_| RetryCause::Race(OwnerChange::Directory))?;
        Ok(device_and_inode(&now) == device_and_inode(&self.directory.stat_self()?))
    }

    pub fn finish(self, found: AttemptResult, duration: Duration, retries: u32) -> Result<CapturedFiles> {
        let manifest = self
            .manifest
            .ok_or_else(|| Error::corrupt("no MANIFEST was read"))?;
        let (tables, held_by, pools) = self.held_tables.finish();
        let name = found.current.manifest;
        Ok(CapturedFiles {
            files: FileSet {
                current: DatabaseFile::in_memory(&self.directory, "CURRENT".to_owned(), found.current.bytes)
                    .with_companion(&manifest.file),
                manifest: DatabaseFile::new(name, found.manifest_len, HeldBytes::Descriptor(manifest.file)),
                manifest_fingerprint: found.manifest_stamp,
                directory: self.directory,
                tables,
                logs: found.logs.held,
                hold_directories: pools,
                pins: self.capture.pins.clone(),
            },
            version: found.version,
            details: CutPoint {
                time: found.logs.time,
                duration,
                retries,
                held_by,
                last_sequence: found.logs.last_sequence,
                unsynced_bytes: found.logs.unsynced_bytes,
            },
        })
    }

    fn read_version(&mut self) -> Result<(CurrentFile, Version), AttemptEnd> {
        self.capture.announce_step(CaptureStep::Current);
        let current = current_file::read(&self.directory).map_err(unreadable)?;
        self.capture.announce_step(CaptureStep::Manifest);
        let version = self.read_manifest(&current)?;
        Ok((current, version))
    }

    /// The version that the MANIFEST's whole edits leave now; only what was appended is read. Behind another MANIFEST
    /// than before, no table that is held is known to be its: file numbers begin anew.
    fn read_manifest(&mut self, current: &CurrentFile) -> Result<Version, AttemptEnd> {
        let directory = &self.directory;
        let known = self
            .manifest
            .take()
            .filter(|known| {
                known.current.is_same(current) && is_file(&known.file, directory, &current.manifest)
            })
            .filter(OpenManifest::is_unchanged);
        let mut manifest = match known {
            Some(known) => known,
            None => {
                self.held_tables.release_all_but(&BTreeSet::new());
                let file = directory.open_file(&current.manifest);
                OpenManifest {
                    current: current.clone(),
                    file: Arc::new(file.map_err(missing_as_corrupt)?.0),
                    reader: ManifestReader::default(),
                    read: None,
                }
            }
        };
        let version = manifest.read_new_edits();
        if version.is_ok() {
            self.manifest = Some(manifest);
        }
        version.map_err(|error| unreadable(error.context(current.manifest.clone())))
    }

    /// How many of its bytes were read, and what it was before.
    fn manifest_read(&self) -> (u64, Option<FileFingerprint>) {
        let manifest = self.manifest.as_ref();
        let stamp = manifest.and_then(|manifest| manifest.read.as_ref());
        (
            manifest.map_or(0, |manifest| manifest.reader.read_position()),
            stamp.map(|(stamp, _)| *stamp),
        )
    }

    fn check_current_unchanged(&self, current: &CurrentFile) -> Result<(), AttemptEnd> {
        if !matches!(current_file::read(&self.directory), Ok(now) if now.is_same(current)) {
            return Err(RetryCause::Race(OwnerChange::Current).into());
        }
        match &self.manifest {
            Some(manifest)
                if is_file(&manifest.file, &self.directory, &current.manifest) && manifest.is_unchanged() =>
            {
                Ok(())
            }
            _ => Err(RetryCause::Race(OwnerChange::Manifest).into()),
        }
    }

    /// What the MANIFEST says now, if it is still the same one.
    fn read_again(&mut self, current: &CurrentFile) -> Result<Version, AttemptEnd> {
        self.check_current_unchanged(current)?;
        self.read_manifest(current)
    }

    fn hold_tables(
        &mut self,
        current: &CurrentFile,
        version: &Version,
        setbacks: &RetryHistory,
    ) -> Result<(), AttemptEnd> {
        let numbers: BTreeSet<u64> = version.tables.keys().map(|(_, number)| *number).collect();
        self.held_tables.release_all_but(&numbers);
        for &number in &numbers {
            if self.held_tables.holds(number) {
                continue;
            }
            self.capture.announce_step(CaptureStep::Table);
            let held = match self.held_tables.hold(number) {
                Err(error) if error.kind() == ErrorKind::Torn => {
                    return Err(RetryCause::Race(OwnerChange::Table).into());
                }
                held => held?,
            };
            if held || setbacks.is_confirmed(&SuspectedDamage::MissingTable(number)) {
                continue;
            }
            let now = self.read_again(current)?;
            let named = now.tables.keys().any(|(_, live)| *live == number);
            return Err(self.race_or_suspected_damage(
                !named,
                OwnerChange::Table,
                SuspectedDamage::MissingTable(number),
            ));
        }
        self.check_lengths(version, setbacks)
    }

    /// A table of another length than the MANIFEST says, and not proven otherwise, may be one that is being copied here.
    fn check_lengths(&mut self, version: &Version, setbacks: &RetryHistory) -> Result<(), AttemptEnd> {
        for meta in version.tables.values() {
            let Some(len) = self.held_tables.unexpected_len(meta) else {
                continue;
            };
            let fault = SuspectedDamage::TableLength(meta.number, len);
            if !setbacks.is_confirmed(&fault) {
                self.held_tables.release(meta.number);
                return Err(RetryCause::SuspectedDamage(fault).into());
            }
        }
        Ok(())
    }

    fn open_logs(
        &mut self,
        current: &CurrentFile,
        version: &Version,
        setbacks: &RetryHistory,
    ) -> Result<Vec<OpenLog>, AttemptEnd> {
        self.capture.announce_step(CaptureStep::List);
        let names = list_utf8_names(&self.directory).map_err(missing_as_race)?;
        let mut numbers: BTreeSet<u64> = names
            .iter()
            .filter_map(|name| match FileName::parse(name) {
                Some(FileName::Log(number)) if version.is_live_log(number) => Some(number),
                _ => None,
            })
            .collect();
        let absent = version.absent_log(numbers.iter().copied());
        if version.log_number > 0 {
            numbers.insert(version.log_number);
        }
        let mut open = Vec::new();
        for number in numbers {
            self.capture.announce_step(CaptureStep::Log);
            match self.directory.open_file(log_name(number)) {
                Ok((file, _)) => open.push((number, Some(Arc::new(file)))),
                Err(error) if error.kind() == ErrorKind::Corrupt => open.push((number, None)),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.explain_absent_log(current, number, absent, setbacks)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if version.log_number == 0 && self.read_again(current)?.log_number != 0 {
            return Err(RetryCause::Race(OwnerChange::Log).into());
        }
        Ok(open)
    }

    fn explain_absent_log(
        &mut self,
        current: &CurrentFile,
        number: u64,
        absent: Option<MissingLog>,
        setbacks: &RetryHistory,
    ) -> Result<(), AttemptEnd> {
        if setbacks.is_confirmed(&SuspectedDamage::MissingLog(number)) {
            return Ok(());
        }
        let is_live = self.read_again(current)?.is_live_log(number);
        match absent {
            Some(MissingLog::LostIfGap(named)) if named == number && is_live => Ok(()),
            _ => Err(self.race_or_suspected_damage(
                !is_live,
                OwnerChange::Log,
                SuspectedDamage::MissingLog(number),
            )),
        }
    }

    fn read_logs(
        &mut self,
        current: &CurrentFile,
        version: &Version,
        open: Vec<OpenLog>,
        setbacks: &RetryHistory,
    ) -> Result<CapturedLogs, AttemptEnd> {
        self.capture.announce_step(CaptureStep::ReadLogs);
        let mut run = LogContinuity::new(version.last_sequence);
        let time = now();
        let newest = open.len().saturating_sub(1);
        let mut held = BTreeMap::new();
        let mut unsynced = Some(0);
        for (index, (number, file)) in open.into_iter().enumerate() {
            let Some(file) = file else {
                held.insert(number, self.irregular_log(number));
                continue;
            };
            let stamp = FileFingerprint::of(&file.metadata().context(|| log_name(number))?);
            let len = stamp.len;
            let end = run.read(&BoundedFile(Arc::clone(&file), len));
            unsynced = unsynced
                .zip(unsynced_bytes(&file, len))
                .map(|(all, one)| all + one);
            held.insert(number, held_log(number, file, stamp, end, index == newest));
        }
        self.check_log_continuity(current, version, &run, setbacks)?;
        Ok(CapturedLogs {
            held,
            time,
            last_sequence: run.last_sequence(),
            unsynced_bytes: unsynced,
        })
    }

    fn irregular_log(&self, number: u64) -> HeldLog {
        HeldLog {
            len: 0,
            held: HeldBytes::ByName(HeldName::new(&self.directory, log_name(number))),
            tail: None,
            proof: None,
        }
    }

    fn check_log_continuity(
        &mut self,
        current: &CurrentFile,
        version: &Version,
        run: &LogContinuity,
        setbacks: &RetryHistory,
    ) -> Result<(), AttemptEnd> {
        let unexplained = run
            .sequence_gaps()
            .iter()
            .copied()
            .find(|gap| !setbacks.is_confirmed(&SuspectedDamage::Gap(*gap)));
        if unexplained.is_none() && !run.crossed_gap() {
            return Ok(());
        }
        let now = self.read_again(current)?;
        match unexplained {
            Some(gap) => {
                let covered = gap.to <= now.last_sequence.saturating_add(1);
                Err(self.race_or_suspected_damage(covered, OwnerChange::Sequence, SuspectedDamage::Gap(gap)))
            }
            None if now.log_number == version.log_number => Ok(()),
            None => Err(RetryCause::Race(OwnerChange::Sequence).into()),
        }
    }

    /// What a repair has set aside is neither lost nor there: its MANIFEST comes last.
    fn race_or_suspected_damage(
        &self,
        explained: bool,
        moved: OwnerChange,
        fault: SuspectedDamage,
    ) -> AttemptEnd {
        if explained {
            return RetryCause::Race(moved).into();
        }
        let is_set_aside = fault
            .number()
            .is_some_and(|number| running_repair::has_moved_file(&self.directory, number));
        if is_set_aside {
            return RetryCause::Race(OwnerChange::Repair).into();
        }
        RetryCause::SuspectedDamage(fault).into()
    }
}

impl OpenManifest {
    /// The version that its whole edits leave now.
    fn read_new_edits(&mut self) -> Result<Version> {
        let stamp = FileFingerprint::of(&self.file.metadata().context(|| "stat the MANIFEST")?);
        let view = BoundedFile(Arc::clone(&self.file), stamp.len);
        let version = self.reader.read_new_edits(&view)?;
        self.read = Some((stamp, version.clone()));
        Ok(version)
    }

    /// True if what was read of it is still what it begins with: a copy over the database goes onto the same file.
    fn is_unchanged(&self) -> bool {
        let Some((stamp, version)) = &self.read else {
            return true;
        };
        let is_as_it_was = |facts| FileFingerprint::of(&facts).has_same_content(stamp);
        if self.file.metadata().is_ok_and(is_as_it_was) {
            return true;
        }
        let read = BoundedFile(Arc::clone(&self.file), self.reader.read_position());
        version_of_manifest(&read).is_ok_and(|now| now == *version)
    }
}

/// The newest log ends behind its last whole record; what the others hold is the reader's to judge.
fn held_log(number: u64, file: Arc<File>, stamp: FileFingerprint, end: LogEnd, is_newest: bool) -> HeldLog {
    let tail = end.tail.filter(|_| is_newest).map(|tail| TornTail {
        file: log_name(number),
        offset: end.cut,
        bytes_left: tail.to.max(end.cut) - end.cut,
    });
    HeldLog {
        len: if is_newest { end.cut } else { stamp.len },
        held: HeldBytes::Descriptor(file),
        tail,
        proof: Some(LogProof {
            fingerprint: stamp,
            content: end.content,
        }),
    }
}

fn unreadable(error: Error) -> AttemptEnd {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::Torn => RetryCause::Unreadable(error).into(),
        _ => error.into(),
    }
}

/// The MANIFEST that CURRENT names may be gone with the CURRENT that named it.
fn missing_as_corrupt(error: Error) -> AttemptEnd {
    match error.kind() {
        ErrorKind::NotFound => unreadable(error.with_kind(ErrorKind::Corrupt)),
        _ => unreadable(error),
    }
}

fn missing_as_race(error: Error) -> AttemptEnd {
    match error.kind() {
        ErrorKind::NotFound => RetryCause::Race(OwnerChange::Directory).into(),
        _ => error.into(),
    }
}

fn is_file(held: &File, directory: &HeldDirectory, name: &str) -> bool {
    match (held.metadata(), directory.stat(name)) {
        (Ok(held), Ok(named)) => (held.dev(), held.ino()) == device_and_inode(&named),
        _ => false,
    }
}
