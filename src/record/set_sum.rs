//! Adds hashes modulo 2^256.

/// A number below 2^256: four limbs, the least first.
pub type SetSum = [u64; 4];

/// The number that 32 bytes are, little-endian.
#[inline]
pub fn from_bytes(bytes: &[u8; 32]) -> SetSum {
    let mut limbs = [0; 4];
    for (limb, from) in limbs.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_le_bytes(*from);
    }
    limbs
}

/// The bytes of a number, little-endian.
pub fn to_bytes(sum: &SetSum) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, limb) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(sum) {
        *to = limb.to_le_bytes();
    }
    bytes
}

/// Adds a hash.
#[inline]
pub fn add(sum: &mut SetSum, hash: &[u8; 32]) {
    let mut carry = false;
    for (to, from) in sum.iter_mut().zip(from_bytes(hash)) {
        (*to, carry) = to.carrying_add(from, carry);
    }
}

/// Takes a hash off.
#[inline]
pub fn subtract(sum: &mut SetSum, hash: &[u8; 32]) {
    let mut borrow = false;
    for (to, from) in sum.iter_mut().zip(from_bytes(hash)) {
        (*to, borrow) = to.borrowing_sub(from, borrow);
    }
}
