//! What the machine that runs the tests can do, and the record of the tests that it cannot run.
//!
//! A test that needs more calls [`skip`] and returns; `scripts/test` lists at its end what was skipped and why.

use std::io::Write;
use std::process::{Command, Stdio};

/// Notes that the current test did not run. `LEVAULT_SKIPPED_TESTS` names the file that collects the notes.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {reason}\n", thread.name().unwrap_or("a test"));
    eprint!("skipped: {line}");
    if let Some(list) = std::env::var_os("LEVAULT_SKIPPED_TESTS") {
        let list = std::fs::File::options().append(true).create(true).open(list);
        // One write, so that lines of tests that run at once do not mix.
        list.and_then(|mut list| list.write_all(line.as_bytes()))
            .expect("write the list of skipped tests");
    }
}

/// True for root; else the test is skipped.
pub fn needs_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("needs root");
    }
    is_root
}

/// True if mounts may be made in a namespace of one's own; else the test is skipped.
pub fn needs_mount_namespace() -> bool {
    let script = "mount -t tmpfs tmpfs /tmp";
    let can = runs(Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-c", script]));
    if !can {
        skip("needs the permission to mount in a mount namespace");
    }
    can
}

/// True if the command is there; else the test is skipped. `package` is Debian's that has it.
pub fn needs_command(command: &str, package: &str) -> bool {
    let there = runs(Command::new("sh").args(["-c", "command -v \"$0\"", command]));
    if !there {
        skip(&format!("needs {command} (Debian's package {package})"));
    }
    there
}

fn runs(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
