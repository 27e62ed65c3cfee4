//! Goal: snapshots that hold trees answer without being restored: lists, names, differences, archives, a mount. Method:
//! trees stored by the library as a backup stores them, asked for by the real program.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

mod diff;
mod dump;
mod find;
mod killed;
mod ls;
#[cfg(target_os = "linux")]
mod mount;
mod scene;
