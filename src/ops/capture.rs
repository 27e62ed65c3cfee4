//! Copies a live database consistently, without a repository.
//!
//! `capture`: a plain, consistent copy of a database whose owner may be writing. No repository is involved.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::READ_ATTEMPTS_MAX;
use crate::engine::file_attributes::{describe_unproven_leftover, report_refused_attributes};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::leveldb::scan_context::ScanBudget;
use crate::report::OperationReport;
use crate::source::{CaptureOptions, CutPoint, Database, DatabaseFile, HeldDirectory, SourceDamage};
use crate::target::tree::{RefusedAttributes, TargetAttributes};
use crate::target::{FileTarget, check_target_free};

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Whose bytes the copy's tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TableCopyMode {
    /// The copy's own.
    #[default]
    Copied,
    /// The source's, by hard links where the filesystem has them: no space and no time, but what damages one
    /// damages both.
    Linked,
}

/// What was copied.
#[derive(Clone, Debug)]
pub struct CaptureOutcome {
    /// When and how.
    pub capture_details: CutPoint,
    /// Files in the copy.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them are links.
    pub linked: u64,
    /// What is wrong with the source, as far as the logs, and the names and sizes of tables, tell.
    pub damage: Vec<SourceDamage>,
}

/// Captures the database in `source` and writes it to `target`, which must be absent or an empty directory. The
/// copy appears there as a whole, durable, or not at all.
///
/// # Errors
/// Those of [`CaptureOptions::capture`], and those of writing.
pub fn capture(
    source: &Path,
    target: &Path,
    how: &CaptureOptions,
    tables: TableCopyMode,
    report: &OperationReport,
) -> Result<CaptureOutcome> {
    for reading in 1.. {
        match capture_once(source, target, how, tables, report) {
            Err(error) if error.kind() == ErrorKind::Changed && reading < READ_ATTEMPTS_MAX => {
                report.notice(format!("begun again: {error}"));
            }
            result => return result,
        }
    }
    unreachable!("the last reading returns")
}

fn capture_once(
    source: &Path,
    target: &Path,
    how: &CaptureOptions,
    tables: TableCopyMode,
    report: &OperationReport,
) -> Result<CaptureOutcome> {
    check_target_free(target)?;
    let whole = source
        .canonicalize()
        .context(|| format!("find {}", source.display()))?;
    let source = HeldDirectory::open_path(&whole)?;
    let captured = how.capture_in(&source)?;
    for path in captured.unproven_leftovers() {
        report.notice(describe_unproven_leftover(&path));
    }
    let cut = captured.details().clone();
    let database = Database::from_captured(captured, ScanBudget::default());
    let files: Vec<_> = database.files().collect();
    report.bytes_total.add(files.iter().map(|file| file.len).sum());
    let copy = FileTarget::create(target)?;
    let mut outcome = CaptureOutcome {
        capture_details: cut,
        files: 0,
        bytes: 0,
        linked: 0,
        damage: database.damage_at_a_glance(),
    };
    let copied = copy_all(&copy, &source, &files, tables, &mut outcome, report);
    // What failed may have failed because somebody wrote to it.
    database.prove_unchanged()?;
    copied?;
    let mut staged = copy.finish()?;
    staged.set_attributes(&directory_attributes(&source)?, &RefusedAttributes::default())?;
    report_refused_attributes(staged.refused_attributes(), report);
    staged.publish()?;
    Ok(outcome)
}

fn copy_all(
    copy: &FileTarget,
    source: &HeldDirectory,
    files: &[DatabaseFile],
    tables: TableCopyMode,
    outcome: &mut CaptureOutcome,
    report: &OperationReport,
) -> Result<()> {
    for file in files {
        let linked = tables == TableCopyMode::Linked && link(copy, file)?;
        if !linked {
            copy_file(copy, source, file, report).context(|| format!("copy {}", file.name))?;
        }
        outcome.files += 1;
        outcome.bytes += file.len;
        outcome.linked += u64::from(linked);
    }
    Ok(())
}

/// Only what is held by name, which tables alone are: whoever opens the copy may append to everything else.
fn link(copy: &FileTarget, file: &DatabaseFile) -> Result<bool> {
    match file.directory_and_name() {
        Some((directory, name)) => copy.link(&file.name, directory, name),
        None => Ok(false),
    }
}

fn copy_file(
    copy: &FileTarget,
    source: &HeldDirectory,
    file: &DatabaseFile,
    report: &OperationReport,
) -> Result<()> {
    let mut out = copy.file(Path::new(&file.name))?;
    let bytes = file.open()?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < bytes.len() {
        report.go_on()?;
        let len = (bytes.len() - at).min(COPY_BYTES as u64) as usize;
        bytes.read_at(&mut buffer[..len], at)?;
        out.write(&buffer[..len])?;
        at += len as u64;
        report.bytes_done.add(len as u64);
    }
    out.set_attributes(&owner_and_mode(&file.metadata_in(source)?))?;
    out.finish()
}

/// Times of modification are the copy's own.
fn owner_and_mode(facts: &Metadata) -> TargetAttributes {
    TargetAttributes {
        mode: Some(facts.mode() & 0o777),
        uid: Some(facts.uid()),
        gid: Some(facts.gid()),
        ..TargetAttributes::default()
    }
}

fn directory_attributes(source: &HeldDirectory) -> Result<TargetAttributes> {
    let facts = source.open()?.metadata();
    let facts = facts.context(|| format!("look at {}", source.path().display()))?;
    Ok(TargetAttributes {
        mode: Some(facts.mode() & 0o7777),
        ..owner_and_mode(&facts)
    })
}
