//! Adds, changes and removes passwords, hosts and epochs.
//!
//! Passwords added, changed and taken away, and epochs begun: each is one more keyring on the chain.
//!
//! Order: a new slot first, which opens nothing until a keyring is sealed to it; then the keyring, durable; then the
//! slots that it leaves out are deleted. A crash in between leaves a slot that opens nothing, or one that nobody
//! deleted and that opens nothing new. Of two keyrings that follow the same one the smaller name counts (FORMAT.md section 5):
//! whoever stored the other sees it when listing again, and repeats the change on top.

use crate::crypto::key_exchange::{PublicKey, SecretKey};
use crate::crypto::{Entropy, OsEntropy};
use crate::envelope::object_id;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{DomainId, ObjectId};
use crate::keys::{
    Credential, CurrentKeyring, EpochChange, KeySlot, Keyring, OpenedSlot, Password, SlotCost, SlotEntry,
    choose_current,
};
use crate::storage::{ObjectKind, ObjectName};

use super::create_repository::get_content_named;
use super::object_deletion::DeletePermit;
use super::unlock::read_keyrings;
use super::{OWN_DOMAIN, Repo, SlotInfo};

/// Two who change keys at once meet about so often at most.
const KEYRING_TRIES_MAX: usize = 5;

/// The public facts about a write-only host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInfo {
    /// Its domain.
    pub domain: DomainId,
    /// What people call it.
    pub label: String,
}

/// A change of who can open the repository. It holds for who opens it anew; an open [`Repo`] goes on with the keys it has.
impl Repo {
    /// Adds a password; the name of its slot.
    pub fn add_password(&self, password: &Password, cost: SlotCost, label: &str) -> Result<ObjectId> {
        let (slot, entry, identity) = self.new_slot(password, cost, label)?;
        let with = |ring: &Keyring| [ring.slots(), std::slice::from_ref(&entry)].concat();
        self.change_keyring(EpochChange::Keep, &identity, &with)?;
        Ok(slot)
    }

    /// A new password instead of the one that opened this repository, with the costs of today. A new epoch begins: what is
    /// stored from now on is out of reach for who knows the old password and has no newer keyring.
    pub fn change_password(&self, password: &Password, cost: SlotCost) -> Result<ObjectId> {
        let (current, opened) = self.unlocked()?;
        let own = opened.identity.public();
        let label = self.keyring()?.slots().iter().find(|slot| slot.public == own);
        let label = label.map_or_else(String::new, |slot| slot.label.clone());
        let (slot, entry, identity) = self.new_slot(password, cost, &label)?;
        self.change_keyring(EpochChange::Rotate, &identity, &|ring| {
            let others = ring.slots().iter().filter(|slot| slot.public != own);
            others.chain([&entry]).cloned().collect()
        })?;
        self.delete_slot(current)?;
        Ok(slot)
    }

    /// Takes a password away, by its slot; a new epoch begins.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for the one that opened this repository: change it, or open with another.
    pub fn remove_password(&self, slot: &SlotInfo) -> Result<()> {
        if slot.current {
            return Err(Error::new(
                ErrorKind::Usage,
                "this slot opened the repository; open it with another password to remove it, or change it",
            ));
        }
        let public = self.slot_public(&slot.id)?;
        self.change_keyring(EpochChange::Rotate, &self.opened_slot()?.identity, &|ring| {
            let others = ring.slots().iter().filter(|slot| slot.public != public);
            others.cloned().collect()
        })?;
        self.delete_slot(&slot.id)
    }

    /// Begins a new epoch; everybody stays.
    pub fn rotate_keys(&self) -> Result<()> {
        let identity = &self.opened_slot()?.identity;
        self.change_keyring(EpochChange::Rotate, identity, &|ring| ring.slots().to_vec())
    }

    /// Adds the domain of a write-only host; its number. It is in the keyring for good when this returns, and only then
    /// may a credential be given away: what is stored under one that no keyring has would be lost.
    pub fn add_host(&self, label: &str) -> Result<DomainId> {
        let mut added = OWN_DOMAIN;
        let identity = &self.opened_slot()?.identity;
        let slots = |ring: &Keyring| ring.slots().to_vec();
        self.change_keyring_with(EpochChange::Keep, identity, &slots, &mut |ring| {
            added = ring.add_domain(label, &mut OsEntropy)?;
            Ok(())
        })?;
        Ok(added)
    }

    /// The credential file of a write-only host: its domain as the newest keyring has it, sealed by a password. Each call
    /// makes another file; all of one domain are the same host's.
    pub fn credential(&self, domain: DomainId, password: &Password, cost: SlotCost) -> Result<Vec<u8>> {
        let opened = self.opened_slot()?;
        let newest = self.current_keyring_for(&opened.identity)?.keyring;
        let features = self.inner.features.union(newest.features());
        let credential = Credential::of(&newest, domain, opened.anchor, features, self.inner.parameters)?;
        credential.seal(password, cost, self.clock().now(), &mut OsEntropy)
    }

    /// The write-only hosts there are, by their domains.
    pub fn hosts(&self) -> Result<Vec<HostInfo>> {
        let newest = self.current_keyring_for(&self.opened_slot()?.identity)?.keyring;
        let hosts = newest.domains().filter(|domain| domain.id() != OWN_DOMAIN);
        Ok(hosts
            .map(|domain| HostInfo {
                domain: domain.id(),
                label: domain.label().to_owned(),
            })
            .collect())
    }

    pub(super) fn opened_slot(&self) -> Result<&OpenedSlot> {
        Ok(&self.unlocked()?.1)
    }

    fn unlocked(&self) -> Result<&(ObjectId, OpenedSlot)> {
        self.keyring()?;
        let none = || Error::new(ErrorKind::Denied, "no password opened this repository");
        self.inner.unlocked.as_ref().ok_or_else(none)
    }

    /// A slot with an identity of its own, stored; it opens nothing yet.
    fn new_slot(
        &self,
        password: &Password,
        cost: SlotCost,
        label: &str,
    ) -> Result<(ObjectId, SlotEntry, SecretKey)> {
        self.check_writable()?;
        let now = self.clock().now();
        let opened = OpenedSlot {
            identity: SecretKey::random(&mut OsEntropy)?,
            anchor: self.opened_slot()?.anchor,
        };
        let entry = SlotEntry {
            public: opened.identity.public(),
            created: now,
            label: label.to_owned(),
        };
        let bytes = KeySlot::seal(&opened, password, cost, now, &mut OsEntropy)?;
        let name = ObjectName::new(ObjectKind::Slot, object_id(&bytes));
        self.storage()
            .put_new(name, &bytes)
            .context(|| format!("store {}", name.path()))?;
        Ok((name.id, entry, opened.identity))
    }

    fn slot_public(&self, id: &ObjectId) -> Result<PublicKey> {
        let bytes = get_content_named(&**self.storage(), ObjectName::new(ObjectKind::Slot, *id))?;
        Ok(KeySlot::decode(&bytes)?.public())
    }

    fn delete_slot(&self, id: &ObjectId) -> Result<()> {
        let name = ObjectName::new(ObjectKind::Slot, *id);
        self.delete(&DeletePermit::RemovedSlot, name)
            .context(|| "the slot opens nothing new any more")
    }

    /// Puts a keyring with these slots on the one that counts, and again on whichever won if somebody did the same: until
    /// `witness`, whom it is sealed to, finds it to count.
    fn change_keyring(
        &self,
        change: EpochChange,
        witness: &SecretKey,
        slots: &dyn Fn(&Keyring) -> Vec<SlotEntry>,
    ) -> Result<()> {
        self.change_keyring_with(change, witness, slots, &mut |_| Ok(()))
    }

    /// The same with a change of what the new keyring holds besides; made anew for each try.
    fn change_keyring_with(
        &self,
        change: EpochChange,
        witness: &SecretKey,
        slots: &dyn Fn(&Keyring) -> Vec<SlotEntry>,
        also: &mut dyn FnMut(&mut Keyring) -> Result<()>,
    ) -> Result<()> {
        self.check_writable()?;
        for _ in 0..KEYRING_TRIES_MAX {
            let before = self.current_keyring_for(&self.opened_slot()?.identity)?;
            let mut next = before.keyring.successor(
                before.id,
                slots(&before.keyring),
                change,
                self.clock().now(),
                &mut OsEntropy,
            )?;
            also(&mut next)?;
            let bytes = next.seal(&mut OsEntropy)?;
            let name = ObjectName::new(ObjectKind::Keyring, object_id(&bytes));
            self.storage()
                .put_new(name, &bytes)
                .context(|| format!("store {}", name.path()))?;
            match self.current_keyring_for(witness) {
                Ok(chosen) if chosen.id == name.id => return Ok(()),
                Err(error) if !matches!(error.kind(), ErrorKind::Denied | ErrorKind::WrongKey) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            "somebody else changes the keys again and again; run it again",
        ))
    }

    fn current_keyring_for(&self, identity: &SecretKey) -> Result<CurrentKeyring> {
        let rings = read_keyrings(&**self.storage(), &mut Vec::new())?;
        choose_current(&self.opened_slot()?.anchor, identity, &rings)
    }
}

/// A password that nobody thought up, for paper: 26 letters and digits, 130 bits.
pub fn recovery_password() -> Result<String> {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut random = [0; 26];
    OsEntropy.fill(&mut random)?;
    let letters = random.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    let groups: Vec<String> = letters.chunks(5).map(|group| group.iter().collect()).collect();
    Ok(groups.join("-"))
}
