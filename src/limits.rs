//! Every size, count and duration limit, with its unit and its reason. Decoders compare with these before they
//! allocate; FORMAT.md quotes them.

/// Largest value we read or write, bytes: LevelDB itself stops working near 4 GiB, and restores hold one value
/// at a time in memory.
pub const VALUE_BYTES_MAX: usize = 1 << 30;

/// Largest user key, bytes: goes with [`VALUE_BYTES_MAX`]; keys sit in nodes, so far smaller ones are kinder.
pub const KEY_BYTES_MAX: usize = 64 << 20;

/// Largest plain blob, bytes: one blob is one allocation on the way back.
pub const BLOB_BYTES_MAX: usize = 128 << 20;

/// Default pack, bytes: large enough for object stores, small enough that three fit the memory bound.
pub const PACK_BYTES_DEFAULT: usize = 32 << 20;

/// Smallest and largest pack a repository may ask for, bytes.
pub const PACK_BYTES_RANGE: std::ops::RangeInclusive<usize> = (4 << 20)..=(128 << 20);

/// Largest stored object that is read whole and is not a pack, bytes (index segment, snapshot, keyring, ...).
pub const OBJECT_BYTES_MAX: u64 = 64 << 20;

/// Values longer than this leave the leaf and become a chunk list of their own, bytes.
pub const INLINE_VALUE_BYTES_MAX: usize = 64 << 10;
