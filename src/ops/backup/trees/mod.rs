//! Backs up trees of files, after the databases were captured.
//!
//! Trees of files: read behind the captures, so that what a captured database speaks of is there.
//!
//! ```text
//! calling thread, and a few that read                    storing thread                                upload thread
//! list, look, in order of names                          name (rayon) -> compress, seal (rayon)     -> verify, store
//! small files: open, read, cut, together -> [1 batch] -> lists of chunks -> directories, level by
//! large files: window by window                          level -> the same writer
//! ```
//! A file that the newest snapshot of the same path has as it is now is not read: its chunks are looked up instead. They
//! are counted on as the writer counts on any blob that it knows: if each lies in a sound pack, and only as long as
//! that pack is proven sound when the snapshot is published. So nothing rests on the older snapshot itself.
//!
//! Memory: three batches of about [`read_queue::READ_BATCH_BYTES`], the names of the directories that are open, and what the
//! writer holds. The first error ends both threads. What cannot be read of the source is no such error: it is told, and
//! the rest is saved.

mod backup_plan;
mod databases_by_directory;
mod exclude_filter;
mod file_reader;
mod open_directory;
mod parent_files;
mod read_queue;
mod resolve_paths;
mod sqlite;
mod tree_storer;
mod tree_walker;
mod walk_channel;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::bounded;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::chunk::Chunker;
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::repo::{BlobWriter, Repo};
use crate::report::OperationReport;
use crate::source::exclude_rules::{ExcludedItems, WalkScope};
use crate::source::{HeldDirectory, TouchedDirectories};

pub use backup_plan::{BackupPlan, PlannedDatabaseBackup, PlannedTree, unique_name_below};
pub use databases_by_directory::{DatabasesByDirectory, LateDatabase};
use exclude_filter::ExcludeFilter;
pub use file_reader::{FileReadError, FileReader};
use open_directory::EntryScanners;
use parent_files::ParentFiles;
pub use parent_files::{ChangeDetection, ParentRoots};
use read_queue::ReadQueue;
pub use resolve_paths::BackupPaths;
use sqlite::SqliteDatabases;
pub use sqlite::SqliteMode;
pub use tree_storer::StoredTree;
use tree_walker::TreeWalker;
pub use walk_channel::{FinishedFile, StepSender, WalkStep};

/// Files that are open at once when it is not said: a disk answers several questions sooner than one after the other.
pub const READ_CONCURRENCY_DEFAULT: usize = 4;

/// And at most.
const READ_CONCURRENCY_MAX: usize = 64;

/// What is walked.
#[derive(Clone, Debug)]
pub enum WalkRoot {
    /// A path, itself the one entry of its tree.
    Tree(PlannedTree),
    /// What else lies in the directory of a database, by its number among the sources.
    Beside {
        number: u32,
        directory: PathBuf,
        /// The directory that was captured, whatever has its path now; `None` if none could be held.
        held: Option<HeldDirectory>,
        scope: WalkScope,
    },
}

impl WalkRoot {
    /// The directory that the walk begins in, held.
    fn open_held(&self) -> Result<HeldDirectory> {
        match self {
            Self::Beside {
                held: Some(held),
                directory,
                ..
            } => Ok(held.with_path(directory)),
            root => HeldDirectory::open_path(root.walk_base()),
        }
    }

    /// Where it lies: links on the way there are followed, and none below. A database that was asked for may be a link's
    /// own target.
    fn walk_base(&self) -> &Path {
        match self {
            Self::Beside {
                directory,
                scope: bounds,
                ..
            } if directory == bounds.root() => directory,
            root => requested_parent(root.scope()),
        }
    }

    /// What of it is wanted.
    fn scope(&self) -> &WalkScope {
        match self {
            Self::Tree(tree) => &tree.scope,
            Self::Beside { scope: bounds, .. } => bounds,
        }
    }
}

/// The directory above what was asked for: links on the way to it are followed, and none below.
fn requested_parent(bounds: &WalkScope) -> &Path {
    bounds.root().parent().unwrap_or(Path::new("/"))
}

/// How many things of a kind are as the snapshot before has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeCounts {
    /// They were not there.
    pub new: u64,
    /// They were there, and not the same.
    pub changed: u64,
    /// They are as they were.
    pub unmodified: u64,
}

impl ChangeCounts {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.new + self.changed + self.unmodified
    }
}

/// What was found below a root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeCounts {
    /// Regular files.
    pub files: ChangeCounts,
    /// Directories, the root among them.
    pub directories: ChangeCounts,
    /// Links, pipes, devices and databases.
    pub others: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes that were read of them.
    pub bytes_read: u64,
}

impl std::iter::Sum for TreeCounts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        let add = |left: ChangeCounts, right: ChangeCounts| ChangeCounts {
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
    pub root: WalkRoot,
    /// Its tree blob; `None` if nothing is in it.
    pub tree: Option<BlobId>,
    pub counts: TreeCounts,
}

/// How files are read.
pub struct FileReadOptions<'a> {
    /// Where the snapshots before are looked for, if files of theirs may be taken over.
    pub parents: Option<ParentRoots<'a>>,
    /// When a file is as it was.
    pub change_detection: ChangeDetection,
    /// Files that are open at once.
    pub concurrency: usize,
    /// How SQLite's databases are saved that are in use.
    pub sqlite: SqliteMode,
    /// What was done to the times of directories.
    pub touched: &'a TouchedDirectories,
}

/// Walks the roots and stores what is there; what was left out is added to `left_out`.
pub fn store_trees(
    repo: &Repo,
    writer: &mut BlobWriter,
    roots: Vec<WalkRoot>,
    databases: &mut DatabasesByDirectory,
    how: &FileReadOptions,
    left_out: &mut ExcludedItems,
    report: &OperationReport,
) -> Result<Vec<StoredRoot>> {
    if roots.is_empty() {
        return Ok(Vec::new());
    }
    let threads = reading_threads(how.concurrency)?;
    let known = writer.dedup_index();
    let reader = known.reader();
    let earlier = ParentFiles {
        dedup_index: &known,
        reader: &reader,
        change_detection: how.change_detection,
        report,
    };
    let earlier = how.parents.map(|parents| (parents, &earlier));
    let sieve = ExcludeFilter {
        left_out: std::mem::take(left_out),
        ..ExcludeFilter::default()
    };
    let ground = Arc::new(HeldDirectory::open_path(Path::new("/"))?);
    let walk = |reading: FileReader, sink| {
        let gather = ReadQueue::new(reading, earlier.map(|(_, earlier)| earlier), &threads, sink);
        let descent = TreeWalker {
            queue: gather,
            databases,
            filter: sieve,
            held_base: Arc::clone(&ground),
            sqlites: SqliteDatabases::new(how.sqlite, report),
            scanners: EntryScanners {
                threads: &threads,
                touched: how.touched,
                report,
            },
            parent: earlier,
            report,
        };
        descent.walk_roots(roots)
    };
    let (walked, trees) = run_tree_pipeline(repo, writer, walk, report)?;
    *left_out = walked.left_out;
    writer.add_dependencies(walked.dependencies);
    let stored = |((root, counts), tree): ((WalkRoot, TreeCounts), StoredTree)| StoredRoot {
        root,
        tree: tree.tree,
        counts: TreeCounts {
            directories: tree.directories,
            ..counts
        },
    };
    Ok(walked.roots.into_iter().zip(trees).map(stored).collect())
}

/// Threads that wait for disks, so that those that compress need not.
fn reading_threads(count: usize) -> Result<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(count.clamp(1, READ_CONCURRENCY_MAX))
        .thread_name(|number| format!("levault-read-{number}"))
        .build()
        .map_err(|error| Error::with_cause(ErrorKind::Io, "start threads to read files", error))
}

/// Runs `walk` here, and stores what it sends on a thread of its own: one tree for each root that it begins.
pub fn run_tree_pipeline<T>(
    repo: &Repo,
    writer: &mut BlobWriter,
    walk: impl FnOnce(FileReader, StepSender) -> Result<T>,
    report: &OperationReport,
) -> Result<(T, Vec<StoredTree>)> {
    let cutter = Chunker::new(repo.domain_keys().chunker_secret().expose());
    let reading = FileReader {
        chunker: &cutter,
        report,
    };
    let (batches, waiting) = bounded(1);
    let (walked, stored) = thread::scope(|scope| {
        let storing = scope.spawn(|| tree_storer::store_batches(repo, writer, waiting, report));
        let walked = walk(reading, StepSender(batches));
        let panicked = |_| Err(Error::new(ErrorKind::Io, "the storing thread panicked"));
        (walked, storing.join().unwrap_or_else(panicked))
    });
    let trees = stored?;
    Ok((walked?, trees))
}
