//! A repository on a disk without a free byte: what lets go and deletes works, and loses nothing.

use std::process::Command;

use crate::support::machine::needs_mount_namespace;
use crate::support::tool::{Ended, Tool};

/// In a small filesystem of its own: two snapshots, of which the first alone needs most of the space; then no byte is free.
const SCENE: &str = r#"
set -e
mount -t tmpfs -o size=16m tmpfs "$DISK"
export LEVAULT_REPOSITORY="$DISK/repository" LEVAULT_CACHE_DIR="$DISK/cache"
"$LEVAULT" -q init
mkdir -p "$WORK/source"
head -c 6000000 /dev/urandom > "$WORK/source/large"
"$LEVAULT" -q backup "$WORK/source"
rm "$WORK/source/large"
echo kept > "$WORK/source/small"
"$LEVAULT" -q backup "$WORK/source"
cat /dev/zero > "$DISK/fill" 2>/dev/null || true
dd if=/dev/zero of="$DISK/fill2" bs=1 2>/dev/null || true
free() { df -k --output=avail "$DISK" | tail -1; }
test "$(free)" -lt 8
"#;

fn run(script: &str) -> Ended {
    let tool = Tool::bare();
    let disk = tool.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let usual = tool.command();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(format!("{SCENE}\n{script}"));
    for (name, value) in usual.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .env("DISK", &disk)
        .env("WORK", tool.dir.path())
        .env("LEVAULT", usual.get_program());
    Ended::of(&mut command)
}

#[test]
fn forget_and_prune_give_space_back_without_a_free_byte() {
    if !needs_mount_namespace() {
        return;
    }
    let script = r#"
"$LEVAULT" -q forget --keep-last 1
for i in 1 2; do "$LEVAULT" -q prune --grace 0s --unsafe-grace; done
test "$(free)" -gt 5000
test "$("$LEVAULT" -q dump latest:source/small)" = kept
"$LEVAULT" -q check --read-data
"$LEVAULT" -q backup "$WORK/source"
test -e "$LEVAULT_REPOSITORY/tmp/reserve"
"#;
    run(script).ok();
}

#[test]
fn what_reads_works_without_a_free_byte_and_a_backup_does_not_use_up_the_reserve() {
    if !needs_mount_namespace() {
        return;
    }
    let script = r#"
"$LEVAULT" -q snapshots
"$LEVAULT" -q prune --dry-run
"$LEVAULT" -q check
"$LEVAULT" -q restore latest --target "$WORK/restored"
head -c 3000000 /dev/urandom > "$WORK/source/more"
if "$LEVAULT" -q backup "$WORK/source" 2>/dev/null; then exit 9; fi
test -e "$LEVAULT_REPOSITORY/tmp/reserve"
"$LEVAULT" -q forget latest~1
"$LEVAULT" -q prune
"#;
    run(script).ok();
}
