//! Every kind of thing that a directory holds.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};
use tempfile::TempDir;

use super::*;
use crate::chunk::memory_blobs::noise;
use crate::error::ErrorKind;
use crate::report::OperationReport;
use crate::snapshot::DeviceNumber;
use crate::source::DetectedDirectory;

fn parent(path: &Path) -> HeldDirectory {
    HeldDirectory::open_path(path.parent().unwrap()).unwrap()
}

fn at(path: &Path) -> WalkedEntry {
    let report = OperationReport::default();
    let looked = read_entry(&parent(path), path, &report).unwrap();
    assert_eq!(report.problems(), [""; 0]);
    looked
}

fn stamp(path: &Path) -> FileFingerprint {
    match at(path).kind {
        FileKind::File(stamp) => stamp,
        other => panic!("{other:?}"),
    }
}

fn open(path: &Path, looked: &FileFingerprint) -> Result<FileSource> {
    FileSource::open(&parent(path), path, looked)
}

fn bytes(path: &Path) -> (Vec<u8>, Vec<(u64, u64)>) {
    let mut file = open(path, &stamp(path)).unwrap();
    let mut bytes = vec![7; usize::try_from(file.fingerprint().len).unwrap() + 10];
    let len = file.read(&mut bytes).unwrap();
    bytes.truncate(len);
    (bytes, file.holes().to_vec())
}

#[test]
fn names_are_listed_in_byte_order_whatever_bytes_they_are() {
    let dir = TempDir::new().unwrap();
    let names: Vec<OsString> = [&b"b"[..], b"B", b"\xff", b"a\nb", b"\xc3\xa4", b"a", b"-"]
        .map(|name| OsString::from_vec(name.to_vec()))
        .to_vec();
    for name in &names {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    let mut sorted = names;
    sorted.sort_by(|left, right| left.as_bytes().cmp(right.as_bytes()));
    assert_eq!(list(dir.path()).unwrap(), sorted);
    assert_eq!(
        list(&dir.path().join("none")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn every_kind_of_entry_is_told() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("file"), "content").unwrap();
    fs::create_dir(path("directory")).unwrap();
    symlink(OsString::from_vec(b"no\xffwhere".to_vec()), path("link")).unwrap();
    let mode = Mode::from_bits_retain(0o600);
    mknodat(CWD, path("pipe"), FileType::Fifo, mode, 0).unwrap();
    let _listener = UnixListener::bind(path("socket")).unwrap();

    assert!(matches!(at(&path("file")).kind, FileKind::File(stamp) if (stamp.len, stamp.links) == (7, 1)));
    assert_eq!(at(&path("directory")).kind, FileKind::Directory);
    assert_eq!(at(&path("link")).kind, FileKind::Symlink(b"no\xffwhere".to_vec()));
    assert_eq!(at(&path("pipe")).kind, FileKind::Fifo);
    assert_eq!(at(&path("socket")).kind, FileKind::Socket);
    let null = DeviceNumber {
        is_block: false,
        major: 1,
        minor: 3,
    };
    assert_eq!(at(Path::new("/dev/null")).kind, FileKind::Device(null));
    let gone = read_entry(&parent(&path("gone")), &path("gone"), &OperationReport::default());
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn metadata_has_mode_owner_times_and_attributes() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "content").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
    let time = std::time::UNIX_EPOCH - std::time::Duration::from_nanos(1);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    let long = noise(5, 3000);
    for (name, value) in [("user.b", &b""[..]), ("user.a", &long)] {
        lsetxattr(&path, name, value, XattrFlags::empty()).unwrap();
    }
    let meta = at(&path).meta;
    assert_eq!(meta.mode, Some(0o4751));
    assert_eq!(meta.uid, Some(rustix::process::geteuid().as_raw()));
    assert_eq!(meta.mtime_nanos, Some(-1));
    assert_eq!(meta.hard_link, None);
    let user: Vec<_> = meta
        .xattrs
        .into_iter()
        .filter(|(name, _)| name.starts_with(b"user."))
        .collect();
    assert!(user == [(b"user.a".to_vec(), long), (b"user.b".to_vec(), Vec::new())]);
}

#[test]
fn all_names_of_a_file_have_one_number_and_directories_none() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["a", "c"] {
        fs::write(path(name), name).unwrap();
        fs::hard_link(path(name), path(&format!("{name}2"))).unwrap();
    }
    fs::create_dir_all(path("directory/below")).unwrap();
    let number = |name: &str| at(&path(name)).meta.hard_link;
    assert!(number("a").is_some() && number("a") == number("a2"));
    assert!(number("c").is_some() && number("c") == number("c2"));
    assert_ne!(number("a"), number("c"));
    assert_eq!(number("directory"), None);
}

#[test]
fn holes_are_told_and_read_as_zeros() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sparse");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&noise(1, 4096)).unwrap();
    file.seek(SeekFrom::Start(1 << 20)).unwrap();
    file.write_all(&noise(2, 8192)).unwrap();
    file.set_len(3 << 20).unwrap();
    file.sync_all().unwrap();
    let (read, holes) = bytes(&path);
    assert!(read == fs::read(&path).unwrap());
    assert_eq!(
        holes,
        [(4096, (1 << 20) - 4096), ((1 << 20) + 8192, (2 << 20) - 8192)]
    );

    let dense = dir.path().join("dense");
    fs::write(&dense, &read).unwrap();
    let (copy, none) = bytes(&dense);
    assert!(copy == read && none.is_empty());

    fs::File::create(&path).unwrap().set_len(5000).unwrap();
    assert_eq!(bytes(&path), (vec![0; 5000], vec![(0, 5000)]));
    fs::write(&path, "").unwrap();
    assert_eq!(bytes(&path), (Vec::new(), Vec::new()));
}

#[test]
fn what_took_the_place_of_a_file_is_not_read() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    let other = dir.path().join("secret");
    let looked = || {
        let _ = fs::remove_file(&path);
        fs::write(&path, "mine").unwrap();
        stamp(&path)
    };
    let kind = |stamp: &FileFingerprint| open(&path, stamp).map(|_| ()).unwrap_err().kind();
    fs::write(&other, "another's").unwrap();

    let stamp = looked();
    fs::rename(&path, dir.path().join("moved")).unwrap();
    symlink(&other, &path).unwrap();
    assert_ne!(kind(&stamp), ErrorKind::Mismatch, "a link is not followed");

    let stamp = looked();
    fs::rename(&path, dir.path().join("moved")).unwrap();
    fs::write(&path, "another").unwrap();
    assert_eq!(kind(&stamp), ErrorKind::Mismatch);

    let stamp = looked();
    fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, Mode::from_bits_retain(0o600), 0).unwrap();
    assert_eq!(kind(&stamp), ErrorKind::Mismatch, "nobody waits for a pipe");
}

#[test]
fn a_write_between_two_looks_is_seen() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "before").unwrap();
    let mut file = open(&path, &stamp(&path)).unwrap();
    assert!(
        file.fingerprint()
            .has_same_content(&file.current_fingerprint().unwrap())
    );
    let past = std::time::UNIX_EPOCH;
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(past)
        .unwrap();
    assert!(
        !file
            .fingerprint()
            .has_same_content(&file.current_fingerprint().unwrap())
    );
    file.restart().unwrap();
    assert!(
        file.fingerprint()
            .has_same_content(&file.current_fingerprint().unwrap())
    );
}

fn database(path: PathBuf) -> PathBuf {
    let mut db = rusty_leveldb::DB::open(&path, rusty_leveldb::Options::default()).unwrap();
    db.put(b"key", b"value").unwrap();
    db.close().unwrap();
    path
}

#[test]
fn databases_are_found_wherever_they_lie_and_nothing_else_is() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("profile/Default")).unwrap();
    let outer = database(path("profile/Default/leveldb"));
    let inner = database(path("profile/Default/leveldb/nested"));
    let other = database(path("profile/z"));
    // Ours; a repaired database's; one that a link leads to; and files that are only called so.
    let pins = database(path("profile/.z.levault-pins-0123456789abcdef"));
    crate::scratch_directory::write_marker(&HeldDirectory::open_path(&pins).unwrap(), "Test.").unwrap();
    fs::create_dir(other.join("lost")).unwrap();
    fs::copy(other.join("CURRENT"), other.join("lost/MANIFEST-000001")).unwrap();
    symlink(&outer, path("profile/link")).unwrap();
    fs::create_dir(path("profile/river")).unwrap();
    fs::write(path("profile/river/CURRENT"), "strong").unwrap();

    let report = OperationReport::default();
    let all = |root: &Path| find_databases_below(root, &|_, _| true, &report).unwrap();
    assert_eq!(
        all(&path("profile")),
        [outer.clone(), inner.clone(), other.clone()]
    );
    assert_eq!(all(&outer), [outer.clone(), inner]);
    let but_z =
        find_databases_below(&path("profile"), &|path, _| !path.ends_with("leveldb"), &report).unwrap();
    assert_eq!(but_z, [other]);
    let river = path("profile/river");
    assert_eq!(
        detect_candidate(&HeldDirectory::open_path(&river).unwrap()).unwrap(),
        DetectedDirectory::Other
    );
    fs::write(river.join("000005.ldb"), "torn").unwrap();
    assert!(
        matches!(
            detect_candidate(&HeldDirectory::open_path(&river).unwrap()).unwrap(),
            DetectedDirectory::LevelDb(_)
        ),
        "it may have been one"
    );
}

#[test]
fn no_link_is_walked_through_that_took_a_directorys_place() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["root", "root/a", "root/a/b", "other", "other/b"] {
        fs::create_dir(path(name)).unwrap();
    }
    fs::write(path("root/a/b/file"), "ours").unwrap();
    fs::write(path("other/b/file"), "another's").unwrap();
    symlink(path("root"), path("asked")).unwrap();
    let ground = HeldDirectory::open_path(&path("asked")).unwrap();
    assert_eq!(list_below(&ground, &path("asked")).unwrap(), ["a"]);
    assert_eq!(list_below(&ground, &path("asked/a/b")).unwrap(), ["file"]);
    let file = path("asked/a/b/file");
    assert!(FileSource::open(&ground, &file, &stamp(&file)).is_ok());

    fs::rename(path("root/a"), path("moved")).unwrap();
    symlink(path("other"), path("root/a")).unwrap();
    assert!(list_below(&ground, &path("asked/a")).is_err());
    assert!(list_below(&ground, &path("asked/a/b")).is_err());
    assert!(FileSource::open(&ground, &file, &stamp(&file)).is_err());
    assert!(FileSource::open(&ground, &path("moved/b/file"), &stamp(&file)).is_err());
}
