//! Encrypts and decrypts one part by ChaCha20-Poly1305.
//!
//! ChaCha20-Poly1305 over one part. The nonce is the part's ordinal; see the nonce rule in [`super`].

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};

use super::secret::Secret32;
use crate::error::{Error, Result};

/// Bytes that sealing adds.
pub const TAG_LEN: usize = 16;

/// Encrypts `buffer[from..]` in place and appends the tag. What stands before `from` stays clear and is only
/// authenticated if `aad` holds it.
pub fn seal(key: &Secret32, ordinal: u32, aad: &[u8], buffer: &mut Vec<u8>, from: usize) -> Result<()> {
    let tag = encrypt(key, ordinal, aad, (&mut buffer[from..]).into())?;
    buffer.extend_from_slice(&tag);
    Ok(())
}

/// Encrypts `plain` into `sealed`: ciphertext and tag, [`TAG_LEN`] bytes more.
pub fn seal_into(key: &Secret32, ordinal: u32, aad: &[u8], plain: &[u8], sealed: &mut [u8]) -> Result<()> {
    let (text, tag) = sealed
        .split_last_chunk_mut::<TAG_LEN>()
        .ok_or_else(no_room_error)?;
    let both = InOutBuf::new(plain, text).map_err(|_| no_room_error())?;
    *tag = encrypt(key, ordinal, aad, both)?.into();
    Ok(())
}

fn encrypt(key: &Secret32, ordinal: u32, aad: &[u8], both: InOutBuf<'_, '_, u8>) -> Result<Tag> {
    cipher(key)
        .encrypt_inout_detached(&nonce(ordinal), aad, both)
        .map_err(|_| Error::corrupt("part is too long to be sealed"))
}

fn no_room_error() -> Error {
    Error::corrupt("a sealed part has another length than its place")
}

/// Decrypts `sealed` (ciphertext and tag), or fails without telling where the difference is.
pub fn open(key: &Secret32, ordinal: u32, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    open_into(key, ordinal, aad, sealed, &mut plain).map(|()| plain)
}

/// The same into `room`, which is made as long as the plain bytes.
pub fn open_into(key: &Secret32, ordinal: u32, aad: &[u8], sealed: &[u8], room: &mut Vec<u8>) -> Result<()> {
    let (text, tag) = split(sealed)?;
    room.resize(text.len(), 0);
    let both = InOutBuf::new(text, &mut room[..]).map_err(|_| no_room_error())?;
    cipher(key)
        .decrypt_inout_detached(&nonce(ordinal), aad, both, &tag)
        .map_err(|_| Error::corrupt("authentication failed"))
}

/// `ordinal` as 12 bytes, little-endian.
fn nonce(ordinal: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&ordinal.to_le_bytes());
    Nonce::from(nonce)
}

fn cipher(key: &Secret32) -> ChaCha20Poly1305 {
    let key: &Key = key.expose().into();
    ChaCha20Poly1305::new(key)
}

fn split(sealed: &[u8]) -> Result<(&[u8], Tag)> {
    let (text, tag) = sealed
        .split_last_chunk::<TAG_LEN>()
        .ok_or_else(|| Error::corrupt(format!("a sealed part of {} bytes has no tag", sealed.len())))?;
    Ok((text, Tag::from(*tag)))
}
