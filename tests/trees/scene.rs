//! A profile: a directory with files, links and a database that has something beside it; and the tool on its repository.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use levault::blob::BlobKind;
use levault::chunk::{ChunkIterator, ChunkRef, Chunker, ListBuilder};
use levault::clock::UnixNanos;
use levault::engine::tree::SnapshotView;
use levault::id::BlobId;
use levault::keys::Password;
use levault::repo::{BlobReader, BlobWriter, Repo, WriteMode};
use levault::report::OperationReport;
use levault::run::LeafCutter;
use levault::snapshot::{
    DeviceNumber, DirectoryBuilder, EntryKind, FileMetadata, Snapshot, SnapshotSource, TreeEntry, TreeRoot,
};
use levault::storage::{LocalStorage, ObjectKind, ObjectName};

use super::common::{self, Model};
use super::support::tool::{PASSWORD, Tool};

/// What a directory holds.
pub type Entries = Vec<(Vec<u8>, Thing)>;

/// A thing in a tree.
#[derive(Clone)]
pub struct Thing {
    pub what: What,
    pub meta: FileMetadata,
}

#[derive(Clone)]
pub enum What {
    Directory(Entries),
    File(Vec<u8>),
    Other(EntryKind),
}

/// 2024-05-06T07:08:09.000000005Z
pub const MTIME: i64 = 1_714_979_289_000_000_005;

fn meta(mode: u32) -> FileMetadata {
    FileMetadata {
        mode: Some(mode),
        uid: Some(1000),
        gid: Some(100),
        mtime_nanos: Some(MTIME as i128),
        ..FileMetadata::default()
    }
}

pub fn file(bytes: &[u8]) -> Thing {
    let what = What::File(bytes.to_vec());
    Thing {
        what,
        meta: meta(0o640),
    }
}

pub fn directory(entries: Vec<(&str, Thing)>) -> Thing {
    let entries = entries.into_iter().map(|(name, thing)| (name.into(), thing));
    let mut entries: Entries = entries.collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let what = What::Directory(entries);
    Thing {
        what,
        meta: meta(0o750),
    }
}

pub fn link(target: &[u8]) -> Thing {
    let what = What::Other(EntryKind::Symlink(target.to_vec()));
    Thing {
        what,
        meta: meta(0o777),
    }
}

pub fn other(kind: EntryKind) -> Thing {
    let what = What::Other(kind);
    Thing {
        what,
        meta: meta(0o600),
    }
}

impl Thing {
    /// The same with other metadata.
    pub fn with(mut self, change: impl FnOnce(&mut FileMetadata)) -> Self {
        change(&mut self.meta);
        self
    }
}

/// A file of several chunks, long enough for list blobs.
pub fn history() -> Vec<u8> {
    (0..30).flat_map(|n| common::value(n, 100_000)).collect()
}

/// What `profile` holds; its database is source 0.
pub fn profile() -> Vec<(&'static str, Thing)> {
    let console = EntryKind::Device(DeviceNumber {
        is_block: false,
        major: 5,
        minor: 1,
    });
    let default = directory(vec![
        ("History", file(&history())),
        ("empty", file(b"")),
        ("leveldb", other(EntryKind::Database(0))),
        ("link", link(b"../Local State")),
    ]);
    vec![
        ("Default", default),
        ("Local State", file(b"{}\n")),
        ("console", other(console)),
        ("pipe", other(EntryKind::Fifo)),
    ]
}

/// The tool, with a repository in which `latest` holds a tree and its database.
pub struct Scene {
    pub tool: Tool,
    pub repo: Repo,
    /// The database's records.
    pub model: Model,
    /// The snapshot of the database alone.
    like: Snapshot,
    stored: i64,
}

impl Scene {
    /// With a snapshot of [`profile`], stored as `/home/u/profile`.
    pub fn new() -> Self {
        let mut scene = Self::bare();
        scene.store(profile());
        scene
    }

    /// With a snapshot of the database alone.
    pub fn bare() -> Self {
        let tool = Tool::new();
        let db = tool.path("leveldb");
        let model = common::fill(&db, 500, 60);
        tool.backup(&db).ok();
        let storage = Arc::new(LocalStorage::open(tool.repository()).unwrap());
        let password = Password::new(PASSWORD.as_bytes().to_vec());
        let repo = Repo::open(storage, &password, common::settings()).unwrap();
        let like = repo.select("latest").unwrap().snapshot;
        Self {
            tool,
            repo,
            model,
            like,
            stored: 0,
        }
    }

    /// Changes the database, for the snapshots to come.
    pub fn change(&mut self, changes: &[(Vec<u8>, Option<Vec<u8>>)]) {
        let db = self.tool.path("leveldb");
        common::write(&db, changes);
        self.tool.backup(&db).ok();
        self.model = common::scan(&db).unwrap();
        let all = self.repo.snapshots().unwrap();
        let newest = all.iter().max_by_key(|stored| stored.snapshot.counter).unwrap();
        let time = all.iter().map(|stored| stored.snapshot.time).max().unwrap();
        self.like = Snapshot {
            time,
            ..newest.snapshot.clone()
        };
        self.stored = 0;
    }

    /// A further snapshot, of this profile; `NOTES` lies beside its database.
    pub fn store(&mut self, profile: Vec<(&str, Thing)>) {
        let report = OperationReport::default();
        let mut writer = BlobWriter::start(&self.repo, &report, WriteMode::StoreNew).unwrap();
        let What::Directory(beside) = directory(vec![("NOTES", file(b"beside\n"))]).what else {
            panic!("a directory")
        };
        let beside = self.weave(&mut writer, &beside);
        let root = self.weave(&mut writer, &vec![(b"profile".to_vec(), directory(profile))]);
        writer.finish().unwrap();
        let SnapshotSource::Database(mut database) = self.like.sources[0].clone() else {
            panic!("a database")
        };
        database.name = "profile/Default/leveldb".into();
        database.path = b"/home/u/profile/Default/leveldb".to_vec();
        database.beside = Some(beside);
        self.put(vec![
            SnapshotSource::Database(database),
            tree("profile", "/home/u/profile", root),
        ]);
    }

    /// Stores a snapshot of these sources.
    pub fn put(&mut self, sources: Vec<SnapshotSource>) {
        self.stored += 1;
        let snapshot = Snapshot {
            time: UnixNanos(self.like.time.0 + self.stored),
            counter: self.like.counter + self.stored as u64,
            sources,
            ..self.like.clone()
        };
        self.repo.put_snapshot(&snapshot).unwrap();
    }

    /// Overwrites one chunk in the middle of a file of the latest snapshot, where it is stored.
    pub fn damage(&self, address: &str) {
        let stored = self.repo.select("latest").unwrap();
        let lookup = self.repo.lookup().unwrap();
        let reader = BlobReader::new(&self.repo, &lookup);
        let found = SnapshotView::new(&stored.snapshot, &reader).resolve(address.as_bytes());
        let EntryKind::File(list) = found.unwrap().node.entry.kind else {
            panic!("a file")
        };
        let (middle, _) = ChunkIterator::chunk_at(list.clone(), list.bytes() / 4, &reader).unwrap();
        let chunk = middle.map(Result::unwrap).next().unwrap();
        for place in reader.locations(BlobKind::Data, &chunk.id).unwrap() {
            let name = ObjectName::new(ObjectKind::Pack, place.pack).path();
            let path = self.tool.repository().join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[place.offset as usize..][..place.len as usize].fill(0);
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
    }

    /// Stores a directory; the tree that lists it.
    pub fn weave(&self, writer: &mut BlobWriter, entries: &Entries) -> BlobId {
        let secret = self.repo.domain_keys().chunker_secret().expose();
        let mut directory = DirectoryBuilder::new(LeafCutter::new(secret));
        for (name, thing) in entries {
            let kind = match &thing.what {
                What::Directory(entries) => EntryKind::Directory(self.weave(writer, entries)),
                What::File(bytes) => self.weave_file(writer, bytes),
                What::Other(kind) => kind.clone(),
            };
            let entry = TreeEntry {
                name: name.clone(),
                kind,
                meta: thing.meta.clone(),
            };
            directory
                .push(entry, &mut |kind, plain| writer.add_one(kind, plain))
                .unwrap();
        }
        directory
            .finish(&mut |kind, plain| writer.add_one(kind, plain))
            .unwrap()
    }

    fn weave_file(&self, writer: &mut BlobWriter, bytes: &[u8]) -> EntryKind {
        let cutter = Chunker::new(self.repo.domain_keys().chunker_secret().expose());
        let mut list = ListBuilder::new();
        for chunk in cutter.chunks(bytes) {
            let id = writer.add_one(BlobKind::Data, chunk.to_vec()).unwrap();
            let bytes = chunk.len() as u64;
            list.push(ChunkRef { id, bytes }, &mut |kind, plain| {
                writer.add_one(kind, plain)
            })
            .unwrap();
        }
        EntryKind::File(
            list.finish(&mut |kind, plain| writer.add_one(kind, plain))
                .unwrap(),
        )
    }
}

/// A source of a tree whose root lists one entry.
pub fn tree(name: &str, path: &str, root: BlobId) -> SnapshotSource {
    SnapshotSource::Tree(TreeRoot {
        name: name.into(),
        path: path.into(),
        root,
        files: 10_000,
        directories: 10_000,
        bytes: u64::MAX,
    })
}
