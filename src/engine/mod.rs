//! Engine: walks, reads, rewrites and stores snapshots for the operations.
//!
//! What more than one operation needs; an operation uses this, and no other operation's insides (`tests/layers.rs`).

pub(crate) mod blob_cache;
pub(crate) mod blob_set;
pub(crate) mod database_digests;
pub mod database_file_attributes;
pub mod database_series;
pub mod database_state;
pub(crate) mod domain_views;
pub(crate) mod file_attributes;
pub mod file_list_source;
pub mod heal_packs;
pub mod key_selection;
pub mod parity_listing;
pub(crate) mod publish_snapshot;
pub(crate) mod reachability;
pub mod read_records;
pub(crate) mod record_scan;
pub(crate) mod rewrite_segments;
pub(crate) mod run_pipeline;
pub mod snapshot_filter;
pub mod tag_list;
pub mod tree;
pub(crate) mod tree_rewrite;

pub use crate::kind::BlobKind;
pub use crate::run::{BlobSource, EntryPayload, KeyRange, OwnedEntry, RecordDifference};
