//! Sorted runs: records in leaves, under a tree of nodes.
//!
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
//! deleted since; reading merges them and the newest wins ([`stack_cursor`]).
//!
//! What a leaf or node holds depends on the records, the order and the dedup domain's secret alone, so two hosts
//! of one domain that back up equal records write equal blobs, whatever the history of either.
//!
//! Forward and back: [`LeafDraft`] → [`leaf::encode_leaf`] ⇄ [`leaf::LeafReader`]; [`RunTreeBuilder`] ⇄ [`RunReader`].

pub mod compaction_plan;
pub mod key_range;
pub mod leaf;
pub mod leaf_cutter;
pub mod leaf_draft;
pub mod node;
mod open_leaf;
pub mod partial_run;
pub mod run_builder;
pub mod run_entry;
pub mod run_reader;
pub mod stack_cursor;
pub mod stack_diff;
mod stack_lookup;
mod unshared_leaves;
pub mod value_patch;

pub use crate::chunk::{BlobSource, StoreBlob};
pub use key_range::KeyRange;
pub use leaf::encode_leaf;
#[cfg(any(test, feature = "test-util"))]
pub use leaf::{LeafReader, set_digest};
pub use leaf_cutter::LeafCutter;
pub use leaf_draft::LeafDraft;
#[cfg(any(test, feature = "test-util"))]
pub use node::RunNode;
pub use node::{ChildRef, LeafRef, RunRoot};
pub use run_builder::RunTreeBuilder;
pub use run_entry::{EntryPayload, OwnedEntry, RunEntry};
#[cfg(any(test, feature = "test-util"))]
pub use run_reader::verify_leaf;
pub use run_reader::{LeafIterator, LeafSpan, RunReader, read_leaf};
pub use stack_cursor::{StackCursor, TombstoneMode};
pub use stack_diff::{RecordDifference, StackLayer, diff};
pub use value_patch::{Patch, PatchMaker};

use std::cmp::Ordering;

/// The database's key order, handed in: runs know no comparator by name.
pub type KeyOrder<'a> = &'a (dyn Fn(&[u8], &[u8]) -> Ordering + Sync);

#[cfg(test)]
mod tests;
