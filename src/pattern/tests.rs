use std::path::PathBuf;

use ignore::gitignore::GitignoreBuilder;
use proptest::prelude::*;

use super::*;

fn patterns(words: &[&str]) -> Patterns {
    let all: Vec<_> = words
        .iter()
        .map(|word| Pattern::word(word, CaseSensitivity::Matters))
        .collect();
    Patterns::new(&all).unwrap()
}

/// Asks for `inner` below the PATH /home/u; a slash at its end makes it a directory.
fn said<'a>(patterns: &'a Patterns, inner: &str) -> PatternMatch<'a> {
    let trimmed = inner.trim_end_matches('/');
    let absolute = PathBuf::from(format!("/home/u/{trimmed}").trim_end_matches('/'));
    patterns.say(&PatternPath {
        absolute: &absolute,
        inner: Path::new(trimmed),
        is_directory: inner.ends_with('/') || inner.is_empty(),
    })
}

fn meant(words: &[&str], inner: &str) -> bool {
    matches!(said(&patterns(words), inner), PatternMatch::Meant(_))
}

#[test]
fn a_pattern_is_anchored_where_its_slashes_say() {
    for (word, yes, no) in [
        ("*.o", &["a.o", "deep/er/a.o", "d.o/"][..], &["a.oo", "a.o/x"][..]),
        ("cache/", &["cache/", "deep/cache/"], &["cache", "deep/cache"]),
        ("/home/u/tmp", &["tmp", "tmp/"], &["deep/tmp", "home/u/tmp"]),
        ("/home", &[], &["home", ""]),
        ("/tmp", &[], &["tmp", "deep/tmp"]),
        ("./tmp", &["tmp"], &["deep/tmp"]),
        ("./a/b", &["a/b"], &["c/a/b"]),
        ("src/gen", &["src/gen", "src/gen/"], &["x/src/gen", "src/gens"]),
        ("src/gen/", &["src/gen/"], &["src/gen"]),
        ("src/*.c", &["src/a.c"], &["src/deep/a.c", "a.c"]),
        ("**/gen/out", &["gen/out", "deep/gen/out"], &["gen/outs"]),
        ("/home/*/*.bak", &["a.bak"], &["deep/a.bak"]),
        ("/home/**/*.bak", &["a.bak", "deep/a.bak"], &["a.bak2"]),
        ("u", &["", "u", "x/u"], &["uu"]),
        ("u/", &["", "u/"], &["u"]),
        ("**/u/gen", &["gen", "x/u/gen"], &["x/gen"]),
        ("./*", &["x"], &["", "x/y"]),
        ("b?r", &["bar"], &["baar", "b/r"]),
        ("[a-c]x", &["ax", "y/cx"], &["dx"]),
        ("{one,two}", &["one", "x/two"], &["three"]),
        ("\\!x", &["!x"], &["x"]),
        ("#x#", &["#x#"], &["x"]),
        ("x ", &["x "], &["x"]),
        ("x\\ ", &["x "], &["x"]),
        ("x\t", &["x\t"], &["x"]),
    ] {
        for path in yes {
            assert!(meant(&[word], path), "{word} means {path:?}");
        }
        for path in no {
            assert!(!meant(&[word], path), "{word} does not mean {path:?}");
        }
    }
}

#[test]
fn the_last_pattern_that_matches_decides() {
    let all = patterns(&["*.log", "!keep.log", "/home/u/keep.log", "./old", "!**/old"]);
    assert_eq!(said(&all, "a.log"), PatternMatch::Meant("*.log"));
    assert_eq!(said(&all, "deep/keep.log"), PatternMatch::TakenBack("!keep.log"));
    assert_eq!(said(&all, "keep.log"), PatternMatch::Meant("/home/u/keep.log"));
    assert_eq!(said(&all, "old"), PatternMatch::TakenBack("!**/old"));
    assert_eq!(said(&all, "other"), PatternMatch::Nothing);
    assert!(!all.is_empty() && Patterns::default().is_empty());
}

#[test]
fn case_is_each_patterns_own() {
    let mixed = [
        Pattern::word("*.ISO", CaseSensitivity::Ignored),
        Pattern::word("*.Bak", CaseSensitivity::Matters),
    ];
    let mixed = Patterns::new(&mixed).unwrap();
    for (path, is_meant) in [
        ("a.iso", true),
        ("a.IsO", true),
        ("a.Bak", true),
        ("a.bak", false),
    ] {
        assert_eq!(said(&mixed, path) != PatternMatch::Nothing, is_meant, "{path}");
    }
}

#[test]
fn names_need_not_be_utf_8() {
    let all = patterns(&["*.o", "./\u{fc}*"]);
    let place = |inner: &'static [u8], absolute: &'static [u8]| PatternPath::stored(absolute, inner, false);
    let meant = |place| all.say(&place) != PatternMatch::Nothing;
    assert!(meant(place(b"\xff\xfe.o", b"/home/\xfd/\xff\xfe.o")));
    assert!(meant(place("\u{fc}\u{fc}".as_bytes(), b"/home/\xfd/x")));
    assert!(!meant(place(b"\xfc", b"/home/\xfd/\xfc")), "latin 1");
}

#[test]
fn a_file_of_patterns_has_comments_and_says_where_it_is_wrong() {
    let text = "\u{feff}# objects\r\n*.o\r\n\r\n  \n\\#x\n!a.o\ny  ";
    let read = Pattern::lines(text.as_bytes(), CaseSensitivity::Matters).unwrap();
    let texts: Vec<_> = read.iter().map(|pattern| &*pattern.text).collect();
    assert_eq!(texts, ["*.o", "\\#x", "!a.o", "y  "]);
    let all = Patterns::new(&read).unwrap();
    assert_eq!(
        said(&all, "y"),
        PatternMatch::Meant("y"),
        "spaces at the end do not count"
    );
    for (text, what) in [
        (&b"a\nb\n../x\n"[..], "line 3: the pattern \"../x\" leads upwards"),
        (b"!\n", "line 1: the pattern \"!\" is empty"),
    ] {
        let error = Pattern::lines(text, CaseSensitivity::Matters).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
}

#[test]
fn what_is_no_pattern_is_refused_by_name() {
    for word in ["", "!", "./", "a/../b", "..", "{a", "[z-a]"] {
        let error = Patterns::new(&[Pattern::word(word, CaseSensitivity::Matters)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{word}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn includes_search_and_excludes_win() {
    let selector = Selector {
        include: patterns(&["docs/", "!docs/secret", "a/b/*.txt"]),
        exclude: patterns(&["*.bak"]),
    };
    let choose = |inner: &str| {
        let mut choice = selector.could_match_below();
        for (at, _) in inner.match_indices('/').chain([(inner.len(), "")]) {
            let (inner, is_directory) = (&inner[..at], at < inner.len());
            let absolute = format!("/home/u/{inner}");
            let place = PatternPath::stored(absolute.as_bytes(), inner.as_bytes(), is_directory);
            choice = selector.is_selected(&place, choice);
        }
        choice
    };
    for (inner, choice) in [
        ("docs", SelectorChoice::LeaveOut),
        ("docs/deep/x", SelectorChoice::Take),
        ("docs/x.bak", SelectorChoice::LeaveOut),
        ("docs/secret/x", SelectorChoice::LeaveOut),
        ("a/b/x.txt", SelectorChoice::Take),
        ("a/b/x.c", SelectorChoice::LeaveOut),
        ("x.txt", SelectorChoice::LeaveOut),
    ] {
        assert_eq!(choose(inner), choice, "{inner}");
    }
    let everything = Selector::default();
    let place = PatternPath::stored(b"/x", b"x", false);
    assert_eq!(
        everything.is_selected(&place, everything.could_match_below()),
        SelectorChoice::Take
    );
}

const WORDS: &[&str] = &[
    "a", "b", "!a", "!b", "a/", "!a/", "a/b", "!a/b", "*", "!*", "**/b", "a/**", "!a/**", "?", "[ab]", "b/*",
    "!*/a",
];

proptest! {
    /// What is anchored nowhere or at the PATH means what it means to the crate in a .gitignore there.
    #[test]
    fn patterns_of_a_path_are_those_of_a_gitignore_there(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..8),
        inner in "[abc](/[abc]){0,3}",
        is_directory: bool,
    ) {
        let mut builder = GitignoreBuilder::new("");
        for word in &words {
            builder.add_line(None, word).unwrap();
        }
        let asked = builder.build().unwrap();
        let expected = match asked.matched(&inner, is_directory) {
            ignore::Match::None => None,
            ignore::Match::Ignore(_) => Some(true),
            ignore::Match::Whitelist(_) => Some(false),
        };
        let ours = patterns(&words);
        let absolute = format!("/x/y/{inner}");
        let said = match ours.say(&PatternPath::stored(absolute.as_bytes(), inner.as_bytes(), is_directory)) {
            PatternMatch::Nothing => None,
            PatternMatch::Meant(_) => Some(true),
            PatternMatch::TakenBack(_) => Some(false),
        };
        prop_assert_eq!(said, expected);
    }
}
