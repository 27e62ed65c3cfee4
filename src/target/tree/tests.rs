//! What may go wrong with a tree: something stands where it goes, something is put there meanwhile, a name leads out, the
//! process dies. In each case nothing outside of the target changes, and no name shows half a thing.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;

/// A directory for the target, and a neighbour that nothing may touch.
struct TreeTargetFixture {
    dir: TempDir,
    target: PathBuf,
    outside: PathBuf,
}

impl TreeTargetFixture {
    fn new() -> Self {
        // In memory where there is some: a sync waits for whatever else is written to the disk.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.unwrap();
        let (target, outside) = (dir.path().join("target"), dir.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "outside").unwrap();
        Self { dir, target, outside }
    }

    /// One with something in the target.
    fn filled() -> Self {
        let scene = Self::new();
        fs::create_dir_all(scene.target.join("a/b")).unwrap();
        fs::write(scene.target.join("a/b/old"), "old").unwrap();
        scene
    }

    fn over(&self) -> TreeTarget {
        TreeTarget::begin(&self.target, MergeMode::Into).unwrap()
    }

    fn is_untouched_outside(&self) -> bool {
        names(&self.outside) == ["file"] && fs::read(self.outside.join("file")).unwrap() == b"outside"
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(mode: u32, mtime_nanos: i64) -> TargetAttributes {
    TargetAttributes {
        mode: Some(mode),
        mtime_nanos: Some(mtime_nanos.into()),
        ..TargetAttributes::default()
    }
}

fn write(target: &TreeTarget, directory: &Arc<TargetDirectory>, name: &str, bytes: &str) -> PlacedFile {
    let draft = target
        .begin_draft(directory, name.as_bytes(), RemoveDepth::Single)
        .unwrap();
    let mut file = draft.create_file().unwrap();
    file.write_all(bytes.as_bytes()).unwrap();
    draft.set_file_attributes(&file, &mode(0o640, 1)).unwrap();
    let placed = draft.placed_entry();
    target.commit_draft(draft).unwrap();
    placed
}

fn standing(directory: &Arc<TargetDirectory>, name: &str) -> Arc<TargetDirectory> {
    let standing = directory.entry(name.as_bytes()).unwrap().unwrap();
    assert!(standing.is_directory());
    directory
        .existing_child(name.as_bytes(), &standing, None)
        .unwrap()
}

#[test]
fn a_new_tree_is_not_seen_before_it_is_published() {
    let scene = TreeTargetFixture::new();
    let tree = TreeTarget::begin(&scene.target, MergeMode::Refuse).unwrap();
    assert!(tree.is_new());
    let sub = tree.root().child(b"sub", Some(mode(0o500, -1)), None).unwrap();
    write(&tree, &sub, "file", "new");
    drop(sub);
    tree.root().set_attributes(mode(0o711, 5_000_000_007));
    let staged = tree.finish().unwrap().unwrap();
    assert!(!scene.target.exists());
    staged.publish().unwrap();
    let root = fs::metadata(&scene.target).unwrap();
    assert_eq!(
        (root.mode() & 0o7777, root.mtime(), root.mtime_nsec()),
        (0o711, 5, 7)
    );
    let sub = fs::metadata(scene.target.join("sub")).unwrap();
    assert_eq!(
        (sub.mode() & 0o7777, sub.mtime(), sub.mtime_nsec()),
        (0o500, -1, 999_999_999)
    );
    assert_eq!(fs::read(scene.target.join("sub/file")).unwrap(), b"new");
    assert_eq!(names(scene.dir.path()), ["outside", "target"]);
}

#[test]
fn thrown_away_it_leaves_what_was_there() {
    let scene = TreeTargetFixture::new();
    let tree = TreeTarget::begin(&scene.target, MergeMode::Refuse).unwrap();
    write(&tree, tree.root(), "file", "new");
    drop(tree);
    assert_eq!(names(scene.dir.path()), ["outside"]);

    let scene = TreeTargetFixture::filled();
    let tree = scene.over();
    let b = standing(&standing(tree.root(), "a"), "b");
    write(&tree, &b, "old", "new");
    drop((b, tree));
    assert_eq!(fs::read(scene.target.join("a/b/old")).unwrap(), b"old");
    assert_eq!(names(&scene.target), ["a"]);
}

#[test]
fn a_filled_target_is_refused_or_added_to() {
    let scene = TreeTargetFixture::filled();
    assert_eq!(
        TreeTarget::begin(&scene.target, MergeMode::Refuse)
            .err()
            .unwrap()
            .kind(),
        ErrorKind::Exists
    );
    let tree = scene.over();
    assert!(!tree.is_new());
    let b = standing(&standing(tree.root(), "a"), "b");
    write(&tree, &b, "old", "new");
    write(&tree, &b, "more", "more");
    assert_eq!(names(&scene.target.join("a/b")), ["old"], "not yet");
    drop(b);
    assert!(tree.finish().unwrap().is_none());
    assert_eq!(fs::read(scene.target.join("a/b/old")).unwrap(), b"new");
    assert_eq!(fs::read(scene.target.join("a/b/more")).unwrap(), b"more");
    assert_eq!(names(&scene.target), ["a"]);
    let file = scene.target.join("a/b/old");
    assert_eq!(
        TreeTarget::begin(&file, MergeMode::Into).err().unwrap().kind(),
        ErrorKind::Exists
    );
}

#[test]
fn what_a_killed_restore_left_is_removed_and_a_running_one_is_spared() {
    let scene = TreeTargetFixture::filled();
    let left = scene.target.join(".target.levault-restore-0123456789abcdef");
    scratch_directory::tests::leave_to_next_process(&left, &["0"]);
    let first = scene.over();
    assert_eq!(names(&scene.target).len(), 2, "its own, and a");
    let second = scene.over();
    assert_eq!(names(&scene.target).len(), 3);
    drop((first, second));
    assert_eq!(names(&scene.target), ["a"]);
}

#[test]
fn a_name_leads_into_the_directory_only() {
    let scene = TreeTargetFixture::filled();
    let tree = scene.over();
    let root = tree.root();
    for name in [
        &b""[..],
        b".",
        b"..",
        b"/",
        b"/etc",
        b"a/b",
        b"a/",
        b"../outside",
        b"a\0",
    ] {
        let refused = |kind: Option<ErrorKind>| assert_eq!(kind, Some(ErrorKind::Corrupt), "{name:?}");
        refused(root.child(name, None, None).err().map(|error| error.kind()));
        refused(root.entry(name).err().map(|error| error.kind()));
        refused(
            root.remove(name, &root.stat_self().unwrap().unwrap())
                .err()
                .map(|error| error.kind()),
        );
        refused(root.open_file(name).err().map(|error| error.kind()));
        refused(root.link_target(name).err().map(|error| error.kind()));
        refused(
            tree.begin_draft(root, name, RemoveDepth::Recursive)
                .err()
                .map(|error| error.kind()),
        );
    }
    assert!(scene.is_untouched_outside());
}

#[test]
fn no_link_is_followed_wherever_it_stands() {
    let scene = TreeTargetFixture::filled();
    symlink(&scene.outside, scene.target.join("link")).unwrap();
    symlink(scene.outside.join("file"), scene.target.join("name")).unwrap();
    let tree = scene.over();
    assert_eq!(
        tree.root().entry(b"link").unwrap().unwrap().kind,
        ExistingKind::Symlink
    );
    assert!(tree.root().open_file(b"name").is_err());
    assert!(tree.root().update_attributes(b"name", &mode(0o777, 0)).is_err());
    // Taken for a directory that is yet to be made, or for one that stood there a moment ago.
    assert!(tree.root().child(b"link", None, None).unwrap().open().is_err());
    let a = standing(tree.root(), "a");
    fs::rename(scene.target.join("a"), scene.target.join("moved")).unwrap();
    symlink(&scene.outside, scene.target.join("a")).unwrap();
    assert!(a.open().is_err());
    fs::remove_file(scene.target.join("a")).unwrap();
    fs::create_dir(scene.target.join("a")).unwrap();
    assert!(a.open().is_err(), "another directory");
    drop(a);
    write(&tree, tree.root(), "name", "a file of its own");
    tree.finish().unwrap();
    assert!(fs::symlink_metadata(scene.target.join("name")).unwrap().is_file());
    assert!(scene.is_untouched_outside());
}

#[test]
fn a_directory_that_is_open_is_written_to_wherever_it_was_moved() {
    let scene = TreeTargetFixture::filled();
    let tree = scene.over();
    let b = standing(&standing(tree.root(), "a"), "b");
    b.open().unwrap();
    fs::rename(scene.target.join("a"), scene.target.join("moved")).unwrap();
    symlink(&scene.outside, scene.target.join("a")).unwrap();
    write(&tree, &b, "new", "new");
    drop(b);
    tree.finish().unwrap();
    assert_eq!(names(&scene.target.join("moved/b")), ["new", "old"]);
    assert!(scene.is_untouched_outside());
}

#[test]
fn removing_stays_below_and_follows_nothing() {
    let scene = TreeTargetFixture::filled();
    symlink(&scene.outside, scene.target.join("a/link")).unwrap();
    fs::hard_link(scene.outside.join("file"), scene.target.join("a/b/same")).unwrap();
    let tree = scene.over();
    assert!(remove_entry::remove(&tree.root().open().unwrap(), "a".as_ref(), RemoveDepth::Single).is_err());
    let standing = tree.root().entry(b"a").unwrap().unwrap();
    tree.root().remove(b"a", &standing).unwrap();
    tree.root().remove(b"was never there", &standing).unwrap();
    drop(tree);
    assert!(names(&scene.target).is_empty());
    assert!(scene.is_untouched_outside());
}

#[test]
fn one_kind_of_thing_gives_way_to_another() {
    let scene = TreeTargetFixture::filled();
    fs::write(scene.target.join("file"), "old").unwrap();
    symlink(&scene.outside, scene.target.join("link")).unwrap();
    fs::create_dir(scene.target.join("empty")).unwrap();
    let tree = scene.over();
    let draft = |name: &str, depth| tree.begin_draft(tree.root(), name.as_bytes(), depth).unwrap();
    for (name, depth) in [("a", RemoveDepth::Recursive), ("empty", RemoveDepth::Single)] {
        let draft = draft(name, depth);
        draft
            .create_symlink(b"nowhere", &TargetAttributes::default())
            .unwrap();
        tree.commit_draft(draft).unwrap();
    }
    for name in ["file", "link"] {
        let directory = tree
            .root()
            .child(name.as_bytes(), None, Some(RemoveDepth::Single))
            .unwrap();
        write(&tree, &directory, "x", "x");
    }
    tree.finish().unwrap();
    for name in ["a", "empty"] {
        assert_eq!(
            fs::read_link(scene.target.join(name)).unwrap(),
            Path::new("nowhere")
        );
    }
    for name in ["file", "link"] {
        assert_eq!(names(&scene.target.join(name)), ["x"]);
    }
    assert!(scene.is_untouched_outside());
}

#[test]
fn a_filled_directory_gives_way_only_if_it_may() {
    let scene = TreeTargetFixture::filled();
    let tree = scene.over();
    let draft = tree.begin_draft(tree.root(), b"a", RemoveDepth::Single).unwrap();
    draft.create_fifo(&TargetAttributes::default()).unwrap();
    tree.commit_draft(draft).unwrap();
    let drafts = std::mem::take(&mut *tree.lock_pending());
    tree.commit_drafts(drafts).unwrap();
    assert_eq!(tree.problems().count(), 1);
    let (told, more) = tree.problems().take();
    assert!(
        more == 0 && told[0].contains("put ") && told[0].contains("/a in its place"),
        "{told:?}"
    );
    assert_eq!(fs::read(scene.target.join("a/b/old")).unwrap(), b"old");
}

#[test]
fn every_kind_of_thing_gets_its_attributes() {
    let scene = TreeTargetFixture::filled();
    for (target, merge) in [("new", MergeMode::Refuse), ("target", MergeMode::Into)] {
        let target = scene.dir.path().join(target);
        let tree = TreeTarget::begin(&target, merge).unwrap();
        let attributes = TargetAttributes {
            xattrs: vec![(b"user.k".to_vec(), b"v".to_vec())],
            ..mode(0o604, -1_500_000_000)
        };
        let draft = |name: &str| {
            tree.begin_draft(tree.root(), name.as_bytes(), RemoveDepth::Single)
                .unwrap()
        };
        let file = draft("file");
        file.set_file_attributes(&file.create_file().unwrap(), &attributes)
            .unwrap();
        let (link, pipe) = (draft("link"), draft("pipe"));
        link.create_symlink(b"/etc/passwd", &mode(0o777, -1_500_000_000))
            .unwrap();
        pipe.create_fifo(&mode(0o604, -1_500_000_000)).unwrap();
        for draft in [file, link, pipe] {
            tree.commit_draft(draft).unwrap();
        }
        if let Some(staged) = tree.finish().unwrap() {
            staged.publish().unwrap();
        }
        for (name, expected) in [("file", 0o604), ("link", 0o777), ("pipe", 0o604)] {
            let standing = fs::symlink_metadata(target.join(name)).unwrap();
            assert_eq!(standing.mode() & 0o7777, expected, "{name}");
            assert_eq!(
                (standing.mtime(), standing.mtime_nsec()),
                (-2, 500_000_000),
                "{name}"
            );
        }
        assert!(
            fs::symlink_metadata(target.join("pipe"))
                .unwrap()
                .file_type()
                .is_fifo()
        );
        let mut value = [0; 8];
        let len = rustix::fs::lgetxattr(target.join("file"), "user.k", &mut value[..]).unwrap();
        assert_eq!(&value[..len], b"v");
    }
    assert_ne!(fs::metadata("/etc/passwd").unwrap().mtime(), -2);
}

#[test]
fn rights_of_another_owner_are_lent_only_with_that_owner() {
    let scene = TreeTargetFixture::new();
    let tree = TreeTarget::begin(&scene.target, MergeMode::Refuse).unwrap();
    let own = fs::metadata(scene.dir.path()).unwrap();
    for (name, uid, expected) in [("known", Some(own.uid()), 0o6755), ("unknown", None, 0o755)] {
        let draft = tree
            .begin_draft(tree.root(), name.as_bytes(), RemoveDepth::Single)
            .unwrap();
        let file = draft.create_file().unwrap();
        let gid = Some(file.metadata().unwrap().gid());
        draft
            .set_file_attributes(
                &file,
                &TargetAttributes {
                    uid,
                    gid,
                    ..mode(0o6755, 0)
                },
            )
            .unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, expected, "{name}");
    }
}

#[test]
fn a_file_that_stays_loses_what_it_is_not_to_have() {
    let scene = TreeTargetFixture::filled();
    let file = scene.target.join("a/b/old");
    for name in ["user.gone", "user.kept"] {
        rustix::fs::lsetxattr(&file, name, b"1", rustix::fs::XattrFlags::empty()).unwrap();
    }
    let tree = scene.over();
    let b = standing(&standing(tree.root(), "a"), "b");
    let attributes = TargetAttributes {
        xattrs: vec![(b"user.kept".to_vec(), b"2".to_vec())],
        ..mode(0o600, 7)
    };
    b.update_attributes(b"old", &attributes).unwrap();
    let mut value = [0; 8];
    assert!(rustix::fs::lgetxattr(&file, "user.gone", &mut value[..]).is_err());
    assert_eq!(
        rustix::fs::lgetxattr(&file, "user.kept", &mut value[..]).unwrap(),
        1
    );
    assert_eq!(value[0], b'2');
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_link_finds_its_file_before_and_after_it_is_in_its_place() {
    let scene = TreeTargetFixture::filled();
    let tree = scene.over();
    let first = write(&tree, tree.root(), "first", "one");
    let link = |name: &str| {
        let mut draft = tree
            .begin_draft(tree.root(), name.as_bytes(), RemoveDepth::Single)
            .unwrap();
        draft.create_hard_link(&first).unwrap();
        tree.commit_draft(draft).unwrap();
    };
    link("waiting");
    let drafts = std::mem::take(&mut *tree.lock_pending());
    tree.commit_drafts(drafts).unwrap();
    link("placed");
    tree.finish().unwrap();
    let inode = |name: &str| fs::metadata(scene.target.join(name)).unwrap().ino();
    assert_eq!(inode("first"), inode("waiting"));
    assert_eq!(inode("first"), inode("placed"));
}

#[test]
fn more_files_than_wait_at_once_get_to_their_places() {
    let scene = TreeTargetFixture::filled();
    let tree = scene.over();
    for n in 0..PENDING_MAX + 10 {
        write(&tree, tree.root(), &n.to_string(), "");
    }
    assert_eq!(names(&scene.target).len(), PENDING_MAX + 2);
    tree.finish().unwrap();
    assert_eq!(names(&scene.target).len(), PENDING_MAX + 11);
}

/// Deeper than descriptors, and than a path may be long.
#[test]
fn a_deep_tree_is_made_with_few_descriptors_and_every_level_gets_its_time() {
    const LEVELS: usize = 1500;
    // Where the test is a process of its own it has no more descriptors than an ordinary shell gives.
    let resource = rustix::process::Resource::Nofile;
    let usual = rustix::process::getrlimit(resource);
    if std::env::var_os("NEXTEST").is_some() {
        let current = Some(1024);
        rustix::process::setrlimit(resource, rustix::process::Rlimit { current, ..usual }).unwrap();
    }
    let scene = TreeTargetFixture::new();
    let tree = TreeTarget::begin(&scene.target, MergeMode::Refuse).unwrap();
    let mut directories = vec![tree.root().clone()];
    for level in 0..LEVELS {
        let time = mode(0o700, level as i64);
        let inner = directories[level].child(b"inner", Some(time), None).unwrap();
        directories.push(inner);
    }
    let before = fs::read_dir("/proc/self/fd").unwrap().count();
    write(&tree, &directories[LEVELS], "file", "deep");
    for directory in directories[..LEVELS].iter().step_by(100) {
        write(&tree, directory, "late", "late");
    }
    let open = fs::read_dir("/proc/self/fd").unwrap().count() - before;
    assert!(open <= 300, "{open} descriptors");
    drop(directories);
    assert_eq!(tree.problems().count(), 0, "{:?}", tree.problems().take());
    tree.finish().unwrap().unwrap().publish().unwrap();
    // Removing takes a descriptor for each level.
    let current = usual.maximum;
    rustix::process::setrlimit(resource, rustix::process::Rlimit { current, ..usual }).unwrap();

    let mut at = HeldDirectory::open_path(&scene.target).unwrap().open().unwrap();
    for level in 0..LEVELS {
        at = target_directory::open_directory_nofollow(&at, "inner".as_ref()).unwrap();
        assert_eq!(at.metadata().unwrap().mtime_nsec(), level as i64);
    }
    assert_eq!(target_directory::names(&at).unwrap(), [b"file"]);
    let parent = HeldDirectory::open_path(scene.dir.path())
        .unwrap()
        .open()
        .unwrap();
    remove_entry::remove(&parent, "target".as_ref(), RemoveDepth::Recursive).unwrap();
}

#[test]
fn looking_makes_nothing() {
    let scene = TreeTargetFixture::new();
    let root = inspect_only(&scene.target).unwrap();
    assert!(root.entry(b"x").unwrap().is_none() && root.names().unwrap().is_empty());
    assert!(root.open().is_err());
    let below = root.child(b"x", Some(mode(0o700, 0)), None).unwrap();
    assert!(below.entry(b"y").unwrap().is_none());
    drop((below, root));
    assert_eq!(names(scene.dir.path()), ["outside"]);
}

/// A user who owns the target gives another directory of root's the name of one that is to go.
#[test]
fn a_directory_that_came_in_the_place_of_one_that_is_to_go_is_not_emptied() {
    let scene = TreeTargetFixture::filled();
    fs::create_dir(scene.target.join("evidence")).unwrap();
    fs::write(scene.target.join("evidence/file"), "precious").unwrap();
    let tree = scene.over();
    let standing = tree.root().entry(b"a").unwrap().unwrap();
    assert!(standing.is_directory());
    fs::rename(scene.target.join("a"), scene.target.join("moved")).unwrap();
    fs::rename(scene.target.join("evidence"), scene.target.join("a")).unwrap();
    let error = tree.root().remove(b"a", &standing).unwrap_err();
    assert!(error.to_string().contains("another directory"), "{error}");
    assert_eq!(fs::read(scene.target.join("a/file")).unwrap(), b"precious");
}

/// And that of our scratch directory.
#[test]
fn a_directory_that_came_in_the_place_of_the_scratch_directory_is_not_removed_with_it() {
    let scene = TreeTargetFixture::filled();
    let tree = scene.over();
    let all = names(&scene.target);
    let own = all
        .iter()
        .find(|name| name.contains(".levault-restore-"))
        .unwrap();
    let own = scene.target.join(own);
    fs::rename(&own, scene.target.join("moved")).unwrap();
    fs::create_dir(&own).unwrap();
    fs::write(own.join("file"), "precious").unwrap();
    tree.finish().unwrap();
    assert_eq!(fs::read(own.join("file")).unwrap(), b"precious");
}
