//! Computes LevelDB's masked CRC-32C.
//!
//! LevelDB's checksum: CRC-32C, *masked*, because a CRC over bytes that hold their own CRC says little.

/// Added to a rotated CRC; LevelDB's constant.
const MASK_DELTA: u32 = 0xa282_ead8;

/// The stored form of `crc`.
#[inline]
pub fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(MASK_DELTA)
}

/// The stored checksum of `bytes`.
#[inline]
pub fn masked(bytes: &[u8]) -> u32 {
    mask(crc32c::crc32c(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_leveldbs() {
        // RFC 3720's vector for 32 zeros, and the mask over it worked out by hand.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(mask(0x8a91_36aa), 0x6d55_1522u32.wrapping_add(MASK_DELTA));
    }
}
