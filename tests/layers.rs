//! Goal: use goes down only (the layer table of docs/ARCHITECTURE.md), so that a stage can be read, tested and
//! fuzzed without what lies above it.
//! Method: read every `crate::` path in src/ and compare the two modules' places in the order below.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::fs;
use std::path::{Path, PathBuf};

/// Words: may use words only.
const WORDS: &[&str] = &[
    "child", "clock", "codec", "error", "id", "kind", "limits", "report",
];

/// Stages: each may use words and the stages named before it.
const STAGES: &[&str] = &[
    "pattern",
    "leveldb",
    "record",
    "chunk",
    "compress",
    "crypto",
    "envelope",
    "keys",
    "blob",
    "pack",
    "parity",
    "index",
    "run",
    "wal",
    "snapshot",
    "annotations",
];

/// Edges: the only ones that touch files; they do not know one another.
const EDGES: &[(&str, &[&str])] = &[
    ("held_directory", &[]),
    ("scratch_directory", &["held_directory"]),
    (
        "source",
        &[
            "pattern",
            "leveldb",
            "record",
            "held_directory",
            "scratch_directory",
            "snapshot",
        ],
    ),
    (
        "target",
        &[
            "pattern",
            "leveldb",
            "record",
            "held_directory",
            "scratch_directory",
            "snapshot",
        ],
    ),
    ("storage", &["held_directory"]),
    ("index_cache", &["index"]),
];

/// What stages do not know: files, threads, clocks, the environment.
const UNKNOWN_TO_STAGES: &[&str] = &[
    "std::fs",
    "std::thread",
    "std::time",
    "std::env",
    "std::net",
    "std::process",
    "rayon::",
    "rustix::",
    "tempfile::",
];

/// Operations that run another one as a whole, by what it gives to everybody; each with its reason.
const COMPOSED_OPERATIONS: &[(&str, &str, &str)] = &[
    (
        "archive",
        "restore",
        "a database in an archive is one that was restored to a staging directory",
    ),
    (
        "repair",
        "forget",
        "a snapshot that was stored anew without what is lost takes the place of the old one",
    ),
    (
        "undelete",
        "check",
        "a snapshot counts again when a check found it whole",
    ),
    ("undelete", "forget", "what is not whole is forgotten again"),
    (
        "undelete",
        "prune",
        "what a prune marked for deletion is taken off its list",
    ),
];

/// Exceptions, each with its reason.
const KNOWN_ALL_THE_SAME: &[(&str, &str, &str)] = &[(
    "pack",
    "rayon::",
    "sealing and opening many parts is one pure function over all cores",
)];

fn may_use(user: &str, used: &str) -> bool {
    let stage = |module: &str| STAGES.iter().position(|name| *name == module);
    let edge = EDGES.iter().find(|(name, _)| *name == user);
    let is_edge = EDGES.iter().any(|(name, _)| *name == used);
    match user {
        _ if user == used || WORDS.contains(&used) => true,
        _ if WORDS.contains(&user) => false,
        _ if let Some(own) = stage(user) => stage(used).is_some_and(|other| other < own),
        _ if let Some((_, stages)) = edge => stages.contains(&used),
        "repo" => stage(used).is_some() || ["storage", "index_cache"].contains(&used),
        "engine" => stage(used).is_some() || is_edge || used == "repo",
        "ops" => stage(used).is_some() || is_edge || ["repo", "engine"].contains(&used),
        _ => panic!("module {user} has no place in the layer table of tests/layers.rs"),
    }
}

/// Source files below `folder` with their path from there.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let files = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| entry.unwrap().into_path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            (
                path.strip_prefix(folder).unwrap().to_owned(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}

/// The modules that `text` names by `crate::name`, also in groups: `use crate::{id::BlobId, codec}`.
/// Comments name what they like.
fn used_modules(text: &str) -> Vec<String> {
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut used = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        if code[..at].ends_with(is_word) || code[..at].ends_with('$') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(first_words_of_group(group)),
            None => used.push(rest.chars().take_while(|c| is_word(*c)).collect()),
        }
    }
    used
}

fn first_words_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut word, mut words) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => words.push(std::mem::take(&mut word)),
            _ if depth == 0 => word.push(c),
            _ => {}
        }
    }
    words.push(word);
    let first = |word: &String| word.trim().split("::").next().unwrap_or("").to_owned();
    words.iter().map(first).filter(|word| !word.is_empty()).collect()
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (path, text) in sources(&source) {
        let first = path.iter().next().unwrap().to_string_lossy();
        let user = first.trim_end_matches(".rs").to_owned();
        // The tests of a stage may go all the way up to show what it is for.
        let is_test = path
            .components()
            .any(|part| part.as_os_str().to_string_lossy().contains("test"));
        if ["lib", "bin", "document"].contains(&&*user) || is_test {
            continue;
        }
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        for used in used_modules(code).iter().filter(|used| !may_use(&user, used)) {
            wrong.push(format!("src/{}: {user} uses {used}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The operations that a file of `ops` uses, by `crate::ops::name` or by way of `super`.
fn used_operations(file: &Path, text: &str) -> Vec<String> {
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    // `super` of a file `ops/a.rs` or `ops/a/mod.rs` is `ops`; each directory below costs one more.
    let depth = file.iter().count() - usize::from(file.ends_with("mod.rs")) - 1;
    let above = "super::".repeat(depth);
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut used = Vec::new();
    for prefix in [above.as_str(), "crate::ops::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            if code[..at].ends_with(|c| is_word(c) || c == ':') || rest.starts_with("super::") {
                continue;
            }
            match rest.strip_prefix('{') {
                Some(group) => used.extend(first_words_of_group(group)),
                None => used.push(rest.chars().take_while(|c| is_word(*c)).collect()),
            }
        }
    }
    used
}

#[test]
fn no_operation_uses_anothers_insides() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let all = sources(&source);
    let operation = |path: &Path| {
        let mut parts = path.iter();
        let is_operation = parts.next().is_some_and(|first| first == "ops");
        let name = parts.next()?.to_string_lossy().trim_end_matches(".rs").to_owned();
        (is_operation && name != "mod").then_some(name)
    };
    let operations: Vec<String> = all.iter().filter_map(|(path, _)| operation(path)).collect();
    assert!(operations.len() > 50, "they are where they were: {operations:?}");
    let (mut wrong, mut needed) = (Vec::new(), Vec::new());
    for (path, text) in &all {
        let Some(user) = operation(path).filter(|_| !path.to_string_lossy().contains("test")) else {
            continue;
        };
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        for used in used_operations(path, code) {
            if used == user || !operations.contains(&used) {
                continue;
            }
            let pair = |(one, other, _): &&(&str, &str, &str)| (*one, *other) == (&*user, &*used);
            match COMPOSED_OPERATIONS.iter().find(pair) {
                Some(composed) => needed.push(composed),
                None => wrong.push(format!("src/{}: {user} uses {used}", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    for composed in COMPOSED_OPERATIONS {
        assert!(needed.contains(&composed), "{composed:?} is needed no more");
    }
}

#[test]
fn stages_know_no_files_threads_or_clocks() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut needed = Vec::new();
    for (path, text) in sources(&source) {
        let user = path.iter().next().unwrap().to_string_lossy();
        let user = user.trim_end_matches(".rs");
        let is_test = path
            .components()
            .any(|part| part.as_os_str().to_string_lossy().contains("test"));
        if !STAGES.contains(&user) || is_test {
            continue;
        }
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines {
            for known in UNKNOWN_TO_STAGES.iter().filter(|known| line.contains(**known)) {
                let exception = KNOWN_ALL_THE_SAME
                    .iter()
                    .find(|(stage, what, _)| (*stage, what) == (user, known));
                match exception {
                    Some(exception) => needed.push(exception),
                    None => wrong.push(format!("src/{}: {}", path.display(), line.trim())),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    for exception in KNOWN_ALL_THE_SAME {
        assert!(needed.contains(&exception), "{exception:?} is needed no more");
    }
}

#[test]
fn what_is_stored_is_deleted_by_a_permit_alone() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut deleting = Vec::new();
    for (path, text) in sources(&source) {
        let first = path.iter().next().unwrap();
        if !["repo", "engine", "ops"].iter().any(|floor| first == *floor) {
            continue;
        }
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let squeezed: String = code.split_whitespace().collect();
        if squeezed.contains("storage().delete(") || squeezed.contains("storage.delete(") {
            deleting.push(path);
        }
    }
    assert_eq!(deleting, [Path::new("repo/object_deletion.rs")]);
}

#[test]
fn the_tool_sees_only_the_public_library() {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/levault");
    let own: Vec<String> = sources(&tool)
        .iter()
        .map(|(path, _)| {
            path.iter()
                .next()
                .unwrap()
                .to_string_lossy()
                .trim_end_matches(".rs")
                .to_owned()
        })
        .collect();
    for (path, text) in sources(&tool) {
        assert!(
            !text.contains("#[path"),
            "{}: no way around the public interface",
            path.display()
        );
        for used in used_modules(&text) {
            let is_item = used.chars().next().is_some_and(char::is_uppercase);
            assert!(
                is_item || own.contains(&used),
                "{}: crate::{used} is not the tool's own",
                path.display()
            );
        }
    }
}

#[test]
fn the_table_refuses_what_goes_up_or_sideways() {
    for (user, used, allowed) in [
        ("pack", "blob", true),
        ("blob", "pack", false),
        ("index", "storage", false),
        ("index", "index_cache", false),
        ("index_cache", "index", true),
        ("index_cache", "storage", false),
        ("storage", "crypto", false),
        ("storage", "held_directory", true),
        ("source", "storage", false),
        ("target", "leveldb", true),
        ("repo", "source", false),
        ("repo", "storage", true),
        ("ops", "target", true),
        ("ops", "engine", true),
        ("engine", "ops", false),
        ("engine", "repo", true),
        ("repo", "engine", false),
        ("repo", "ops", false),
        ("id", "codec", true),
        ("codec", "leveldb", false),
    ] {
        assert_eq!(may_use(user, used), allowed, "{user} {used}");
    }
    let text =
        "use crate::{codec::{self, Reader}, id::BlobId};\nlet x = crate::pack::read();\n// crate::repo\n";
    assert_eq!(used_modules(text), ["codec", "id", "pack"]);
}
