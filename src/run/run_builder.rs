//! Builds the tree of a run above its leaves.
//!
//! A node ends by the id of its last child (content decides), rarely before the average and often after it, as
//! leaves do; after two children at least, after [`NODE_CHILDREN_MAX`] children or [`NODE_BYTES_MAX`] bytes in
//! any case. So what is stored depends on the list of leaves alone, and a changed leaf changes one node a level
//! and now and then its neighbour.

use super::StoreBlob;
use super::node::{ChildRef, LeafRef, RunNode, RunRoot};
use crate::blob::BlobKind;
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::limits::{NODE_BYTES_MAX, NODE_CHILDREN_MAX, TREE_LEVELS_MAX};

/// A child ends its node once in `RARE` before the node has `TURN` children, once in `OFTEN` after that.
const TURN: usize = 112;
const RARE: u64 = 512;
const OFTEN: u64 = 32;

/// Takes leaves in key order and stores the nodes above them.
#[derive(Debug, Default)]
pub struct RunTreeBuilder {
    /// Open nodes: `levels[0]` collects leaves.
    levels: Vec<OpenNode>,
}

#[derive(Debug, Default)]
struct OpenNode {
    children: Vec<ChildRef>,
    bytes: usize,
}

impl RunTreeBuilder {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next leaf in key order; calls `store` for each node that this ends.
    pub fn push(&mut self, leaf: LeafRef, store: StoreBlob<'_>) -> Result<()> {
        self.push_at(0, leaf, store)
    }

    /// Ends all nodes. `None` for a run without records; a single leaf is its own root at level 0.
    pub fn finish(mut self, store: StoreBlob<'_>) -> Result<Option<RunRoot>> {
        let mut level = 0;
        while level < self.levels.len() {
            let top = level + 1 == self.levels.len();
            let open = std::mem::take(&mut self.levels[level]);
            match <[ChildRef; 1]>::try_from(open.children) {
                Ok([only]) if top => {
                    return Ok(Some(RunRoot {
                        level: level_of(level)?,
                        top: only,
                    }));
                }
                Ok([only]) => self.store_node(level, vec![only], store)?,
                Err(children) if children.is_empty() => {}
                Err(children) => self.store_node(level, children, store)?,
            }
            level += 1;
        }
        Ok(None)
    }

    fn push_at(&mut self, level: usize, child: ChildRef, store: StoreBlob<'_>) -> Result<()> {
        if self.levels.len() == level {
            self.levels.push(OpenNode::default());
        }
        let open = &mut self.levels[level];
        open.bytes += child.first_key.len() + BlobId::LEN + 16;
        let id = child.id;
        open.children.push(child);
        if is_node_cut(&id, open.children.len(), open.bytes) {
            let open = std::mem::take(open);
            self.store_node(level, open.children, store)
        } else {
            Ok(())
        }
    }

    fn store_node(&mut self, level: usize, children: Vec<ChildRef>, store: StoreBlob<'_>) -> Result<()> {
        let node = RunNode {
            level: level_of(level + 1)?,
            children,
        };
        let id = store(BlobKind::Node, node.encode())?;
        let parent = node.child_ref(id);
        let parent = parent.ok_or_else(|| Error::new(ErrorKind::Limit, "run of more than 2^64 bytes"))?;
        self.push_at(level + 1, parent, store)
    }
}

fn level_of(level: usize) -> Result<u8> {
    match u8::try_from(level) {
        Ok(level) if level <= TREE_LEVELS_MAX => Ok(level),
        _ => Err(Error::new(ErrorKind::Limit, "run tree too deep")),
    }
}

pub(crate) fn is_node_cut(id: &BlobId, children: usize, bytes: usize) -> bool {
    if children < 2 {
        return false;
    }
    let mut bits = [0; 8];
    bits.copy_from_slice(&id.0[..8]);
    let scale = if children < TURN { RARE } else { OFTEN };
    let by_content = u64::from_le_bytes(bits) < u64::MAX / scale;
    by_content || children == NODE_CHILDREN_MAX || bytes >= NODE_BYTES_MAX
}
