//! What the tests share: small real databases, small repositories in memory, and the comparison of both.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod hooked;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use levault::annotations::{CountedSnapshot, ForgetReason};
use levault::engine::read_records::{self, RecordQuery};
use levault::error::Result;
use levault::id::ObjectId;
use levault::keys::{Password, SlotCost};
use levault::ops::backup::{Backup, BackupOutcome};
use levault::ops::forget::{self, ForgetSelection};
use levault::ops::restore::{DatabaseRestoreOutcome, OverwriteMode, Restore};
use levault::repo::{CacheLocation, NewRepository, Repo, RepoSettings};
use levault::report::OperationReport;
use levault::storage::Storage;

/// A database as a naive copy.
pub type Model = BTreeMap<Vec<u8>, Vec<u8>>;

pub fn password() -> Password {
    Password::new(b"correct horse".to_vec())
}

/// No cache, smallest packs: everything a test sees comes from the storage.
pub fn settings() -> RepoSettings {
    RepoSettings {
        cache: CacheLocation::None,
        pack_bytes: Some(4 << 20),
        ..RepoSettings::default()
    }
}

pub fn create(storage: Arc<dyn Storage>) -> Result<Repo> {
    Repo::create(
        storage,
        &password(),
        NewRepository {
            cost: SlotCost::cheap(),
            ..NewRepository::default()
        },
        settings(),
    )
}

pub fn open(storage: Arc<dyn Storage>) -> Result<Repo> {
    Repo::open(storage, &password(), settings())
}

pub fn backup(repo: &Repo, db: &Path) -> Result<BackupOutcome> {
    Backup::new(vec![db.to_path_buf()]).run(repo, &OperationReport::default())
}

/// Forgets one snapshot by hand.
pub fn forget(repo: &Repo, id: ObjectId) {
    let snapshot = repo.snapshot(&id).expect("a snapshot");
    let chosen = ForgetSelection {
        snapshots: vec![CountedSnapshot {
            id,
            domain: snapshot.domain,
            counter: snapshot.counter,
        }],
        why: ForgetReason::ByHand,
        words: String::new(),
    };
    let outcome = forget::forget(repo, &chosen).expect("forget");
    assert_eq!(outcome.forgotten, [id], "{:?}", outcome.failed);
}

/// The same directory under a path that is text, and without names in it that are none: rusty-leveldb panics at both. Its
/// path and names are as they were when this is dropped.
struct ByText<'p> {
    own: &'p Path,
    text: PathBuf,
    /// What has such a name, where it stands meanwhile.
    aside: Vec<(std::ffi::OsString, PathBuf)>,
}

impl<'p> ByText<'p> {
    fn new(own: &'p Path) -> Self {
        let mut text = own.to_owned();
        let above = own.ancestors().find(|above| above.to_str().is_some());
        let above = above.expect("a root");
        if own != above {
            text = above.join("by-text");
            if own.exists() {
                std::fs::rename(own, &text).expect("move a database");
            }
        }
        let names = std::fs::read_dir(&text).into_iter().flatten();
        let names = names.map(|entry| entry.expect("list a database").file_name());
        let strange = names.filter(|name| name.to_str().is_none()).enumerate();
        let beside = if own == above {
            above.parent().expect("not the root")
        } else {
            above
        };
        let put_aside = |(nth, name): (usize, std::ffi::OsString)| {
            let aside = beside.join(format!("aside-{nth}"));
            std::fs::rename(text.join(&name), &aside).expect("put a file aside");
            (name, aside)
        };
        let aside = strange.map(put_aside).collect();
        Self { own, text, aside }
    }
}

impl Drop for ByText<'_> {
    fn drop(&mut self) {
        for (name, aside) in &self.aside {
            std::fs::rename(aside, self.text.join(name)).expect("put a file back");
        }
        if self.text != self.own {
            std::fs::create_dir_all(self.own.parent().expect("not the root")).expect("make a directory");
            std::fs::rename(&self.text, self.own).expect("move a database back");
        }
    }
}

/// Applies puts and deletes with rusty-leveldb, in its only role here: a writer of test data.
pub fn write(db: &Path, changes: &[(Vec<u8>, Option<Vec<u8>>)]) {
    let options = rusty_leveldb::Options {
        write_buffer_size: 64 << 10,
        ..Default::default()
    };
    let db = ByText::new(db);
    let mut handle = rusty_leveldb::DB::open(&db.text, options).expect("open a test database");
    for (key, value) in changes {
        match value {
            Some(value) => handle.put(key, value).expect("put"),
            None => handle.delete(key).expect("delete"),
        }
    }
    handle.flush().expect("flush");
    handle.close().expect("close");
}

/// All records of a database, read by rusty-leveldb.
pub fn read_all(db: &Path) -> Model {
    use rusty_leveldb::LdbIterator;
    let db = ByText::new(db);
    let mut handle =
        rusty_leveldb::DB::open(&db.text, rusty_leveldb::Options::default()).expect("open a database");
    let mut all = handle.new_iter().expect("read a database");
    let mut model = Model::new();
    while let Some((key, value)) = all.next() {
        model.insert(key.to_vec(), value.to_vec());
    }
    model
}

/// `count` records of `value_len` bytes that neither compress to nothing nor not at all, and the model of them.
pub fn fill(db: &Path, count: u32, value_len: usize) -> Model {
    let model: Model = (0..count).map(|i| (key(i), value(i, value_len))).collect();
    write(
        db,
        &model
            .iter()
            .map(|(k, v)| (k.clone(), Some(v.clone())))
            .collect::<Vec<_>>(),
    );
    model
}

pub fn key(i: u32) -> Vec<u8> {
    format!("key:{:08}", i.wrapping_mul(2_654_435_761) % 100_000_000).into_bytes()
}

pub fn value(i: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&i.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes[..len / 2]);
    bytes
}

/// The only database of the snapshot `words` names, read record by record.
pub fn records(repo: &Repo, words: &str) -> Result<Model> {
    let stored = repo.select(words)?;
    let database = read_records::find_database(&stored.snapshot, None)?;
    let mut model = Model::new();
    read_records::read_records(
        &repo.in_domain(stored.snapshot.domain)?,
        database,
        &RecordQuery::default(),
        &OperationReport::default(),
        &mut |key, value| {
            model.insert(key.to_vec(), value.to_vec());
            Ok(())
        },
    )?;
    Ok(model)
}

/// Restores the snapshot `words` names to `target`, verified.
pub fn restore(repo: &Repo, words: &str, target: &Path) -> Result<PathBuf> {
    restore_where(repo, words, target, OverwriteMode::Refuse)?;
    Ok(target.to_path_buf())
}

/// Restores it over the closed database at `target`, writing what differs.
pub fn restore_over(repo: &Repo, words: &str, target: &Path) -> Result<DatabaseRestoreOutcome> {
    restore_where(repo, words, target, OverwriteMode::IfChanged)
}

fn restore_where(
    repo: &Repo,
    words: &str,
    target: &Path,
    overwrite: OverwriteMode,
) -> Result<DatabaseRestoreOutcome> {
    let stored = repo.select(words)?;
    let restore = Restore {
        overwrite,
        ..Restore::new(target)
    };
    Ok(restore
        .run(repo, &stored, &OperationReport::default())?
        .databases
        .remove(0))
}

/// What a closed database holds, by our own reader.
pub fn scan(db: &Path) -> Result<Model> {
    struct Into(Model);
    impl levault::source::RecordSink for Into {
        fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
            self.0.insert(key.to_vec(), value.to_vec());
            Ok(())
        }
    }
    let mut sink = Into(Model::new());
    levault::source::Database::open(db)?.scan(&mut sink)?;
    Ok(sink.0)
}
