//! levault: deduplicated, encrypted, verifiable backups of LevelDB databases.
//!
//! A program opens a repository ([`repo::Repo`]) in a storage ([`storage`]) and runs operations ([`ops`]) on it:
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
//!
//! | a program wants to | it uses |
//! |--|--|
//! | make or open a repository | [`repo::Repo::create`], [`repo::Repo::open`]; without keys [`repo::KeylessRepo`] |
//! | back up databases and directories | [`ops::backup::Backup`] |
//! | list and choose snapshots | [`repo::Repo::catalog`], [`engine::snapshot_filter::SnapshotFilter`] |
//! | read records of a snapshot | [`engine::read_records`] |
//! | read directories and files of a snapshot | [`engine::tree::SnapshotView`] |
//! | restore | [`ops::restore::Restore`] |
//! | check what is stored | [`ops::check::Check`] |
//! | forget and prune | [`ops::forget`], [`ops::prune::Prune`] |
//! | copy a live database, verify one | [`ops::capture`], [`ops::verify_db`] |
//! | read a closed or captured LevelDB | [`source::Database`] |
//!
//! A program that uses the library alone takes it with `default-features = false`: `cli` is the tool, `mount` its mount.
//!
//! Inside, use goes down only; each layer says what it does not know (docs/ARCHITECTURE.md):
//!
//! ```text
//! database files --source--> records --run--> leaves --blob, pack--> sealed packs --index--> snapshot
//!                <--target--         <--run--        <--blob, pack--             <--index--
//! ```
#![deny(unsafe_code)]

#[cfg(any(test, feature = "test-util"))]
pub mod child;
#[cfg(not(any(test, feature = "test-util")))]
mod child;

pub mod clock;
#[cfg(any(test, feature = "test-util"))]
pub mod codec;
#[cfg(not(any(test, feature = "test-util")))]
mod codec;

pub mod error;
pub mod id;
#[cfg(any(test, feature = "test-util"))]
pub mod kind;
#[cfg(not(any(test, feature = "test-util")))]
mod kind;

#[cfg(any(test, feature = "test-util"))]
pub mod limits;
#[cfg(not(any(test, feature = "test-util")))]
mod limits;

pub mod report;

#[cfg(test)]
mod document;

pub mod pattern;

pub mod leveldb;

#[cfg(any(test, feature = "test-util"))]
pub mod record;
#[cfg(not(any(test, feature = "test-util")))]
mod record;

#[cfg(any(test, feature = "test-util"))]
pub mod chunk;
#[cfg(not(any(test, feature = "test-util")))]
mod chunk;

#[cfg(any(test, feature = "test-util"))]
pub mod compress;
#[cfg(not(any(test, feature = "test-util")))]
mod compress;

#[cfg(any(test, feature = "test-util"))]
pub mod crypto;
#[cfg(not(any(test, feature = "test-util")))]
mod crypto;

#[cfg(any(test, feature = "test-util"))]
pub mod envelope;
#[cfg(not(any(test, feature = "test-util")))]
mod envelope;

pub mod keys;

#[cfg(any(test, feature = "test-util"))]
pub mod blob;
#[cfg(not(any(test, feature = "test-util")))]
mod blob;

#[cfg(any(test, feature = "test-util"))]
pub mod pack;
#[cfg(not(any(test, feature = "test-util")))]
mod pack;

#[cfg(any(test, feature = "test-util"))]
pub mod parity;
#[cfg(not(any(test, feature = "test-util")))]
mod parity;

#[cfg(any(test, feature = "test-util"))]
pub mod index;
#[cfg(not(any(test, feature = "test-util")))]
mod index;

#[cfg(any(test, feature = "test-util"))]
pub mod index_cache;
#[cfg(not(any(test, feature = "test-util")))]
mod index_cache;

#[cfg(any(test, feature = "test-util"))]
pub mod run;
#[cfg(not(any(test, feature = "test-util")))]
mod run;

pub mod snapshot;

#[cfg(any(test, feature = "test-util"))]
pub mod annotations;
#[cfg(not(any(test, feature = "test-util")))]
mod annotations;

mod held_directory;
mod scratch_directory;
pub mod source;
#[cfg(any(test, feature = "test-util"))]
pub mod target;
#[cfg(not(any(test, feature = "test-util")))]
mod target;

pub mod storage;

pub mod repo;

pub mod engine;
pub mod ops;
