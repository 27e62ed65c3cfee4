//! What the end-to-end tests share: the tool as a program, C++ LevelDB as a servant, the real-world corpora.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod corpora;
pub mod machine;
pub mod oracle;
pub mod tool;

/// A directory in memory where the system has a place for such, which need not wait for a disk at every sync.
pub fn memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("make a directory")
}
