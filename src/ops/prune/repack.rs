//! Repacks reachable blobs out of wasteful packs.
//!
//! Live blobs out of wasteful packs into new ones; each is opened and compared on the way, and stays as it was packed.

use std::collections::HashSet;

use crate::compress::Compressor;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{BlobId, ObjectId};
use crate::index::Location;
use crate::pack::CompressedBlob;
use crate::repo::{BlobReader, BlobWriter, Repo};
use crate::report::OperationReport;

use super::prune_input::PruneInput;

/// Blobs read at a time, stored bytes: they wait in memory as they are stored.
const BATCH_BYTES: u64 = 4 << 20;

/// Stores the live blobs of which the kept copy is in one of `packs` again; durable and indexed on return. No copy in
/// `going` counts.
///
/// # Errors
/// [`ErrorKind::Busy`] if a pack that has another copy has gone meanwhile; of a blob that cannot be read anywhere.
pub fn repack(
    repo: &Repo,
    facts: &PruneInput,
    packs: &HashSet<ObjectId>,
    going: &HashSet<ObjectId>,
    report: &OperationReport,
) -> Result<()> {
    let wanted = blobs_to_repack(facts, packs)?;
    let reader = BlobReader::new(repo, &facts.lookup);
    let mut writer = BlobWriter::start_without(repo, report, going)?;
    for batch in batches(&wanted) {
        let read = reader.read_compressed(batch).into_iter().zip(batch);
        let read =
            read.map(|(found, place)| found.map_or_else(|| copies_elsewhere(repo, &reader, place), Ok));
        writer.add_compressed(read.collect::<Result<_>>()?)?;
    }
    let rests_on = writer.finish()?;
    repo.prove_packs(&rests_on)
}

/// Any other copy, for the one that was to be kept is damaged.
fn copies_elsewhere(
    repo: &Repo,
    reader: &BlobReader,
    (id, location): &(BlobId, Location),
) -> Result<CompressedBlob> {
    let level = repo.settings().compression.level(location.kind);
    let blob = reader.read(location.kind, id);
    blob.and_then(|blob| {
        Compressor::thread_compressor(level, |compressor| CompressedBlob::new(blob, compressor))
    })
    .context(|| format!("read blob {} again", id.short()))
}

/// In the order in which they lie.
fn blobs_to_repack(facts: &PruneInput, packs: &HashSet<ObjectId>) -> Result<Vec<(BlobId, Location)>> {
    let mut wanted = Vec::new();
    facts.each_blob(&mut |id, copies| {
        let kept = copies.iter().find(|copy| facts.packs[copy.pack].marked.is_none());
        if let Some(kept) = kept.filter(|kept| packs.contains(&kept.location.pack))
            && facts.is_live(id)
        {
            wanted.push((*id, kept.location));
        }
        Ok(())
    })?;
    wanted.sort_by_key(|(_, location)| (location.pack, location.offset));
    Ok(wanted)
}

fn batches(mut wanted: &[(BlobId, Location)]) -> Vec<&[(BlobId, Location)]> {
    let mut batches = Vec::new();
    while !wanted.is_empty() {
        let mut bytes = 0;
        let fits = |(_, location): &&(BlobId, Location)| {
            bytes += u64::from(location.len);
            bytes <= BATCH_BYTES
        };
        let count = wanted.iter().take_while(fits).count().max(1);
        let (batch, rest) = wanted.split_at(count);
        batches.push(batch);
        wanted = rest;
    }
    batches
}

/// Opens the kept copy of every live blob that has another one in `going`: a copy that was never read is none.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if one is damaged; then nothing that has the other may go.
pub fn prove_spares(
    repo: &Repo,
    facts: &PruneInput,
    going: &HashSet<ObjectId>,
    report: &OperationReport,
) -> Result<()> {
    let has_spares = |id: &ObjectId| {
        let pack = facts.packs.iter().find(|pack| pack.id == *id);
        pack.is_some_and(|pack| pack.spare_copies > 0)
    };
    if !going.iter().any(has_spares) {
        return Ok(());
    }
    let reader = BlobReader::new(repo, &facts.lookup);
    facts.each_blob(&mut |id, copies| {
        let kept = copies.iter().find(|copy| facts.packs[copy.pack].marked.is_none());
        let Some(kept) = kept.filter(|kept| !going.contains(&kept.location.pack)) else {
            return Ok(());
        };
        let spare = copies.iter().any(|copy| going.contains(&copy.location.pack));
        if spare && facts.is_live(id) {
            report.go_on()?;
            reader
                .read_copy(&kept.location, id)
                .map_err(|error| damaged_error(id, &error))?;
        }
        Ok(())
    })
}

#[cold]
fn damaged_error(id: &BlobId, error: &Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::Interrupted => ErrorKind::Interrupted,
        _ => ErrorKind::Corrupt,
    };
    Error::new(
        kind,
        format!(
            "the copy of blob {} that was to be kept is damaged: {error}",
            id.short()
        ),
    )
}
