//! Programs that the tool starts: what their environment and descriptors hold.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::tool::{Ended, PASSWORD, Tool};
use crate::with_source;

/// Prints all that a child can see of its environment, and what each descriptor gives.
const LOOK: &str =
    "env; tr '\\0' '\\n' < /proc/self/environ; for n in 3 4 5 6 7 8 9; do cat <&$n; done 2>/dev/null; true";

const SECRETS: [(&str, &str); 8] = [
    ("LEVAULT_NEW_PASSWORD", "withheld-one"),
    ("LEVAULT_NEW_PASSWORD_FILE", "/withheld-two"),
    ("LEVAULT_NEW_PASSWORD_COMMAND", "echo withheld-three"),
    ("LEVAULT_FROM_PASSWORD", "withheld-four"),
    ("LEVAULT_FROM_PASSWORD_FILE", "/withheld-five"),
    ("LEVAULT_FROM_PASSWORD_COMMAND", "echo withheld-six"),
    ("LEVAULT_FROM_PASSWORD_FD", "77"),
    ("LEVAULT_PASSWORD_LATER", "withheld-seven"),
];

#[track_caller]
fn is_clean(tool: &Tool, name: &str) {
    let seen = fs::read_to_string(tool.path(name)).unwrap();
    assert!(
        seen.contains("PATH=") && seen.contains("OURS=kept"),
        "{name} did not run: {seen}"
    );
    for secret in [
        "withheld",
        PASSWORD,
        "LEVAULT_PASSWORD",
        "_PASSWORD",
        "CREDENTIAL",
    ] {
        assert!(!seen.contains(secret), "{secret} in {name}: {seen}");
    }
}

#[test]
fn hooks_and_commands_get_the_environment_without_our_secrets() {
    let tool = with_source();
    let source = tool.path("source");
    let to = |name: &str| format!("{{ {LOOK}; }} > '{}'", tool.path(name).display());
    let backup = |words: &[&str]| {
        let mut command = tool.command();
        Ended::of(
            command
                .arg("backup")
                .args(words)
                .envs(SECRETS)
                .env("OURS", "kept"),
        )
        .ok()
    };
    let (before, after, read) = (to("before"), to("after"), to("read"));
    backup(&[
        source.to_str().unwrap(),
        "--pre-hook",
        &before,
        "--post-hook",
        &after,
    ]);
    let read = format!("{read}; echo data");
    backup(&["--stdin-from-command", "--", "sh", "-c", &read]);
    for name in ["before", "after", "read"] {
        is_clean(&tool, name);
    }
}

#[test]
fn a_password_command_gets_no_other_secret() {
    let tool = with_source();
    let look = format!(
        "{{ {LOOK}; }} > '{}'; cat '{}'",
        tool.path("seen").display(),
        tool.path("kept").display()
    );
    fs::write(tool.path("kept"), PASSWORD).unwrap();
    let run = |command: &mut std::process::Command| {
        Ended::of(command.arg("snapshots").envs(SECRETS).env("OURS", "kept")).ok();
        is_clean(&tool, "seen");
    };
    run(tool.command().args(["--password-command", &look]));
    run(tool
        .command()
        .env_remove("LEVAULT_PASSWORD")
        .env("LEVAULT_PASSWORD_COMMAND", &look));
}

#[test]
fn the_descriptor_of_a_password_is_not_passed_on() {
    let tool = with_source();
    let secret = tool.path("secret");
    fs::write(&secret, PASSWORD).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    for number in ["3", "9"] {
        let words = format!("exec \"$0\" backup \"$1\" --pre-hook \"$2\" {number}<\"$3\"",);
        let hook = format!("{{ {LOOK}; }} > '{}'", tool.path("seen").display());
        // A shell in between opens the descriptor.
        let usual = tool.command();
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", &words])
            .arg(usual.get_program())
            .arg(tool.path("source"))
            .args([&hook])
            .arg(&secret);
        for (name, value) in usual.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
            .env_remove("LEVAULT_PASSWORD")
            .env("LEVAULT_PASSWORD_FD", number)
            .env("OURS", "kept");
        Ended::of(&mut shell).ok();
        is_clean(&tool, "seen");
    }
}
