//! Random directories: backed up, restored, and compared in all that the filesystem knows of them.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use levault::ops::restore::OverwriteMode;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, Timespec, Timestamps, UTIME_OMIT};

use super::disk::{self, assert_same};
use super::scene::{Scene, noise};
use super::support::machine;

/// A directory's entries by name.
type Entries = std::collections::BTreeMap<Vec<u8>, Entry>;

#[derive(Clone, Debug)]
struct Entry {
    what: What,
    mode: u32,
    owner: (u32, u32),
    mtime_nanos: i128,
    xattr: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum What {
    /// Length and seed.
    File(usize, u64),
    /// Data at these offsets, each of some thousand bytes, and a hole behind the last.
    Sparse(Vec<u64>, u64),
    Directory(Entries),
    Link(Vec<u8>),
    Fifo,
    Null,
    /// Another name of a file made before: which one, modulo their number.
    Another(usize),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => b'a'..=b'c', 1 => 1..=255u8];
    let short = vec(byte, 1..4);
    let long = vec(1..=255u8, 200..=255);
    let any = prop_oneof![20 => short, 1 => long];
    any.prop_filter("no name", |name| {
        !name.contains(&b'/') && name[..] != *b"." && name[..] != *b".."
    })
}

fn what() -> impl Strategy<Value = What> {
    let len = prop_oneof![
        3 => 0..2usize,
        8 => 0..5000usize,
        2 => 60_000..300_000usize,
        1 => 1_000_000..9_000_000usize,
    ];
    prop_oneof![
        10 => (len, any::<u64>()).prop_map(|(len, seed)| What::File(len, seed % 50)),
        1 => (vec(0..40u64 << 20, 0..4), 0..20u64 << 20).prop_map(|(at, behind)| What::Sparse(at, behind)),
        2 => vec(1..=255u8, 1..200).prop_map(What::Link),
        1 => Just(What::Fifo),
        1 => Just(What::Null),
        2 => any::<usize>().prop_map(What::Another),
    ]
}

fn entry(what: impl Strategy<Value = What>) -> impl Strategy<Value = Entry> {
    // The filesystem of these tests keeps whatever 64 bits of seconds say.
    let mtime = prop_oneof![
        Just(0i128),
        -5_000_000_000..5_000_000_000i128,
        0..4_000_000_000_000_000_000i128,
        (any::<i64>(), 0..1_000_000_000i128)
            .prop_map(|(seconds, nanos)| i128::from(seconds) * 1_000_000_000 + nanos),
    ];
    let owner = (0..4u32, 0..4u32);
    let xattr = proptest::option::weighted(0.2, vec(any::<u8>(), 0..50));
    // As root, whoever may do it; what a mode forbids does not matter.
    let parts = (what, 0..0o10000u32, owner, mtime, xattr);
    parts.prop_map(|(what, mode, owner, mtime_nanos, xattr)| Entry {
        what,
        mode,
        owner,
        mtime_nanos,
        xattr,
    })
}

fn directory() -> impl Strategy<Value = Entries> {
    let leaf = btree_map(name(), entry(what()), 0..6);
    leaf.prop_recursive(6, 60, 6, |inner| {
        let what = prop_oneof![2 => what(), 1 => inner.prop_map(What::Directory)];
        btree_map(name(), entry(what), 0..6)
    })
}

/// Makes it; files that were made are added.
fn make(path: &Path, entry: &Entry, files: &mut Vec<PathBuf>) {
    match &entry.what {
        What::File(len, seed) => {
            fs::write(path, noise(*seed, *len)).unwrap();
            files.push(path.to_owned());
        }
        What::Sparse(offsets, behind) => {
            let file = File::create(path).unwrap();
            for offset in offsets {
                file.write_all_at(&noise(*offset, 3000), *offset).unwrap();
            }
            let end = offsets.iter().max().map_or(0, |offset| offset + 3000);
            file.set_len(end + behind).unwrap();
            files.push(path.to_owned());
        }
        What::Directory(entries) => {
            fs::create_dir(path).unwrap();
            for (name, entry) in entries {
                make(&path.join(OsStr::from_bytes(name)), entry, files);
            }
        }
        What::Link(target) => symlink(OsStr::from_bytes(target), path).unwrap(),
        What::Fifo => node(path, FileType::Fifo, 0),
        What::Null => node(path, FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        What::Another(which) => {
            if files.is_empty() {
                fs::write(path, "the first").unwrap()
            } else {
                fs::hard_link(&files[which % files.len()], path).unwrap()
            }
        }
    }
    dress(path, entry);
}

fn node(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::RWXU, device).unwrap();
}

fn dress(path: &Path, entry: &Entry) {
    let is_link = matches!(entry.what, What::Link(_));
    std::os::unix::fs::lchown(path, Some(entry.owner.0), Some(entry.owner.1)).unwrap();
    let takes_xattrs = matches!(entry.what, What::File(..) | What::Directory(_));
    if let (Some(value), true) = (&entry.xattr, takes_xattrs) {
        let name = CString::new("user.test").unwrap();
        rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    }
    if !is_link {
        rustix::fs::chmod(path, Mode::from_raw_mode(entry.mode)).unwrap();
    }
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: entry.mtime_nanos.div_euclid(1_000_000_000) as i64,
            tv_nsec: entry.mtime_nanos.rem_euclid(1_000_000_000) as _,
        },
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Bytes on disk of each file: what was a hole is one again.
fn blocks(root: &Path) -> u64 {
    let walk = walkdir::WalkDir::new(root)
        .into_iter()
        .map(|entry| entry.unwrap());
    let files = walk.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.metadata().unwrap().blocks()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// First to where nothing stands, then over that and over a half of it.
    #[test]
    fn any_directory_comes_back_as_it_was(entries in directory(), seed: u64) {
        if !machine::needs_root() {
            return Ok(());
        }
        let scene = Scene::new();
        let source = scene.path("source");
        let root = Entry {
            what: What::Directory(entries),
            mode: 0o751,
            owner: (1, 2),
            mtime_nanos: 1_234_567_890_123_456_789,
            xattr: Some(b"root".to_vec()),
        };
        make(&source, &root, &mut Vec::new());
        let was = disk::read(&source);
        scene.backup(&["source"]);
        let restored = scene.restore();
        scene.has_no_problem();
        assert_same(&disk::read(&scene.target()), &was);
        prop_assert!(blocks(&scene.target()) <= blocks(&source) + 16);
        prop_assert_eq!(restored.tree.left_unchanged + restored.tree.files_same, 0);

        damage(&scene.target(), seed);
        scene.restore_over(OverwriteMode::IfChanged);
        scene.has_no_problem();
        assert_same(&disk::read(&scene.target()), &was);
        let again = scene.restore_over(OverwriteMode::IfChanged);
        assert_same(&disk::read(&scene.target()), &was);
        prop_assert_eq!(again.tree.files, 0, "nothing was left to write");
        scene.restore_over(OverwriteMode::Always);
        assert_same(&disk::read(&scene.target()), &was);
        scene.has_no_problem();
    }
}

/// Changes about a third of what is there, in one way or another.
fn damage(root: &Path, seed: u64) {
    let paths: Vec<_> = walkdir::WalkDir::new(root)
        .min_depth(1)
        .contents_first(true)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .collect();
    for (n, path) in paths.iter().enumerate() {
        let random = blake3::hash(&[seed.to_le_bytes(), (n as u64).to_le_bytes()].concat());
        let facts = fs::symlink_metadata(path).unwrap();
        match random.as_bytes()[0] % 12 {
            0 if facts.is_dir() => fs::remove_dir_all(path).unwrap(),
            0 => fs::remove_file(path).unwrap(),
            1 if facts.is_file() => fs::write(path, "another").unwrap(),
            2 if facts.is_file() && facts.len() > 0 => {
                // Neither length nor time tell.
                let file = File::options().read(true).write(true).open(path).unwrap();
                let mut byte = [0];
                file.read_exact_at(&mut byte, facts.len() - 1).unwrap();
                file.write_all_at(&[byte[0] ^ 1], facts.len() - 1).unwrap();
                file.set_modified(facts.modified().unwrap()).unwrap();
            }
            3 if !facts.is_dir() => {
                fs::remove_file(path).unwrap();
                symlink("/etc", path).unwrap();
            }
            4 if !facts.is_dir() => {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            }
            5 if !facts.is_symlink() => rustix::fs::chmod(path, Mode::from_raw_mode(0o777)).unwrap(),
            _ => {}
        }
    }
}
