//! Walks a run and its copy in parallel.
//!
//! Two copies of one run walked in step: where a leaf of the source stands in the destination.

use std::cmp::Ordering;

use crate::run::{ChildRef, KeyOrder, KeyRange, LeafIterator, LeafRef, LeafSpan, RunReader};

/// A run of the source, and its copy in the destination: leaf by leaf the same. Loads inner nodes only. Where something
/// is not as it should be it knows nothing more, and what is asked for is copied anew.
pub struct RunPairWalk<'a> {
    from: LeafIterator<'a>,
    to: LeafIterator<'a>,
    at: Option<(LeafRef, LeafRef)>,
    order: KeyOrder<'a>,
}

impl<'a> RunPairWalk<'a> {
    pub fn new(from: RunReader<'a>, to: RunReader<'a>, order: KeyOrder<'a>) -> Self {
        let mut twins = Self {
            from: from.leaves(KeyRange::all()),
            to: to.leaves(KeyRange::all()),
            at: None,
            order,
        };
        twins.advance();
        twins
    }

    /// The copy of a leaf, if the run has it. Leaves are asked for in order of their keys.
    pub fn find(&mut self, leaf: &LeafRef) -> Option<LeafRef> {
        while let Some((from, to)) = &self.at {
            match (self.order)(&from.first_key, &leaf.first_key) {
                Ordering::Less => self.advance(),
                _ => return (from == leaf).then(|| to.clone()),
            }
        }
        None
    }

    fn advance(&mut self) {
        let pair = (self.from.next(), self.to.next());
        self.at = match pair {
            (Some(Ok(from)), Some(Ok(to))) => step(from, to),
            _ => None,
        };
    }
}

fn step(from: LeafSpan, to: LeafSpan) -> Option<(LeafRef, LeafRef)> {
    let renamed = ChildRef {
        id: from.leaf.id,
        ..to.leaf.clone()
    };
    (renamed == from.leaf).then_some((from.leaf, to.leaf))
}
