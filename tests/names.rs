//! Goal: a reader can tell from a type's name alone which type is meant, and look its noun up in docs/GLOSSARY.md.
//! Method: read the declarations at the margin of every production file in src/.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Names that are declared several times on purpose, each with the reason.
const DECLARED_SEVERAL_TIMES: &[(&str, &str)] = &[];

struct Declaration {
    name: String,
    is_public: bool,
    file: PathBuf,
}

/// Production files below src/: neither tests nor what tests alone use.
fn production_files() -> impl Iterator<Item = PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = walkdir::WalkDir::new(source)
        .into_iter()
        .map(|entry| entry.unwrap().into_path());
    files.filter(|path| {
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        let is_test = path.components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            ["test", "delta_model", "hostile"]
                .iter()
                .any(|word| part.contains(word))
        });
        is_rust && !is_test
    })
}

/// The types that `text` declares outside of functions and of its tests.
fn declarations(file: &Path, text: &str) -> Vec<Declaration> {
    let production = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let declared = production.lines().filter_map(|line| {
        let (is_public, rest) = match line.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => (false, rest.split_once(')')?.1.trim_start()),
            Some(rest) => (true, rest.trim_start()),
            None => (false, line),
        };
        let rest = rest.strip_prefix("unsafe ").unwrap_or(rest);
        let (keyword, rest) = rest.split_once(' ')?;
        if !["struct", "enum", "trait", "type", "union"].contains(&keyword) {
            return None;
        }
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
        Some(Declaration {
            name,
            is_public,
            file: file.to_owned(),
        })
    });
    declared.collect()
}

fn all_declarations() -> Vec<Declaration> {
    production_files()
        .flat_map(|file| declarations(&file, &fs::read_to_string(&file).unwrap()))
        .collect()
}

/// The words of a name: `PackBuilder` is pack, builder.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for c in name.chars() {
        match words.last_mut() {
            Some(word) if !c.is_ascii_uppercase() => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    words.iter().map(|word| word.to_ascii_lowercase()).collect()
}

/// Without the ending of a plural.
fn singular(word: &str) -> String {
    match (word.strip_suffix("ies"), word.strip_suffix('s')) {
        (Some(stem), _) if word != "series" => format!("{stem}y"),
        (_, Some(stem)) if !stem.ends_with(['s', 'u']) && word != "series" => stem.to_owned(),
        _ => word.to_owned(),
    }
}

/// The words that the tables of the glossary explain: those in their first column.
fn glossary() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/GLOSSARY.md");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split(" |").next());
    let is_letter = |c: char| c.is_ascii_alphanumeric();
    cells
        .flat_map(|cell| cell.split(|c| !is_letter(c)))
        .filter(|word| !word.is_empty())
        .map(|word| singular(&word.to_ascii_lowercase()))
        .collect()
}

#[test]
fn no_two_types_have_one_name() {
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for declaration in all_declarations() {
        files.entry(declaration.name).or_default().push(declaration.file);
    }
    let allowed: BTreeSet<_> = DECLARED_SEVERAL_TIMES.iter().map(|(name, _)| *name).collect();
    let several = files.iter().filter(|(_, files)| files.len() > 1);
    let wrong: Vec<_> = several.filter(|(name, _)| !allowed.contains(&***name)).collect();
    assert!(wrong.is_empty(), "declared several times: {wrong:#?}");
    for name in allowed {
        assert!(files[name].len() > 1, "{name} needs no exception any more");
    }
}

#[test]
fn the_glossary_explains_the_noun_of_every_public_type() {
    let glossary = glossary();
    let is_library = |one: &Declaration| !one.file.components().any(|part| part.as_os_str() == "bin");
    let public = all_declarations()
        .into_iter()
        .filter(|one| one.is_public && is_library(one));
    let unexplained: BTreeMap<_, _> = public
        .map(|one| (singular(&words(&one.name).pop().unwrap()), one))
        .filter(|(noun, _)| !glossary.contains(noun))
        .map(|(noun, one)| (noun, format!("{} in {}", one.name, one.file.display())))
        .collect();
    assert!(
        unexplained.is_empty(),
        "not in docs/GLOSSARY.md: {unexplained:#?}"
    );
}

#[test]
fn declarations_and_words_are_found() {
    let text = "pub struct PackBuilder<'a> {\n    pub struct Inner;\n}\npub(crate) enum Codec { A }\ntype X = u8;\n// struct No\n\
                #[cfg(test)]\nmod tests {\nstruct Test;\n}";
    let found = declarations(Path::new("f"), text);
    let names: Vec<_> = found.iter().map(|one| (&*one.name, one.is_public)).collect();
    assert_eq!(names, [("PackBuilder", true), ("Codec", false), ("X", false)]);
    assert_eq!(words("PackBuilder"), ["pack", "builder"]);
    assert!(glossary().contains("snapshot"));
    let singulars = ["entries", "packs", "series", "status", "address"].map(singular);
    assert_eq!(singulars, ["entry", "pack", "series", "status", "address"]);
}
