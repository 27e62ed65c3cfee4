//! Reed-Solomon parity over a pack's stored bytes.
//!
//! Parity: Reed-Solomon shards over a pack's stored bytes, kept beside the pack (FORMAT.md section 11). Whoever has no
//! key can heal a damaged pack with them, and knows by the pack's name that it is healed.
//!
//! ```text
//! pack │ data 0 │ data 1 │ … │ data k-1 │      --encode-->  parity object │ head │ hashes │ shard 0 … shard m-1 │ hashes │ head │
//! pack │ data 0 │ ?????? │ … │ ?????????│  + parity object --mend-->      pack, if it hashes to its name; else nothing
//! ```
//!
//! Any m of the k + m shards may be lost. They are contiguous stretches, so that a burst of damage hits few; m is chosen
//! so that a burst of the wanted share of the pack is healed wherever it begins ([`ShardGeometry::plan`]).
//!
//! A stage: bytes in, bytes out. Nothing in a parity object is believed: what is rebuilt is handed on only if it has
//! the name of the pack. The object is damaged as easily as the pack: head and hashes stand at both ends, each hash
//! serves by itself, and the whole can be made again from the pack, byte for byte, since nothing in it is random.

mod parity_header;
mod parity_object;
mod parity_share;
mod reed_solomon;
mod shard_geometry;

#[cfg(test)]
mod formula_tests;
#[cfg(test)]
mod tests;

pub use parity_header::ParityHeader;
pub use parity_object::{HEAD_OFFSET, HealedPack, ParityObject, encode, encode_as};
pub use parity_share::ParityShare;
pub use shard_geometry::ShardGeometry;
