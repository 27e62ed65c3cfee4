//! Doors for fuzz targets: decoders that are only ever handed authenticated bytes, and must stand others all the same.

use super::config::Parameters;
use super::keyring::Keyring;
use super::slot;
use crate::error::Result;

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
    slot::decode_payload(bytes).map(drop)
}

/// What [`keyring_body`] and [`parameters`] take.
pub fn bodies(keyring: &Keyring) -> Result<[Vec<u8>; 2]> {
    Ok([keyring.encode_body().to_vec(), Parameters::default().encode()?])
}
