//! Lists the classes of objects, with their numbers and key contexts.
//!
//! Every class of object with its number and its key contexts: the one table (FORMAT.md section 3).

use crate::error::{Error, ErrorKind, Result};

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal;)*) => {
        /// What a stored object is. The number stands in its header, the word in its key contexts.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum ObjectClass { $($(#[$doc])* $name = $number,)* }

        impl ObjectClass {
            /// Every class, by number.
            pub const ALL: &[ObjectClass] = &[$(ObjectClass::$name,)*];

            /// What messages call it.
            pub fn word(self) -> &'static str {
                match self { $(ObjectClass::$name => $word,)* }
            }

            /// The `derive_key` context of the keys of objects of this class.
            pub fn key_context(self) -> &'static str {
                match self { $(ObjectClass::$name => concat!("levault 2026-11 v1 ", $word, " key"),)* }
            }

            /// The `derive_key` context of the commitments to those keys.
            pub fn commitment_context(self) -> &'static str {
                match self { $(ObjectClass::$name => concat!("levault 2026-11 v1 ", $word, " commitment"),)* }
            }
        }
    };
}

classes! {
    /// The repository's parameters, written twice and never changed.
    Config = 1, "config";
    /// A password's way to an identity.
    Slot = 2, "slot";
    /// Epoch keys, domains, the list of slots.
    Keyring = 3, "keyring";
    /// Sealed blobs.
    Pack = 4, "pack";
    /// Where blobs lie.
    Index = 5, "index";
    /// One backup.
    Snapshot = 6, "snapshot";
    /// Snapshots forgotten since.
    Forgotten = 7, "forgotten";
    /// Tags, pins, suspicions, what a store can do.
    Note = 8, "note";
    /// Blobs never to be deduplicated against.
    Bad = 9, "bad";
    /// Packs that are to go.
    Mark = 10, "mark";
    /// A prune's announcement, with expiry.
    Lease = 11, "lease";
    /// A scratch object that tells the storage's clock.
    Probe = 12, "probe";
    /// A shipped log segment.
    Wal = 13, "wal";
    /// Reed-Solomon shards over a pack.
    Parity = 14, "parity";
    /// What was read and found right, when.
    Audit = 15, "audit";
    /// A write-only host's keys: a file beside the host's configuration, never in a repository.
    Credential = 16, "credential";
}

impl TryFrom<u8> for ObjectClass {
    type Error = Error;

    /// [`ErrorKind::TooNew`] for a number this program does not know.
    fn try_from(number: u8) -> Result<Self> {
        let class = ObjectClass::ALL.iter().find(|class| **class as u8 == number);
        class.copied().ok_or_else(|| {
            let message = format!(
                "object class {number} is not known; {}",
                super::gate::upgrade_advice()
            );
            Error::new(ErrorKind::TooNew, message)
        })
    }
}

/// Where the key of an object comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum KeyScheme {
    /// An epoch key of the keyring.
    Epoch = 0,
    /// X25519 between an ephemeral key and the owner's key of that epoch: what write-only hosts seal.
    Exchange = 1,
    /// A domain's index key: index segments of write-only domains, which both the host and the owner read.
    Domain = 2,
    /// A password through argon2id: slots.
    Password = 3,
    /// A random key, wrapped for each recipient in the clear part: keyrings.
    Recipients = 4,
    /// None: nothing in it is secret or vouched for (leases, probes, parity).
    Clear = 255,
}

impl TryFrom<u8> for KeyScheme {
    type Error = Error;

    /// [`ErrorKind::TooNew`] for a number this program does not know.
    fn try_from(number: u8) -> Result<Self> {
        use KeyScheme::{Clear, Domain, Epoch, Exchange, Password, Recipients};
        let scheme = [Epoch, Exchange, Domain, Password, Recipients, Clear];
        scheme
            .into_iter()
            .find(|scheme| *scheme as u8 == number)
            .ok_or_else(|| {
                let message = format!(
                    "key scheme {number} is not known; {}",
                    super::gate::upgrade_advice()
                );
                Error::new(ErrorKind::TooNew, message)
            })
    }
}
