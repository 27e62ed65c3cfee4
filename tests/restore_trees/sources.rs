//! Goal: whatever set of sources a backup takes, a restore of all brings each of them back whole in a place of its own, an
//! archive shows the same, and each comes back by its path, however often they were saved before, together or apart, and
//! whatever was moved, swapped or replaced between. Method: random lives of a directory with databases, files and links of
//! odd names, a naive copy of each database, and rusty-leveldb as the reader of what came back.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use levault::engine::tree::top_sources;
use levault::ops::archive::{self, ArchiveContext};
use levault::ops::backup::Backup;
use levault::ops::restore::Restore;
use levault::repo::{BlobReader, StoredSnapshot};
use levault::report::OperationReport;
use levault::snapshot::restore_paths::places;
use proptest::collection::vec;
use proptest::prelude::*;

use super::common::{self, Model};
use super::scene::Scene;

/// Names that end alike, look alike as text, or look like what levault makes of others.
const NAMES: [&[u8]; 9] = [
    b"a", b"db", b"t\xe9", b"t\xe8", b"_", b"a~2", b"x\ny", b"..a", b"b",
];

/// What stands at a path, as far as a backup saves it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    File(Vec<u8>),
    Link(Vec<u8>),
    Directory(BTreeMap<Vec<u8>, Thing>),
    /// Its records, and what else lies in its directory.
    Database(Model, BTreeMap<Vec<u8>, Thing>),
}

/// The life of a directory.
struct World {
    scene: Scene,
    root: PathBuf,
    /// By their whole paths, without links.
    databases: BTreeMap<PathBuf, Model>,
    count: u32,
    /// Each snapshot, and what it must bring back by path.
    saved: Vec<(StoredSnapshot, Vec<(PathBuf, Thing)>)>,
}

impl World {
    fn new() -> Self {
        let scene = Scene::new();
        let root = scene
            .path("w")
            .parent()
            .unwrap()
            .canonicalize()
            .unwrap()
            .join("w");
        fs::create_dir(&root).unwrap();
        Self {
            scene,
            root,
            databases: BTreeMap::new(),
            count: 0,
            saved: Vec::new(),
        }
    }

    fn path(&self, picks: [u8; 3]) -> PathBuf {
        let names = picks.iter().filter_map(|pick| NAMES.get(usize::from(pick % 14)));
        let path: PathBuf = names.map(|name| OsStr::from_bytes(name)).collect();
        if path.as_os_str().is_empty() {
            self.root.join("a")
        } else {
            self.root.join(path)
        }
    }

    /// Everything that can be asked for, and moved: not what is LevelDB's own, or a backup's.
    fn all(&self) -> Vec<PathBuf> {
        let entries = walkdir::WalkDir::new(&self.root).sort_by_file_name().into_iter();
        let is_wanted = |name: &OsStr| !is_own(name.as_bytes()) && !is_leveldb(name.as_bytes());
        let wanted = entries.filter_entry(|entry| is_wanted(entry.file_name()));
        wanted.map(|entry| entry.unwrap().into_path()).collect()
    }

    fn pick(&self, pick: u8) -> Option<PathBuf> {
        let all = self.all();
        all.get(usize::from(pick) % all.len().max(1)).cloned()
    }

    fn step(&mut self, what: u8, picks: [u8; 3], other: [u8; 3]) {
        let (path, second) = (self.path(picks), self.path(other));
        match what % 10 {
            0..=2 => self.make_database(&path),
            3 => self.make_file(&path),
            4 | 5 => self.change(picks[0], picks[1]),
            6 => {
                if let Some(from) = self.pick(picks[0]).filter(|from| *from != self.root) {
                    self.rename(&from, &second);
                }
            }
            7 => self.swap(picks[0], other[0]),
            8 => {
                if let Some(gone) = self.pick(picks[0]).filter(|gone| *gone != self.root) {
                    self.remove(&gone);
                }
            }
            _ => {
                let nth = usize::from(other[0]) % self.databases.len().max(1);
                let target = self.databases.keys().nth(nth).cloned();
                if let Some(target) = target.filter(|_| self.has_room(&path)) {
                    symlink(target, &path).unwrap();
                }
            }
        }
    }

    /// Makes the directories above; false where something stands at the path, or no directory above it.
    fn has_room(&self, path: &Path) -> bool {
        let inner = path.strip_prefix(&self.root).unwrap();
        let above = inner.ancestors().skip(1).map(|above| self.root.join(above));
        let no_links = above.into_iter().all(|above| !above.is_symlink());
        no_links && path.symlink_metadata().is_err() && fs::create_dir_all(path.parent().unwrap()).is_ok()
    }

    fn make_database(&mut self, path: &Path) {
        if self.has_room(path) {
            self.count += 1;
            let model = common::fill(path, 10 + self.count % 40, 20);
            self.databases.insert(path.to_owned(), model);
            self.put(path, b"which", &self.count.to_string().into_bytes());
        }
    }

    fn make_file(&mut self, path: &Path) {
        self.count += 1;
        if self.has_room(path) {
            fs::write(path, self.count.to_string()).unwrap();
        }
    }

    fn put(&mut self, path: &Path, key: &[u8], value: &[u8]) {
        common::write(path, &[(key.to_vec(), Some(value.to_vec()))]);
        let model = self.databases.get_mut(path).unwrap();
        model.insert(key.to_vec(), value.to_vec());
    }

    fn change(&mut self, which: u8, what: u8) {
        let nth = usize::from(which) % self.databases.len().max(1);
        let Some(path) = self.databases.keys().nth(nth).cloned() else {
            return;
        };
        self.count += 1;
        let value = self.count.to_string().into_bytes();
        self.put(&path, &[b'k', what % 8], &value);
        if what.is_multiple_of(3) {
            let first = self.databases[&path].keys().next().cloned().unwrap();
            common::write(&path, &[(first.clone(), None)]);
            self.databases.get_mut(&path).unwrap().remove(&first);
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        let inside = to.starts_with(from) || from.starts_with(to);
        if inside || !self.has_room(to) {
            return;
        }
        fs::rename(from, to).unwrap();
        let moved = std::mem::take(&mut self.databases);
        self.databases = moved
            .into_iter()
            .map(|(path, model)| match path.strip_prefix(from) {
                Ok(rest) if rest.as_os_str().is_empty() => (to.to_owned(), model),
                Ok(rest) => (to.join(rest), model),
                Err(_) => (path, model),
            })
            .collect();
    }

    fn swap(&mut self, one: u8, other: u8) {
        let (Some(one), Some(other)) = (self.pick(one), self.pick(other)) else {
            return;
        };
        let between = self.root.join("between");
        if !one.starts_with(&other) && !other.starts_with(&one) {
            self.rename(&one, &between);
            self.rename(&other, &one);
            self.rename(&between, &other);
        }
    }

    fn remove(&mut self, path: &Path) {
        if path.symlink_metadata().unwrap().is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        self.databases.retain(|database, _| !database.starts_with(path));
    }

    /// What a backup of this path must bring back.
    fn expected(&self, path: &Path, is_asked: bool) -> Thing {
        if path.is_symlink() {
            let target = fs::read_link(path).unwrap();
            return if self.databases.contains_key(&target) && is_asked {
                self.expected(&target, false)
            } else {
                Thing::Link(target.as_os_str().as_bytes().to_vec())
            };
        }
        match (path.is_dir(), self.databases.get(path)) {
            (false, _) => Thing::File(fs::read(path).unwrap()),
            (true, None) => Thing::Directory(entries(path, &|inner| self.expected(inner, false))),
            (true, Some(model)) => {
                let beside = entries(path, &|inner| self.expected(inner, false));
                Thing::Database(
                    model.clone(),
                    beside.into_iter().filter(|(name, _)| !is_leveldb(name)).collect(),
                )
            }
        }
    }

    /// Saves some of what there is; true if it was taken.
    fn backup(&mut self, picks: &[u8], how: u8) -> bool {
        let mut paths: Vec<PathBuf> = Vec::new();
        for path in picks.iter().filter_map(|pick| self.pick(*pick)) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return true;
        }
        let report = OperationReport::default();
        let backup = Backup {
            name: (paths.len() == 1 && how.is_multiple_of(4)).then(|| "odd/~2".to_owned()),
            full: how % 16 == 1,
            ..Backup::new(paths.clone())
        };
        let outcome = backup.run(&self.scene.repo, &report);
        if outcome.is_err() || !report.problems().is_empty() {
            return false;
        }
        let outcome = outcome.unwrap();
        for database in &outcome.databases {
            assert!(
                database.damage.is_empty(),
                "{:?}: {:?}",
                database.path,
                database.damage
            );
        }
        let id = outcome.snapshot.unwrap();
        let snapshot = self.scene.repo.snapshot(&id).unwrap();
        let stored = StoredSnapshot { id, snapshot };
        let expected = paths
            .iter()
            .map(|path| (path.clone(), self.expected(path, true)))
            .collect();
        self.judge_all(&stored, &paths);
        self.judge_each(&stored, &expected);
        self.saved.push((stored, expected));
        true
    }

    /// All of a snapshot restored, and archived and unpacked.
    fn judge_all(&self, stored: &StoredSnapshot, asked: &[PathBuf]) {
        let snapshot = &stored.snapshot;
        let all = top_sources(snapshot);
        let found: BTreeSet<&[u8]> = snapshot.sources.iter().map(|source| source.path()).collect();
        for path in asked {
            assert!(
                found.contains(path.as_os_str().as_bytes()),
                "{path:?} is no source"
            );
        }
        let (places, target) = (places(snapshot, &all), self.scene.target());
        let archive = self.archive(stored);
        self.restore(stored, Restore::new(&target));
        for (number, place) in all.iter().zip(&places) {
            let path = Path::new(OsStr::from_bytes(snapshot.sources[*number].path()));
            let expected = self.expected(path, asked.iter().any(|asked| asked == path));
            let at = match (&expected, &all[..]) {
                (Thing::Directory(_) | Thing::Database(..), [_]) => target.clone(),
                (_, [_]) => target.join(path.file_name().unwrap()),
                _ => target.join(OsStr::from_bytes(place)),
            };
            assert_eq!(there(&at), expected, "{path:?} restored as {at:?}, of {asked:?}");
            let unpacked = archive.join(OsStr::from_bytes(place));
            assert_eq!(there(&unpacked), expected, "{path:?} archived as {unpacked:?}");
        }
        let firsts: BTreeSet<&[u8]> = places
            .iter()
            .map(|place| place.split(|byte| *byte == b'/').next().unwrap())
            .collect();
        assert_eq!(fs::read_dir(&archive).unwrap().count(), firsts.len());
        fs::remove_dir_all(&archive).unwrap();
        fs::remove_dir_all(&target).unwrap();
    }

    fn archive(&self, stored: &StoredSnapshot) -> PathBuf {
        let (repo, report) = (&self.scene.repo, OperationReport::default());
        let lookup = repo.lookup().unwrap();
        let reader = &BlobReader::new(repo, &lookup);
        let ground = ArchiveContext {
            repo,
            stored,
            reader,
            report: &report,
        };
        let mut bytes = Vec::new();
        archive::archive_snapshot(ground, &mut bytes).unwrap();
        assert_eq!(report.problems(), [""; 0]);
        let target = self.scene.path("unpacked");
        fs::create_dir(&target).unwrap();
        tar::Archive::new(&bytes[..]).unpack(&target).unwrap();
        target
    }

    /// Each source by the path it stood at.
    fn judge_each(&self, stored: &StoredSnapshot, expected: &Vec<(PathBuf, Thing)>) {
        for (path, expected) in expected {
            let target = self.scene.path("one");
            let restore = Restore {
                address: path.as_os_str().as_bytes().to_vec(),
                ..Restore::new(&target)
            };
            self.restore(stored, restore);
            let at = match expected {
                Thing::Directory(_) | Thing::Database(..) => target.clone(),
                _ => target.join(path.file_name().unwrap()),
            };
            assert_eq!(there(&at), *expected, "{path:?} of {}", stored.id);
            fs::remove_dir_all(&target).unwrap();
        }
    }

    fn restore(&self, stored: &StoredSnapshot, restore: Restore) {
        let report = OperationReport::default();
        restore.run(&self.scene.repo, stored, &report).unwrap();
        assert_eq!(report.problems(), [""; 0]);
    }
}

/// What stands there, read without levault.
fn there(path: &Path) -> Thing {
    if path.is_symlink() {
        return Thing::Link(fs::read_link(path).unwrap().into_os_string().as_bytes().to_vec());
    }
    if !path.is_dir() {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        return Thing::File(bytes);
    }
    if !path.join("CURRENT").exists() {
        return Thing::Directory(entries(path, &there));
    }
    let beside = entries(path, &there)
        .into_iter()
        .filter(|(name, _)| !is_leveldb(name))
        .collect();
    Thing::Database(common::read_all(path), beside)
}

fn entries(path: &Path, of: &dyn Fn(&Path) -> Thing) -> BTreeMap<Vec<u8>, Thing> {
    let paths = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let named = paths.map(|path| (path.file_name().unwrap().as_bytes().to_vec(), path));
    named
        .filter(|(name, _)| !is_own(name))
        .map(|(name, path)| (name, of(&path)))
        .collect()
}

/// Pins and the like.
fn is_own(name: &[u8]) -> bool {
    name.starts_with(b".") && String::from_utf8_lossy(name).contains(".levault-")
}

fn is_leveldb(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name);
    let ends = [".ldb", ".log", ".sst"].iter().any(|end| name.ends_with(end));
    ends || name.starts_with("MANIFEST-")
        || matches!(&*name, "CURRENT" | "LOCK" | "LOG" | "LOG.old" | "IDENTITY")
}

/// What is done, and what is saved behind it.
type Step = (u8, [u8; 3], [u8; 3], Vec<u8>, u8);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let picks = || any::<[u8; 3]>();
    let saved = prop_oneof![1 => Just(Vec::new()), 2 => vec(any::<u8>(), 1..5)];
    vec((any::<u8>(), picks(), picks(), saved, any::<u8>()), 4..24)
}

fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_saved_together_comes_back_each_in_a_place_of_its_own(steps in steps()) {
        let mut world = World::new();
        for (what, picks, other, saved, how) in steps {
            world.step(what, picks, other);
            prop_assert!(world.backup(&saved, how), "a backup was refused");
        }
        for (stored, expected) in &world.saved {
            world.judge_each(stored, expected);
        }
    }
}

#[test]
fn a_tree_inside_another_brings_its_databases_back_in_both() {
    let mut world = World::new();
    world.make_database(&world.root.join("t/sub/db"));
    let all = world.all();
    let nth = |end: &str| all.iter().position(|path| path.ends_with(end)).unwrap() as u8;
    assert!(world.backup(&[nth("t"), nth("t/sub"), nth("t/sub/db")], 2));
}

#[test]
fn a_link_to_a_database_that_holds_another_one_is_saved_with_both() {
    let mut world = World::new();
    let outer = world.root.join("db");
    world.make_database(&outer);
    world.make_database(&outer.join("inner"));
    let link = world.root.join("link");
    symlink(&outer, &link).unwrap();
    let nth = world.all().iter().position(|path| *path == link).unwrap() as u8;
    assert!(world.backup(&[nth], 2));
}
