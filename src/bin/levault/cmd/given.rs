//! What `backup` is given besides PATHs, and what it is to leave out.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use levault::error::{Act, Result};
use levault::pattern::{Case, Pattern, Patterns};
use levault::report::Report;
use levault::source::listed::{Form, read};
use levault::source::rules::TagFile;
use levault::source::{Rules, Stream};

use super::usage;
use crate::args::{BackupArgs, GivenArgs, LeaveOutArgs};

/// The rules that the words make.
pub fn rules(args: &LeaveOutArgs) -> Result<Rules> {
    let mut patterns = Vec::new();
    for (files, case) in [
        (&args.exclude_file, Case::Matters),
        (&args.iexclude_file, Case::Ignored),
    ] {
        for file in files {
            let act = || format!("read patterns from {}", file.display());
            let bytes = std::fs::read(file).act(act)?;
            patterns.extend(Pattern::lines(&bytes, case).act(act)?);
        }
    }
    for (words, case) in [(&args.exclude, Case::Matters), (&args.iexclude, Case::Ignored)] {
        patterns.extend(words.iter().map(|word| Pattern::word(word.as_bytes(), case)));
    }
    let named = args.exclude_if_present.iter().map(|text| TagFile::parse(text));
    let caches = args.exclude_caches.then(|| Ok(TagFile::of_caches()));
    Ok(Rules {
        patterns: Patterns::new(&patterns)?,
        file_bytes_max: args.exclude_larger_than,
        tag_files: named.chain(caches).collect::<Result<_>>()?,
        one_filesystem: args.one_file_system,
    })
}

/// The paths of all lists.
pub fn listed(args: &GivenArgs, report: &Report) -> Result<Vec<PathBuf>> {
    let lists = [
        (&args.files_from, Form::Patterns),
        (&args.files_from_verbatim, Form::Lines),
        (&args.files_from_raw, Form::Raw),
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
        paths.extend(read(&bytes_of(file).act(act)?, form, report).act(act)?);
    }
    Ok(paths)
}

/// The stream to be saved and its name, if one is; begun now.
pub fn stream(args: &BackupArgs) -> Result<Option<(Stream, &OsStr)>> {
    let stream = match (args.given.stdin, args.given.stdin_from_command) {
        (true, _) => Stream::stdin()?,
        (_, true) => Stream::of_command(&args.paths)?,
        _ => return Ok(None),
    };
    Ok(Some((stream, &args.given.stdin_filename)))
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn bytes_of(file: &Path) -> Result<Vec<u8>> {
    if !is_stdin(file) {
        return std::fs::read(file).act(|| "read it");
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    read.act(|| "read standard input").map(|_| bytes)
}
