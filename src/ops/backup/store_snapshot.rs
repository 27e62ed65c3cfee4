//! Stores the snapshot of what was saved, or finds that nothing changed.

use super::backup_attempt::BackupAttempt;
use super::outcome::BackupOutcome;
use super::save_database::SavedDatabase;
use super::saved_sources::{self, SavedSources};
use super::{host_memory, missing_paths, user};
use crate::engine::publish_snapshot::SnapshotDependencies;
use crate::engine::tag_list::TagList;
use crate::error::Result;
use crate::id::ObjectId;
use crate::repo::{BlobWriter, SnapshotCatalog, StoredSnapshot, WriteMode};
use crate::snapshot::{MissingPaths, Snapshot};

impl BackupAttempt<'_> {
    /// Runs `save`, and stores the snapshot of what it saved; durable on return.
    pub fn run(
        &self,
        save: &mut dyn FnMut(&mut BlobWriter) -> Result<SavedSources>,
    ) -> Result<BackupOutcome> {
        TagList(self.options.tags.clone()).check()?;
        let warning = self.input.catalog.clock_warning();
        warning.into_iter().for_each(|what| self.report.notice(what));
        let store = if self.options.dry_run {
            WriteMode::DryRun
        } else {
            WriteMode::StoreNew
        };
        let mut writer = BlobWriter::start(self.repo, self.report, store)?;
        let mut saved = save(&mut writer)?;
        let relied_on = writer.finish()?;
        let missing = missing_paths::collect_missing_paths(self.report);
        let unchanged_since = self.find_unchanged_snapshot(&saved, &self.input.catalog, &missing);
        // One that was forgotten meanwhile is not there to say that nothing changed since.
        self.repo
            .prove_snapshots(&unchanged_since.into_iter().collect(), &self.input.catalog)?;
        let snapshot = if self.options.dry_run || unchanged_since.is_some() {
            None
        } else {
            let databases = &saved.databases;
            match self.input.host {
                None => databases
                    .iter()
                    .try_for_each(|saved| saved.note_suspects(self.repo))?,
                Some(_) => databases
                    .iter()
                    .for_each(|saved| host_memory::report_suspects(saved, self.report)),
            }
            let parents = databases.iter().filter_map(SavedDatabase::parent_id).collect();
            let rests_on = self.input.dependencies(relied_on, parents)?;
            Some(self.publish_snapshot(&saved, &rests_on)?)
        };
        if let Some(snapshot) = snapshot.or(unchanged_since).filter(|_| !self.options.dry_run) {
            // What is unchanged has the same sources, in the same order.
            let numbered = (0..).zip(&mut saved.databases);
            numbered.for_each(|(number, saved)| saved.pin(snapshot, number, self.report));
        }
        Ok(BackupOutcome {
            snapshot,
            unchanged_since,
            begin: self.begin,
            end: self.repo.clock().now(),
            blobs_new: self.report.blobs_new.get(),
            bytes_added: self.report.bytes_added.get(),
            bytes_added_packed: self.report.bytes_added_packed.get(),
            bytes_read: saved.bytes_read(),
            trees: saved.tree_outcomes(),
            left_out: saved.left_out,
            databases: saved.databases.into_iter().map(|saved| saved.outcome).collect(),
        })
    }

    /// The snapshot that has these records and files already and nothing else, if that is not to be stored again.
    fn find_unchanged_snapshot(
        &self,
        saved: &SavedSources,
        catalog: &SnapshotCatalog,
        missing: &MissingPaths,
    ) -> Option<ObjectId> {
        if !self.options.skip_if_unchanged {
            return None;
        }
        let sources = saved.sources();
        let stored = match saved.databases.first() {
            Some(first) => {
                let since = first.unchanged_since()?;
                catalog.snapshots.iter().find(|stored| stored.id == since)?
            }
            None => {
                let host = self.options.host_name();
                let newest = catalog.snapshots.iter().rev();
                let of_host = |stored: &&StoredSnapshot| {
                    stored.snapshot.host == host && stored.snapshot.domain == self.repo.domain_keys().id()
                };
                newest
                    .filter(of_host)
                    .find(|stored| saved_sources::have_same_paths(&stored.snapshot.sources, &sources))?
            }
        };
        let same_since = |(number, saved): (u32, &SavedDatabase)| {
            saved.unchanged_since() == Some(stored.id) && saved.parent_source == Some(number)
        };
        let same_tags = self
            .options
            .tags
            .iter()
            .all(|tag| stored.snapshot.tags.contains(tag));
        let is_same = same_tags
            && stored.snapshot.missing == *missing
            && (0..).zip(&saved.databases).all(same_since)
            && saved_sources::have_same_files(&stored.snapshot.sources, &sources);
        is_same.then_some(stored.id)
    }

    fn publish_snapshot(
        &self,
        saved: &SavedSources,
        rests_on: &SnapshotDependencies<'_>,
    ) -> Result<ObjectId> {
        let (counter, previous) = self.input.catalog.next_counter_and_parent();
        let mut tags = self.options.tags.clone();
        tags.sort();
        tags.dedup();
        let sources = saved.sources();
        let inside = saved.inside_databases(&sources);
        let snapshot = Snapshot {
            domain: self.repo.domain_keys().id(),
            counter,
            previous,
            host: self.options.host_name(),
            user: user(),
            time: self.begin,
            time_end: self.repo.clock().now(),
            tags,
            program: concat!("levault ", env!("CARGO_PKG_VERSION")).into(),
            sources,
            original: None,
            missing: missing_paths::collect_missing_paths(self.report),
            inside,
        };
        let id = rests_on.publish(self.repo, &snapshot)?;
        if let Some(host) = &self.input.host {
            host.remember(id, snapshot, rests_on, self.report);
        }
        Ok(id)
    }
}
