//! Restore: a snapshot's databases back into directories, never half a result.
//!
//! ```text
//! snapshot --plan--> steps --(per step)--> stage beside the target --> read back, compare --> rename
//! ```
//! Until the rename the target is untouched; a step that fails leaves nothing behind. A database that stands there
//! already is left alone, replaced, or brought to the snapshot's records by writing what differs ([`Overwrite`]).

mod differences;
mod files;
mod in_place;
mod overwrite;
mod tables;
mod verify;

use std::path::{Component, Path, PathBuf};

use crate::error::{Act, Error, Kind, Result};
use crate::leveldb::Comparator;
use crate::repo::{BlobReader, Repo, StoredSnapshot};
use crate::report::Report;
use crate::snapshot::{Content, DatabaseRoot, Snapshot};
use crate::target::{DatabaseTarget, Staged};

use super::read::{self, Wish};
use super::selection::Selection;
pub use in_place::Rewritten;
pub use overwrite::Overwrite;
use tables::Written;
use verify::Expected;

/// Whether what was written is read again and compared with what was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Trust the writer.
    None,
    /// Read everything with our own reader and compare counts and digests.
    Full,
}

/// What to restore, where to, and how sure to be.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Which database, when the snapshot holds several; `None` for all.
    pub database: Option<String>,
    /// Absent, empty, or what may be overwritten. One database becomes this directory; several go below it, each under
    /// its name.
    pub target: PathBuf,
    /// What becomes of what stands there.
    pub overwrite: Overwrite,
    /// Which records; all, or the new database holds some of the old one's.
    pub selection: Selection,
    /// How sure to be.
    pub verify: Verify,
    /// Also records that lay in damaged ranges of the source and may be older than what was lost there.
    pub with_uncertain: bool,
}

/// One database's way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The database.
    pub name: String,
    /// The directory it becomes.
    pub target: PathBuf,
    /// Records that will be written, or that will be selected from.
    pub records: u64,
    /// Key and value bytes of them.
    pub bytes: u64,
}

/// One database that is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// The database.
    pub name: String,
    /// The directory it is in now.
    pub target: PathBuf,
    /// Records written.
    pub records: u64,
    /// Key and value bytes of them.
    pub bytes: u64,
    /// Whether all was read back and agreed.
    pub verified: bool,
    /// Whether it was there already, and left as it was.
    pub unchanged: bool,
    /// What was written when a database that was there gave the rest; `None` when all was written.
    pub rewritten: Option<Rewritten>,
}

/// A step's result, not published yet.
struct Made {
    staged: Staged,
    /// Of a selection.
    written: Option<Written>,
    rewritten: Option<Rewritten>,
}

impl Restore {
    /// What would be done; writes nothing.
    pub fn plan(&self, stored: &StoredSnapshot) -> Result<Vec<Step>> {
        let chosen = self.chosen(&stored.snapshot)?;
        let below = chosen.len() > 1;
        chosen.iter().map(|database| self.step(database, below)).collect()
    }

    fn chosen<'s>(&self, snapshot: &'s Snapshot) -> Result<Vec<&'s DatabaseRoot>> {
        match &self.database {
            Some(name) => Ok(vec![read::database(snapshot, Some(name))?]),
            None => Ok(snapshot.databases().collect()),
        }
    }

    fn step(&self, database: &DatabaseRoot, below: bool) -> Result<Step> {
        let target = match below {
            true => self.target.join(plain_name(&database.name)?),
            false => self.target.clone(),
        };
        let uncertain = if self.with_uncertain {
            database.uncertain_records()
        } else {
            0
        };
        Ok(Step {
            name: database.name.clone(),
            target,
            records: database.records + uncertain,
            bytes: database.bytes(),
        })
    }

    /// Carries the plan out, one database after the other.
    pub fn run(&self, repo: &Repo, stored: &StoredSnapshot, report: &Report) -> Result<Vec<RestoreOutcome>> {
        let steps = self.plan(stored)?;
        self.check_target()?;
        report.bytes_total.add(steps.iter().map(|step| step.bytes).sum());
        let repo = &repo.in_domain(stored.snapshot.domain)?;
        let lookup = repo.lookup()?;
        let reader = BlobReader::new(repo, &lookup);
        let databases = self.chosen(&stored.snapshot)?;
        let one = |(step, database): (Step, &DatabaseRoot)| {
            let name = step.name.clone();
            self.restore(repo, &reader, database, step, report)
                .act(|| format!("restore {name}"))
        };
        steps.into_iter().zip(databases).map(one).collect()
    }

    fn restore(
        &self,
        repo: &Repo,
        reader: &BlobReader,
        database: &DatabaseRoot,
        step: Step,
        report: &Report,
    ) -> Result<RestoreOutcome> {
        self.say_what_is_missing(database, report);
        if self.is_there(repo, reader, database, &step.target, report)? {
            return Ok(RestoreOutcome {
                name: step.name,
                target: step.target,
                records: step.records,
                bytes: step.bytes,
                verified: true,
                unchanged: true,
                rewritten: None,
            });
        }
        let made = self.make(repo, reader, database, &step.target, report)?;
        let verified = self.verify == Verify::Full;
        if verified {
            self.read_back(repo, reader, database, &made, report)?;
        }
        made.staged.publish()?;
        let written = made.written.as_ref();
        Ok(RestoreOutcome {
            name: step.name,
            target: step.target,
            records: written.map_or(step.records, |written| written.records),
            bytes: written.map_or(step.bytes, |written| written.bytes),
            verified,
            unchanged: false,
            rewritten: made.rewritten,
        })
    }

    fn make(
        &self,
        repo: &Repo,
        reader: &BlobReader,
        database: &DatabaseRoot,
        target: &Path,
        report: &Report,
    ) -> Result<Made> {
        let half = database.bytes() / 2;
        let in_place = self.stage_in_place(repo, reader, database, target, half, report)?;
        if let Some((staged, rewritten)) = in_place {
            return Ok(Made {
                staged,
                written: None,
                rewritten: Some(rewritten),
            });
        }
        let (staged, written) = match &database.content {
            Content::Physical { tree } => {
                self.refuse_selection(database)?;
                (files::stage(reader, tree, target, self.occupied(), report)?, None)
            }
            Content::Logical { .. } => self.stage_records(reader, database, target, report)?,
        };
        Ok(Made {
            staged,
            written,
            rewritten: None,
        })
    }

    fn read_back(
        &self,
        repo: &Repo,
        reader: &BlobReader,
        database: &DatabaseRoot,
        made: &Made,
        report: &Report,
    ) -> Result<()> {
        let path = made.staged.path();
        let expected = match (&database.content, &made.written) {
            (Content::Physical { tree }, _) => return files::verify(repo, reader, tree, path, report),
            (Content::Logical { .. }, Some(written)) => Expected::written(written),
            (Content::Logical { .. }, None) => {
                Expected::recorded(repo, reader, database, self.with_uncertain)?
            }
        };
        verify::verify(repo, &expected, path, report)
    }

    fn refuse_selection(&self, database: &DatabaseRoot) -> Result<()> {
        match self.selection.is_all() {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Usage,
                format!("{} is stored as files; restore it whole", database.name),
            )),
        }
    }

    fn stage_records(
        &self,
        reader: &BlobReader,
        database: &DatabaseRoot,
        target: &Path,
        report: &Report,
    ) -> Result<(Staged, Option<Written>)> {
        let comparator = Comparator::from_name(&database.shape.comparator);
        let staging = DatabaseTarget::begin(target, self.occupied(), &database.shape, &comparator)?;
        let wish = Wish {
            selection: self.selection.clone(),
            with_uncertain: self.with_uncertain,
        };
        let written = match self.selection.is_all() {
            true => {
                tables::write(reader, database, &wish, &staging, &comparator, report)?;
                None
            }
            false => Some(tables::write_selected(
                reader,
                database,
                &wish,
                &staging,
                &comparator,
                report,
            )?),
        };
        Ok((staging.finish()?, written))
    }

    fn say_what_is_missing(&self, database: &DatabaseRoot, report: &Report) {
        match read::lost_of(database, &self.selection) {
            Some(lost) => report.problem(lost),
            None if self.selection.is_all() && database.holes().next().is_some() => report.problem(format!(
                "{}: files or uncertain records were lost in the repository; `levault ls` lists them",
                database.name
            )),
            None => {}
        }
        if database.damage.iter().any(|damage| !damage.is_hole()) {
            report.problem(format!(
                "{}: the source was damaged when it was saved; `levault ls` lists where",
                database.name
            ));
        }
        match database.uncertain_records() {
            0 => {}
            count if self.with_uncertain => report.problem(format!(
                "{}: {count} records are restored that may be older than what was lost",
                database.name
            )),
            count => report.problem(format!(
                "{}: {count} uncertain records are left out (--with-uncertain restores them)",
                database.name
            )),
        }
    }
}

/// A name that stays below the directory it is joined to.
fn plain_name(name: &str) -> Result<&Path> {
    let path = Path::new(name);
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if part == path.as_os_str() => Ok(path),
        _ => Err(Error::new(
            Kind::Corrupt,
            format!("database name {name:?} is no directory name"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_cannot_leave_the_target() {
        assert!(plain_name("db").is_ok());
        for wrong in ["", ".", "..", "/", "/etc", "a/b", "../a", "a/", "./a"] {
            assert!(plain_name(wrong).is_err(), "{wrong}");
        }
    }
}
