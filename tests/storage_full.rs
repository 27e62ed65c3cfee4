//! Goal: a full disk is an error that loses nothing and leaves no half object behind.
//! Method: the test runs itself again in a process for which the disk really is full: on a tmpfs of one
//! megabyte in a mount namespace of its own (needs root or user namespaces), and under a limit of the size of
//! a file (needs nothing), which fails at a write in the midst of the object just the same.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "support/machine.rs"]
#[allow(dead_code, reason = "each test file uses its own part")]
mod machine;

use std::path::Path;
use std::process::{Command, Output};

use levault::error::ErrorKind;
use levault::storage::{LocalStorage, ObjectKind, ObjectName, Storage};

const PLACE: &str = "LEVAULT_TEST_FULL_DISK";
const INNER: &str = "inner_fill_the_disk";

/// Runs only inside of the two tests below.
#[test]
#[ignore = "run by the other tests of this file, in a process of its own"]
fn inner_fill_the_disk() {
    let Ok(place) = std::env::var(PLACE) else {
        return;
    };
    let storage = LocalStorage::create(Path::new(&place).join("repo")).unwrap();
    let mut stored = Vec::new();
    let error = loop {
        let bytes = vec![stored.len() as u8; 100_000 + 20_000 * stored.len()];
        let name = ObjectName::of_content(ObjectKind::Pack, &bytes);
        match storage.put_new(name, &bytes) {
            Ok(()) => stored.push((name, bytes)),
            Err(error) => break error,
        }
        assert!(stored.len() < 100, "the disk does not fill");
    };
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(stored.len() > 2);
    must_hold(&storage, &stored);

    let damaged = stored[0].0;
    let heal = storage.heal(damaged, &stored[0].1);
    assert!(heal.is_ok() || heal.unwrap_err().kind() == ErrorKind::Full);
    must_hold(&storage, &stored);

    let (name, _) = stored.pop().unwrap();
    storage.delete(name).unwrap();
    storage.put_new(ObjectName::CONFIG, &[1; 50_000]).unwrap();
    must_hold(&storage, &stored);
    println!("filled and intact");
}

fn must_hold(storage: &LocalStorage, stored: &[(ObjectName, Vec<u8>)]) {
    let listed = storage.list(ObjectKind::Pack).unwrap();
    assert_eq!(listed.len(), stored.len(), "nothing half-written is listed");
    for (name, bytes) in stored {
        assert!(storage.get(*name, 1 << 30).unwrap() == *bytes, "{name}");
    }
}

/// `shell` prepares the trouble and then runs "$@", this test program, for the inner test.
fn run_inner(place: &Path, program: &[&str], shell: &str) -> Output {
    let this = std::env::current_exe().unwrap();
    Command::new(program[0])
        .args(&program[1..])
        .args(["sh", "-c", shell, "sh"])
        .arg(this)
        .args(["--exact", INNER, "--include-ignored", "--nocapture"])
        .env(PLACE, place)
        .output()
        .unwrap()
}

fn must_have_passed(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("filled and intact"),
        "{text}\n{errors}"
    );
}

#[test]
fn a_full_filesystem_loses_nothing_and_leaves_no_half_object() {
    let place = tempfile::tempdir().unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=1m tmpfs '{}' || exit 77; exec \"$@\"",
        place.path().display()
    );
    for unshare in [
        &["unshare", "--mount"][..],
        &["unshare", "--mount", "--map-root-user"],
    ] {
        let output = run_inner(place.path(), unshare, &mount);
        // unshare says itself why it refuses; the mount's refusal is 77.
        let refused = output.status.code() == Some(77)
            || String::from_utf8_lossy(&output.stderr).starts_with("unshare: ");
        if !refused {
            return must_have_passed(&output);
        }
    }
    machine::skip("needs the permission to mount in a mount namespace; a limit of file sizes is tested");
}

#[test]
fn a_file_that_may_not_grow_loses_nothing_and_leaves_no_half_object() {
    let place = tempfile::tempdir().unwrap();
    // Blocks of 512 bytes or of 1 KiB, depending on the shell: 200 or 400 KiB.
    let limit = "trap '' XFSZ; ulimit -f 400; exec \"$@\"";
    must_have_passed(&run_inner(place.path(), &["env"], limit));
}
