//! Rewrites and merges index segments without deleted packs.

use std::collections::HashSet;

use crate::error::Result;
use crate::id::ObjectId;
use crate::index::{IndexEntry, Segment, SegmentPack};
use crate::limits::SEGMENT_ENTRIES_MAX;
use crate::repo::{DeletePermit, DurableObject, IndexSummary, OWN_DOMAIN, Repo};
use crate::report::OperationReport;
use crate::storage::ObjectKind;

/// So many live segments may stand side by side; more are merged.
const SEGMENTS_MAX: usize = 6;

/// Segments with at least so many entries are not worth merging.
const LARGE_ENTRIES: usize = SEGMENT_ENTRIES_MAX / 4;

/// Writes segments that say nothing of `gone`, each durable before one that it replaces is deleted.
pub fn rewrite(
    repo: &Repo,
    index: &IndexSummary,
    gone: &HashSet<ObjectId>,
    report: &OperationReport,
) -> Result<()> {
    let merge = index.segments.len() > SEGMENTS_MAX;
    let mut merged = MergedSegment {
        repo,
        replaced: index.replaced.clone(),
        packs: Vec::new(),
        entries: Vec::new(),
    };
    for id in &index.segments {
        report.go_on()?;
        let segment = repo.segment(id)?;
        let is_touched = segment.packs().iter().any(|pack| gone.contains(&pack.pack));
        if is_touched || merge && segment.entries().len() < LARGE_ENTRIES {
            merged.add_segment(*id, &segment, gone)?;
        }
    }
    merged.finish(report)
}

struct MergedSegment<'r> {
    repo: &'r Repo,
    replaced: Vec<ObjectId>,
    packs: Vec<SegmentPack>,
    entries: Vec<IndexEntry>,
}

impl MergedSegment<'_> {
    fn add_segment(&mut self, id: ObjectId, segment: &Segment, gone: &HashSet<ObjectId>) -> Result<()> {
        if self.entries.len() + segment.entries().len() > SEGMENT_ENTRIES_MAX {
            // The last one alone says what is replaced: until it is there, readers have both, which is one too many
            // and none too few.
            self.put(Vec::new())?;
        }
        let stays = |pack: &ObjectId| !gone.contains(pack);
        let packs = segment.packs().iter().filter(|pack| stays(&pack.pack));
        self.packs.extend(packs);
        let entries = segment.entries().iter();
        self.entries
            .extend(entries.filter(|entry| stays(&entry.location.pack)));
        self.replaced.push(id);
        // What a replaced segment replaced stays replaced as long as it is listed.
        self.replaced.extend_from_slice(segment.supersedes());
        Ok(())
    }

    fn put(&mut self, supersedes: Vec<ObjectId>) -> Result<DurableObject> {
        let (packs, entries) = (std::mem::take(&mut self.packs), std::mem::take(&mut self.entries));
        self.repo.put_segment(&Segment::new(packs, supersedes, entries)?)
    }

    fn finish(mut self, report: &OperationReport) -> Result<()> {
        let mut replaced = std::mem::take(&mut self.replaced);
        replaced.sort_unstable();
        replaced.dedup();
        if replaced.is_empty() {
            return Ok(());
        }
        // In a host's domain readers take no word for what is replaced (docs/format/07-index.md).
        let said = (self.repo.domain() == OWN_DOMAIN).then(|| replaced.clone());
        let permit = DeletePermit::Superseded(self.put(said.unwrap_or_default())?);
        self.repo.delete_all(&permit, ObjectKind::Index, replaced, report)
    }
}
