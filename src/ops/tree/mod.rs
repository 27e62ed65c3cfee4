//! What a snapshot holds, as files and directories, looked at without restoring it.
//!
//! ```text
//! snapshot ── source `profile` ── tree ── Default ── History          a file
//!         │                                      └── leveldb ────┐    a database
//!         └── source `profile/Default/leveldb` ── database <──────┘
//!                                                 └── beside: what else lies in its directory
//! ```
//!
//! A [`View`] reads only what it is asked for. Everything it gives stands below the source it began with: names are
//! checked where a tree is decoded, a database that a tree names must be there and not be within itself, and depth and
//! length of paths are bounded.

mod address;
mod content;
mod stated;
mod view;
mod walk;

pub use crate::snapshot::label::parts;
pub(crate) use address::inside_by_names;
pub use address::{ambiguous, leads, tops};
pub use content::{read_at, stream};
pub use stated::Stated;
pub use view::{Found, Listing, Node, View, database, join};
pub use walk::{Entries, OPEN_MAX, Walk};

#[cfg(test)]
mod tests;
