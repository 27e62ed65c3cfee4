//! Trees of files: read behind the captures, so that what a captured database speaks of is there.
//!
//! ```text
//! calling thread                                        storing thread                                upload thread
//! list, look, in order of names                         name (rayon) -> compress, seal (rayon)     -> verify, store
//! small files: open, read, cut (rayon) -> [1 batch] ->  lists of chunks -> directories, level by
//! large files: window by window                         level -> the same writer
//! ```
//! Memory: three batches of about [`gather::BATCH_BYTES`], the names of the directories that are open, and what the
//! writer holds. The first error ends both threads. What cannot be read of the source is no such error: it is told, and
//! the rest is saved.

mod asked;
mod batch;
mod databases;
mod descend;
mod gather;
mod plan;
mod read;
mod sieve;
mod sqlite;
mod store;

use std::path::PathBuf;
use std::thread;

use crossbeam_channel::bounded;

use crate::chunk::Cutter;
use crate::error::{Error, Kind, Result};
use crate::id::BlobId;
use crate::repo::{Repo, Writer};
use crate::report::Report;
use crate::source::rules::{Bounds, LeftOut};

pub use asked::Given;
pub use databases::Databases;
use descend::Descent;
pub use plan::{FoundDatabase, Plan, WantedTree, name_below};
use sieve::Sieve;
pub use sqlite::Sqlite;
use sqlite::Sqlites;

/// What is walked.
#[derive(Clone, Debug)]
pub enum Root {
    /// A path, itself the one entry of its tree.
    Tree(WantedTree),
    /// What else lies in the directory of a database, by its number among the sources.
    Beside {
        number: u32,
        directory: PathBuf,
        bounds: Bounds,
    },
}

impl Root {
    /// What of it is wanted.
    fn bounds(&self) -> &Bounds {
        match self {
            Self::Tree(tree) => &tree.bounds,
            Self::Beside { bounds, .. } => bounds,
        }
    }
}

/// How many things of a kind are as the snapshot before has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// They were not there.
    pub new: u64,
    /// They were there, and not the same.
    pub changed: u64,
    /// They are as they were.
    pub unmodified: u64,
}

impl Changes {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.new + self.changed + self.unmodified
    }
}

/// What was found below a root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeCounts {
    /// Regular files.
    pub files: Changes,
    /// Directories, the root among them.
    pub directories: Changes,
    /// Links, pipes, devices and databases.
    pub others: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes that were read of them.
    pub bytes_read: u64,
}

impl std::iter::Sum for TreeCounts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        let add = |left: Changes, right: Changes| Changes {
            new: left.new + right.new,
            changed: left.changed + right.changed,
            unmodified: left.unmodified + right.unmodified,
        };
        all.fold(Self::default(), |sum, one| Self {
            files: add(sum.files, one.files),
            directories: add(sum.directories, one.directories),
            others: sum.others + one.others,
            bytes: sum.bytes + one.bytes,
            bytes_read: sum.bytes_read + one.bytes_read,
        })
    }
}

/// A root, stored.
#[derive(Debug)]
pub struct StoredRoot {
    /// What was walked.
    pub root: Root,
    /// Its tree blob; `None` if nothing is in it.
    pub tree: Option<BlobId>,
    pub counts: TreeCounts,
}

/// Walks the roots and stores what is there; what was left out is added to `left_out`.
pub fn store(
    repo: &Repo,
    writer: &mut Writer,
    roots: Vec<Root>,
    databases: &mut Databases,
    how: Sqlite,
    left_out: &mut LeftOut,
    report: &Report,
) -> Result<Vec<StoredRoot>> {
    if roots.is_empty() {
        return Ok(Vec::new());
    }
    let sieve = Sieve {
        left_out: std::mem::take(left_out),
        ..Sieve::default()
    };
    let sqlites = Sqlites::new(how, report);
    let secret = repo.domain_keys().chunker_secret().expose();
    let cutter = Cutter::new(secret);
    let (batches, waiting) = bounded(1);
    let (walked, stored) = thread::scope(|scope| {
        let storing = scope.spawn(|| store::drain(repo, writer, waiting, report));
        let walked = Descent::new(&cutter, batches, databases, sieve, sqlites, report).all(roots);
        let panicked = |_| Err(Error::new(Kind::Io, "the storing thread panicked"));
        (walked, storing.join().unwrap_or_else(panicked))
    });
    let trees = stored?;
    let (walked, all_left_out) = walked?;
    *left_out = all_left_out;
    let joined = walked.into_iter().zip(trees);
    Ok(joined
        .map(|((root, counts), tree)| StoredRoot { root, tree, counts })
        .collect())
}
