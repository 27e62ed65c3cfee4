//! Builds exclude rules, lists and streams from `backup`'s arguments.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use levault::error::{Result, ResultExt};
use levault::pattern::{CaseSensitivity, Pattern, Patterns};
use levault::report::OperationReport;
use levault::source::exclude_rules::TagFile;
use levault::source::listed_paths::{ListFormat, parse_list};
use levault::source::{ExcludeRules, InputStream};

use crate::args::{BackupArgs, ExcludeArgs, InputArgs};
use crate::command_context::usage;

/// The rules that the words make.
pub fn exclude_rules(args: &ExcludeArgs) -> Result<ExcludeRules> {
    let mut patterns = Vec::new();
    for (files, case) in [
        (&args.exclude_file, CaseSensitivity::Matters),
        (&args.iexclude_file, CaseSensitivity::Ignored),
    ] {
        for file in files {
            let act = || format!("read patterns from {}", file.display());
            let bytes = std::fs::read(file).context(act)?;
            patterns.extend(Pattern::lines(&bytes, case).context(act)?);
        }
    }
    for (words, case) in [
        (&args.exclude, CaseSensitivity::Matters),
        (&args.iexclude, CaseSensitivity::Ignored),
    ] {
        patterns.extend(words.iter().map(|word| Pattern::word(word.as_bytes(), case)));
    }
    let named = args.exclude_if_present.iter().map(|text| TagFile::parse(text));
    let caches = args.exclude_caches.then(|| Ok(TagFile::of_caches()));
    Ok(ExcludeRules {
        patterns: Patterns::new(&patterns)?,
        file_bytes_max: args.exclude_larger_than,
        tag_files: named.chain(caches).collect::<Result<_>>()?,
        one_filesystem: args.one_file_system,
    })
}

/// The paths of all lists.
pub fn listed_paths(args: &InputArgs, report: &OperationReport) -> Result<Vec<PathBuf>> {
    let lists = [
        (&args.files_from, ListFormat::Patterns),
        (&args.files_from_verbatim, ListFormat::Lines),
        (&args.files_from_raw, ListFormat::Raw),
    ];
    let files = || {
        lists
            .iter()
            .flat_map(|(files, form)| files.iter().map(move |file| (file, *form)))
    };
    if files().filter(|(file, _)| is_stdin(file)).count() > 1 {
        return Err(usage("only one list can come from standard input"));
    }
    let mut paths = Vec::new();
    for (file, form) in files() {
        let act = || format!("read the list {}", file.display());
        paths.extend(parse_list(&read_input(file).context(act)?, form, report).context(act)?);
    }
    Ok(paths)
}

/// The stream to be saved and its name, if one is; begun now.
pub fn input_stream(args: &BackupArgs) -> Result<Option<(InputStream, &OsStr)>> {
    let stream = match (args.given.stdin, args.given.stdin_from_command) {
        (true, _) => InputStream::stdin()?,
        (_, true) => InputStream::of_command(&args.paths)?,
        _ => return Ok(None),
    };
    Ok(Some((stream, &args.given.stdin_filename)))
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn read_input(file: &Path) -> Result<Vec<u8>> {
    if !is_stdin(file) {
        return std::fs::read(file).context(|| "read it");
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    read.context(|| "read standard input").map(|_| bytes)
}
