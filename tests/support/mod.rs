//! What the end-to-end tests share: the tool as a program, C++ LevelDB as a servant, the real-world corpora.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod corpora;
pub mod oracle;
pub mod tool;
