//! A closed database stands where one is restored to: what becomes of it.

use std::path::Path;

use crate::error::{Act, Error, Kind, Result};
use crate::repo::{BlobReader, Repo};
use crate::report::Report;
use crate::snapshot::{Content, DatabaseRoot};
use crate::target::{self, Occupied};

use super::Restore;
use super::verify::{self, Comparison, Expected};

/// What becomes of a closed database that stands where one is restored to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// The restore is refused.
    #[default]
    Never,
    /// It is left as it is if it reads back as what would be restored. Else what differs is written above its own
    /// tables, or all of it where that is better. A damaged one is refused.
    IfChanged,
    /// It is replaced.
    Always,
}

impl Restore {
    pub(super) fn check_target(&self) -> Result<()> {
        match self.overwrite {
            Overwrite::Never => target::check_free(&self.target),
            Overwrite::IfChanged if !self.selection.is_all() => Err(Error::new(
                Kind::Usage,
                "only a whole database can be compared with what is there",
            )),
            Overwrite::IfChanged | Overwrite::Always => Ok(()),
        }
    }

    pub(super) fn occupied(&self) -> Occupied {
        match self.overwrite {
            Overwrite::Never => Occupied::Refuse,
            Overwrite::IfChanged | Overwrite::Always => Occupied::Replace,
        }
    }

    /// Whether what stands at the target is what would be restored.
    pub(super) fn is_there(
        &self,
        repo: &Repo,
        reader: &BlobReader,
        database: &DatabaseRoot,
        target: &Path,
        report: &Report,
    ) -> Result<bool> {
        if self.overwrite != Overwrite::IfChanged || !target.join("CURRENT").exists() {
            return Ok(false);
        }
        let _closed = target::hold(target)?;
        let compared = match &database.content {
            Content::Physical { .. } => return Ok(false),
            Content::Logical { .. } => {
                let expected = Expected::recorded(repo, reader, database, self.with_uncertain)?;
                verify::compare(repo, &expected, target, report)
            }
        };
        match compared.act(|| format!("read {}", target.display()))? {
            Comparison::Same => Ok(true),
            Comparison::Other(_) => Ok(false),
            Comparison::Damaged(what) => Err(Error::new(
                Kind::Corrupt,
                format!(
                    "{} is damaged ({what}) and cannot be compared; replace it with --overwrite always",
                    target.display()
                ),
            )),
        }
    }
}
