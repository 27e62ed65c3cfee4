//! Repairs through the library: what they bring back, what they leave alone, and that one which dies at any call leaves
//! the repository no worse.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "../common/mod.rs"]
mod common;
mod dying;
mod index;
mod packs;
mod scene;
mod snapshots;
mod trees;
