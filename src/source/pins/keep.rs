//! Keeping a state's files until the next backup.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use rustix::fs::{Mode, OFlags, openat};

use super::before::hash_of;
use super::state::{Facts, PinnedFile, PinnedTable, State};
use super::{CACHE_TAG, CACHE_TAG_TEXT, Pins, STATE, STATE_NEW};
use crate::error::{Act, Error, Kind, Result};
use crate::id::ObjectId;
use crate::leveldb::name::FileName;
use crate::scratch::random_name;
use crate::source::database::Database;
use crate::source::file::open_regular;
use crate::source::held::{DatabaseFile, FileSet, Held, HeldTable};

/// Bytes copied at once.
const STEP: u64 = 1 << 20;

/// The files of a state that is to be pinned once its snapshot is durable.
pub struct ToPin {
    files: FileSet,
    pins: Arc<Pins>,
}

/// When a table was pinned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    /// By this process.
    Fresh,
    /// For the state before.
    Before,
}

/// What is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Tables.
    pub tables: u64,
    /// Bytes of them; links take none before the owner deletes the tables.
    pub bytes: u64,
}

impl ToPin {
    /// What `database` is to be pinned by; `None` if it was captured without pins.
    pub fn of(database: Database) -> Option<Self> {
        let files = database.files;
        let pins = files.pins.clone()?;
        Some(Self { files, pins })
    }

    /// Keeps nothing, of the state before either.
    pub fn forget(self) -> Result<()> {
        self.pins.forget()
    }

    /// Pins the state for `snapshot`, which is durable and has it under the name `database`. An error leaves nothing
    /// pinned or the state before.
    pub fn keep(self, snapshot: ObjectId, database: &str) -> Result<Kept> {
        let pins = &self.pins;
        let tables = self.tables()?;
        let bytes = tables.values().map(|table| table.facts.len).sum();
        pins.may_keep(bytes)?;
        let mut files = BTreeMap::new();
        let is_log = |file: &DatabaseFile| matches!(FileName::parse(&file.name), Some(FileName::Log(_)));
        let logs = self.files.all().filter(is_log);
        for file in [self.files.current.clone(), self.files.manifest.clone()]
            .into_iter()
            .chain(logs)
        {
            let copy = pins.copy(&file).act(|| format!("pin {}", file.name))?;
            files.insert(file.name, copy);
        }
        let kept = Kept {
            tables: tables.len() as u64,
            bytes,
        };
        pins.publish(&State {
            repository: pins.repository,
            snapshot,
            database: database.to_owned(),
            tables,
            files,
        })?;
        Ok(kept)
    }

    /// Tables by which pin. Hashes are recorded from the second backup on: the first would read all tables again.
    fn tables(&self) -> Result<BTreeMap<u64, PinnedTable>> {
        let pins = &self.pins;
        let fresh = pins.fresh();
        let pinned = |(number, held): (&u64, &HeldTable)| {
            let is_it = |table: &&PinnedTable| matches!(&held.held, Held::Named(path) if *path == pins.path.join(&table.pin));
            let before = pins.state.as_ref().and_then(|state| state.tables.get(number));
            let now = match (fresh.get(number).filter(is_it), before.filter(is_it)) {
                (Some(fresh), _) => pins.as_it_is_now(fresh, Age::Fresh)?,
                (None, Some(before)) => pins.as_it_is_now(before, Age::Before)?,
                (None, None) => return Err(Error::new(Kind::Io, "its tables cannot be linked beside it")),
            };
            Ok((*number, now))
        };
        self.files.tables.par_iter().map(pinned).collect()
    }
}

impl Pins {
    /// The table's facts as they are now, and its hash if it is due: where a link of another program may touch it, which is
    /// learnt by the first that does. Facts are looked at before the hash is taken: a table that is touched
    /// meanwhile does not look as recorded.
    fn as_it_is_now(&self, table: &PinnedTable, age: Age) -> Result<PinnedTable> {
        let mut now = table.clone();
        if !table.copied {
            let gone = || Error::new(Kind::NotFound, format!("the pin of {} is gone", table.name));
            now.facts = self.facts(&table.pin).ok_or_else(gone)?;
        }
        if self.state.is_some() && (age == Age::Fresh || now.facts != table.facts) {
            now.hash = Some(hash_of(&self.path.join(&table.pin))?);
        }
        Ok(now)
    }

    fn may_keep(&self, bytes: u64) -> Result<()> {
        if let Some(max) = self.keeping.bytes_max.filter(|max| bytes > *max) {
            let what = format!("its tables take {bytes} bytes, and pins may take {max}");
            return Err(Error::new(Kind::Limit, what));
        }
        let space = rustix::fs::fstatvfs(&self.directory)
            .map_err(std::io::Error::from)
            .act(|| "ask for free space")?;
        match space.f_bavail.saturating_mul(space.f_frsize) >= bytes.saturating_add(bytes / 10) {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Full,
                "less space is free than its tables take and a tenth",
            )),
        }
    }

    /// Copies a file as far as it counts, durably.
    fn copy(&self, file: &DatabaseFile) -> Result<PinnedFile> {
        let from = file.open()?;
        let pin = random_name(b"cut-".to_vec())?.to_string_lossy().into_owned();
        let mut to = self.create(&pin)?;
        let (mut hasher, mut buffer, mut at) = (blake3::Hasher::new(), Vec::new(), 0);
        while at < from.len() {
            buffer.resize((from.len() - at).min(STEP) as usize, 0);
            from.read_at(&mut buffer, at)?;
            hasher.update(&buffer);
            to.write_all(&buffer).act(|| format!("write {pin}"))?;
            at += buffer.len() as u64;
        }
        to.sync_all().act(|| format!("sync {pin}"))?;
        Ok(PinnedFile {
            pin,
            len: from.len(),
            hash: *hasher.finalize().as_bytes(),
        })
    }

    /// Copies a table; what the original was, if it was the same before and after.
    pub(super) fn copy_table(&self, pin: &str, path: &Path) -> Result<Facts> {
        let (mut from, len) = open_regular(path)?;
        let facts = || from.metadata().map(|facts| Facts::of(&facts));
        let before = facts().act(|| format!("look at {}", path.display()))?;
        let mut to = self.create(pin)?;
        let copied =
            std::io::copy(&mut (&mut from).take(len), &mut to).act(|| format!("copy {}", path.display()))?;
        to.sync_all().act(|| format!("sync {pin}"))?;
        match from.metadata().map(|facts| Facts::of(&facts)) {
            Ok(after) if after.same_bytes(&before) && copied == len => Ok(before),
            _ => Err(Error::new(
                Kind::Torn,
                format!("{} changed under its copy", path.display()),
            )),
        }
    }

    fn create(&self, pin: &str) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.directory, pin, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(std::io::Error::from)
            .act(|| format!("create {}", self.path.join(pin).display()))
    }

    fn publish(&self, state: &State) -> Result<()> {
        let doing = || format!("write the state of {}", self.path.display());
        if let Ok(mut tag) = self.create(CACHE_TAG) {
            tag.write_all(CACHE_TAG_TEXT).act(doing)?;
        }
        let (new, old) = (self.path.join(STATE_NEW), self.path.join(STATE));
        // One that a killed run left would be in the way.
        let _ = fs::remove_file(&new);
        let mut file = self.create(STATE_NEW)?;
        file.write_all(&state.encode()?).act(doing)?;
        file.sync_all().act(doing)?;
        self.directory.sync_all().act(doing)?;
        fs::rename(&new, &old).act(doing)?;
        self.directory.sync_all().act(doing)
    }
}
