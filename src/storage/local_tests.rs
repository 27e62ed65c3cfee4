use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::id::ObjectId;
use crate::storage::storage_suite;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(path)
        .into_iter()
        .map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.into_path())
        .collect()
}

#[test]
fn a_directory_keeps_every_promise_of_a_storage() {
    let parent = tempfile::tempdir().unwrap();
    let made = std::cell::Cell::new(0);
    storage_suite::run(&|| {
        made.set(made.get() + 1);
        Box::new(LocalStorage::create(parent.path().join(made.get().to_string())).unwrap())
    });
}

#[test]
fn nothing_is_left_beside_the_objects_and_modes_are_private() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("deep/er/repo");
    let storage = LocalStorage::create(&root).unwrap();
    let name = ObjectName::of_content(ObjectKind::Pack, b"x");
    for _ in 0..2 {
        storage.put_new(name, b"x").unwrap();
        storage.heal(name, b"x").unwrap();
    }
    assert_eq!(storage.put_new(name, b"y").unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(files_below(&root), [root.join(name.path())]);
    assert_eq!(mode(&root.join(name.path())), 0o400);
    for directory in [
        &*root,
        &root.join("packs"),
        parent_of(&root.join(name.path())),
        &root.join("tmp"),
    ] {
        assert_eq!(mode(directory), 0o700, "{}", directory.display());
    }
}

#[test]
fn init_refuses_what_is_not_its_own_and_takes_over_what_a_killed_init_left() {
    let parent = tempfile::tempdir().unwrap();
    let kind = |path: &Path| {
        LocalStorage::create(path)
            .map(|_| ())
            .map_err(|error| error.kind())
    };
    fs::write(parent.path().join("letter.txt"), "dear").unwrap();
    assert_eq!(kind(parent.path()), Err(ErrorKind::Exists));
    assert_eq!(kind(&parent.path().join("letter.txt")), Err(ErrorKind::Exists));
    assert_eq!(files_below(parent.path()).len(), 1);

    let root = parent.path().join("repo");
    let storage = LocalStorage::create(&root).unwrap();
    storage
        .put_new(ObjectName::new(ObjectKind::Slot, ObjectId([1; 32])), b"slot")
        .unwrap();
    fs::create_dir(root.join("lost+found")).unwrap();
    assert_eq!(kind(&root), Ok(()));
    for kept in [
        ObjectName::CONFIG_COPY,
        ObjectName::of_content(ObjectKind::Pack, b"pack"),
    ] {
        storage.put_new(kept, b"pack").unwrap();
        assert_eq!(kind(&root), Err(ErrorKind::Exists));
        storage.delete(kept).unwrap();
    }
}

#[test]
fn a_missing_repository_is_told_from_an_empty_one_and_a_missing_folder_from_no_snapshots() {
    let parent = tempfile::tempdir().unwrap();
    let kind = |path: &str| {
        LocalStorage::open(parent.path().join(path))
            .map(|_| ())
            .map_err(|error| error.kind())
    };
    assert_eq!(kind("nowhere"), Err(ErrorKind::NoRepository));
    fs::write(parent.path().join("file"), "").unwrap();
    assert_eq!(kind("file"), Err(ErrorKind::NoRepository));
    let root = parent.path().join("repo");
    LocalStorage::create(&root).unwrap();
    let storage = LocalStorage::open(&root).unwrap();
    assert_eq!(storage.list(ObjectKind::Snapshot).unwrap(), []);
    assert_eq!(storage.list(ObjectKind::Audit).unwrap(), []);

    fs::remove_dir(root.join("snapshots")).unwrap();
    assert_eq!(
        storage.list(ObjectKind::Snapshot).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let snapshot = ObjectName::new(ObjectKind::Snapshot, ObjectId([1; 32]));
    assert_eq!(
        storage.put_new(snapshot, b"x").unwrap_err().kind(),
        ErrorKind::NotFound
    );

    fs::remove_dir_all(&root).unwrap();
    assert_eq!(
        storage.list(ObjectKind::Audit).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        storage.put_new(ObjectName::CONFIG, b"x").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(
        !root.exists(),
        "a repository whose disk is gone is not begun anew on the mount point"
    );
}

#[test]
fn foreign_files_and_directories_with_our_names_are_not_listed() {
    let parent = tempfile::tempdir().unwrap();
    let storage = LocalStorage::create(parent.path().join("repo")).unwrap();
    let name = ObjectName::of_content(ObjectKind::Pack, b"x");
    storage.put_new(name, b"x").unwrap();
    let folder = storage.path(name).parent().unwrap().to_owned();
    fs::write(folder.join(".DS_Store"), "").unwrap();
    fs::write(folder.join(format!("{}.part", name.id)), "").unwrap();
    fs::create_dir(folder.join(name.id.to_hex().replace(&name.id.to_hex()[60..], "0000"))).unwrap();
    fs::write(storage.root.join("packs").join(name.id.to_hex()), "").unwrap();
    fs::create_dir(storage.root.join("packs/XX")).unwrap();
    let listed = storage.list(ObjectKind::Pack).unwrap();
    assert_eq!(
        listed.iter().map(|listed| listed.name).collect::<Vec<_>>(),
        [name]
    );
}

#[test]
fn a_reader_writes_nothing_and_a_writer_sweeps_what_a_killed_one_left() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("repo");
    let storage = LocalStorage::create(&root).unwrap();
    let killed = TempObject::create(&root.join("tmp")).unwrap();
    let left = killed.path.clone();
    killed.mark_published();
    LocalStorage::open(&root).unwrap().list(ObjectKind::Pack).unwrap();
    assert!(left.exists());
    storage.put_new(ObjectName::CONFIG, b"x").unwrap();
    assert!(!left.exists());
}

#[test]
fn without_rename_noreplace_a_link_does_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let [from, to] = ["from", "to"].map(|name| directory.path().join(name));
    fs::write(&from, "new").unwrap();
    link_new(&from, &to).unwrap();
    assert!(!from.exists());
    fs::write(&from, "newer").unwrap();
    assert_eq!(
        link_new(&from, &to).unwrap_err().kind(),
        std::io::ErrorKind::AlreadyExists
    );
    assert_eq!((fs::read(&to).unwrap(), from.exists()), (b"new".to_vec(), true));
}
