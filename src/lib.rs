//! levault: deduplicated, encrypted, verifiable backups of LevelDB databases.

pub mod clock;
pub mod codec;
pub mod error;
pub mod id;
pub mod kind;
pub mod limits;

#[cfg(test)]
mod document;

pub mod leveldb;

pub mod record;

pub mod chunk;

pub mod compress;
pub mod crypto;
pub mod envelope;

pub mod keys;

pub mod blob;

pub mod pack;

pub mod index;

pub mod run;

pub mod snapshot;

pub mod source;
pub mod storage;
pub mod target;
