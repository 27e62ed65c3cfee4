//! Through the program.

use super::*;

/// The tool with a second repository as its source.
fn copy_with(tool: &Tool, from: &PathBuf, args: &[&str]) -> Ended {
    let mut command = tool.command();
    command.env("LEVAULT_FROM_PASSWORD", support::tool::PASSWORD);
    Ended::of(
        command
            .args(["copy", "--json", "--from-repo"])
            .arg(from)
            .args(args),
    )
}

#[test]
fn the_tool_copies_makes_a_place_for_it_and_says_what_it_did() {
    let (source, tool) = (Tool::new(), Tool::bare());
    let db = source.path("db");
    let model = common::fill(&db, 500, 100);
    source.backup(&db).ok();
    let from = source.repository();
    copy_with(&tool, &from, &[]).exits(10);
    let first = copy_with(&tool, &from, &["--init"]).ok().summary();
    assert_eq!(first["copied"].as_array().unwrap().len(), 1);
    let before = (tool.repository_files(), files_below(&from));
    assert_eq!(
        copy_with(&tool, &from, &["-n"]).ok().summary()["already_there"],
        1
    );
    assert_eq!(copy_with(&tool, &from, &[]).ok().summary()["already_there"], 1);
    assert!(
        (tool.repository_files(), files_below(&from)) == before,
        "nothing was written"
    );
    tool.restore("latest", &tool.path("back")).ok();
    assert!(common::scan(&tool.path("back")).unwrap() == model);
    tool.run(["check", "--read-data"]).ok();
    // A pack that is gone is an incomplete copy.
    let another = Tool::new();
    let (pack, _) = files_below(&from.join("packs")).remove(0);
    std::fs::remove_file(pack).unwrap();
    let summary = copy_with(&another, &from, &[]).exits(3).summary();
    assert_eq!(summary["refused"].as_array().unwrap().len(), 1);
}

#[test]
fn the_tool_refuses_what_is_not_named_or_not_meant() {
    let (source, tool) = (Tool::new(), Tool::new());
    let from = source.repository();
    tool.run(["copy"]).exits(2);
    copy_with(&tool, &tool.repository(), &[]).exits(2);
    let mut wrong = tool.command();
    wrong
        .env("LEVAULT_FROM_PASSWORD", "wrong")
        .args(["copy", "--from-repo"])
        .arg(&from);
    Ended::of(&mut wrong).exits(12);
    let mut alone = Tool::bare().command();
    alone.env("LEVAULT_FROM_PASSWORD", support::tool::PASSWORD);
    Ended::of(alone.args(["init", "--from-repo"]).arg(&from)).exits(2);
    Ended::of(alone.arg("--copy-chunker-params")).ok();
}
