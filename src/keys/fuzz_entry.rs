//! Entry points for fuzz targets of decoders behind authentication.
//!
//! Doors for fuzz targets: decoders that are only ever handed authenticated bytes, and must stand others all the same.

use super::config::Parameters;
use super::key_slot::RepositoryAnchor;
use super::keyring::{EpochChange, Keyring};
use super::{Credential, host_credential, key_slot};
use crate::crypto::SeededEntropy;
use crate::error::Result;
use crate::id::ObjectId;

/// The plain body of a keyring.
pub fn keyring_body(bytes: &[u8]) -> Result<()> {
    Keyring::decode_body(bytes).map(drop)
}

/// The plain part of a config.
pub fn parameters(bytes: &[u8]) -> Result<Parameters> {
    Parameters::decode(bytes)
}

/// The plain payload of a slot.
pub fn slot_payload(bytes: &[u8]) -> Result<()> {
    key_slot::decode_payload(bytes).map(drop)
}

/// The plain payload of a credential.
pub fn credential_payload(bytes: &[u8]) -> Result<()> {
    host_credential::decode_payload(bytes).map(drop)
}

/// What [`credential_payload`] takes: that of the first host of this keyring.
pub fn credential(keyring: &Keyring) -> Result<Vec<u8>> {
    let mut with = keyring.successor(
        ObjectId([1; 32]),
        keyring.slots().to_vec(),
        EpochChange::Keep,
        keyring.created(),
        &mut SeededEntropy::new(1),
    )?;
    let domain = with.add_domain("host", &mut SeededEntropy::new(2))?;
    let anchor = RepositoryAnchor {
        repository: keyring.repository(),
        first_keyring: ObjectId([2; 32]),
    };
    let made = Credential::of(&with, domain, anchor, *keyring.features(), Parameters::default())?;
    Ok(made.encode_payload()?.to_vec())
}

/// What [`keyring_body`] and [`parameters`] take.
pub fn bodies(keyring: &Keyring) -> Result<[Vec<u8>; 2]> {
    Ok([keyring.encode_body().to_vec(), Parameters::default().encode()?])
}
