//! Pins the files of a state.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;

use rayon::prelude::*;
use rustix::fs::Mode;

use super::parent_state::{directory_id, hash_file};
use super::pin_state::{PinState, PinnedFile, PinnedFileStat, PinnedTable};
use super::{DatabasePins, PinAge, STATE_FILE, STATE_TEMP_FILE};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::HeldDirectory;
use crate::id::ObjectId;
use crate::leveldb::file_name::log_name;
use crate::leveldb::manifest::version_of_manifest;
use crate::leveldb::version::Version;
use crate::scratch_directory::random_name;
use crate::source::bounded_file::BoundedFile;
use crate::source::database::Database;
use crate::source::file_set::{DatabaseFile, FileSet, HeldBytes, HeldName, HeldTable};
use crate::source::walk::FileFingerprint;

/// Bytes copied at once.
const COPY_STEP_BYTES: u64 = 1 << 20;

/// The files of a state that is to be pinned once its snapshot is durable.
pub struct StateToPin {
    files: FileSet,
    pins: Arc<DatabasePins>,
}

/// What is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedState {
    /// Tables.
    pub tables: u64,
    /// Bytes of them; links take none before the owner deletes the tables.
    pub bytes: u64,
}

impl StateToPin {
    /// What `database` is to be pinned by; `None` if it was captured without pins.
    pub fn from_database(database: Database) -> Option<Self> {
        let files = database.files;
        let pins = files.pins.clone()?;
        Some(Self { files, pins })
    }

    /// True if [`Captured::pin_logs`](crate::source::CapturedFiles::pin_logs) was not called, or failed.
    pub fn is_unpinnable(&self) -> bool {
        let held = self.pins.lock_capture_pins();
        let taken = |name: &str| held.files.contains_key(name);
        let logs = self.files.logs.keys().map(|number| log_name(*number));
        !taken(&self.files.manifest.name) || !logs.into_iter().all(|name| taken(&name))
    }

    /// Keeps nothing, of the state before either.
    pub fn discard(self) -> Result<()> {
        self.pins.remove_state()
    }

    /// Pins the state for `snapshot`, which is durable and has it as source number `source`. An error leaves nothing
    /// pinned or the state before.
    pub fn pin_for_snapshot(self, snapshot: ObjectId, source: u32) -> Result<PinnedState> {
        let pins = &self.pins;
        let tables = self.tables()?;
        let bytes = tables.values().map(|table| table.facts.len).sum();
        pins.check_space(bytes)?;
        if self.is_unpinnable() {
            return Err(Error::new(
                ErrorKind::Usage,
                "MANIFEST and logs were not copied before they were read",
            ));
        }
        let mut files = std::mem::take(&mut pins.lock_capture_pins().files);
        let current = &self.files.current;
        files.insert(
            current.name.clone(),
            pins.copy_file(current).context(|| "pin CURRENT")?,
        );
        for file in files.values() {
            let (copy, _) = pins.directory.open_file(&file.pin)?;
            copy.sync_all()
                .context(|| format!("sync {}", pins.display_path(&file.pin)))?;
        }
        let kept = PinnedState {
            tables: tables.len() as u64,
            bytes,
        };
        pins.write_state(&PinState {
            repository: pins.repository,
            snapshot,
            source,
            directory: directory_id(&self.files)?,
            tables,
            files,
        })?;
        Ok(kept)
    }

    /// Tables by which pin.
    fn tables(&self) -> Result<BTreeMap<u64, PinnedTable>> {
        let pins = &self.pins;
        let held_now = std::mem::take(&mut pins.lock_capture_pins().tables);
        let pinned = |(number, held): (&u64, &HeldTable)| {
            let is_it = |(_, table): &&(PinAge, PinnedTable)| matches!(&held.held, HeldBytes::ByName(named) if named.is_name_in(&pins.directory, &table.pin));
            match held_now.get(number).filter(is_it) {
                Some((age, table)) => pins.verify_table(*age, table).map(|table| (*number, table)),
                None => Err(Error::new(ErrorKind::Io, "its tables cannot be linked beside it")),
            }
        };
        self.files.tables.par_iter().map(pinned).collect()
    }
}

impl DatabasePins {
    /// The table if it is as it was when the capture held it, with its hash: its content decides when its name in the
    /// database goes, or a link of another program touches it. The owner may have deleted it since it was held.
    fn verify_table(&self, age: PinAge, table: &PinnedTable) -> Result<PinnedTable> {
        let facts = self.verify_pin_stat(table, &table.facts)?;
        let recorded = self
            .state
            .as_ref()
            .and_then(|state| state.tables.values().find(|other| other.pin == table.pin));
        let is_recorded =
            age == PinAge::Parent && recorded.is_some_and(|recorded| recorded.facts == table.facts);
        let mut pinned = table.clone();
        if table.hash.is_none() || !is_recorded {
            pinned.hash = Some(hash_file(&self.directory, &table.pin)?);
        }
        if !table.copied {
            pinned.facts = self.verify_pin_stat(table, &facts)?;
        }
        Ok(pinned)
    }

    /// What the pin is now, if nobody wrote to it since it was `then`.
    fn verify_pin_stat(&self, table: &PinnedTable, then: &PinnedFileStat) -> Result<PinnedFileStat> {
        let now = self.directory.stat(&table.pin);
        let now = now.context(|| format!("look at the pin of {}", table.name))?;
        let facts = PinnedFileStat::of_stat(&now);
        let deleted = now.st_nlink == 1 && facts.has_same_content(then);
        if table.copied || facts == *then || deleted {
            Ok(facts)
        } else {
            let what = format!("{} was touched behind its reading", table.name);
            Err(Error::new(ErrorKind::Mismatch, what))
        }
    }

    /// Copies MANIFEST and logs of a capture; the logs are read from the copies from now on.
    pub(in crate::source) fn pin_logs(&self, files: &mut FileSet, version: &Version) -> Result<()> {
        self.check_space(files.tables.values().map(|table| table.len).sum())?;
        let manifest = self.pin_file(&files.manifest)?;
        let copied = BoundedFile(Arc::new(manifest.open()?.0), files.manifest.len);
        if version_of_manifest(&copied).ok().as_ref() != Some(version) {
            return Err(Error::new(ErrorKind::Mismatch, "its MANIFEST was written over"));
        }
        let mut copies = Vec::new();
        for (number, log) in &files.logs {
            let file = DatabaseFile::new(log_name(*number), log.len, log.held.clone());
            copies.push(self.pin_file(&file)?);
        }
        for (log, copy) in files.logs.values_mut().zip(copies) {
            log.held = HeldBytes::ByName(copy);
        }
        Ok(())
    }

    fn pin_file(&self, file: &DatabaseFile) -> Result<HeldName> {
        let copy = self.copy_file(file).context(|| format!("pin {}", file.name))?;
        let named = HeldName::new(&self.directory, copy.pin.as_str());
        self.lock_capture_pins().files.insert(file.name.clone(), copy);
        Ok(named)
    }

    fn check_space(&self, bytes: u64) -> Result<()> {
        self.options.check_allowed(bytes, &self.directory)
    }

    /// Copies a file as far as it counts. Not yet durable.
    fn copy_file(&self, file: &DatabaseFile) -> Result<PinnedFile> {
        let from = file.open()?;
        let pin = random_name(b"cut-".to_vec())?.to_string_lossy().into_owned();
        let mut to = self.create(&pin)?;
        let (mut hasher, mut buffer, mut at) = (blake3::Hasher::new(), Vec::new(), 0);
        while at < from.len() {
            buffer.resize((from.len() - at).min(COPY_STEP_BYTES) as usize, 0);
            from.read_at(&mut buffer, at)?;
            hasher.update(&buffer);
            to.write_all(&buffer).context(|| format!("write {pin}"))?;
            at += buffer.len() as u64;
        }
        Ok(PinnedFile {
            pin,
            len: from.len(),
            hash: *hasher.finalize().as_bytes(),
        })
    }

    /// Copies a table; what the original was, if it was the same before and after.
    pub(super) fn copy_table(
        &self,
        pin: &str,
        database: &HeldDirectory,
        name: &str,
    ) -> Result<PinnedFileStat> {
        let (mut from, len) = database.open_file(name)?;
        let path = database.display_path(name);
        let before = from
            .metadata()
            .context(|| format!("look at {}", path.display()))?;
        let mut to = self.create(pin)?;
        let copied = std::io::copy(&mut (&mut from).take(len), &mut to)
            .context(|| format!("copy {}", path.display()))?;
        to.sync_all().context(|| format!("sync {pin}"))?;
        let was_not_written =
            |after| FileFingerprint::of(&after).has_same_content_but_links(&FileFingerprint::of(&before));
        match from.metadata().map(was_not_written) {
            Ok(true) if copied == len => Ok(PinnedFileStat::of(&before)),
            _ => Err(Error::new(
                ErrorKind::Torn,
                format!("{} changed under its copy", path.display()),
            )),
        }
    }

    fn create(&self, pin: &str) -> Result<File> {
        let made = self.directory.create_file(pin, Mode::RUSR | Mode::WUSR);
        made.context(|| format!("create {}", self.display_path(pin)))
    }

    fn write_state(&self, state: &PinState) -> Result<()> {
        let doing = || format!("write the state of {}", self.path().display());
        // One that a killed run left would be in the way.
        let _ = self.directory.remove_file(STATE_TEMP_FILE);
        let mut file = self.create(STATE_TEMP_FILE)?;
        file.write_all(&state.encode()?).context(doing)?;
        file.sync_all().context(doing)?;
        self.directory.sync().context(doing)?;
        self.directory
            .rename(STATE_TEMP_FILE, STATE_FILE)
            .context(doing)?;
        self.directory.sync().context(doing)
    }
}
