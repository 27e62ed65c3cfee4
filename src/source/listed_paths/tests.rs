use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;
use crate::report::OperationReport;

fn listed(paths: &[&str]) -> ListedPaths {
    ListedPaths::new(paths.iter().map(PathBuf::from).collect())
}

#[test]
fn the_tree_begins_at_the_deepest_directory_that_holds_all() {
    let root = |paths: &[&str]| listed(paths).root();
    assert_eq!(root(&[]), None);
    assert_eq!(root(&["/a/b/c"]), Some("/a/b/c".into()));
    assert_eq!(root(&["/a/b/c", "/a/b"]), Some("/a/b".into()));
    assert_eq!(root(&["/a/b/c", "/a/b/d", "/a/bc"]), Some("/a".into()));
    assert_eq!(root(&["/a/b", "/c"]), Some("/".into()));
}

#[test]
fn a_path_stands_inside_above_or_outside() {
    let all = listed(&["/a/b-c", "/a/b/x", "/a/b/x/below", "/a/d", "/a/d", "/e"]);
    assert_eq!(all.paths().len(), 4, "{all:?}");
    for (path, position) in [
        ("/", ListPosition::Above),
        ("/a", ListPosition::Above),
        ("/a/b", ListPosition::Above),
        ("/a/b/x", ListPosition::Inside),
        ("/a/b/x/below/deep", ListPosition::Inside),
        ("/a/b/y", ListPosition::Outside),
        ("/a/b-c", ListPosition::Inside),
        ("/a/b-c/d", ListPosition::Inside),
        ("/a/b-cd", ListPosition::Outside),
        ("/a/b-", ListPosition::Outside),
        ("/a/c", ListPosition::Outside),
        ("/a/d", ListPosition::Inside),
        ("/e", ListPosition::Inside),
        ("/f", ListPosition::Outside),
    ] {
        assert_eq!(all.position(Path::new(path)), position, "{path}");
    }
    assert_eq!(
        ListedPaths::default().position(Path::new("/a")),
        ListPosition::Outside
    );
}

#[test]
fn what_lies_in_other_paths_is_taken_away() {
    let mut all = listed(&["/a/b/x", "/a/bx", "/c"]);
    all.remove_inside(&["/a/b".into(), "/c".into()]);
    assert_eq!(all, listed(&["/a/bx"]));
}

#[test]
fn lists_are_read_in_their_three_forms() {
    let report = OperationReport::default();
    let read = |bytes: &[u8], form| super::parse_list(bytes, form, &report);
    let paths = |names: &[&[u8]]| names.iter().map(|name| OsStr::from_bytes(name).into()).collect();
    let all: Vec<PathBuf> = paths(&[b" a *", b"#b", b"\xff"]);
    assert_eq!(read(b" a *\n\n#b\r\n\xff", ListFormat::Lines).unwrap(), all);
    let all: Vec<PathBuf> = paths(&[b"a\nb", b"\xff "]);
    assert_eq!(read(b"a\nb\0\xff \0", ListFormat::Raw).unwrap(), all);
    assert_eq!(read(b"", ListFormat::Raw).unwrap(), [""; 0].map(PathBuf::from));
    for (bytes, form, what) in [
        (&b"a\0b"[..], ListFormat::Raw, "ends inside a name"),
        (b"a\0\0b\0", ListFormat::Raw, "a name of no bytes"),
        (b"[a\n", ListFormat::Patterns, "line 1: \"[a\" is no pattern"),
    ] {
        let error = read(bytes, form).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
    assert_eq!(report.problems(), [""; 0]);
}

#[test]
fn patterns_are_expanded_part_by_part() {
    let dir = TempDir::new().unwrap();
    let root = dir.path();
    for name in ["one/a.txt", "one/b.txt", "one/.c.txt", "two/a.txt", "two/a.c"] {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    symlink("nowhere", root.join("two/z.txt")).unwrap();
    let report = OperationReport::default();
    let expand = |lines: &str| {
        let lines = lines.replace("ROOT", root.to_str().unwrap());
        let paths = super::parse_list(lines.as_bytes(), ListFormat::Patterns, &report).unwrap();
        let inner = paths
            .iter()
            .map(|path| path.strip_prefix(root).unwrap().display());
        inner.map(|path| path.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        expand("\u{feff}# a comment\n\n  ROOT/*/a.txt \nROOT/one\n"),
        ["one/a.txt", "two/a.txt", "one"]
    );
    assert_eq!(
        expand("ROOT/one/*.txt\nROOT//t?o/[y-z]*\r\n"),
        ["one/.c.txt", "one/a.txt", "one/b.txt", "two/z.txt"]
    );
    assert_eq!(report.problems(), [""; 0]);
    assert_eq!(expand("ROOT/none\nROOT/*/none*\nROOT/*/a.c"), ["two/a.c"]);
    assert_eq!(report.problems().len(), 2);
}

#[test]
fn what_is_listed_is_found_where_it_stands() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().canonicalize().unwrap();
    fs::create_dir_all(root.join("real/inner")).unwrap();
    fs::write(root.join("real/file"), "x").unwrap();
    symlink("real", root.join("link")).unwrap();
    let report = OperationReport::default();
    let find = |names: &[&str]| {
        let paths: Vec<_> = names.iter().map(|name| root.join(name)).collect();
        super::find_listed(&paths, &report).map(|listed| listed.paths)
    };
    let all = |names: &[&str]| names.iter().map(|name| root.join(name)).collect::<Vec<_>>();
    assert_eq!(find(&["link/file", "link"]).unwrap(), all(&["link", "real/file"]));
    assert_eq!(find(&["link/", "real/file"]).unwrap(), all(&["real"]));
    assert_eq!(
        find(&["real/inner/../file", "real/inner/."]).unwrap(),
        all(&["real/file", "real/inner"])
    );
    assert_eq!(report.problems(), [""; 0]);
    assert_eq!(find(&["none", "real/file"]).unwrap(), all(&["real/file"]));
    assert_eq!(report.problems().len(), 1);
    assert_eq!(find(&["none"]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(find(&[]).unwrap(), all(&[]));
}
