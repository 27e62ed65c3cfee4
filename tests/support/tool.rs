//! The real program, run as a user runs it: its own process, a clean environment, no terminal.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub const PASSWORD: &str = "correct horse battery staple";

/// A repository in a directory of its own, and everything needed to run the tool on it.
pub struct Tool {
    pub dir: TempDir,
}

impl Tool {
    /// A place without a repository.
    pub fn bare() -> Self {
        Self {
            dir: tempfile::tempdir().expect("make a directory"),
        }
    }

    /// A place with a new repository.
    pub fn new() -> Self {
        let tool = Self::bare();
        tool.run(["init"]).ok();
        tool
    }

    /// The same in memory.
    pub fn in_memory() -> Self {
        let tool = Self { dir: super::memory() };
        tool.run(["init"]).ok();
        tool
    }

    pub fn repository(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program with the usual environment and nothing on its standard input.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_levault"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LEVAULT_") {
                command.env_remove(name);
            }
        }
        command
            .env("LEVAULT_REPOSITORY", self.repository())
            .env("LEVAULT_PASSWORD", PASSWORD)
            .env("LEVAULT_CACHE_DIR", self.path("cache"))
            .stdin(Stdio::null());
        command
    }

    /// The same, from a copy that every user may run: the build's own may lie below a home that is closed to others.
    pub fn command_for_any_user(&self) -> Command {
        let program = self.path("levault-for-any-user");
        if !program.exists() {
            // By another process: a descriptor that is open for writing, and inherited by what another test starts
            // meanwhile, would make the program "busy".
            let copied = Command::new("cp")
                .arg(env!("CARGO_BIN_EXE_levault"))
                .arg(&program)
                .status();
            assert!(copied.expect("run cp").success(), "copy the program");
        }
        for path in [self.dir.path(), &program] {
            let all = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path, all).expect("open it to all");
        }
        let usual = self.command();
        let mut command = Command::new(program);
        for (name, value) in usual.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::null());
        command
    }

    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ended {
        Ended::of(self.command().args(args))
    }

    pub fn backup(&self, db: &Path) -> Ended {
        Ended::of(self.command().arg("backup").arg(db))
    }

    pub fn restore(&self, snapshot: &str, target: &Path) -> Ended {
        Ended::of(self.command().args(["restore", snapshot, "--target"]).arg(target))
    }

    /// Every file of the repository with its bytes: to see that a run changed nothing.
    pub fn repository_files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files_below(&self.repository())
    }
}

/// Every file below a directory with its bytes, sorted.
pub fn files_below(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    walkdir::WalkDir::new(dir)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| entry.expect("walk"))
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            (
                entry.path().to_path_buf(),
                std::fs::read(entry.path()).expect("read a file"),
            )
        })
        .collect()
}

/// How a run ended.
pub struct Ended {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub what: String,
}

impl Ended {
    /// Runs the command to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().expect("run levault");
        Self::from(format!("{command:?}"), output)
    }

    /// Runs it with these bytes on its standard input.
    pub fn with_input(command: &mut Command, input: &[u8]) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run levault");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(input)
            .expect("write");
        let output = child.wait_with_output().expect("wait");
        Self::from(format!("{command:?}"), output)
    }

    fn from(what: String, output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            what,
        }
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}\n{}", self.what, self.text(), self.stderr);
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as JSON, one document a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        lines_of_json(&self.text())
    }

    /// The last line that is a `summary`.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let lines = self.json_lines();
        let found = lines.iter().rfind(|line| line["message_type"] == "summary");
        found
            .unwrap_or_else(|| panic!("no summary in {}", self.text()))
            .clone()
    }

    /// The line on standard error that says why it failed.
    #[track_caller]
    pub fn exit_error(&self) -> Value {
        let lines = lines_of_json(&self.stderr);
        let found = lines.iter().rfind(|line| line["message_type"] == "exit_error");
        found
            .unwrap_or_else(|| panic!("no exit_error in {}", self.stderr))
            .clone()
    }
}

#[track_caller]
fn lines_of_json(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
