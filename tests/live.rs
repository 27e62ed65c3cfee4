//! Captures of databases that C++ LevelDB writes at full speed, judged by C++ LevelDB: the short form of
//! `scripts/soak live`. A copy must hold every batch acknowledged before the capture began, no part of a batch, and
//! nothing else; the control shows that the judge sees a copy that does not.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "support/machine.rs"]
#[allow(dead_code, reason = "each test file uses its own part")]
mod machine;
#[path = "support/oracle.rs"]
#[allow(dead_code, reason = "only the place of the Python is asked for")]
mod oracle;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs tests/live/torture.py; its table goes to the test's output.
fn torture(words: &[&str]) {
    run("torture.py", "--capture", &capturing_program(), words);
}

/// The same of tests/live/owners.py.
fn owners(words: &[&str]) {
    run(
        "owners.py",
        "--levault",
        Path::new(env!("CARGO_BIN_EXE_levault")),
        words,
    );
}

fn run(script: &str, flag: &str, program: &Path, words: &[&str]) {
    let python = oracle::python();
    if !python.exists() {
        let required = std::env::var_os("LEVAULT_REQUIRE_ORACLE").is_some();
        assert!(
            !required,
            "C++ LevelDB is required: scripts/test makes its environment"
        );
        machine::skip("needs the C++ oracle, which scripts/test installs");
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let ended = Command::new(python)
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/live")
                .join(script),
        )
        .arg(flag)
        .arg(program)
        .arg("--work")
        .arg(work.path())
        .args(words)
        .status()
        .unwrap();
    assert!(ended.success(), "the table above says which");
}

/// examples/torture_capture.rs, which cargo builds beside the tests.
fn capturing_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples/torture_capture");
    assert!(program.exists(), "cargo build --example torture_capture");
    program
}

#[test]
fn captures_of_a_busy_owner_hold_what_was_acknowledged_and_a_naive_copy_is_seen_to_be_bad() {
    torture(&["--captures", "40", "--control", "cpp-64k"]);
}

#[test]
fn captures_of_an_owner_that_closes_and_opens_its_database_are_sound() {
    torture(&["--captures", "30", "cpp-reopen"]);
}

#[test]
fn captures_of_an_owner_that_is_killed_again_and_again_are_sound() {
    torture(&["--captures", "30", "cpp-kill"]);
}

#[test]
fn captures_that_sleep_between_their_steps_are_sound() {
    torture(&["--captures", "20", "cpp-sleeps", "descriptors-reopen-sleeps"]);
}

/// The short form of `scripts/soak owners`.
#[test]
fn databases_that_are_destroyed_rebuilt_swapped_repaired_and_copied_over_are_saved_as_one_state_or_not_at_all()
 {
    owners(&["--captures", "60"]);
}
