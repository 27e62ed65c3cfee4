//! Reads a snapshot's files and directories without restoring them.
//!
//! ```text
//! snapshot ── source `profile` ── tree ── Default ── History          a file
//!         │                                      └── leveldb ────┐    a database
//!         └── source `profile/Default/leveldb` ── database <──────┘
//!                                                 └── beside: what else lies in its directory
//! ```
//!
//! A [`SnapshotView`] reads only what it is asked for. Everything it gives stands below the source it began with: names are
//! checked where a tree is decoded, a database that a tree names must be there and not be within itself, and depth and
//! length of paths are bounded.

mod address;
mod file_content;
mod node_walker;
mod snapshot_view;
mod stated_size;

pub use crate::limits::TREE_DEPTH_MAX;
pub use crate::snapshot::source_label::parts;
pub(crate) use address::databases_inside_sources;
pub use address::{ambiguous_address_error, can_lead_into, top_sources};
pub use file_content::{read_at, read_file};
pub use node_walker::{DirectoryEntries, NodeWalker, OPEN_DIRECTORIES_MAX};
pub use snapshot_view::{
    DirectoryTreeRef, ResolvedAddress, SnapshotView, TreeNode, database_by_number, join_path,
};
pub use stated_size::StatedSize;

#[cfg(test)]
mod tests;
