//! levault: deduplicated, encrypted, verifiable backups of LevelDB databases.
//!
//! ```text
//! database files --source--> records --run--> leaves --blob, pack--> sealed packs --index--> snapshot
//!                <--target--         <--run--        <--blob, pack--             <--index--
//! ```
//!
//! Use goes down only; each layer says what it does not know:
//!
//! | layer | modules | knows nothing of |
//! |--|--|--|
//! | operations | [`ops`] | terminals, arguments, exit codes, one another's insides |
//! | engine | [`engine`] | which operation runs |
//! | repository | [`repo`] | where data comes from or goes to |
//! | edges | [`source`], [`target`], [`storage`], [`index_cache`], and `scratch_directory` under the first two, `held_directory` under all | one another; keys; what the bytes mean |
//! | stages | [`pattern`] [`leveldb`] [`record`] [`chunk`] [`compress`] [`crypto`] [`envelope`] [`keys`] [`blob`] [`pack`] [`parity`] [`index`] [`run`] [`snapshot`] [`annotations`] | files, sockets, threads of their own, clocks, randomness they were not handed |
//! | words | [`error`] [`id`] [`kind`] [`limits`] [`codec`] [`clock`] [`report`] | everything |
//!
//! Backing up and restoring from a program:
//!
//! ```no_run
//! use std::sync::Arc;
//! use levault::{keys::Password, ops::backup::Backup, report::OperationReport};
//! use levault::repo::{Repo, RepoSettings};
//! use levault::storage::LocalStorage;
//!
//! # fn main() -> levault::error::Result<()> {
//! let storage = Arc::new(LocalStorage::open("/backups/app")?);
//! let password = Password::new(b"a long sentence".to_vec());
//! let repo = Repo::open(storage, &password, RepoSettings::default())?;
//! let outcome = Backup::new(vec!["/var/lib/app/db".into()]).run(&repo, &OperationReport::default())?;
//! println!("{:?}", outcome.snapshot);
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

pub mod child;
pub mod clock;
pub mod codec;
pub mod error;
pub mod id;
pub mod kind;
pub mod limits;
pub mod report;

#[cfg(test)]
mod document;

pub mod pattern;

pub mod leveldb;

pub mod record;

pub mod chunk;

pub mod compress;
pub mod crypto;
pub mod envelope;

pub mod keys;

pub mod blob;

pub mod pack;

pub mod parity;

pub mod index;
pub mod index_cache;

pub mod run;

pub mod snapshot;

pub mod annotations;

mod held_directory;
mod scratch_directory;
pub mod source;
pub mod target;

pub mod storage;

pub mod repo;

pub mod engine;
pub mod ops;
