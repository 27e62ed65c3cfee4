//! Checks config and keyrings as far as they are unencrypted.

use std::collections::HashMap;

use crate::error::{ErrorKind, Result};
use crate::id::{ObjectId, RepositoryId};
use crate::keys::{Config, RepositoryAnchor};
use crate::limits::KEY_OBJECT_BYTES_MAX;
use crate::repo::KeylessRepo;
use crate::storage::{ObjectKind, ObjectName};

use super::super::findings::CheckFindings;
use super::super::packs::IS_MISSING;

/// What to do about a config.
const CONFIG_HELPS: &str = "put the other copy in its place: they are the same bytes";

/// What to do about a keyring.
const RING_HELPS: &str =
    "bring it back from another copy of the repository (names are hashes: any equal copy will do)";

/// A keyring, in the clear.
#[derive(Clone, Copy, Debug)]
pub struct KeyringHeader {
    pub generation: u64,
    pub predecessor: ObjectId,
    pub repository: RepositoryId,
}

/// Both configs are there, whole, and the same; what they anchor.
pub fn check(vault: &KeylessRepo, findings: &mut CheckFindings) -> Result<Vec<RepositoryAnchor>> {
    let (mut anchors, mut all) = (Vec::new(), Vec::new());
    for name in [ObjectName::CONFIG, ObjectName::CONFIG_COPY] {
        let bytes = match vault.storage_reader().get(name, KEY_OBJECT_BYTES_MAX) {
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Limit) => {
                return Err(error);
            }
            bytes => bytes,
        };
        match bytes.and_then(|bytes| Ok((Config::decode(&bytes)?.anchor, bytes))) {
            Ok((anchor, bytes)) => {
                anchors.push(anchor);
                all.push(bytes);
            }
            Err(error) if error.kind() == ErrorKind::TooNew => {
                return Err(error.context("check without a key"));
            }
            Err(error) => findings.add(name.path(), error.to_string(), CONFIG_HELPS),
        }
    }
    if let [config, copy] = &all[..]
        && config != copy
    {
        let what = "config and its copy are not the same bytes";
        findings.add(
            ObjectName::CONFIG.path(),
            what,
            "find out which of them opens with the password",
        );
    }
    Ok(anchors)
}

/// Each keyring stands on the one before, down to the one that config names.
pub fn chain(
    anchors: &[RepositoryAnchor],
    rings: &HashMap<ObjectId, KeyringHeader>,
    findings: &mut CheckFindings,
) {
    let path = |id: ObjectId| ObjectName::new(ObjectKind::Keyring, id).path();
    for anchor in anchors {
        if !rings.contains_key(&anchor.first_keyring) {
            let all = "every password: config names it".into();
            findings.add_affecting(path(anchor.first_keyring), IS_MISSING, all, RING_HELPS);
        }
    }
    for (id, ring) in rings {
        let is_ours = |anchor: &RepositoryAnchor| anchor.repository == ring.repository;
        let is_first = |anchor: &RepositoryAnchor| anchor.first_keyring == *id;
        let before = rings.get(&ring.predecessor);
        let follows = |before: &KeyringHeader| before.generation.checked_add(1) == Some(ring.generation);
        if anchors.is_empty() {
            continue;
        }
        if !anchors.iter().any(is_ours) {
            findings.add(path(*id), "is of another repository than config", "remove it");
        } else if ring.generation > 0 && before.is_none() {
            let next = format!("keyring {}, which follows it", id.short());
            findings.add_affecting(path(ring.predecessor), IS_MISSING, next, RING_HELPS);
        } else if ring.generation > 0 && !before.is_some_and(follows)
            || ring.generation == 0 && !anchors.iter().any(is_first)
        {
            findings.add(path(*id), "does not continue the keyring before it", RING_HELPS);
        }
    }
}
