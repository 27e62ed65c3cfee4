//! Sorted runs: records cut into leaves, leaves named by inner nodes, one root.
//!
//! ```text
//!   records in key order --draft, cut--> leaf | leaf | leaf | leaf     64 KiB on average
//!                                          \____|____/      |
//!                                            node         node         128 children on average
//!                                               \__ root __/
//! ```
//!
//! A snapshot of a database is a stack of runs: the oldest holds every record, each newer one what was put or
//! deleted since; reading merges them and the newest wins ([`stack`]).
//!
//! What a leaf or node holds depends on the records, the order and the dedup domain's secret alone, so two hosts
//! of one domain that back up equal records write equal blobs, whatever the history of either.
//!
//! Forward and back: [`LeafDraft`] → [`leaf::encode_leaf`] ⇄ [`LeafReader`]; [`TreeBuilder`] ⇄ [`Walker`].

mod below;
pub mod build;
pub mod cut;
pub mod diff;
pub mod draft;
pub mod entry;
pub mod fold;
pub mod leaf;
pub mod node;
mod open_leaf;
mod own_leaves;
pub mod partial;
pub mod patch;
pub mod range;
pub mod stack;
pub mod walk;

pub use crate::chunk::{BlobSource, StoreBlob};
pub use build::TreeBuilder;
pub use cut::LeafCutter;
pub use diff::{Difference, Layer, diff};
pub use draft::LeafDraft;
pub use entry::{Entry, OwnedEntry, Payload};
pub use leaf::{LeafReader, encode_leaf, set_digest};
pub use node::{ChildRef, LeafRef, Node, Root};
pub use patch::{Patch, PatchMaker};
pub use range::KeyRange;
pub use stack::{StackCursor, Tombstones};
pub use walk::{LeafSpan, Leaves, Walker, read_leaf, verify_leaf};

use std::cmp::Ordering;

/// The database's key order, handed in: runs know no comparator by name.
pub type KeyOrder<'a> = &'a (dyn Fn(&[u8], &[u8]) -> Ordering + Sync);

#[cfg(test)]
mod tests;
