//! Determines owner and mode of restored database files.

use std::fs::File;

use crate::error::{Result, ResultExt};
use crate::leveldb::file_name::FileName;
use crate::target::tree::TargetAttributes;

use super::RestoreContext;
use super::restore_database::DatabaseRestore;
use crate::engine::database_file_attributes::file_meta;
use crate::engine::file_attributes::attributes;

/// Whose a restored database's files are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DatabaseOwnership {
    /// As the snapshot says.
    #[default]
    Recorded,
    /// The process's own, and readable by no other user: for files that are only read and thrown away.
    Caller,
}

impl RestoreContext<'_> {
    /// What the files of a step's database get.
    pub(super) fn database_file_attributes(&self, step: &DatabaseRestore) -> TargetAttributes {
        match self.options.ownership {
            DatabaseOwnership::Recorded => {
                let directory = step.root.directory.clone().unwrap_or_default();
                attributes(&file_meta(step.root, &directory))
            }
            DatabaseOwnership::Caller => TargetAttributes::default(),
        }
    }

    /// A database that stands there with the right records gets its files' owner and mode.
    pub(super) fn refresh_database_files(&self, step: &DatabaseRestore) -> Result<()> {
        let act = || {
            format!(
                "set the attributes of the files in {}",
                step.display_path.display()
            )
        };
        let files = self.database_file_attributes(step);
        if files == TargetAttributes::default() {
            return Ok(());
        }
        let directory = File::open(&step.target).context(act)?;
        let is_leveldbs =
            |name: &[u8]| std::str::from_utf8(name).is_ok_and(|name| FileName::parse(name).is_some());
        let withheld = crate::target::update_file_attributes(&directory, &files, is_leveldbs).context(act)?;
        self.report_refused_attributes(&withheld);
        Ok(())
    }
}
