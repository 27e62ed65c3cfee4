//! Keeps the index on local disk, in run files made from segments.
//!
//! The index on local disk: run files in a directory, made from segments, and made again whenever in doubt.
//!
//! Several processes may use one directory at once, without a lock. A run file appears whole (rename) and is
//! never changed; its name says which segments it covers; who has it open keeps it although another process
//! has merged it away. If two processes load the same segments at once, both write them and the next one to
//! start drops one copy. Nothing is synced to disk: what a power loss leaves fails its MAC.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::cache_plan::{CacheContents, CachePlan, RunFileAction, held_flags};
use super::lookup::{IndexLookup, LiveRun};
use super::merge_segments::{IndexRunBuilder, MergeInput, merge_into, nameless_file};
use super::run_file::{Bytes32, IndexRun, RunFile, file_id};
use super::run_writer::RunPurpose;
use crate::error::{Error, Result, ResultExt};
use crate::id::ObjectId;
use crate::index::Segment;

const RUN_PREFIX: &str = "run-";
const NEW_PREFIX: &str = "new-";

/// A half-written file this old belongs to no living process.
const LEFTOVER_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads and opens the named segment; called for those that the cache does not know.
pub type LoadSegment = dyn Fn(&ObjectId) -> Result<Segment> + Send + Sync;

/// Where run files are kept between two runs of the program, and under which key.
pub struct LookupCache {
    directory: Option<PathBuf>,
    key: Zeroizing<Bytes32>,
}

/// Whose fault it is that there is no lookup: a segment's, which the caller must hear, or the cache's, which
/// is tried again without the cache.
enum LookupFault {
    Segment(Error),
    Cache(Error),
}

impl From<Error> for LookupFault {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

impl LookupCache {
    /// Keeps runs in `directory`, which is made if it is missing and should serve one repository only.
    pub fn open_directory(directory: impl Into<PathBuf>, key: Bytes32) -> Self {
        Self {
            directory: Some(directory.into()),
            key: Zeroizing::new(key),
        }
    }

    /// Keeps nothing: every lookup reads all segments anew and lives in nameless temporary files.
    pub fn open_anonymous(key: Bytes32) -> Self {
        Self {
            directory: None,
            key: Zeroizing::new(key),
        }
    }

    /// A lookup over exactly the segments `listed`, less those that another listed one supersedes.
    ///
    /// `load` is called for segments that no run holds, and also later, if a run proves damaged while it is
    /// read. A missing, foreign, damaged or unwritable cache is never an error; a segment that cannot be
    /// loaded is, and so is a full disk where the temporary files go.
    pub fn open(&self, listed: &[ObjectId], load: Arc<LoadSegment>) -> Result<IndexLookup> {
        let mut listed = listed.to_vec();
        listed.sort_unstable();
        listed.dedup();
        // The second time, files that proved damaged in the first are gone.
        for directory in self.directory.iter().chain(&self.directory) {
            match self.assemble_lookup(directory, true, &listed, &*load) {
                Ok(parts) => {
                    return Ok(IndexLookup::from_runs(
                        parts,
                        directory.clone(),
                        self.key.clone(),
                        load,
                    ));
                }
                Err(LookupFault::Segment(error)) => return Err(error),
                Err(LookupFault::Cache(_)) => {}
            }
        }
        let directory = std::env::temp_dir();
        match self.assemble_lookup(&directory, false, &listed, &*load) {
            Ok(parts) => Ok(IndexLookup::from_runs(parts, directory, self.key.clone(), load)),
            Err(LookupFault::Segment(error) | LookupFault::Cache(error)) => Err(error),
        }
    }

    fn assemble_lookup(
        &self,
        directory: &Path,
        is_kept: bool,
        listed: &[ObjectId],
        load: &LoadSegment,
    ) -> Result<Vec<LiveRun>, LookupFault> {
        let found = if is_kept {
            self.list_run_files(directory)?
        } else {
            Vec::new()
        };
        let mut builder = IndexRunBuilder::new(directory, &self.key);
        // Twice: what was loaded first tells which others count.
        let unknown = segment_ids(listed, &found, &builder).missing_segments();
        add_segments(&mut builder, &unknown, load)?;
        let missing = segment_ids(listed, &found, &builder).missing();
        add_segments(&mut builder, &missing, load)?;
        let plan = segment_ids(listed, &found, &builder).plan();
        self.carry_out(plan, directory, is_kept, found, builder)
    }

    fn carry_out(
        &self,
        plan: CachePlan,
        directory: &Path,
        is_kept: bool,
        found: Vec<Arc<RunFile>>,
        builder: IndexRunBuilder<'_>,
    ) -> Result<Vec<LiveRun>, LookupFault> {
        let fresh = plan.segment_numbers(found.len(), &builder.segments);
        let (parked, _) = builder.finish()?;
        let mut inputs: Vec<MergeInput> = Vec::new();
        for (number, file) in found
            .iter()
            .enumerate()
            .filter(|(number, _)| plan.fates[*number] == RunFileAction::Merged)
        {
            inputs.push(MergeInput {
                file: file.clone(),
                numbers: Some(plan.segment_numbers(number, &file.segments)),
            });
        }
        inputs.extend(parked.into_iter().map(|file| MergeInput {
            file,
            numbers: Some(fresh.clone()),
        }));
        let mut parts = Vec::new();
        if plan.fates.contains(&RunFileAction::Merged) {
            let run = self.merge(directory, is_kept, &inputs, &plan)?;
            parts.push(LiveRun::new(held_flags(&run.file.segments), run));
        }
        drop(inputs);
        let kept = found.iter().zip(&plan.fates);
        for (file, fate) in kept.clone() {
            if let RunFileAction::Kept { live } = fate {
                parts.push(LiveRun::new(live.clone(), RunFile::into_run(file)?));
            }
        }
        for (file, fate) in kept {
            let is_replaced = parts.iter().any(|part| part.is_located_at(file.path.as_deref()));
            if !matches!(fate, RunFileAction::Kept { .. }) && !is_replaced {
                file.remove();
            }
        }
        Ok(parts)
    }

    fn merge(
        &self,
        directory: &Path,
        is_kept: bool,
        inputs: &[MergeInput],
        plan: &CachePlan,
    ) -> Result<IndexRun> {
        let segments = plan.merged_segments();
        if !is_kept {
            return merge_into(
                nameless_file(directory)?,
                &self.key,
                inputs,
                segments,
                RunPurpose::Lookup,
            );
        }
        let name = ObjectId(file_id(&self.key, &segments)).to_hex();
        let path = directory.join(format!("{RUN_PREFIX}{name}"));
        let temp = tempfile::Builder::new().prefix(NEW_PREFIX).tempfile_in(directory);
        let (file, temp) = temp.context(|| "write the index cache")?.into_parts();
        let mut run = merge_into(file, &self.key, inputs, segments, RunPurpose::Lookup)?;
        temp.persist(&path)
            .map_err(|error| error.error)
            .context(|| "write the index cache")?;
        if let Some(file) = Arc::get_mut(&mut run.file) {
            file.path = Some(path);
        }
        Ok(run)
    }

    /// All files that are ours and whole, as far as one sees from their ends; the largest first.
    fn list_run_files(&self, directory: &Path) -> Result<Vec<Arc<RunFile>>> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .context(|| "make the cache directory")?;
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).context(|| "list the cache directory")? {
            let path = entry.context(|| "list the cache directory")?.path();
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            if name.starts_with(RUN_PREFIX) {
                found.extend(self.open_run_file(&path).map(Arc::new));
            } else if name.starts_with(NEW_PREFIX) && is_leftover_file(&path) {
                let _ = fs::remove_file(&path);
            }
        }
        found.sort_by_key(|file| std::cmp::Reverse(file.trailer.rows));
        Ok(found)
    }

    /// Opens a run file, or removes it. One that another process has just merged away is simply not there.
    fn open_run_file(&self, path: &Path) -> Option<RunFile> {
        let file = File::open(path).ok()?;
        match RunFile::open(file, Some(path.to_owned()), &self.key) {
            Ok(file) => Some(file),
            Err(_) => {
                let _ = fs::remove_file(path);
                None
            }
        }
    }
}

fn add_segments(
    builder: &mut IndexRunBuilder<'_>,
    ids: &[ObjectId],
    load: &LoadSegment,
) -> Result<(), LookupFault> {
    for id in ids {
        let segment = load(id).map_err(LookupFault::Segment)?;
        builder.add(*id, &segment)?;
    }
    Ok(())
}

fn segment_ids<'a>(
    listed: &'a [ObjectId],
    found: &'a [Arc<RunFile>],
    builder: &'a IndexRunBuilder<'_>,
) -> CacheContents<'a> {
    let tables = found.iter().map(|file| &file.segments[..]);
    CacheContents {
        listed,
        tables: tables.chain([&builder.segments[..]]).collect(),
    }
}

fn is_leftover_file(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    let age = modified
        .ok()
        .and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_some_and(|age| age > LEFTOVER_AGE_MAX)
}
