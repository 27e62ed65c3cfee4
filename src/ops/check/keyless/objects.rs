//! Checks, without keys, the names and unencrypted parts of objects.
//!
//! Every object that is no pack: its name is the hash of its bytes, and what lies in the clear is as it must be.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::annotations::deletion_mark;
use crate::envelope::{Header, KeyScheme, ObjectClass, Unopened, check_name, parse_clear, parse_one};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::index;
use crate::keys::KeySlot;
use crate::keys::stored_keyring::StoredKeyring;
use crate::limits::{KEY_OBJECT_BYTES_MAX, OBJECT_BYTES_MAX, PARITY_BYTES_MAX};
use crate::repo::OWN_DOMAIN;
use crate::repo::{KeylessRepo, read_keyless_audit};
use crate::report::OperationReport;
use crate::storage::{ObjectKind, ObjectName};

use super::super::findings::CheckFindings;
use super::super::{CheckNotice, CheckOutcome};
use super::config::KeyringHeader;
use super::on_threads;

/// What to do about a damaged object.
const FROM_A_COPY: &str =
    "bring it back from another copy of the repository (names are hashes: any equal copy will do)";

/// Kinds named by their content, but packs. (Leases and probes have random names, and are gone soon.)
const KINDS: [ObjectKind; 11] = [
    ObjectKind::Slot,
    ObjectKind::Keyring,
    ObjectKind::Snapshot,
    ObjectKind::Forgotten,
    ObjectKind::Note,
    ObjectKind::Bad,
    ObjectKind::Mark,
    ObjectKind::Wal,
    ObjectKind::Parity,
    ObjectKind::Audit,
    ObjectKind::Index,
];

/// What lies in the clear, and other things are held to.
#[derive(Default)]
pub struct ClearObjects {
    pub rings: HashMap<ObjectId, KeyringHeader>,
    /// Packs that are to go.
    pub marked: HashSet<ObjectId>,
    pub segments: SegmentHeaders,
}

/// What index segments say of packs.
#[derive(Default)]
pub struct SegmentHeaders {
    packs: HashMap<ObjectId, HashMap<ObjectId, u64>>,
    replaced: HashSet<ObjectId>,
}

impl SegmentHeaders {
    /// Packs with their lengths, by those that nothing replaces.
    pub fn packs(&self) -> HashMap<ObjectId, u64> {
        let live = self.packs.iter().filter(|(id, _)| !self.replaced.contains(*id));
        live.flat_map(|(_, packs)| packs)
            .map(|(id, len)| (*id, *len))
            .collect()
    }

    /// In a write-only host's domain segments replace nothing (FORMAT.md section 7).
    fn check_object(&mut self, id: ObjectId, parts: &Unopened) -> Result<()> {
        let (packs, mut supersedes, _) = index::decode_header(parts.clear)?;
        if parts.header.domain != OWN_DOMAIN {
            supersedes.clear();
        }
        let packs = packs.into_iter().map(|pack| (pack.pack, pack.len));
        self.packs.insert(id, packs.collect());
        self.replaced.extend(supersedes);
        Ok(())
    }
}

/// Reads all of them. The index comes last, so that what it names was stored before packs are listed.
pub fn check(
    vault: &KeylessRepo,
    findings: &mut CheckFindings,
    outcome: &mut CheckOutcome,
    report: &OperationReport,
) -> Result<ClearObjects> {
    let seen = Mutex::new((ClearObjects::default(), findings, outcome));
    for kind in KINDS {
        let listed = vault
            .storage_reader()
            .list(kind)
            .context(|| format!("list {}", kind.folder()))?;
        if kind == ObjectKind::Snapshot {
            lock(&seen).2.snapshots = listed.len() as u64;
        }
        let left = Mutex::new(listed.into_iter());
        let next = || report.go_on().map(|()| lock(&left).next());
        on_threads(&next, &|listed| {
            let taken = check_object(vault, listed.name, &mut |bytes| {
                let (seen, ..) = &mut *lock(&seen);
                clear(seen, listed.name, bytes)
            });
            record_result(taken, listed.name, &mut lock(&seen))
        })?;
    }
    Ok(into_inner(seen).0)
}

/// The segments once more: what a sweep replaced meanwhile does not count.
pub fn segments(vault: &KeylessRepo) -> Result<SegmentHeaders> {
    let mut segments = SegmentHeaders::default();
    for listed in vault
        .storage_reader()
        .list(ObjectKind::Index)
        .context(|| "list the index")?
    {
        let taken = check_object(vault, listed.name, &mut |bytes| {
            segments.check_object(listed.name.id, &parse_one(ObjectClass::Index, bytes)?)
        });
        match taken {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
    Ok(segments)
}

fn check_object(
    vault: &KeylessRepo,
    name: ObjectName,
    parse: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let bytes = vault.storage_reader().get(name, object_bytes_max(name.kind))?;
    check_name(&name.id, &bytes)?;
    parse(&bytes)
}

type ObjectStatement<'t> = (ClearObjects, &'t mut CheckFindings, &'t mut CheckOutcome);

fn record_result(
    taken: Result<()>,
    name: ObjectName,
    (_, findings, outcome): &mut ObjectStatement,
) -> Result<()> {
    match taken {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
        // Deleted by a prune since it was listed.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.kind() == ErrorKind::TooNew => outcome.notices.push(CheckNotice {
            object: name.path(),
            what: error.to_string(),
            since: None,
            helps: "its bytes are those that were stored; what it says is for a later levault".into(),
        }),
        Err(error) => findings.add(name.path(), error.to_string(), FROM_A_COPY),
    }
    Ok(())
}

fn object_bytes_max(kind: ObjectKind) -> u64 {
    match kind {
        ObjectKind::Slot | ObjectKind::Keyring => KEY_OBJECT_BYTES_MAX,
        ObjectKind::Parity => PARITY_BYTES_MAX,
        _ => OBJECT_BYTES_MAX,
    }
}

/// Header and clear part, by kind.
fn clear(seen: &mut ClearObjects, name: ObjectName, bytes: &[u8]) -> Result<()> {
    let Some(class) = object_class(name.kind) else {
        return Ok(());
    };
    Header::decode(bytes)?.expect_class(class)?;
    match name.kind {
        ObjectKind::Slot => KeySlot::decode(bytes).map(drop),
        ObjectKind::Keyring => {
            let clear = StoredKeyring::parse(bytes)?.clear;
            let ring = KeyringHeader {
                generation: clear.generation,
                predecessor: clear.predecessor,
                repository: clear.repository,
            };
            seen.rings.insert(name.id, ring);
            Ok(())
        }
        ObjectKind::Mark => {
            let mark = deletion_mark::decode(parse_one(class, bytes)?.clear)?;
            seen.marked
                .extend(mark.packs.into_iter().map(|marked| marked.pack));
            Ok(())
        }
        ObjectKind::Index => seen.segments.check_object(name.id, &parse_one(class, bytes)?),
        ObjectKind::Parity => parse_clear(class, bytes).map(drop),
        ObjectKind::Audit if parse_clear(class, bytes)?.0.scheme == KeyScheme::Clear => {
            read_keyless_audit(bytes).map(drop)
        }
        _ => parse_one(class, bytes).map(drop),
    }
}

/// What the objects of a kind are; `None` for those that are not looked into.
pub fn object_class(kind: ObjectKind) -> Option<ObjectClass> {
    Some(match kind {
        ObjectKind::Slot => ObjectClass::Slot,
        ObjectKind::Keyring => ObjectClass::Keyring,
        ObjectKind::Pack => ObjectClass::Pack,
        ObjectKind::Index => ObjectClass::Index,
        ObjectKind::Snapshot => ObjectClass::Snapshot,
        ObjectKind::Forgotten => ObjectClass::Forgotten,
        ObjectKind::Note => ObjectClass::Note,
        ObjectKind::Bad => ObjectClass::Bad,
        ObjectKind::Mark => ObjectClass::Mark,
        ObjectKind::Wal => ObjectClass::Wal,
        ObjectKind::Parity => ObjectClass::Parity,
        ObjectKind::Audit => ObjectClass::Audit,
        ObjectKind::Config | ObjectKind::ConfigCopy | ObjectKind::Lease | ObjectKind::Probe => return None,
    })
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
