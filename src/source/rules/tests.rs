use std::fs;

use tempfile::TempDir;

use super::*;
use crate::error::Kind;
use crate::pattern::{Case, Pattern};

fn rules(words: &[&str]) -> Rules {
    let all: Vec<_> = words
        .iter()
        .map(|word| Pattern::word(word, Case::Matters))
        .collect();
    Rules {
        patterns: Patterns::new(&all).unwrap(),
        ..Rules::default()
    }
}

#[test]
fn files_are_left_out_by_pattern_or_size_and_sizes_are_for_files() {
    let mut rules = rules(&["*.o", "!keep.o"]);
    rules.file_bytes_max = Some(10);
    let judge = |inner: &'static str, file_bytes: Option<u64>| {
        rules.judge(
            &Place::stored(b"/x", inner.as_bytes(), file_bytes.is_none()),
            file_bytes,
        )
    };
    assert_eq!(judge("x", Some(10)), None);
    assert_eq!(judge("x", Some(11)), Some(Why::TooLarge));
    assert_eq!(judge("x", None), None);
    let by_name = |path: &'static str, bytes| rules.judge(&Place::stored(path.as_bytes(), b"", false), bytes);
    assert_eq!(by_name("/a.o", Some(1)), Some(Why::Pattern("*.o")));
    assert_eq!(by_name("/keep.o", Some(1)), None);
    assert_eq!(
        by_name("/keep.o", Some(11)),
        Some(Why::TooLarge),
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
    let rules = Rules {
        tag_files: vec![
            caches.clone(),
            named,
            TagFile::parse(OsStr::new("x:begin:ning")).unwrap(),
        ],
        ..Rules::default()
    };
    let within = || rules.within(dir.path(), 1, 2);
    let write = |name: &str, bytes: &str| fs::write(dir.path().join(name), bytes).unwrap();
    assert_eq!(within(), Within::All);
    assert_eq!(within().judge(OsStr::new("x")), None);
    write("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc5");
    write("x", "begin:ning");
    assert_eq!(
        within().judge(OsStr::new("y")),
        Some(Why::TagFile(OsStr::new("x")))
    );
    write("x", "another beginning");
    assert_eq!(within(), Within::All);
    write(
        "CACHEDIR.TAG",
        "Signature: 8a477f597d28d172789f06886806bc55\n# a cache",
    );
    assert_eq!(within().judge(&caches.name), None);
    assert_eq!(within().judge(OsStr::new("y")), Some(Why::TagFile(&caches.name)));
    fs::remove_file(dir.path().join("CACHEDIR.TAG")).unwrap();
    fs::create_dir(dir.path().join(".nobackup")).unwrap();
    assert_eq!(
        within().judge(OsStr::new("y")),
        Some(Why::TagFile(OsStr::new(".nobackup")))
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
fn another_filesystem_is_entered_unless_one_was_asked_for() {
    let dir = TempDir::new().unwrap();
    let mut rules = Rules::default();
    assert_eq!(rules.within(dir.path(), 1, 2), Within::All);
    rules.one_filesystem = true;
    assert_eq!(rules.within(dir.path(), 2, 2), Within::All);
    let within = rules.within(dir.path(), 1, 2);
    assert_eq!(within.judge(OsStr::new("x")), Some(Why::OtherFilesystem));
    assert!(rules.crosses(1, 2) && !rules.crosses(2, 2));
}

#[test]
fn names_of_tag_files_are_names() {
    for text in ["", ".", "..", "a/b", ":x"] {
        let error = TagFile::parse(OsStr::new(text)).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage, "{text}");
    }
}

#[test]
fn what_is_left_out_is_counted_and_the_first_are_named() {
    let mut left_out = LeftOut::default();
    for why in [
        Why::Pattern("*.o"),
        Why::TooLarge,
        Why::TagFile(OsStr::new("t")),
        Why::OtherFilesystem,
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
