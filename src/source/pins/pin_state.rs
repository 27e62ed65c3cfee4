//! Encodes and decodes the state file of a pin directory.
//!
//! The file that says what a pin directory holds: `state`, as docs/FORMAT.md has it.
//!
//! ```text
//! state: magic (16) | postcard of State | BLAKE3 of all before it (32)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::HeldDirectory;
use crate::id::{ObjectId, RepositoryId};

/// The file.
pub const STATE_FILE: &str = "state";

/// What every state begins with; another version has another number.
const MAGIC: &[u8; 16] = b"levault pins 2\n\0";

/// Bytes of a state file at most: some 100 bytes a table.
pub const STATE_BYTES_MAX: u64 = 256 << 20;

/// What is pinned, and for which snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinState {
    /// Whose backup it is.
    pub repository: RepositoryId,
    /// The snapshot that these files were read for.
    pub snapshot: ObjectId,
    /// The database's number among its sources.
    pub source: u32,
    /// Device and inode of the database's directory: another directory is another database.
    pub directory: (u64, u64),
    /// What keeps the tables, by number.
    pub tables: BTreeMap<u64, PinnedTable>,
    /// Copies of CURRENT, the MANIFEST and the logs as far as the cut: by their name in the database.
    pub files: BTreeMap<String, PinnedFile>,
}

/// What keeps a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedTable {
    /// The link's or the copy's name.
    pub pin: String,
    /// The table's name in the database.
    pub name: String,
    /// What the database's file was when it was pinned.
    pub facts: PinnedFileStat,
    /// It is a copy, not a link.
    pub copied: bool,
    /// BLAKE3 of its bytes, if it was computed.
    pub hash: Option<[u8; 32]>,
}

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedFile {
    /// The copy's name.
    pub pin: String,
    /// Its length.
    pub len: u64,
    /// BLAKE3 of its bytes.
    pub hash: [u8; 32],
}

/// What tells a file that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedFileStat {
    pub device: u64,
    pub inode: u64,
    pub len: u64,
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    /// The same of the inode's own change: links, mode, and writes whose time was set back.
    pub changed: (i64, i64),
}

impl PinnedFileStat {
    pub fn of(facts: &Metadata) -> Self {
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            len: facts.len(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        }
    }

    pub fn of_stat(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            len: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }

    /// Equal but for the inode's change, which losing a link is one of.
    pub fn has_same_content(&self, other: &Self) -> bool {
        *self
            == Self {
                changed: self.changed,
                ..*other
            }
    }
}

impl PinState {
    /// The state in a file; `None` if there is none, or one that cannot be used: then the backup reads everything and
    /// writes another.
    pub fn read(directory: &HeldDirectory) -> Result<Option<Self>> {
        let (file, len) = match directory.open_file(STATE_FILE) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                return Ok(None);
            }
            opened => opened?,
        };
        let doing = || format!("read {}", directory.display_path(STATE_FILE).display());
        if len > STATE_BYTES_MAX {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(STATE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .context(doing)?;
        Ok(Self::decode(&bytes).ok())
    }

    /// Names of all pins.
    pub fn pins(&self) -> BTreeSet<&str> {
        let tables = self.tables.values().map(|table| table.pin.as_str());
        tables
            .chain(self.files.values().map(|file| file.pin.as_str()))
            .collect()
    }

    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = postcard::to_extend(self, MAGIC.to_vec())
            .map_err(|cause| Error::with_cause(ErrorKind::Limit, "encode the pins' state", cause))?;
        let hash = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&hash);
        Ok(bytes)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let Some((body, hash)) = bytes.split_last_chunk::<32>() else {
            return Err(Error::corrupt("the pins' state is too short"));
        };
        let Some(rest) = body.strip_prefix(MAGIC) else {
            return Err(Error::new(ErrorKind::TooNew, "pins of another version"));
        };
        if blake3::hash(body).as_bytes() != hash {
            return Err(Error::corrupt("the pins' state has another hash"));
        }
        let state: Self = postcard::from_bytes(rest)
            .map_err(|cause| Error::with_cause(ErrorKind::Corrupt, "decode the pins' state", cause))?;
        if state.pins().iter().all(|pin| is_plain(pin)) {
            Ok(state)
        } else {
            Err(Error::corrupt("a pin's name leads out of its directory"))
        }
    }
}

fn is_plain(pin: &str) -> bool {
    !pin.is_empty() && !pin.contains('/') && pin != "." && pin != ".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{assert_example, example};

    fn state() -> PinState {
        let facts = PinnedFileStat {
            device: 1,
            inode: 2,
            len: 3,
            modified: (4, 5),
            changed: (6, 7),
        };
        let table = PinnedTable {
            pin: "000005-a".into(),
            name: "000005.ldb".into(),
            facts,
            copied: false,
            hash: Some([6; 32]),
        };
        let cut = PinnedFile {
            pin: "cut-a".into(),
            len: 16,
            hash: [8; 32],
        };
        PinState {
            repository: RepositoryId([1; 32]),
            snapshot: ObjectId([2; 32]),
            source: 3,
            directory: (1, 9),
            tables: [(5, table)].into(),
            files: [("CURRENT".into(), cut)].into(),
        }
    }

    #[test]
    fn the_documents_state_is_read_and_written() {
        let document = include_str!("../../../docs/format/12-pins.md");
        assert_example(document, "pins", &state().encode().unwrap());
        assert_eq!(PinState::decode(&example(document, "pins")).unwrap(), state());
    }

    #[test]
    fn a_pins_name_that_leads_elsewhere_is_refused() {
        for name in ["", ".", "..", "../x", "/etc/passwd", "a/b"] {
            let mut wrong = state();
            wrong.files.insert(
                "CURRENT".into(),
                PinnedFile {
                    pin: name.into(),
                    len: 0,
                    hash: [0; 32],
                },
            );
            assert!(PinState::decode(&wrong.encode().unwrap()).is_err(), "{name}");
        }
    }

    #[test]
    fn what_was_encoded_comes_back_and_any_changed_byte_is_seen() {
        let bytes = state().encode().unwrap();
        assert_eq!(PinState::decode(&bytes).unwrap(), state());
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(PinState::decode(&wrong).is_err(), "byte {at}");
            assert!(PinState::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
