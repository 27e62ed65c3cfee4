//! Real databases of many writers: tests/corpora/NAME/{truth.json, NAME.tar.xz}.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::oracle;

/// Where they are: LEVAULT_CORPORA, or the ones kept in the tree.
pub fn root() -> PathBuf {
    std::env::var_os("LEVAULT_CORPORA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora"),
        PathBuf::from,
    )
}

/// One corpus, unpacked into a directory of its own.
pub struct Corpus {
    pub name: String,
    pub truth: Value,
    dir: TempDir,
}

impl Corpus {
    /// The databases in it: path within the corpus, directory, truth.
    pub fn databases(&self) -> Vec<(String, PathBuf, Value)> {
        let databases = self.truth["databases"].as_object().expect("databases");
        let place = |path: &String| {
            self.dir
                .path()
                .join(&self.name)
                .join(path.trim_start_matches("./"))
        };
        databases
            .iter()
            .map(|(path, truth)| (path.clone(), place(path), truth.clone()))
            .collect()
    }

    /// A directory in it.
    pub fn path(&self, within: &str) -> PathBuf {
        self.dir.path().join(&self.name).join(within)
    }
}

/// The names of all corpora that are here.
pub fn names() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root()) else {
        return Vec::new();
    };
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().expect("a plain name");
    let mut names: Vec<_> = entries.map(|entry| name(entry.expect("list"))).collect();
    names.retain(|name| root().join(name).join("truth.json").exists());
    names.sort();
    names
}

/// Where a corpus is kept: among those that were asked for, or among the project's own.
fn folder(name: &str) -> PathBuf {
    let asked = root().join(name);
    if asked.exists() {
        asked
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/corpora")
            .join(name)
    }
}

fn archive(name: &str) -> Option<PathBuf> {
    let within = folder(name);
    let archives = [
        format!("{name}.tar.xz"),
        format!("{name}.tar.zst"),
        format!("{name}.tar"),
    ];
    archives
        .iter()
        .map(|file| within.join(file))
        .find(|path| path.exists())
}

/// Unpacks one, or makes it again where it is too large to keep.
pub fn unpack(name: &str) -> Corpus {
    let dir = tempfile::tempdir().expect("make a directory");
    match archive(name) {
        Some(archive) => run(Command::new("tar")
            .arg("-xf")
            .arg(archive)
            .arg("-C")
            .arg(dir.path())),
        None => make(name, &dir.path().join(name)),
    }
    let truth = std::fs::read(folder(name).join("truth.json")).expect("read truth.json");
    let truth = serde_json::from_slice(&truth).expect("truth.json is JSON");
    Corpus {
        name: name.into(),
        truth,
        dir,
    }
}

fn make(name: &str, target: &Path) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new(oracle::python());
    match name {
        "plyvel_tiny2m" => run(python
            .arg(here.join("scripts/lib/mkdb.py"))
            .arg("tiny")
            .arg(target)
            .arg("0")),
        "zlib_id2" => {
            let source = unpack("amulet_bedrock");
            let (_, source, _) = &source.databases()[0];
            run(python
                .arg(here.join("tests/oracle/transcode_zlib2.py"))
                .args([source, target]));
        }
        _ => panic!("no archive of {name}, and no way to make it"),
    }
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().expect("start");
    assert!(status.success(), "{command:?}");
}
