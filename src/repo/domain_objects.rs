//! Restricts a repository to the objects of one domain.
//!
//! One domain of a repository at a time: what its segments say of its packs, and nothing of any other.
//!
//! A write-only host writes what it likes into its domain, and may claim what it likes there: that a blob lies in a pack
//! of the owner's, that a segment replaces all others. So a reader of one domain takes no word of another one for true.
//! The domain of a segment or a pack is the one in its header, by which its key is derived; nobody without that domain's
//! keys can make one that opens.

use std::collections::HashSet;
use std::sync::Arc;

use crate::envelope::{Header, ObjectClass, parse_clear};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{DomainId, ObjectId};
use crate::index;
use crate::keys::KeyAccess;
use crate::limits::OBJECT_BYTES_MAX;
use crate::storage::{ListedObject, ObjectKind, ObjectName};

use super::sealed_objects::IndexSummary;
use super::{OWN_DOMAIN, Repo};

/// Bytes read first of a segment that may be another domain's.
const CLEAR_PART_READ_BYTES: u64 = 64 << 10;

impl Repo {
    /// The domain that this process reads and writes through this value.
    pub fn domain(&self) -> DomainId {
        self.domain.id()
    }

    /// The same repository as one domain has it: its index, its packs, its names.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] for a domain that the keyring does not know; [`ErrorKind::Denied`] for a write-only host in any but
    /// its own.
    pub fn in_domain(&self, domain: DomainId) -> Result<Self> {
        Ok(Self {
            domain: Arc::clone(self.inner.key_access.domain(domain)?),
            ..self.clone()
        })
    }

    /// Every domain there is, the owner's first.
    pub fn domains(&self) -> Result<Vec<DomainId>> {
        Ok(self.keyring()?.domains().map(|domain| domain.id()).collect())
    }

    /// The packs that a segment of another domain names; `None` if the segment is of this one, or cannot be told.
    pub(crate) fn foreign_segment(&self, listed: &ListedObject) -> Result<Option<HashSet<ObjectId>>> {
        if !self.may_have_other_domains() {
            return Ok(None);
        }
        // A host takes up nothing that others left: it need not know what they name.
        let guess = match &self.inner.key_access {
            KeyAccess::Owner(_) => CLEAR_PART_READ_BYTES,
            KeyAccess::Host(_) => Header::LEN as u64,
        };
        let first = self.read_prefix(listed, listed.len.min(guess))?;
        let Ok(header) = Header::decode(&first) else {
            return Ok(None);
        };
        match (
            header.domain == self.domain() || header.class != ObjectClass::Index,
            &self.inner.key_access,
        ) {
            (true, _) => return Ok(None),
            (false, KeyAccess::Host(_)) => return Ok(Some(HashSet::new())),
            (false, KeyAccess::Owner(_)) => {}
        }
        let wanted = Header::LEN as u64 + u64::from(header.clear_len);
        let first = if wanted > first.len() as u64 && wanted <= listed.len.min(OBJECT_BYTES_MAX) {
            self.read_prefix(listed, wanted)?
        } else {
            first
        };
        // What another domain's segment lacks is that domain's to tell.
        let named =
            parse_clear(ObjectClass::Index, &first).and_then(|(_, clear, _)| index::decode_header(clear));
        let packs = named.map_or_else(|_| Vec::new(), |(packs, ..)| packs);
        Ok(Some(packs.into_iter().map(|pack| pack.pack).collect()))
    }

    /// Whether a listed pack is of this domain. What segments of this domain alone name is; what others name as well, or
    /// nobody does, is told by its header: a write-only host may name what is not its own. A pack that has no header is the
    /// owner's to judge, and one of a domain that the keyring does not know is nobody's to delete.
    ///
    /// That a pack which a host alone names need not be its own does no harm: its owner's segment is there before any
    /// snapshot needs it, and then it is named twice (docs/ORDERING.md, section 7).
    pub(crate) fn is_of_this_domain(&self, pack: &ListedObject, index: &IndexSummary) -> Result<bool> {
        let id = &pack.name.id;
        match (
            index.packs.contains_key(id),
            index.other_domain_packs.contains(id),
        ) {
            _ if !self.may_have_other_domains() => Ok(true),
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            _ => Ok(self.domain_in_header(pack)? == self.domain()),
        }
    }

    /// Those of the listed packs that are of this domain, by their own headers where this one's index says nothing of
    /// them: what others say is not believed.
    pub(crate) fn filter_own_packs_by_header(
        &self,
        listed: Vec<ListedObject>,
        index: &IndexSummary,
    ) -> Result<Vec<ListedObject>> {
        let mut ours = Vec::with_capacity(listed.len());
        for pack in listed {
            let indexed =
                index.packs.contains_key(&pack.name.id) && !index.other_domain_packs.contains(&pack.name.id);
            if indexed || !self.may_have_other_domains() || self.domain_in_header(&pack)? == self.domain() {
                ours.push(pack);
            }
        }
        Ok(ours)
    }

    /// True if a pack is another domain's by its own header, whatever segments say: not this one's to take away.
    pub(crate) fn is_foreign_pack(&self, id: &ObjectId, len: u64) -> Result<bool> {
        let name = ObjectName::new(ObjectKind::Pack, *id);
        let pack = ListedObject {
            name,
            len,
            modified: None,
        };
        Ok(self.may_have_other_domains() && self.domain_in_header(&pack)? != self.domain())
    }

    /// Those of the listed packs that are of this domain.
    pub(crate) fn filter_own_packs(
        &self,
        listed: Vec<ListedObject>,
        index: &IndexSummary,
    ) -> Result<Vec<ListedObject>> {
        let judged = listed
            .into_iter()
            .map(|pack| Ok((self.is_of_this_domain(&pack, index)?, pack)));
        let judged: Vec<_> = judged.collect::<Result<_>>()?;
        Ok(judged
            .into_iter()
            .filter(|(ours, _)| *ours)
            .map(|(_, pack)| pack)
            .collect())
    }

    fn domain_in_header(&self, pack: &ListedObject) -> Result<DomainId> {
        match self.read_prefix(pack, pack.len.min(Header::LEN as u64)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(OWN_DOMAIN),
            first => Ok(Header::decode(&first?).map_or(OWN_DOMAIN, |header| header.domain)),
        }
    }

    fn read_prefix(&self, listed: &ListedObject, len: u64) -> Result<Vec<u8>> {
        self.storage()
            .get_range(listed.name, 0, len as usize)
            .context(|| format!("read {}", listed.name.path()))
    }

    /// True unless all that is stored is of this domain.
    fn may_have_other_domains(&self) -> bool {
        match &self.inner.key_access {
            KeyAccess::Owner(keyring) => keyring.domains().count() > 1,
            KeyAccess::Host(_) => true,
        }
    }

    /// [`ErrorKind::Corrupt`] for what a segment of this domain names and another domain's header is on.
    pub(super) fn check_domain(&self, domain: DomainId, name: ObjectName) -> Result<()> {
        if domain == self.domain() {
            Ok(())
        } else {
            Err(Error::corrupt(format!(
                "is of domain {}, and was named in domain {}",
                domain.0,
                self.domain().0
            ))
            .context(name.path()))
        }
    }
}

impl IndexSummary {
    /// True if a segment of any domain names the pack, whatever that is worth.
    pub(crate) fn is_named_by_segment(&self, pack: &ObjectId) -> bool {
        self.packs.contains_key(pack) || self.other_domain_packs.contains(pack)
    }
}
