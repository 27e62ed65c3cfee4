//! What every fuzz target does with its bytes, and good inputs to start from. Used twice: by the fuzz targets,
//! and by tests/fuzz_replay.rs, which replays kept inputs and damaged good ones on the stable compiler.
//!
//! A decoder must return: no panic, no hang, no memory by an unchecked length. Where an encoding is canonical, whatever
//! is accepted must also encode to the same bytes again.
#![allow(
    dead_code,
    unused_imports,
    reason = "a fuzz target uses its own function only"
)]

mod accepts;
mod bounds;
mod leveldb;
mod objects;
mod seeds;

pub use accepts::accepts;
pub use bounds::*;
pub use leveldb::*;
pub use objects::*;
pub use seeds::seeds;

/// A decoder's name, and what a target does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them; fuzz_targets has a file for each.
pub const TARGETS: &[Target] = &[
    ("leveldb_log", leveldb_log),
    ("leveldb_batch", leveldb_batch),
    ("leveldb_version", leveldb_version),
    ("leveldb_name", leveldb_name),
    ("leveldb_table", leveldb_table),
    ("leveldb_block", leveldb_block),
    ("leveldb_database", leveldb_database),
    ("leveldb_bounds", leveldb_bounds),
    ("idb_order", idb_order),
    ("record_stream", record_stream),
    ("run_leaf", run_leaf),
    ("run_node", run_node),
    ("run_patch", run_patch),
    ("chunk_list", chunk_list),
    ("snapshot_body", snapshot_body),
    ("directory_tree", directory_tree),
    ("object_clear", object_clear),
    ("config", config),
    ("slot", slot),
    ("keyring", keyring),
    ("credential", credential),
    ("host_state", host_state),
    ("object_name", object_name),
    ("features", features),
    ("pack", pack),
    ("pack_directory", pack_directory),
    ("index_segment", index_segment),
    ("sealed_keys", sealed_keys),
    ("note", note),
    ("mark", mark),
    ("bad", bad),
    ("audit", audit),
    ("forgotten", forgotten),
    ("parity", parity),
];
