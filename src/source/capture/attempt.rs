//! One try after the other; each keeps what those before it hold and have read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::pins::Pins;
use super::setback::{Fault, Moved, Setback, Setbacks};
use super::{Capture, Captured, Cut, Step, now};
use crate::clock::UnixNanos;
use crate::error::{Act, Error, Kind, Result};
use crate::leveldb::absent_log::AbsentLog;
use crate::leveldb::damage::TornTail;
use crate::leveldb::log_cut::{Continuity, LogEnd};
use crate::leveldb::manifest::ManifestReader;
use crate::leveldb::name::{FileName, log_name};
use crate::leveldb::version::Version;
use crate::source::current::{self, Current};
use crate::source::detect::names;
use crate::source::file::{OpenFile, open_regular};
use crate::source::held::{DatabaseFile, FileSet, Held, HeldLog};
use crate::source::unsynced::unsynced_bytes;

/// Why a try ends.
pub(super) enum Stop {
    /// Another try may do better.
    Setback(Setback),
    /// None will.
    Failure(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failure(error)
    }
}

impl From<Setback> for Stop {
    fn from(setback: Setback) -> Self {
        Self::Setback(setback)
    }
}

/// What all tries share.
pub(super) struct Attempts<'a> {
    capture: &'a Capture<'a>,
    directory: PathBuf,
    manifest: Option<OpenManifest>,
    pins: Pins,
}

struct OpenManifest {
    current: Current,
    file: Arc<File>,
    reader: ManifestReader,
}

/// What a try that succeeded has read; the tables are held by the pins.
pub(super) struct Found {
    current: Current,
    version: Version,
    /// First byte behind the edits that `version` comes from.
    manifest_len: u64,
    logs: Logs,
}

struct Logs {
    held: BTreeMap<u64, HeldLog>,
    time: UnixNanos,
    last_sequence: u64,
    unsynced_bytes: Option<u64>,
}

/// A log that is open, by its number.
type OpenLog = (u64, Arc<File>);

impl<'a> Attempts<'a> {
    pub fn new(capture: &'a Capture<'a>, directory: PathBuf) -> Self {
        Self {
            pins: Pins::new(
                &directory,
                capture.hold,
                capture.scratch.as_deref(),
                capture.pins.clone(),
                &capture.touched,
            ),
            capture,
            directory,
            manifest: None,
        }
    }

    pub fn attempt(&mut self, setbacks: &Setbacks) -> Result<Found, Stop> {
        let (current, version) = self.read_version()?;
        let manifest_len = self.manifest_len();
        self.hold_tables(&current, &version, setbacks)?;
        let open = self.open_logs(&current, &version, setbacks)?;
        let logs = self.read_logs(&current, &version, open, setbacks)?;
        self.capture.step(Step::Recheck);
        self.current_stands(&current)?;
        Ok(Found {
            current,
            version,
            manifest_len,
            logs,
        })
    }

    pub fn finish(self, found: Found, duration: Duration, retries: u32) -> Result<Captured> {
        let manifest = self
            .manifest
            .ok_or_else(|| Error::corrupt("no MANIFEST was read"))?;
        let (tables, held_by, pools) = self.pins.finish();
        let name = found.current.manifest;
        Ok(Captured {
            files: FileSet {
                current: DatabaseFile::in_memory(&self.directory, "CURRENT".to_owned(), found.current.bytes),
                manifest: DatabaseFile::new(name, found.manifest_len, Held::Open(manifest.file)),
                directory: self.directory,
                tables,
                logs: found.logs.held,
                pools,
                pins: self.capture.pins.clone(),
            },
            version: found.version,
            cut: Cut {
                time: found.logs.time,
                duration,
                retries,
                held_by,
                last_sequence: found.logs.last_sequence,
                unsynced_bytes: found.logs.unsynced_bytes,
            },
        })
    }

    fn read_version(&mut self) -> Result<(Current, Version), Stop> {
        self.capture.step(Step::Current);
        let current = current::read(&self.directory).map_err(unreadable)?;
        self.capture.step(Step::Manifest);
        let version = self.read_manifest(&current)?;
        Ok((current, version))
    }

    /// The version that the MANIFEST's whole edits leave now; only what was appended is read.
    fn read_manifest(&mut self, current: &Current) -> Result<Version, Stop> {
        let path = self.directory.join(&current.manifest);
        let known = self
            .manifest
            .take()
            .filter(|known| known.current == *current && is_file(&known.file, &path));
        let mut manifest = match known {
            Some(known) => known,
            None => OpenManifest {
                current: current.clone(),
                file: Arc::new(open_regular(&path).map_err(missing_is_corrupt)?.0),
                reader: ManifestReader::default(),
            },
        };
        let len = manifest.file.metadata().act(|| "stat the MANIFEST")?.len();
        let view = OpenFile(Arc::clone(&manifest.file), len);
        let version = manifest.reader.read_on(&view);
        if version.is_ok() {
            self.manifest = Some(manifest);
        }
        version.map_err(|error| unreadable(error.act(current.manifest.clone())))
    }

    fn manifest_len(&self) -> u64 {
        self.manifest
            .as_ref()
            .map_or(0, |manifest| manifest.reader.read_to())
    }

    fn current_stands(&self, current: &Current) -> Result<(), Stop> {
        if !matches!(current::read(&self.directory), Ok(now) if now == *current) {
            return Err(Setback::Race(Moved::Current).into());
        }
        let path = self.directory.join(&current.manifest);
        match &self.manifest {
            Some(manifest) if is_file(&manifest.file, &path) => Ok(()),
            _ => Err(Setback::Race(Moved::Manifest).into()),
        }
    }

    /// What the MANIFEST says now, if it is still the same one.
    fn read_again(&mut self, current: &Current) -> Result<Version, Stop> {
        self.current_stands(current)?;
        self.read_manifest(current)
    }

    fn hold_tables(&mut self, current: &Current, version: &Version, setbacks: &Setbacks) -> Result<(), Stop> {
        let numbers: BTreeSet<u64> = version.tables.keys().map(|(_, number)| *number).collect();
        self.pins.keep_only(&numbers);
        for &number in &numbers {
            if self.pins.holds(number) {
                continue;
            }
            self.capture.step(Step::Table);
            if self.pins.hold(number)? || setbacks.stays(&Fault::NoTable(number)) {
                continue;
            }
            let now = self.read_again(current)?;
            let named = now.tables.keys().any(|(_, live)| *live == number);
            return Err(race_or_fault(!named, Moved::Table, Fault::NoTable(number)));
        }
        Ok(())
    }

    fn open_logs(
        &mut self,
        current: &Current,
        version: &Version,
        setbacks: &Setbacks,
    ) -> Result<Vec<OpenLog>, Stop> {
        self.capture.step(Step::List);
        let mut numbers: BTreeSet<u64> = names(&self.directory)?
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
            self.capture.step(Step::Log);
            match open_regular(&self.directory.join(log_name(number))) {
                Ok((file, _)) => open.push((number, Arc::new(file))),
                Err(error) if error.kind() == Kind::NotFound => {
                    self.explain_absent_log(current, number, absent, setbacks)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if version.log_number == 0 && self.read_again(current)?.log_number != 0 {
            return Err(Setback::Race(Moved::Log).into());
        }
        Ok(open)
    }

    fn explain_absent_log(
        &mut self,
        current: &Current,
        number: u64,
        absent: Option<AbsentLog>,
        setbacks: &Setbacks,
    ) -> Result<(), Stop> {
        if setbacks.stays(&Fault::NoLog(number)) {
            return Ok(());
        }
        let is_live = self.read_again(current)?.is_live_log(number);
        match absent {
            Some(AbsentLog::LostIfGap(named)) if named == number && is_live => Ok(()),
            _ => Err(race_or_fault(!is_live, Moved::Log, Fault::NoLog(number))),
        }
    }

    fn read_logs(
        &mut self,
        current: &Current,
        version: &Version,
        open: Vec<OpenLog>,
        setbacks: &Setbacks,
    ) -> Result<Logs, Stop> {
        self.capture.step(Step::Read);
        let mut run = Continuity::new(version.last_sequence);
        let time = now();
        let newest = open.len().saturating_sub(1);
        let mut held = BTreeMap::new();
        let mut unsynced = Some(0);
        for (index, (number, file)) in open.into_iter().enumerate() {
            let len = file.metadata().act(|| log_name(number))?.len();
            let end = run.read(&OpenFile(Arc::clone(&file), len));
            unsynced = unsynced
                .zip(unsynced_bytes(&file, len))
                .map(|(all, one)| all + one);
            held.insert(number, held_log(number, file, len, end, index == newest));
        }
        self.accept_run(current, version, &run, setbacks)?;
        Ok(Logs {
            held,
            time,
            last_sequence: run.last_sequence(),
            unsynced_bytes: unsynced,
        })
    }

    fn accept_run(
        &mut self,
        current: &Current,
        version: &Version,
        run: &Continuity,
        setbacks: &Setbacks,
    ) -> Result<(), Stop> {
        let unexplained = run
            .gaps()
            .iter()
            .copied()
            .find(|gap| !setbacks.stays(&Fault::Gap(*gap)));
        if unexplained.is_none() && !run.crossed() {
            return Ok(());
        }
        let now = self.read_again(current)?;
        match unexplained {
            Some(gap) => {
                let covered = gap.to <= now.last_sequence.saturating_add(1);
                Err(race_or_fault(covered, Moved::Sequence, Fault::Gap(gap)))
            }
            None if now.log_number == version.log_number => Ok(()),
            None => Err(Setback::Race(Moved::Sequence).into()),
        }
    }
}

/// The newest log ends behind its last whole record; what the others hold is the reader's to judge.
fn held_log(number: u64, file: Arc<File>, len: u64, end: LogEnd, is_newest: bool) -> HeldLog {
    let tail = end.tail.filter(|_| is_newest).map(|tail| TornTail {
        file: log_name(number),
        offset: end.cut,
        bytes_left: tail.to.max(end.cut) - end.cut,
    });
    HeldLog {
        len: if is_newest { end.cut } else { len },
        held: Held::Open(file),
        tail,
    }
}

fn race_or_fault(explained: bool, moved: Moved, fault: Fault) -> Stop {
    match explained {
        true => Setback::Race(moved).into(),
        false => Setback::Fault(fault).into(),
    }
}

fn unreadable(error: Error) -> Stop {
    match error.kind() {
        Kind::Corrupt | Kind::Torn => Setback::Unreadable(error).into(),
        _ => error.into(),
    }
}

/// The MANIFEST that CURRENT names may be gone with the CURRENT that named it.
fn missing_is_corrupt(error: Error) -> Stop {
    match error.kind() {
        Kind::NotFound => unreadable(error.as_kind(Kind::Corrupt)),
        _ => unreadable(error),
    }
}

fn is_file(held: &File, path: &std::path::Path) -> bool {
    match (held.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(named)) => held.ino() == named.ino() && held.dev() == named.dev(),
        _ => false,
    }
}
