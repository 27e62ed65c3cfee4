//! One wrong argument to `restore --delete`: nothing goes but what lies in a directory that was meant.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::machine;
use super::support::tool::{Ended, Tool, files_below};

/// A machine in a directory: `srv` holds data, its repository and other things.
struct Machine {
    tool: Tool,
}

impl Machine {
    fn new() -> Self {
        let tool = Tool::bare();
        for (name, text) in [
            ("srv/data/f", "a"),
            ("srv/data/sub/g", "b"),
            ("srv/other/f", "c"),
            ("srv/home/me/letters", "d"),
            ("srv/password", "secret"),
        ] {
            let path = tool.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Self { tool };
        machine.run(&["init"]).ok();
        machine.run(&["backup", &machine.text("srv/data")]).ok();
        machine
    }

    fn text(&self, name: &str) -> String {
        self.tool.path(name).to_str().unwrap().to_owned()
    }

    fn command(&self) -> Command {
        let mut command = self.tool.command();
        command
            .env("LEVAULT_REPOSITORY", self.tool.path("srv/repo"))
            .env("LEVAULT_CACHE_DIR", self.tool.path("srv/cache"))
            .env_remove("LEVAULT_PASSWORD")
            .env("LEVAULT_PASSWORD_FILE", self.tool.path("srv/password"))
            .env("HOME", self.tool.path("srv/home/me"));
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        Ended::of(self.command().args(args))
    }

    fn restore(&self, target: &str, more: &[&str]) -> Ended {
        let address = format!("latest:{}", self.text("srv/data"));
        let mut args = vec!["restore", &address, "--target", target, "--overwrite", "always"];
        args.extend(more);
        self.run(&args)
    }

    /// All files, but the cache's, which any run may write.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = files_below(self.tool.dir.path());
        files.retain(|(path, _)| !path.starts_with(self.tool.path("srv/cache")));
        files
    }

    /// Refused as a wrong argument, and nothing has changed.
    #[track_caller]
    fn refuses(&self, target: &str, more: &[&str]) -> String {
        let before = self.files();
        let ended = self.restore(target, more);
        assert!(
            self.files() == before,
            "{target} {more:?}: files are not as they were"
        );
        assert_ne!(ended.code, 0, "{target} {more:?}");
        ended.stderr
    }
}

#[test]
fn nothing_is_removed_around_or_in_the_repository() {
    let machine = Machine::new();
    std::os::unix::fs::symlink("srv", machine.tool.path("link")).unwrap();
    for target in [
        "srv",
        "srv/.",
        "srv/data/..",
        "link",
        "link/.",
        "srv/repo",
        "srv/repo/packs",
        "srv/repo/new",
        "link/repo",
        "srv/cache",
        "srv/cache/new",
        "",
    ] {
        let text = machine.refuses(&machine.text(target), &["--delete"]);
        assert!(text.contains("stays untouched"), "{target}: {text}");
    }
    // No flag makes the repository a thing to be removed.
    machine.refuses(&machine.text("srv"), &["--delete", "--unsafe-allow-delete"]);
    machine.refuses(&machine.text("srv/repo"), &[]);
}

#[test]
fn with_patterns_the_repository_and_the_password_stay_as_well() {
    let machine = Machine::new();
    let before = machine.files();
    let ended = machine.restore(&machine.text("srv"), &["--delete", "--exclude", "nothing"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    for (path, bytes) in before {
        let name = path.strip_prefix(machine.tool.path("srv")).unwrap();
        let is_kept = ["repo", "password", "home/me"]
            .iter()
            .any(|kept| name.starts_with(kept));
        if is_kept {
            assert!(fs::read(&path).is_ok_and(|now| now == bytes), "{name:?}");
        }
    }
    assert!(!machine.tool.path("srv/other").exists(), "that was asked for");
    machine.run(&["check"]).ok();
}

#[test]
fn a_home_directory_is_emptied_only_if_that_is_said_or_it_is_in_its_place() {
    let machine = Machine::new();
    let home = machine.text("srv/home/me");
    let text = machine.refuses(&home, &["--delete"]);
    assert!(
        text.contains("home directory") && text.contains("--unsafe-allow-delete"),
        "{text}"
    );
    machine.run(&["backup", &home]).ok();
    fs::write(machine.tool.path("srv/home/me/new"), "new").unwrap();
    let address = format!("latest:{home}");
    let args = [
        "restore",
        &address,
        "--target",
        &home,
        "--overwrite",
        "always",
        "--delete",
    ];
    machine.run(&args).ok();
    assert!(!machine.tool.path("srv/home/me/new").exists());
    machine.run(&["backup", &machine.text("srv/data")]).ok();
    machine
        .restore(&home, &["--delete", "--unsafe-allow-delete"])
        .ok();
    assert!(!machine.tool.path("srv/home/me/letters").exists());
}

#[test]
fn more_than_a_handful_is_listed_and_more_than_stays_is_refused() {
    let machine = Machine::new();
    let other = machine.tool.path("elsewhere");
    fs::create_dir_all(other.join("deep")).unwrap();
    for number in 0..20 {
        fs::write(other.join(format!("deep/{number}")), "x").unwrap();
    }
    let target = machine.text("elsewhere");
    let text = machine.refuses(&target, &["--delete"]);
    assert!(
        text.contains("21 things") && text.contains("/elsewhere/deep"),
        "{text}"
    );
    machine
        .restore(&target, &["--delete", "--unsafe-allow-delete"])
        .ok();
    assert!(!other.join("deep").exists() && other.join("sub/g").exists());
    // A handful goes without a word.
    fs::write(other.join("one"), "x").unwrap();
    machine.restore(&target, &["--delete"]).ok();
    assert!(!other.join("one").exists());
}

#[test]
fn other_commands_write_nothing_into_the_repository() {
    let machine = Machine::new();
    let db = machine.tool.path("db");
    super::common::fill(&db, 5, 20);
    machine.run(&["backup", db.to_str().unwrap()]).ok();
    let before = machine.files();
    let db = db.to_str().unwrap();
    let inside = machine.text("srv/repo/packs/new");
    for args in [
        &["capture", db, &inside][..],
        &["rescue", db, "--output", &inside, "--apply"],
        &["dump", "latest", "--target", &inside],
        &["restore", "latest", "--target", &inside],
    ] {
        let ended = machine.run(args);
        assert_ne!(ended.code, 0, "{args:?}");
        assert!(
            ended.stderr.contains("stays untouched"),
            "{args:?}: {}",
            ended.stderr
        );
    }
    assert!(machine.files() == before);
}

/// In a mount namespace: the root, a mount point, and the repository behind a bind mount.
#[test]
fn the_root_mount_points_and_bind_mounts_are_seen() {
    if !machine::needs_root() || !machine::needs_mount_namespace() {
        return;
    }
    let machine = Machine::new();
    let root = machine.tool.dir.path();
    for name in ["disk", "bound", "alias"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    let script = r#"
        set -e; cd "$1"
        mount -t tmpfs none disk; echo x > disk/keep
        mount --bind srv bound
        mount --bind srv/repo alias
        try() { "$LV" restore "latest:$1/srv/data" --target "$2" --overwrite always --delete >out 2>&1 && echo "$2: exit 0"; true; }
        try "$1" disk; try "$1" bound; try "$1" alias; try "$1" "$1"
        [ -e disk/keep ] || echo "the other filesystem was emptied"
        [ -e srv/other/f ] || echo "the directory behind the bind mount was emptied"
        "$LV" check >out 2>&1 || { echo "check fails:"; cat out; }
    "#;
    let mut command = Command::new("unshare");
    let tool = machine.command();
    for (name, value) in tool.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("LV", tool.get_program());
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(root);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        (text.as_str(), output.status.success()),
        ("", true),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(Path::new("/").exists());
}
