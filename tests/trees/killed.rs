//! A restore over files that stand there, killed in the middle and begun again.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use super::support::tool::Tool;

const FILES: usize = 6_000;

fn name(directory: &Path, number: usize) -> std::path::PathBuf {
    directory
        .join(format!("d{}", number % 7))
        .join(format!("f{number:05}"))
}

fn fill(directory: &Path, word: &str) {
    for number in 0..7 {
        fs::create_dir_all(directory.join(format!("d{number}"))).unwrap();
    }
    (0..FILES).for_each(|number| fs::write(name(directory, number), format!("{word} {number}")).unwrap());
}

/// How many files are as they are in the snapshot; the others must be as they were.
fn new_ones(directory: &Path) -> usize {
    let is_new = |number: &usize| {
        let text = fs::read_to_string(name(directory, *number)).unwrap();
        let is_new = text == format!("new {number}");
        assert!(is_new || text == format!("old {number}"), "{text}");
        is_new
    };
    (0..FILES).filter(is_new).count()
}

#[test]
fn what_a_killed_restore_left_over_existing_files_is_old_or_new_and_the_next_one_ends_right() {
    let tool = Tool::in_memory();
    let (source, target) = (tool.path("source"), tool.path("target"));
    fill(&source, "new");
    tool.backup(&source).ok();
    fill(&target, "old");
    let mut in_the_middle = 0;
    // As soon as this file is a new one; each directory's files are dealt with in the order of their names.
    for number in [1, FILES / 2, FILES - 10] {
        let mut command = tool.command();
        command
            .args(["restore", "latest", "--overwrite", "if-changed", "--target"])
            .arg(&target);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none()
            && !fs::read_to_string(name(&target, number))
                .unwrap()
                .starts_with("new")
        {}
        let _ = child.kill();
        let killed = child.wait().unwrap().signal() == Some(9);
        let new = new_ones(&target);
        in_the_middle += usize::from(killed && new < FILES);
    }
    assert!(in_the_middle > 0, "no restore was killed in the middle");
    let command = ["restore", "latest", "--overwrite", "if-changed", "--target"];
    tool.run(command.into_iter().chain([target.to_str().unwrap()]))
        .ok();
    assert_eq!(new_ones(&target), FILES);
    let left: Vec<_> = fs::read_dir(&target)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 7, "{left:?}");
}
