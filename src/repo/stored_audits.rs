//! Stores and loads audit records.
//!
//! Audits as stored objects: the owner's are sealed, those of whoever holds no key lie open and are anybody's word.

use crate::annotations::{Audit, AuditMethod, LatestAudits, audit};
use crate::clock::UnixNanos;
use crate::envelope::{Header, KeyScheme, ObjectClass, parse_clear};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{DomainId, EpochId, ObjectId};
use crate::storage::{ObjectKind, ObjectName, Storage};

use super::create_repository::get_content_named;
use super::stored_annotations::{UnreadAnnotation, is_unreadable};
use super::{KeylessRepo, Repo};

/// What the stored audits say of packs.
#[derive(Clone, Debug, Default)]
pub struct StoredAudits {
    /// Those that could be read, together.
    pub audits: LatestAudits,
    /// The others. They say nothing, and stop nobody: nothing is kept or deleted on an audit's word.
    pub unread: Vec<UnreadAnnotation>,
}

impl Repo {
    /// Stores an audit of what was opened; it is durable when its name comes back.
    pub fn put_audit(&self, audit: &Audit) -> Result<ObjectId> {
        match audit.how {
            AuditMethod::Opened => {
                let plain = audit::encode(audit)?;
                self.put_annotation(ObjectClass::Audit, ObjectKind::Audit, &plain)
            }
            AuditMethod::Hashed => Err(Error::new(
                ErrorKind::Usage,
                "the owner's audit of what was only hashed",
            )),
        }
    }

    /// What all audits say of these packs: the owner's, and those of others apart.
    pub fn audits(&self, packs: impl IntoIterator<Item = ObjectId>) -> Result<StoredAudits> {
        let open = |id: &ObjectId, header: &Header, bytes: &[u8]| match header.scheme {
            KeyScheme::Clear => read_keyless_audit(bytes).map(Some),
            _ => self.read_owner_audit(id, bytes).map(Some),
        };
        load_audits(&**self.storage(), packs, self.clock().now(), open)
    }

    /// The keyring refuses whatever no epoch key of ours sealed: a write-only host's word is not the owner's.
    fn read_owner_audit(&self, id: &ObjectId, bytes: &[u8]) -> Result<Audit> {
        let opened = self.keyring()?.open_object(ObjectClass::Audit, id, bytes)?;
        if opened.clear.is_empty() {
            audit::decode(&opened.plain, AuditMethod::Opened)
        } else {
            Err(Error::corrupt("a sealed audit with a clear part"))
        }
    }
}

impl KeylessRepo {
    /// Stores an audit of what was hashed; it is durable when its name comes back.
    pub fn put_audit(&self, audit: &Audit) -> Result<ObjectId> {
        if audit.how != AuditMethod::Hashed {
            return Err(Error::new(
                ErrorKind::Usage,
                "an audit of what was opened, without a key",
            ));
        }
        let clear = audit::encode(audit)?;
        let header = Header {
            class: ObjectClass::Audit,
            scheme: KeyScheme::Clear,
            epoch: EpochId(0),
            domain: DomainId(0),
            clear_len: clear.len() as u32,
            ephemeral: [0; 32],
            salt: [0; 32],
            commitment: [0; 32],
        };
        let bytes = [&header.encode()[..], &clear].concat();
        let name = ObjectName::of_content(ObjectKind::Audit, &bytes);
        let stored = self.storage().put_new(name, &bytes);
        stored
            .context(|| format!("store {}", name.path()))
            .map(|()| name.id)
    }

    /// What the keyless audits say of these packs; what the owner says is not for us to read.
    pub fn audits(&self, packs: impl IntoIterator<Item = ObjectId>) -> Result<StoredAudits> {
        let open = |_: &ObjectId, header: &Header, bytes: &[u8]| match header.scheme {
            KeyScheme::Clear => read_keyless_audit(bytes).map(Some),
            _ => Ok(None),
        };
        load_audits(self.storage(), packs, self.clock().now(), open)
    }
}

/// An audit of scheme 255: all of it is the clear part.
pub(crate) fn read_keyless_audit(bytes: &[u8]) -> Result<Audit> {
    let (header, clear, rest) = parse_clear(ObjectClass::Audit, bytes)?;
    match (header.scheme, rest) {
        (KeyScheme::Clear, []) => audit::decode(clear, AuditMethod::Hashed),
        _ => Err(Error::corrupt("a keyless audit with a sealed part")),
    }
}

/// Opens an audit, or passes it over.
type AuditOpener<'o> = &'o dyn Fn(&ObjectId, &Header, &[u8]) -> Result<Option<Audit>>;

fn load_audits(
    storage: &dyn Storage,
    packs: impl IntoIterator<Item = ObjectId>,
    now: UnixNanos,
    open: impl Fn(&ObjectId, &Header, &[u8]) -> Result<Option<Audit>>,
) -> Result<StoredAudits> {
    let (mut audits, mut unread) = (LatestAudits::of(packs), Vec::new());
    let listed = storage.list(ObjectKind::Audit).context(|| "list the audits")?;
    for name in listed.into_iter().map(|listed| listed.name) {
        match read_audit(storage, name, now, &open) {
            Ok(Some(audit)) => audits.add(name.id, &audit),
            Ok(None) => {}
            // Superseded and deleted since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if is_unreadable(&error) => unread.push(UnreadAnnotation {
                id: name.id,
                kind: error.kind(),
                what: error.to_string(),
            }),
            Err(error) => return Err(error),
        }
    }
    Ok(StoredAudits { audits, unread })
}

fn read_audit(
    storage: &dyn Storage,
    name: ObjectName,
    now: UnixNanos,
    open: AuditOpener,
) -> Result<Option<Audit>> {
    let bytes = get_content_named(storage, name)?;
    let read = || -> Result<_> {
        let audit = open(&name.id, &Header::decode(&bytes)?, &bytes)?;
        audit
            .as_ref()
            .map_or(Ok(()), |audit| audit.refuse_time_ahead(now))?;
        Ok(audit)
    };
    read().context(|| name.path())
}
