//! Signals that ask do not end a run; those that end do, and those that were ignored stay so.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::tool::Tool;

/// A backup of a stream that goes on until its input ends.
fn streaming(mut command: Command) -> Child {
    command.args(["backup", "--stdin", "--stdin-filename", "f"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

/// Waits until signals are handled: before that, the program has not begun.
fn until_handled(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    let is_handled = || {
        let text = std::fs::read_to_string(&status).unwrap();
        let caught = text
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << 14) != 0
    };
    while !is_handled() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn usr1_and_usr2_are_answered_with_progress_and_the_backup_goes_on() {
    let tool = Tool::new();
    let mut child = streaming(tool.command());
    until_handled(&child);
    let mut input = child.stdin.take().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    for signal in [Signal::USR1, Signal::USR2, Signal::USR1] {
        input.write_all(b"some ").unwrap();
        send(&child, signal);
        let line = errors.next().expect("still alive").unwrap();
        assert!(line.starts_with("running for "), "{line}");
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(tool.run(["dump", "latest:f"]).ok().text(), "some some some ");
}

#[test]
fn usr1_is_answered_in_json_where_that_is_asked_for() {
    let tool = Tool::new();
    let mut command = tool.command();
    command.arg("--json");
    let mut child = streaming(command);
    until_handled(&child);
    send(&child, Signal::USR1);
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let line: serde_json::Value = serde_json::from_str(&errors.next().unwrap().unwrap()).unwrap();
    assert_eq!(line["message_type"], "status");
    drop(child.stdin.take());
    assert!(child.wait_with_output().unwrap().status.success());
}

/// The tool's command through another program, which is given what comes before the tool's name.
fn through(program: &str, arguments: &[&str], usual: &Command) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(usual.get_program());
    for (name, value) in usual.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
fn a_hangup_stops_a_backup_unless_it_was_ignored_from_the_start() {
    let tool = Tool::new();
    // These tests may themselves run where it is ignored, as under nohup.
    let mut child = streaming(through("env", &["--default-signal=HUP"], &tool.command()));
    until_handled_by(&child);
    send(&child, Signal::HUP);
    assert_eq!(child.wait().unwrap().code(), Some(130));

    let ignoring = "trap '' HUP; exec \"$0\" backup --stdin --stdin-filename f";
    let mut shell = through("sh", &["-c", ignoring], &tool.command());
    let mut child = shell.stdin(Stdio::piped()).process_group(0).spawn().unwrap();
    until_handled_by(&child);
    send(&child, Signal::HUP);
    child.stdin.take().unwrap().write_all(b"whole").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(tool.run(["dump", "latest:f"]).ok().text(), "whole");
}

/// The same where another program stands before the tool: it must be the tool that handles them.
fn until_handled_by(child: &Child) {
    let name = format!("/proc/{}/comm", child.id());
    while std::fs::read_to_string(&name).unwrap().trim() != "levault" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    until_handled(child);
}

#[test]
fn a_backup_whose_standard_error_is_gone_is_whole() {
    let tool = Tool::new();
    let (missing, source) = (tool.path("missing"), tool.path("source"));
    std::fs::write(&source, "content").unwrap();
    let mut command = tool.command();
    let mut child = command
        .arg("backup")
        .args([&source, &missing])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert_eq!(tool.run(["dump", "latest:source"]).ok().text(), "content");
}
