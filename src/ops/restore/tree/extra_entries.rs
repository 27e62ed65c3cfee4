//! Removes entries that the snapshot does not have (`--delete`).
//!
//! What the target has and the snapshot does not: removed where that was asked for, below what is restored and nowhere
//! else, as far as the patterns mean it.

use std::sync::Arc;

use super::walker::{PatternOrigin, RestoreWalkMode};
use super::{PlannedEntry, is_fatal};
use crate::error::Result;
use crate::leveldb::file_name::FileName;
use crate::pattern::{PatternPath, Selector, SelectorChoice};
use crate::scratch_directory;
use crate::target::ForbiddenPaths;
use crate::target::tree::{ExistingEntry, ExistingKind, TargetDirectory};

/// One name that the snapshot does not have.
pub struct ExtraEntry<'a> {
    pub selector: &'a Selector,
    pub forbidden: &'a ForbiddenPaths,
    pub pattern_origin: PatternOrigin,
    /// It stands in a database's directory.
    pub is_database: bool,
}

impl ExtraEntry<'_> {
    /// Removes it. Sockets are never saved, so that a snapshot has none says nothing; what this program made for itself
    /// beside a database is no part of the tree.
    pub fn remove(
        &self,
        directory: &Arc<TargetDirectory>,
        name: &[u8],
        parent: SelectorChoice,
        hands: &mut RestoreWalkMode,
    ) -> Result<()> {
        let is_leveldbs = || std::str::from_utf8(name).is_ok_and(|name| FileName::parse(name).is_some());
        if scratch_directory::is_scratch_name(name) || self.is_database && is_leveldbs() {
            return Ok(());
        }
        let Some(standing) = directory
            .entry(name)?
            .filter(|standing| standing.kind != ExistingKind::Other)
        else {
            return Ok(());
        };
        let asked = PatternPath::stored(
            &self.pattern_origin.absolute,
            &self.pattern_origin.inner,
            standing.is_directory(),
        );
        let choice = self.selector.is_selected(&asked, parent);
        if choice == SelectorChoice::LeaveOut {
            return Ok(());
        }
        let shown = directory.display_path_of(name);
        self.forbidden.refuse_to_search(standing.identity, &shown)?;
        let has_patterns = !self.selector.exclude.is_empty() || !self.selector.include.is_empty();
        if choice == SelectorChoice::Take && (!standing.is_directory() || !has_patterns) {
            self.forbidden.refuse_to_remove(standing.identity, &shown)?;
            return remove_entry(directory, name, &standing, hands);
        }
        // Some of what is in it may not be meant.
        let inside = directory.existing_child(name, &standing, None)?;
        for inner in inside.names()? {
            let extra = ExtraEntry {
                selector: self.selector,
                forbidden: self.forbidden,
                pattern_origin: self.pattern_origin.below(&inner),
                is_database: false,
            };
            if let Err(error) = extra.remove(&inside, &inner, choice, hands) {
                if is_fatal(&error) {
                    return Err(error);
                }
                hands.report_problem(error);
            }
        }
        if choice == SelectorChoice::Take && inside.names()?.is_empty() {
            remove_entry(directory, name, &standing, hands)
        } else {
            Ok(())
        }
    }
}

fn remove_entry(
    directory: &Arc<TargetDirectory>,
    name: &[u8],
    standing: &ExistingEntry,
    hands: &mut RestoreWalkMode,
) -> Result<()> {
    match hands {
        RestoreWalkMode::Plan(each, _) => {
            each(PlannedEntry::removal(directory.display_path_of(name)));
            Ok(())
        }
        RestoreWalkMode::Work(shop, _) => {
            shop.counters.count_removed();
            directory.remove(name, standing)
        }
    }
}
