//! C++ LevelDB, or goleveldb, in a process of its own (tests/oracle/oracle.py says how it is spoken to).

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// A database as a naive copy.
pub type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// One put (`Some`) or delete (`None`).
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// What a writer may do to a database.
#[derive(Clone, Debug)]
pub enum Operation {
    One(Change),
    Batch(Vec<Change>),
    Reopen,
    Compact,
    /// What goleveldb writes straight to tables; C++ LevelDB as a batch.
    Transaction(Vec<Change>),
    /// goleveldb compacts all while the next operations come; C++ LevelDB does nothing.
    CompactBeside,
    /// The same, and its disk is so slow that the memtable's table is not finished before [`Operation::ReleaseFlush`].
    HoldFlush,
    ReleaseFlush,
}

/// Applies operations to the naive copy.
pub fn apply(model: &mut Model, operations: &[Operation]) {
    for operation in operations {
        match operation {
            Operation::One(change) => apply_change(model, change),
            Operation::Batch(changes) | Operation::Transaction(changes) => {
                changes.iter().for_each(|change| apply_change(model, change));
            }
            _ => {}
        }
    }
}

fn apply_change(model: &mut Model, (key, value): &Change) {
    match value {
        Some(value) => model.insert(key.clone(), value.clone()),
        None => model.remove(key),
    };
}

/// The Python with plyvel in it: LEVAULT_ORACLE_PYTHON, or the one that scripts/test made.
pub fn python() -> PathBuf {
    std::env::var_os("LEVAULT_ORACLE_PYTHON").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"),
        PathBuf::from,
    )
}

/// The servant; it ends when this is dropped.
pub struct Oracle {
    words: Vec<PathBuf>,
    child: Child,
    requests: Option<ChildStdin>,
    answers: ChildStdout,
}

impl Oracle {
    /// Starts it. `None` where there is no Python environment for it, which is an error in CI: scripts/test makes
    /// one and sets LEVAULT_REQUIRE_ORACLE.
    pub fn start() -> Option<Self> {
        let python = python();
        if !python.exists() {
            let required = std::env::var_os("LEVAULT_REQUIRE_ORACLE").is_some();
            assert!(
                !required,
                "the C++ oracle is required and {} is missing",
                python.display()
            );
            super::machine::skip("needs the C++ oracle, which scripts/test installs");
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/oracle.py");
        Some(Self::spawn(vec![python, script]))
    }

    /// Starts goleveldb: the servant that LEVAULT_ORACLE_GO_SERVANT names, or one that is built here. `None` where there
    /// is no Go, or no goleveldb for it.
    pub fn start_go() -> Option<Self> {
        static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
        let given = || std::env::var_os("LEVAULT_ORACLE_GO_SERVANT").map(PathBuf::from);
        match BUILT.get_or_init(|| given().or_else(build_go_servant)) {
            Some(servant) => Some(Self::spawn(vec![servant.clone()])),
            None => {
                super::machine::skip(
                    "needs Go and goleveldb (Debian's golang-go, golang-github-syndtr-goleveldb-dev)",
                );
                None
            }
        }
    }

    /// It has habits of its own, which tests must know.
    pub fn is_goleveldb(&self) -> bool {
        self.words.len() == 1
    }

    fn spawn(words: Vec<PathBuf>) -> Self {
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the oracle");
        let (requests, answers) = (child.stdin.take(), child.stdout.take().expect("piped"));
        Self {
            words,
            child,
            requests,
            answers,
        }
    }

    /// Kills it with what [`Oracle::keep_writing`] left open, and starts another.
    pub fn crash(&mut self) {
        self.child.kill().expect("kill the oracle");
        self.child.wait().expect("wait for the oracle");
        *self = Self::spawn(std::mem::take(&mut self.words));
    }

    /// Writes with C++ LevelDB; `options` are plyvel.DB's arguments.
    pub fn write(&mut self, db: &Path, options: &Value, operations: &[Operation]) {
        let mut body = Vec::new();
        field(&mut body, options.to_string().as_bytes());
        for operation in operations {
            encode(&mut body, operation, self.is_goleveldb());
        }
        self.ask(b'W', db, &body).expect("C++ LevelDB writes");
    }

    /// Like [`Oracle::write`], and the database stays open until [`Oracle::close`].
    pub fn keep_writing(&mut self, db: &Path, options: &Value, operations: &[Operation]) {
        let mut body = Vec::new();
        field(&mut body, options.to_string().as_bytes());
        for operation in operations {
            encode(&mut body, operation, self.is_goleveldb());
        }
        self.ask(b'K', db, &body).expect("C++ LevelDB writes");
    }

    /// Closes what [`Oracle::keep_writing`] left open.
    pub fn close(&mut self, db: &Path) {
        self.ask(b'C', db, &[]).expect("C++ LevelDB closes");
    }

    /// C++ LevelDB's RepairDB.
    pub fn repair(&mut self, db: &Path) {
        self.ask(b'P', db, &[]).expect("C++ LevelDB repairs");
    }

    /// Everything C++ LevelDB reads there, checksums verified.
    pub fn dump(&mut self, db: &Path) -> Result<Model, String> {
        self.ask(b'D', db, &[]).map(|stream| model_of(&stream))
    }

    /// The same with every check that there is; an error is a failure.
    pub fn dump_strictly(&mut self, db: &Path) -> Model {
        let stream = self.ask(b'A', db, &[]).expect("read it all");
        model_of(&stream)
    }

    /// SHA-256 and counts of what C++ LevelDB reads there.
    pub fn stream(&mut self, db: &Path) -> Result<Value, String> {
        self.ask(b'S', db, &[]).map(|json| parse(&json))
    }

    /// What the parser that is no LevelDB finds there; opens nothing.
    pub fn raw(&mut self, db: &Path) -> Result<Value, String> {
        self.ask(b'R', db, &[]).map(|json| parse(&json))
    }

    /// SHA-256 of a file.
    pub fn sha256(&mut self, file: &Path) -> String {
        let hex = self.ask(b'H', file, &[]).expect("hash a file");
        String::from_utf8(hex).expect("hexadecimal")
    }

    fn ask(&mut self, command: u8, path: &Path, rest: &[u8]) -> Result<Vec<u8>, String> {
        let mut request = vec![command];
        field(
            &mut request,
            path.to_str().expect("test paths are UTF-8").as_bytes(),
        );
        request.extend_from_slice(rest);
        let requests = self.requests.as_mut().expect("open until drop");
        requests.write_all(&len32(request.len())).expect("ask the oracle");
        requests.write_all(&request).expect("ask the oracle");
        requests.flush().expect("ask the oracle");
        let mut len = [0; 4];
        self.answers.read_exact(&mut len).expect("the oracle answers");
        let mut answer = vec![0; u32::from_le_bytes(len) as usize];
        self.answers.read_exact(&mut answer).expect("the oracle answers");
        match answer.remove(0) {
            0 => Ok(answer),
            _ => Err(String::from_utf8_lossy(&answer).into_owned()),
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}

/// goleveldb's servant in the tests' own directory, built once by each process and put in place by a rename.
fn build_go_servant() -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (built, servant) = (
        place.join(format!("goleveldb-servant-{}", std::process::id())),
        place.join("goleveldb-servant"),
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/go/build");
    let mut build = Command::new(script);
    build.arg(&built).arg("servant").stdin(Stdio::null());
    if std::env::var_os("HOME").is_none() {
        build.env("GOCACHE", place.join("go-cache"));
    }
    let done = build.output().is_ok_and(|output| output.status.success());
    (done && std::fs::rename(&built, &servant).is_ok()).then_some(servant)
}

fn encode(body: &mut Vec<u8>, operation: &Operation, for_go: bool) {
    match operation {
        Operation::One(change) => encode_change(body, change),
        Operation::Batch(changes) => encode_changes(body, b'b', changes),
        Operation::Transaction(changes) => encode_changes(body, if for_go { b't' } else { b'b' }, changes),
        Operation::Reopen => body.push(b'r'),
        Operation::Compact => body.push(b'c'),
        Operation::CompactBeside if for_go => body.push(b'a'),
        Operation::HoldFlush if for_go => body.push(b'h'),
        Operation::ReleaseFlush if for_go => body.push(b'f'),
        Operation::CompactBeside | Operation::HoldFlush | Operation::ReleaseFlush => {}
    }
}

fn encode_changes(body: &mut Vec<u8>, kind: u8, changes: &[Change]) {
    body.push(kind);
    body.extend_from_slice(&len32(changes.len()));
    changes.iter().for_each(|change| encode_change(body, change));
}

fn encode_change(body: &mut Vec<u8>, (key, value): &Change) {
    body.push(if value.is_some() { b'p' } else { b'd' });
    field(body, key);
    if let Some(value) = value {
        field(body, value);
    }
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&len32(bytes.len()));
    out.extend_from_slice(bytes);
}

fn len32(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("test data is small").to_le_bytes()
}

/// The records of a canonical stream, which must name no key twice.
pub fn model_of(mut stream: &[u8]) -> Model {
    let mut next = || {
        let (len, rest) = stream.split_first_chunk::<4>()?;
        let (bytes, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
        stream = rest;
        Some(bytes.to_vec())
    };
    let mut model = Model::new();
    while let Some(key) = next() {
        let value = next().expect("a value after each key");
        assert!(model.insert(key, value).is_none(), "a key twice");
    }
    model
}

fn parse(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("the oracle speaks JSON")
}
