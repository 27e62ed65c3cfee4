use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;
use crate::pattern::{CaseSensitivity, Pattern};
use crate::source::listed_paths::ListedPaths;

fn rules(words: &[&str]) -> ExcludeRules {
    let all: Vec<_> = words
        .iter()
        .map(|word| Pattern::word(word, CaseSensitivity::Matters))
        .collect();
    ExcludeRules {
        patterns: Patterns::new(&all).unwrap(),
        ..ExcludeRules::default()
    }
}

#[test]
fn files_are_left_out_by_pattern_or_size_and_sizes_are_for_files() {
    let mut rules = rules(&["*.o", "!keep.o"]);
    rules.file_bytes_max = Some(10);
    let judge = |path: &str, what| rules.judge(Path::new(""), Path::new(path), what);
    let file = |path: &str, bytes| judge(path, ExcludeSubject::File { bytes });
    assert_eq!(file("/x", 10), None);
    assert_eq!(file("/x", 11), Some(ExcludeReason::TooLarge));
    assert_eq!(judge("/x", ExcludeSubject::Directory), None);
    assert_eq!(
        judge("/x.o", ExcludeSubject::Other),
        Some(ExcludeReason::Pattern("*.o"))
    );
    assert_eq!(file("/a.o", 1), Some(ExcludeReason::Pattern("*.o")));
    assert_eq!(file("/keep.o", 1), None);
    assert_eq!(
        file("/keep.o", 11),
        Some(ExcludeReason::TooLarge),
        "no pattern makes it small"
    );
}

#[test]
fn a_tag_file_leaves_nothing_but_itself() {
    let dir = TempDir::new().unwrap();
    let (caches, named) = (
        TagFile::of_caches(),
        TagFile::parse(OsStr::new(".nobackup")).unwrap(),
    );
    let rules = ExcludeRules {
        tag_files: vec![
            caches.clone(),
            named,
            TagFile::parse(OsStr::new("x:begin:ning")).unwrap(),
        ],
        ..ExcludeRules::default()
    };
    let bounds = WalkScope::new(Arc::new(rules.clone()), dir.path(), None);
    let within = || bounds.directory_scope(dir.path());
    let write = |name: &str, bytes: &str| fs::write(dir.path().join(name), bytes).unwrap();
    assert_eq!(within(), DirectoryScope::All);
    assert_eq!(within().judge(OsStr::new("x")), None);
    write("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc5");
    write("x", "begin:ning");
    assert_eq!(
        within().judge(OsStr::new("y")),
        Some(ExcludeReason::TagFile(OsStr::new("x")))
    );
    write("x", "another beginning");
    assert_eq!(within(), DirectoryScope::All);
    write(
        "CACHEDIR.TAG",
        "Signature: 8a477f597d28d172789f06886806bc55\n# a cache",
    );
    assert_eq!(within().judge(&caches.name), None);
    assert_eq!(
        within().judge(OsStr::new("y")),
        Some(ExcludeReason::TagFile(&caches.name))
    );
    fs::remove_file(dir.path().join("CACHEDIR.TAG")).unwrap();
    fs::create_dir(dir.path().join(".nobackup")).unwrap();
    assert_eq!(
        within().judge(OsStr::new("y")),
        Some(ExcludeReason::TagFile(OsStr::new(".nobackup")))
    );
}

#[test]
fn a_tag_file_that_is_a_link_or_a_pipe_is_none() {
    let dir = TempDir::new().unwrap();
    let real = dir.path().join("real");
    fs::write(&real, TagFile::of_caches().header).unwrap();
    let tag = dir.path().join("CACHEDIR.TAG");
    std::os::unix::fs::symlink(&real, &tag).unwrap();
    assert!(!TagFile::of_caches().is_in(dir.path()));
    fs::remove_file(&tag).unwrap();
    let mode = rustix::fs::Mode::from_bits_retain(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &tag, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(!TagFile::of_caches().is_in(dir.path()), "nobody waits for a pipe");
}

#[test]
fn a_mounted_filesystem_is_another_but_not_where_it_is_asked_for() {
    let proc = Path::new("/proc");
    let any = ExcludeRules::default();
    assert!(
        WalkScope::new(Arc::new(any.clone()), Path::new("/"), None)
            .is_searched(proc, ExcludeSubject::Directory)
    );
    let rules = ExcludeRules {
        one_filesystem: true,
        ..any
    };
    let root = WalkScope::new(Arc::new(rules.clone()), Path::new("/"), None);
    assert!(!root.is_searched(proc, ExcludeSubject::Directory));
    assert_eq!(
        root.judge(proc, ExcludeSubject::Directory),
        ExcludeVerdict::Included,
        "as an empty directory"
    );
    let within = root.directory_scope(proc).judge(OsStr::new("sys"));
    assert_eq!(within, Some(ExcludeReason::OtherFilesystem));
    assert_eq!(
        WalkScope::new(Arc::new(rules.clone()), proc, None).directory_scope(proc),
        DirectoryScope::All
    );
    let listed = ListedPaths::new(vec!["/proc/sys".into(), "/usr".into()]);
    let listed = WalkScope::new(Arc::new(rules.clone()), Path::new("/"), Some(Arc::new(listed)));
    for path in ["/", "/proc", "/proc/sys", "/proc/sys/kernel", "/usr"] {
        assert!(
            listed.is_searched(Path::new(path), ExcludeSubject::Directory),
            "{path}"
        );
    }
}

#[test]
fn of_a_listed_tree_only_the_listed_is_taken_and_only_that_is_judged() {
    let mut rules = rules(&["*.o", "www", "./srv/x"]);
    rules.file_bytes_max = Some(10);
    let listed = ListedPaths::new(["/www/a", "/www/b.o", "/www/srv"].map(PathBuf::from).to_vec());
    let bounds = WalkScope::new(Arc::new(rules.clone()), Path::new("/www"), Some(Arc::new(listed)));
    assert_eq!(
        bounds.judge(Path::new("/www"), ExcludeSubject::Directory),
        ExcludeVerdict::Included
    );
    let judge = |path: &str, bytes| bounds.judge(Path::new(path), ExcludeSubject::File { bytes });
    assert_eq!(judge("/www/a", 9), ExcludeVerdict::Included);
    assert_eq!(
        judge("/www/a", 11),
        ExcludeVerdict::Excluded(ExcludeReason::TooLarge)
    );
    assert_eq!(
        judge("/www/b.o", 1),
        ExcludeVerdict::Excluded(ExcludeReason::Pattern("*.o"))
    );
    assert_eq!(judge("/www/c", 1), ExcludeVerdict::NotListed);
    assert_eq!(
        judge("/www/srv/x", 1),
        ExcludeVerdict::Excluded(ExcludeReason::Pattern("/srv/x"))
    );
    assert_eq!(
        judge("/www/srv/www", 1),
        ExcludeVerdict::Excluded(ExcludeReason::Pattern("www"))
    );
    assert!(!bounds.is_searched(Path::new("/www/c"), ExcludeSubject::Directory));
    assert!(
        bounds.is_searched(Path::new("/www/b.o"), ExcludeSubject::Other),
        "a database's own is not judged"
    );
    assert!(!bounds.is_searched(Path::new("/www/c"), ExcludeSubject::Other));
}

#[test]
fn no_search_enters_what_is_left_out() {
    let dir = TempDir::new().unwrap();
    let mut rules = rules(&["no"]);
    rules.tag_files.push(TagFile::parse(OsStr::new("tag")).unwrap());
    let bounds = WalkScope::new(Arc::new(rules.clone()), dir.path(), None);
    let searched = |name: &str| bounds.is_searched(&dir.path().join(name), ExcludeSubject::Directory);
    for name in ["yes", "no", "tagged"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    assert!(searched("yes") && searched("tagged") && !searched("no"));
    fs::write(dir.path().join("tagged/tag"), "").unwrap();
    assert!(!searched("tagged"));
    assert!(bounds.is_searched(&dir.path().join("tagged/tag"), ExcludeSubject::Other));
}

#[test]
fn names_of_tag_files_are_names() {
    for text in ["", ".", "..", "a/b", ":x"] {
        let error = TagFile::parse(OsStr::new(text)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{text}");
    }
}

#[test]
fn what_is_left_out_is_counted_and_the_first_are_named() {
    let mut left_out = ExcludedItems::default();
    for why in [
        ExcludeReason::Pattern("*.o"),
        ExcludeReason::TooLarge,
        ExcludeReason::TagFile(OsStr::new("t")),
        ExcludeReason::OtherFilesystem,
    ] {
        for _ in 0..300 {
            left_out.add(Path::new("x"), why);
        }
    }
    let each = [
        left_out.by_pattern,
        left_out.too_large,
        left_out.by_tag_file,
        left_out.other_filesystems,
    ];
    assert_eq!(each, [300; 4]);
    assert_eq!((left_out.count(), left_out.named.len()), (1200, 1000));
    assert_eq!(
        left_out.named[0],
        (Path::new("x").to_owned(), "the pattern *.o".into())
    );
}
