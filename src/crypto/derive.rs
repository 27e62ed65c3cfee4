//! Derives keys and hashes by BLAKE3's keyed modes.
//!
//! BLAKE3 in its two keyed modes. Contexts stand in one table, `envelope/class.rs` and FORMAT.md section 3.

use zeroize::Zeroize;

use super::secret::Secret32;

/// `derive_key(context, parts concatenated)`. Lengths of the parts are fixed by each context, so no two lists of
/// parts concatenate to the same bytes.
pub fn derive(context: &str, parts: &[&[u8]]) -> Secret32 {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    let mut output = [0; 32];
    hasher.finalize_xof().fill(&mut output);
    hasher.zeroize();
    Secret32::take(&mut output)
}

/// The same, for what is public: commitments.
pub fn derive_public(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    *derive(context, parts).expose()
}

/// Keyed BLAKE3 of `parts` concatenated.
pub fn mac(key: &Secret32, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    for part in parts {
        hasher.update(part);
    }
    let mac = hasher.finalize();
    hasher.zeroize();
    *mac.as_bytes()
}

/// Compares in a time that does not depend on where the first difference is.
pub fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    blake3::Hash::from_bytes(*left) == blake3::Hash::from_bytes(*right)
}
