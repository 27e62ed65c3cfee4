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
mod content;
mod node_walk;
mod snapshot_view;
mod stated_size;

pub use crate::snapshot::source_label::parts;
pub(crate) use address::inside_by_names;
pub use address::{ambiguous, leads, tops};
pub use content::{read_at, stream};
pub use node_walk::{DirectoryEntries, NodeWalk, OPEN_MAX};
pub use snapshot_view::{DirectoryListing, ResolvedAddress, SnapshotView, TreeNode, database, join};
pub use stated_size::StatedSize;

#[cfg(test)]
mod tests;
