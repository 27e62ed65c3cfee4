//! Goal: what a backup of directories took comes back as it was, and what a snapshot says, honest or not, changes nothing
//! outside of the target. Method: real directories through backup and restore, compared thing by thing; and trees stored by
//! hand, as no backup would store them.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "../common/mod.rs"]
mod common;
mod corpora;
mod databases;
mod disk;
mod folding;
mod guard;
mod hostile;
mod modes;
mod owners;
mod property;
mod roads;
mod scene;
mod shared;
mod sources;
#[path = "../support/mod.rs"]
mod support;
mod times;
mod tool;
