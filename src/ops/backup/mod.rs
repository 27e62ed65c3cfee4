//! Backup: databases in, one snapshot out.
//!
//! The story, top to bottom: look at each path; per database either its records (a run tree) or, when they cannot
//! be told, its files; flush packs and index; prove that all the snapshot rests on is there; store the snapshot.
//! Nothing is reported before it is durable. Nothing is written into a source.

mod database;
mod files;
mod pipeline;
mod scan;

use std::collections::HashSet;
use std::path::PathBuf;

use crate::clock::UnixNanos;
use crate::error::{Act, Error, Kind, Result};
use crate::id::ObjectId;
use crate::repo::{Catalog, Repo, Store, Writer};
use crate::report::Report;
use crate::snapshot::{Damage, DatabaseRoot, LogTail, Snapshot, Source};

/// How often a backup begins anew when packs it counted on vanish under it.
const ATTEMPTS_MAX: u32 = 3;

/// What to back up, and what to call it.
#[derive(Clone, Debug, Default)]
pub struct Backup {
    /// LevelDB directories, in the order they are read.
    pub paths: Vec<PathBuf>,
    /// The database's name, when there is one path; else the directory's own.
    pub name: Option<String>,
    /// The host to record; the machine's own name when `None`.
    pub host: Option<String>,
    /// Marks for people and retention.
    pub tags: Vec<String>,
    /// Store files instead of records.
    pub physical: bool,
    /// Read and count; store nothing.
    pub dry_run: bool,
}

/// What was saved.
#[derive(Clone, Debug)]
pub struct BackupOutcome {
    /// The new snapshot; `None` for a dry run.
    pub snapshot: Option<ObjectId>,
    /// When reading began.
    pub begin: UnixNanos,
    /// When all was durable.
    pub end: UnixNanos,
    /// Each database, in the order of the paths.
    pub databases: Vec<DatabaseOutcome>,
    /// Blobs that were new.
    pub blobs_new: u64,
    /// Plain bytes of them.
    pub bytes_added: u64,
    /// Stored bytes of them.
    pub bytes_added_packed: u64,
    /// Bytes read from the sources.
    pub bytes_read: u64,
}

/// How a database was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Its visible records.
    Records,
    /// Its files as they are.
    Files {
        /// Why not its records.
        why: String,
    },
}

/// One database of a backup.
#[derive(Clone, Debug)]
pub struct DatabaseOutcome {
    /// Its name in the snapshot.
    pub name: String,
    /// Where it was read.
    pub path: PathBuf,
    /// How it was stored.
    pub stored: Stored,
    /// Records that are certain.
    pub records: u64,
    /// Their key bytes.
    pub key_bytes: u64,
    /// Their value bytes.
    pub value_bytes: u64,
    /// Records that lie in damaged ranges; kept apart.
    pub uncertain: u64,
    /// Sequence number of the newest entry.
    pub last_sequence: u64,
    /// What could not be read.
    pub damage: Vec<Damage>,
    /// Logs that end inside a write.
    pub torn_tails: Vec<LogTail>,
    /// Bytes read of its files.
    pub bytes_read: u64,
}

impl Backup {
    /// A backup of these directories.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            ..Self::default()
        }
    }

    /// Backs up; the outcome's snapshot is durable.
    pub fn run(&self, repo: &Repo, report: &Report) -> Result<BackupOutcome> {
        let names = self.names()?;
        let begin = repo.clock().now();
        for attempt in 1.. {
            let catalog = repo.catalog()?;
            catalog.unreadable.iter().for_each(|what| report.notice(what));
            match self.attempt(repo, &catalog, &names, begin, report) {
                Err(error) if error.kind() == Kind::Busy && attempt < ATTEMPTS_MAX => {
                    report.notice(format!("begun again: {error}"));
                }
                result => return result,
            }
        }
        unreachable!("the last attempt returns")
    }

    fn attempt(
        &self,
        repo: &Repo,
        catalog: &Catalog,
        names: &[String],
        begin: UnixNanos,
        report: &Report,
    ) -> Result<BackupOutcome> {
        let store = if self.dry_run { Store::Nothing } else { Store::New };
        let mut writer = Writer::start(repo, report, store)?;
        let mut roots = Vec::new();
        let mut databases = Vec::new();
        for (path, name) in self.paths.iter().zip(names) {
            let timeline = catalog.timeline_of(&self.host(), path);
            let wanted = database::Wanted {
                path,
                name,
                physical: self.physical,
                timeline,
            };
            let saved = database::save(repo, &mut writer, &wanted, report)
                .act(|| format!("back up {}", path.display()))?;
            roots.push(saved.0);
            databases.push(saved.1);
        }
        let relied_on = writer.finish()?;
        let snapshot = match self.dry_run {
            true => None,
            false => Some(self.publish(repo, catalog, roots, begin, &relied_on)?),
        };
        Ok(BackupOutcome {
            snapshot,
            begin,
            end: repo.clock().now(),
            blobs_new: report.blobs_new.get(),
            bytes_added: report.bytes_added.get(),
            bytes_added_packed: report.bytes_added_packed.get(),
            bytes_read: databases.iter().map(|database| database.bytes_read).sum(),
            databases,
        })
    }

    fn publish(
        &self,
        repo: &Repo,
        catalog: &Catalog,
        roots: Vec<DatabaseRoot>,
        time: UnixNanos,
        relied_on: &HashSet<ObjectId>,
    ) -> Result<ObjectId> {
        repo.prove(relied_on)?;
        let (counter, previous) = catalog.successor();
        let mut tags = self.tags.clone();
        tags.sort();
        tags.dedup();
        let snapshot = Snapshot {
            domain: repo.domain_keys().id(),
            counter,
            previous,
            host: self.host(),
            user: user(),
            time,
            time_end: repo.clock().now(),
            tags,
            program: concat!("levault ", env!("CARGO_PKG_VERSION")).into(),
            sources: roots
                .into_iter()
                .map(|root| Source::Database(Box::new(root)))
                .collect(),
        };
        repo.put_snapshot(&snapshot)
    }

    fn host(&self) -> String {
        self.host.clone().unwrap_or_else(host)
    }

    /// One name per path, all different.
    fn names(&self) -> Result<Vec<String>> {
        let mut seen = HashSet::new();
        self.paths
            .iter()
            .map(|path| {
                let name = self.name.clone().map_or_else(|| name_of(path), Ok)?;
                match seen.insert(name.clone()) {
                    true => Ok(name),
                    false => Err(Error::new(
                        Kind::Usage,
                        format!("two paths are both called {name}; back them up apart"),
                    )),
                }
            })
            .collect()
    }
}

fn name_of(path: &std::path::Path) -> Result<String> {
    let whole = std::path::absolute(path).act(|| format!("find {}", path.display()))?;
    let name = whole.file_name().unwrap_or(whole.as_os_str());
    Ok(name.to_string_lossy().replace('/', "_"))
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn user() -> String {
    std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_default()
}
