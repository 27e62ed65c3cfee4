//! What the target has and the snapshot does not: removed where that was asked for, below what is restored and nowhere
//! else, as far as the patterns mean it.

use std::sync::Arc;

use super::walker::{Hands, Where};
use super::{Planned, is_fatal};
use crate::error::Result;
use crate::leveldb::name::FileName;
use crate::pattern::{Choice, Place, Selector};
use crate::scratch;
use crate::target::ForbiddenPaths;
use crate::target::tree::{Directory, Standing, What};

/// One name that the snapshot does not have.
pub struct Extra<'a> {
    pub selector: &'a Selector,
    pub forbidden: &'a ForbiddenPaths,
    pub place: Where,
    /// It stands in a database's directory.
    pub is_database: bool,
}

impl Extra<'_> {
    /// Removes it. Sockets are never saved, so that a snapshot has none says nothing; what this program made for itself
    /// beside a database is no part of the tree.
    pub fn remove(
        &self,
        directory: &Arc<Directory>,
        name: &[u8],
        parent: Choice,
        hands: &mut Hands,
    ) -> Result<()> {
        let is_leveldbs = || std::str::from_utf8(name).is_ok_and(|name| FileName::parse(name).is_some());
        if scratch::is_ours(name) || self.is_database && is_leveldbs() {
            return Ok(());
        }
        let Some(standing) = directory
            .look(name)?
            .filter(|standing| standing.what != What::Other)
        else {
            return Ok(());
        };
        let asked = Place::stored(&self.place.absolute, &self.place.inner, standing.is_directory());
        let choice = self.selector.choose(&asked, parent);
        if choice == Choice::LeaveOut {
            return Ok(());
        }
        let shown = directory.shown_in(name);
        self.forbidden.refuse_to_search(standing.identity, &shown)?;
        let has_patterns = !self.selector.exclude.is_empty() || !self.selector.include.is_empty();
        if choice == Choice::Take && (!standing.is_directory() || !has_patterns) {
            self.forbidden.refuse_to_remove(standing.identity, &shown)?;
            return one(directory, name, &standing, hands);
        }
        // Some of what is in it may not be meant.
        let inside = directory.standing_child(name, &standing, None)?;
        for inner in inside.names()? {
            let extra = Extra {
                selector: self.selector,
                forbidden: self.forbidden,
                place: self.place.below(&inner),
                is_database: false,
            };
            if let Err(error) = extra.remove(&inside, &inner, choice, hands) {
                if is_fatal(&error) {
                    return Err(error);
                }
                hands.problem(error);
            }
        }
        if choice == Choice::Take && inside.names()?.is_empty() {
            one(directory, name, &standing, hands)
        } else {
            Ok(())
        }
    }
}

fn one(directory: &Arc<Directory>, name: &[u8], standing: &Standing, hands: &mut Hands) -> Result<()> {
    match hands {
        Hands::Plan(each, _) => {
            each(Planned::removal(directory.shown_in(name)));
            Ok(())
        }
        Hands::Work(shop, _) => {
            shop.tally.removed();
            directory.remove(name, standing)
        }
    }
}
