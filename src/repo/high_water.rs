//! Remembers the newest state seen, to detect rollbacks.
//!
//! The newest that this client has seen of a repository: who keeps the repository can show an older state in which all
//! fits, and only somebody who was there before can tell (docs/THREATS.md). Kept beside the cache; a fresh client has none.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::codec::Reader;
use crate::crypto::{CacheKey, Secret32, derive};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ObjectId, RepositoryId};

use super::{CacheLocation, Repo, RepoSettings};

/// Begins the file; the last byte is its version.
const HIGH_WATER_MAGIC: [u8; 8] = *b"lvlthwm\x01";

const HIGH_WATER_FILE: &str = "high-water";

/// A count, and the name of the object that had it.
pub type NamedCount = (u64, ObjectId);

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HighWaterMarks {
    /// The keyring's generation and name.
    pub keyring: Option<NamedCount>,
    /// The counter and name of the domain's newest snapshot.
    pub snapshot: Option<NamedCount>,
}

impl HighWaterMarks {
    fn encode(&self, key: &Secret32) -> Vec<u8> {
        let mut out = HIGH_WATER_MAGIC.to_vec();
        for counted in [self.keyring, self.snapshot] {
            let (count, id) = counted.unwrap_or((0, ObjectId([0; ObjectId::LEN])));
            out.push(u8::from(counted.is_some()));
            out.extend_from_slice(&count.to_le_bytes());
            out.extend_from_slice(&id.0);
        }
        out.extend_from_slice(&derive::mac(key, &[&out]));
        out
    }

    /// `None` for anything but what [`HighWaterMarks::encode`] wrote under the same key: as good as no mark.
    fn decode(bytes: &[u8], key: &Secret32) -> Option<Self> {
        let (body, mac) = bytes.split_last_chunk::<32>()?;
        if !derive::same(&derive::mac(key, &[body]), mac) {
            return None;
        }
        let mut reader = Reader::new(body.strip_prefix(&HIGH_WATER_MAGIC)?);
        let mut counted = || -> Result<Option<NamedCount>> {
            let (there, found) = (reader.u8()?, (reader.u64()?, ObjectId(reader.array()?)));
            Ok((there == 1).then_some(found))
        };
        let (keyring, snapshot) = (counted().ok()?, counted().ok()?);
        Some(Self { keyring, snapshot })
    }
}

/// Where one repository's marks are kept, if anywhere.
pub struct HighWaterStore {
    file: Option<PathBuf>,
    key: Secret32,
    /// Takes whatever the storage shows for the newest.
    accepts_rollback: bool,
}

impl HighWaterStore {
    /// In the cache's directory, authenticated under `cache_key`.
    pub fn of(settings: &RepoSettings, repository: &RepositoryId, cache_key: &CacheKey) -> Self {
        Self::in_cache_directory(settings, &repository.to_hex(), cache_key)
    }

    /// In a directory of the cache: each domain has its own.
    fn in_cache_directory(settings: &RepoSettings, name: &str, cache_key: &CacheKey) -> Self {
        let directory = match &settings.cache {
            CacheLocation::Directory(dir) => Some(dir.join(name)),
            CacheLocation::None => None,
        };
        Self {
            file: directory.map(|dir| dir.join(HIGH_WATER_FILE)),
            key: derive::derive("levault 2026-11 v1 high-water key", &[cache_key.expose()]),
            accepts_rollback: settings.accept_rollback,
        }
    }

    fn read(&self) -> HighWaterMarks {
        let bytes = self.file.as_ref().and_then(|file| fs::read(file).ok());
        let found = bytes.and_then(|bytes| HighWaterMarks::decode(&bytes, &self.key));
        found.unwrap_or_default()
    }

    /// A mark that cannot be kept leaves this client as good as a fresh one, like a cache that cannot.
    fn write(&self, marks: &HighWaterMarks) {
        let Some(file) = &self.file else { return };
        let Some(directory) = file.parent() else { return };
        let _ = write_atomically(directory, file, &marks.encode(&self.key));
    }

    /// Holds the keyring chosen now, the last of `chain`, to the one seen last, which it must be or descend from.
    ///
    /// # Errors
    /// [`ErrorKind::RolledBack`]
    pub fn check_keyring(&self, chain: &[NamedCount]) -> Result<()> {
        let mut marks = self.read();
        if let Some(seen) = marks
            .keyring
            .filter(|seen| !self.accepts_rollback && !chain.contains(seen))
        {
            return Err(rollback_error(format!(
                "keyring {} of generation {}, which was seen here, is gone or is not followed",
                seen.1.short(),
                seen.0
            )));
        }
        let newest = chain.last().copied();
        if marks.keyring != newest {
            marks.keyring = newest;
            self.write(&marks);
        }
        Ok(())
    }

    /// Holds what is there now to the snapshot seen last: `is_known` says whether one is stored, or was forgotten.
    ///
    /// # Errors
    /// [`ErrorKind::RolledBack`]
    pub fn check_snapshots(
        &self,
        newest: Option<NamedCount>,
        is_known: impl Fn(&ObjectId) -> bool,
    ) -> Result<()> {
        let mut marks = self.read();
        if let Some(seen) = marks
            .snapshot
            .filter(|seen| !self.accepts_rollback && !is_known(&seen.1))
        {
            return Err(rollback_error(format!(
                "snapshot {}, number {}, which was seen here, is gone, and nobody forgot it",
                seen.1.short(),
                seen.0
            )));
        }
        if self.accepts_rollback || newest > marks.snapshot {
            marks.snapshot = newest;
            self.write(&marks);
        }
        Ok(())
    }
}

impl Repo {
    /// Remembers a snapshot that was just stored.
    pub(crate) fn remember_newest_snapshot(&self, seen: NamedCount) {
        let marks = self.high_water_store();
        let mut high = marks.read();
        if Some(seen) > high.snapshot {
            high.snapshot = Some(seen);
            marks.write(&high);
        }
    }

    pub(super) fn high_water_store(&self) -> HighWaterStore {
        HighWaterStore::in_cache_directory(
            self.settings(),
            &self.cache_name(),
            self.domain_keys().cache_key(),
        )
    }
}

#[cold]
fn rollback_error(what: String) -> Error {
    Error::new(
        ErrorKind::RolledBack,
        format!("the storage shows an older state of the repository than before, or another: {what}"),
    )
}

/// Several processes may write at once: the last one counts, whole.
fn write_atomically(directory: &Path, file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    std::io::Write::write_all(&mut new, bytes)?;
    new.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(dir: &Path, accept: bool) -> HighWaterStore {
        let settings = RepoSettings {
            cache: CacheLocation::Directory(dir.to_owned()),
            accept_rollback: accept,
            ..RepoSettings::default()
        };
        HighWaterStore::of(&settings, &RepositoryId([1; 32]), &CacheKey::take(&mut [7; 32]))
    }

    fn counted(count: u64) -> NamedCount {
        (count, ObjectId([count as u8; 32]))
    }

    #[test]
    fn the_documents_file_is_the_one_of_these_tests() {
        const DOCUMENT: &str = include_str!("../../docs/format/12-pins.md");
        let high = HighWaterMarks {
            keyring: Some(counted(1)),
            snapshot: None,
        };
        let key = Secret32::take(&mut [7; 32]);
        crate::document::assert_example(DOCUMENT, "high-water", &high.encode(&key));
        let bytes = crate::document::example(DOCUMENT, "high-water");
        assert_eq!(HighWaterMarks::decode(&bytes, &key), Some(high));
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert_eq!(HighWaterMarks::decode(&wrong, &key), None);
            assert_eq!(HighWaterMarks::decode(&bytes[..at], &key), None);
        }
    }

    #[test]
    fn a_keyring_must_be_the_one_seen_or_descend_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = |chain: &[NamedCount]| marks(dir.path(), false).check_keyring(chain);
        keyring(&[counted(0), counted(1)]).unwrap();
        keyring(&[counted(0), counted(1), counted(2)]).unwrap();
        for wrong in [
            &[counted(0), counted(1)][..],
            &[counted(0), counted(1), (2, ObjectId([9; 32]))],
        ] {
            assert_eq!(keyring(wrong).unwrap_err().kind(), ErrorKind::RolledBack);
        }
        marks(dir.path(), true)
            .check_keyring(&[counted(0), counted(1)])
            .unwrap();
        keyring(&[counted(0), counted(1)]).unwrap();
    }

    #[test]
    fn the_snapshot_seen_last_must_be_there_or_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let see = |newest: u64, known: &[u64]| {
            let is_known = |id: &ObjectId| known.iter().any(|count| counted(*count).1 == *id);
            marks(dir.path(), false).check_snapshots(Some(counted(newest)), is_known)
        };
        see(5, &[4, 5]).unwrap();
        // An older one is no newer mark.
        see(4, &[4, 5]).unwrap();
        assert_eq!(see(4, &[4]).unwrap_err().kind(), ErrorKind::RolledBack);
        assert_eq!(see(9, &[4, 9]).unwrap_err().kind(), ErrorKind::RolledBack);
        marks(dir.path(), true)
            .check_snapshots(Some(counted(4)), |_| false)
            .unwrap();
        see(4, &[4]).unwrap();
    }
}
