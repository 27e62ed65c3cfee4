//! What `backup` is given besides PATHs and what it leaves out, as its users meet it: words, exit codes, JSON.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod support;

use std::fs;

use support::tool::{Ended, Tool};

fn with_files(names: &[&str]) -> Tool {
    let tool = Tool::new();
    for name in names {
        let path = tool.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    tool
}

/// The paths in the newest snapshot, from the tool's directory on.
fn listing(tool: &Tool) -> Vec<String> {
    let above = format!("{}/", tool.dir.path().canonicalize().unwrap().display());
    let text = tool.run(["ls", "latest"]).ok().text();
    let below = |line: &str| line.strip_prefix(&above).unwrap_or(line).to_owned();
    text.lines().map(below).collect()
}

fn in_dir(tool: &Tool, words: &[&str]) -> Ended {
    Ended::of(tool.command().current_dir(tool.dir.path()).args(words))
}

#[test]
fn what_is_left_out_is_in_no_listing_and_told_to_who_asks() {
    let tool = with_files(&[
        "home/a.c",
        "home/a.o",
        "home/B.TMP",
        "home/keep.o",
        "home/large",
        "home/cache/x",
    ]);
    fs::write(tool.path("home/large"), [1; 2000]).unwrap();
    fs::write(
        tool.path("home/cache/CACHEDIR.TAG"),
        "Signature: 8a477f597d28d172789f06886806bc55",
    )
    .unwrap();
    fs::write(tool.path("home/cache/.no"), "").unwrap();
    fs::write(tool.path("patterns"), "# objects\n*.o\n").unwrap();
    let words = [
        "backup",
        "home",
        "--exclude-file",
        "patterns",
        "-e",
        "!keep.o",
        "--iexclude",
        "*.tmp",
        "--exclude-larger-than",
        "1k",
        "--exclude-caches",
        "-x",
    ];
    let told = in_dir(&tool, &[&words[..], &["-vv"]].concat()).ok().text();
    assert!(
        told.contains("left out: 2 by patterns, 1 too large, 2 by tag files, 0 on other filesystems"),
        "{told}"
    );
    assert!(told.contains("home/a.o: the pattern *.o"), "{told}");
    assert_eq!(
        listing(&tool),
        [
            "home",
            "home/a.c",
            "home/cache",
            "home/cache/CACHEDIR.TAG",
            "home/keep.o"
        ]
    );
    let quiet = in_dir(&tool, &words).ok().text();
    assert!(!quiet.contains("left out"), "{quiet}");
    let summary = in_dir(&tool, &[&words[..], &["--json"]].concat()).ok().summary();
    let expected =
        serde_json::json!({"by_pattern": 2, "too_large": 1, "by_tag_file": 2, "other_filesystems": 0});
    assert_eq!(summary["left_out"], expected);
}

#[test]
fn words_that_make_no_sense_exit_2_before_anything_is_saved() {
    let tool = with_files(&["home/a"]);
    fs::write(tool.path("patterns"), "good\n../bad\n").unwrap();
    fs::write(tool.path("cut"), "home/a\0home/").unwrap();
    fs::write(tool.path("empty"), "").unwrap();
    for (words, what) in [
        (&["home", "-e", "{x"][..], "not a pattern"),
        (
            &["home", "--exclude-file", "patterns"],
            "patterns from patterns: line 2",
        ),
        (&["home", "--exclude-if-present", "a/b"], "no file's name"),
        (&["home", "--exclude-larger-than", "many"], "want a size"),
        (&["--files-from-raw", "cut"], "list cut: it ends inside a name"),
        (&["--files-from", "empty"], "nothing"),
        (&["--files-from", "-", "--files-from-raw", "-"], "only one list"),
        (&["home", "-e", "home"], "left out"),
        (&["home", "--stdin"], "cannot be used with"),
        (&["--stdin-from-command"], "PATH"),
        (&["--stdin", "--stdin-filename", "a/b"], "no file's name"),
    ] {
        let ended = in_dir(&tool, &[&["backup"], words].concat()).exits(2);
        assert!(ended.stderr.contains(what), "{words:?}: {}", ended.stderr);
    }
    in_dir(&tool, &["backup", "home", "--exclude-file", "none"]).exits(1);
    assert_eq!(tool.run(["snapshots", "--json"]).ok().text().trim(), "[]");
}

#[test]
fn lists_are_read_from_files_and_from_standard_input() {
    let tool = with_files(&[
        "www/a.html",
        "www/b.html",
        "www/c.css",
        "www/img/x",
        "www/ d",
        "#e",
    ]);
    fs::write(tool.path("globs"), "www/*.html\n  www/img \n# none\n").unwrap();
    fs::write(tool.path("lines"), "www/ d\n#e\n").unwrap();
    in_dir(&tool, &["backup", "--files-from", "globs"]).ok();
    assert_eq!(
        listing(&tool),
        ["www", "www/a.html", "www/b.html", "www/img", "www/img/x"]
    );
    in_dir(
        &tool,
        &[
            "backup",
            "www/c.css",
            "--files-from-verbatim",
            "lines",
            "--files-from",
            "globs",
        ],
    )
    .ok();
    let all = listing(&tool);
    assert!(
        all.contains(&"#e".into()) && all.contains(&"www/ d".into()),
        "{all:?}"
    );
    assert_eq!(
        all.iter().filter(|path| path.ends_with("c.css")).count(),
        1,
        "{all:?}"
    );

    let mut command = tool.command();
    command
        .current_dir(tool.dir.path())
        .args(["backup", "--files-from-raw", "-"]);
    Ended::with_input(&mut command, b"www/a.html\0www/gone\0www/img/x\0").exits(3);
    assert_eq!(listing(&tool), ["www", "www/a.html", "www/img", "www/img/x"]);
}

#[test]
fn a_stream_is_saved_if_it_is_whole() {
    let tool = Tool::new();
    let words = [
        "backup",
        "--stdin-filename",
        "dump.sql",
        "--stdin-from-command",
        "--",
        "sh",
        "-c",
    ];
    let failed = in_dir(&tool, &[&words[..], &["echo half; exit 4"]].concat()).exits(1);
    assert!(failed.stderr.contains("exit status: 4"), "{}", failed.stderr);
    assert_eq!(tool.run(["snapshots", "--json"]).ok().text().trim(), "[]");
    in_dir(&tool, &[&words[..], &["printf whole"]].concat()).ok();
    let line = tool.run(["ls", "-l", "latest"]).ok().text();
    assert!(line.contains("/dump.sql") && line.contains(" 5 "), "{line}");

    let mut command = tool.command();
    command.args(["backup", "--stdin"]);
    Ended::with_input(&mut command, &[7; 3_000_000]).ok();
    assert_eq!(listing(&tool), ["/stdin"]);
    let line = tool.run(["ls", "-l", "latest"]).ok().text();
    assert!(line.contains(" 3000000 "), "{line}");
}

#[cfg(not(feature = "sqlite"))]
#[test]
fn without_sqlite_its_flag_says_how_to_have_it() {
    let tool = with_files(&["home/a"]);
    let ended = in_dir(&tool, &["backup", "home", "--sqlite-backup"]).exits(2);
    assert!(ended.stderr.contains("--features sqlite"), "{}", ended.stderr);
}
