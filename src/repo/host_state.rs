//! Stores what a write-only host remembers of its snapshots.
//!
//! What a write-only host remembers of its last snapshots, since it cannot read them: beside the local cache, sealed
//! under a key of its domain (docs/format/12-pins.md). It may be deleted at any time; then the next backup reads everything.
//!
//! With a snapshot stand the packs that it rests on. So the next one, which takes runs from it, can prove its own closure
//! as any snapshot's is proven: every pack listed, right-sized and unmarked (docs/ORDERING.md, section 5).

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::codec::{Reader, put_varint};
use crate::crypto::{Entropy, IndexKey, OsEntropy, Secret32, aead, derive};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::snapshot::{Snapshot, snapshot_codec};

/// The file's first bytes.
const HOST_STATE_MAGIC: [u8; 16] = *b"levault host 1\n\0";

/// Largest file, bytes: a snapshot and two million packs.
const FILE_BYTES_MAX: u64 = 160 << 20;

/// Files that are read at most; there is one a set of databases.
const FILES_MAX: usize = 1000;

/// A snapshot of the host's own, and the packs it needs with their lengths.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RememberedSnapshot {
    pub id: ObjectId,
    pub snapshot: Snapshot,
    pub packs: HashMap<ObjectId, u64>,
}

/// Where it is kept; nowhere without a cache.
pub(crate) struct HostState {
    dir: Option<PathBuf>,
    key: IndexKey,
}

impl HostState {
    pub(super) fn new(dir: Option<PathBuf>, key: IndexKey) -> Self {
        Self { dir, key }
    }

    /// All that can be read; what cannot is as good as not there.
    pub(crate) fn load_all(&self) -> Vec<RememberedSnapshot> {
        let entries = self.dir.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut all: Vec<_> = paths
            .take(FILES_MAX)
            .filter_map(|path| self.read(&path).ok())
            .collect();
        all.sort_by_key(|kept| (kept.snapshot.counter, kept.id));
        all
    }

    /// Keeps this one, in the place of those that have a database of the same path.
    pub(crate) fn store(&self, kept: &RememberedSnapshot) -> Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.context(|| format!("make {}", dir.display()))?;
        let replaced: Vec<_> = self
            .load_all()
            .into_iter()
            .filter(|old| shares_a_database(old, kept))
            .collect();
        let path = dir.join(kept.id.to_hex());
        let new = path.with_extension("new");
        let written = fs::write(&new, self.seal(kept)?).and_then(|()| fs::rename(&new, &path));
        written.context(|| format!("write {}", path.display()))?;
        for old in replaced.iter().filter(|old| old.id != kept.id) {
            // One that stays is older, and its packs are proven like any others.
            let _ = fs::remove_file(dir.join(old.id.to_hex()));
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<RememberedSnapshot> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(ObjectId::from_hex);
        let id = name.ok_or_else(|| Error::corrupt("not a snapshot's name"))?;
        let len = fs::metadata(path).context(|| "look at it")?.len();
        if len > FILE_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("{len} bytes pass {FILE_BYTES_MAX}"),
            ));
        }
        self.open(id, &fs::read(path).context(|| "read it")?)
    }

    fn seal(&self, kept: &RememberedSnapshot) -> Result<Vec<u8>> {
        let salt = OsEntropy.salt()?;
        let mut out = [&HOST_STATE_MAGIC[..], &salt].concat();
        let aad = [&out[..], &kept.id.0].concat();
        let from = out.len();
        out.extend_from_slice(&encode(kept)?);
        aead::seal(&self.file_key(&salt), 0, &aad, &mut out, from)?;
        Ok(out)
    }

    fn open(&self, id: ObjectId, bytes: &[u8]) -> Result<RememberedSnapshot> {
        let mut reader = Reader::new(bytes);
        let (magic, salt): ([u8; 16], [u8; 32]) = (reader.array()?, reader.array()?);
        if magic != HOST_STATE_MAGIC {
            return Err(Error::corrupt("does not begin as a host's state does"));
        }
        let aad = [&bytes[..48], &id.0].concat();
        decode(id, &aead::open(&self.file_key(&salt), 0, &aad, &bytes[48..])?)
    }

    fn file_key(&self, salt: &[u8; 32]) -> Secret32 {
        derive::derive("levault 2026-11 v1 host state key", &[self.key.expose(), salt])
    }
}

fn shares_a_database(old: &RememberedSnapshot, new: &RememberedSnapshot) -> bool {
    let paths = |kept: &RememberedSnapshot| -> Vec<Vec<u8>> {
        let databases = kept.snapshot.databases();
        databases.map(|database| database.path.clone()).collect()
    };
    let new = paths(new);
    paths(old).iter().any(|path| new.contains(path))
}

fn encode(kept: &RememberedSnapshot) -> Result<Vec<u8>> {
    let mut packs: Vec<_> = kept.packs.iter().collect();
    packs.sort_unstable();
    let mut out = Vec::new();
    put_varint(&mut out, packs.len() as u64);
    for (pack, len) in packs {
        out.extend_from_slice(&pack.0);
        out.extend_from_slice(&len.to_le_bytes());
    }
    out.extend_from_slice(&snapshot_codec::encode(&kept.snapshot)?);
    Ok(out)
}

fn decode(id: ObjectId, plain: &[u8]) -> Result<RememberedSnapshot> {
    let mut reader = Reader::new(plain);
    let count = reader.len_varint(plain.len() / 40, "packs")?;
    let mut packs = HashMap::with_capacity(count);
    let mut last = None;
    for _ in 0..count {
        let pack = ObjectId(reader.array()?);
        if last.replace(pack) >= Some(pack) {
            return Err(Error::corrupt("packs are not in order, or one stands twice"));
        }
        packs.insert(pack, reader.u64()?);
    }
    let snapshot = snapshot_codec::decode(reader.bytes(reader.remaining())?)?;
    Ok(RememberedSnapshot { id, snapshot, packs })
}

/// For the fuzzer: what is read of a plain part, written again.
#[cfg(any(test, feature = "test-util"))]
pub fn reencode_remembered(plain: &[u8]) -> Result<Vec<u8>> {
    encode(&decode(ObjectId([0; 32]), plain)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::example;

    const DOCUMENT: &str = include_str!("../../docs/format/12-pins.md");
    const SNAPSHOTS: &str = include_str!("../../docs/format/10-snapshots.md");

    fn documented() -> RememberedSnapshot {
        let snapshot = snapshot_codec::decode(&example(SNAPSHOTS, "snapshot")).unwrap();
        let packs = [([0xaa; 32], 20_690), ([0xbb; 32], 20_298)];
        RememberedSnapshot {
            id: ObjectId([9; 32]),
            snapshot,
            packs: packs.map(|(pack, len)| (ObjectId(pack), len)).into(),
        }
    }

    #[test]
    fn the_documented_memory_is_read_and_written() {
        let plain = [example(DOCUMENT, "host-packs"), example(SNAPSHOTS, "snapshot")].concat();
        assert_eq!(decode(ObjectId([9; 32]), &plain).unwrap(), documented());
        assert_eq!(encode(&documented()).unwrap(), plain);
    }

    #[test]
    fn a_memory_opens_under_its_key_and_its_name_alone() {
        let key = |byte| IndexKey::from_slice(&[byte; 32]);
        let state = HostState::new(None, key(1));
        let sealed = state.seal(&documented()).unwrap();
        assert_eq!(state.open(ObjectId([9; 32]), &sealed).unwrap(), documented());
        assert!(state.open(ObjectId([8; 32]), &sealed).is_err());
        assert!(
            HostState::new(None, key(2))
                .open(ObjectId([9; 32]), &sealed)
                .is_err()
        );
        assert_ne!(state.seal(&documented()).unwrap(), sealed, "a salt of its own");
    }
}
