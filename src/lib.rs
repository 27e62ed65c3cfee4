//! levault: deduplicated, encrypted, verifiable backups of LevelDB databases.

pub mod clock;
pub mod codec;
pub mod error;
pub mod id;
pub mod limits;

pub mod blob;
pub mod leveldb;

pub mod record;

pub mod chunk;

pub mod run;

pub mod snapshot;
