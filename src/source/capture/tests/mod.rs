//! Goal: a capture is a state its owner was in, with all that was acknowledged before, whatever the owner does
//! between its steps. Method: an owner that acts exactly between two steps, at random and in each order of events
//! that the argument above names.

mod absent_log;
mod hostile;
mod owner;
mod replaced;
mod sightings;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;

use super::held_tables::HeldTables;
use super::*;
use crate::leveldb::merging_iterator::RecordSink;
use crate::leveldb::scan_context::ScanBudget;
use crate::leveldb::version::VersionEdit;
use crate::source::{Database, ScanOutcome};
use owner::{SimulatedOwner, WriterDialect, append};
use proptest::prelude::*;

#[derive(Default)]
struct CapturedRecordCollector(BTreeMap<Vec<u8>, Vec<u8>>);

impl RecordSink for CapturedRecordCollector {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        self.0.insert(key.to_vec(), value.to_vec());
        Ok(())
    }
}

struct CaptureReadback {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    outcome: ScanOutcome,
    cut: CutPoint,
}

fn read(captured: CapturedFiles) -> CaptureReadback {
    let cut = captured.details().clone();
    let database = Database::from_captured(captured, ScanBudget::default());
    let mut records = CapturedRecordCollector::default();
    let outcome = database.scan(&mut records).unwrap();
    assert_eq!(database.last_sequence(), cut.last_sequence);
    CaptureReadback {
        records: records.0,
        outcome,
        cut,
    }
}

/// An owner in a directory of its own, who acts before steps of captures.
struct LiveOwnerFixture {
    _place: tempfile::TempDir,
    owner: Mutex<SimulatedOwner>,
}

impl LiveOwnerFixture {
    /// Two tables, a waiting log and a log.
    fn new() -> Self {
        Self::of(WriterDialect::CppLevelDb)
    }

    fn of(habits: WriterDialect) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut owner = SimulatedOwner::create(&place.path().join("db"), habits);
        for _ in 0..2 {
            owner.put(9);
            owner.rotate();
        }
        owner.flush();
        owner.put(5);
        owner.rotate();
        owner.put(4);
        Self {
            _place: place,
            owner: Mutex::new(owner),
        }
    }

    fn owner(&self) -> std::sync::MutexGuard<'_, SimulatedOwner> {
        self.owner.lock().unwrap()
    }

    fn last_sequence(&self) -> u64 {
        self.owner().last_sequence()
    }

    fn directory(&self) -> std::path::PathBuf {
        self.owner().directory.clone()
    }

    /// Captures; the owner acts once, before the first step of that name.
    fn capture(
        &self,
        hold: HoldMethod,
        step: CaptureStep,
        act: impl Fn(&mut SimulatedOwner) + Sync,
    ) -> CaptureReadback {
        let acted = Mutex::new(false);
        let before = |now: CaptureStep| {
            if now == step && !std::mem::replace(&mut *acted.lock().unwrap(), true) {
                act(&mut self.owner());
            }
        };
        let how = CaptureOptions {
            hold,
            before_step: Some(&before),
            ..CaptureOptions::default()
        };
        let captured = how.capture(&self.directory()).unwrap();
        assert!(*acted.lock().unwrap(), "the step came");
        read(captured)
    }

    /// The capture is a state after a batch, and nothing is wrong with it.
    fn expect(&self, seen: &CaptureReadback, acknowledged: u64) {
        let owner = self.owner();
        let sequence = seen.cut.last_sequence;
        assert!(sequence >= acknowledged, "{sequence} {acknowledged}");
        assert!(owner.ends.contains(&sequence), "{sequence} is within a batch");
        assert!(
            seen.outcome.damage.is_empty(),
            "{:?}: {:?}",
            seen.cut,
            seen.outcome.damage
        );
        assert_eq!(seen.records, owner.state(sequence));
    }
}

fn hidden(directory: &Path) -> usize {
    let entries = fs::read_dir(directory.parent().unwrap()).unwrap();
    entries
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .as_bytes()
                .starts_with(b".db.")
        })
        .count()
}

#[test]
fn a_quiet_database_is_captured_at_once_and_nothing_is_left_behind() {
    let scene = LiveOwnerFixture::new();
    let directory = scene.directory();
    let captured = CaptureOptions::default().capture(&directory).unwrap();
    assert_eq!(captured.details().held_by, HoldMethod::Links);
    assert_eq!(hidden(&directory), 1);
    let seen = read(captured);
    assert_eq!(seen.cut.retries, 0);
    scene.expect(&seen, scene.last_sequence());
    assert_eq!(hidden(&directory), 0);
}

#[test]
fn what_is_held_is_read_after_the_owner_deleted_it() {
    for hold in [HoldMethod::Links, HoldMethod::Descriptors, HoldMethod::Copies] {
        let scene = LiveOwnerFixture::new();
        let how = CaptureOptions {
            hold,
            ..CaptureOptions::default()
        };
        let captured = how.capture(&scene.directory()).unwrap();
        assert_eq!(captured.details().held_by, hold);
        let acknowledged = scene.owner().last_sequence();
        scene.owner().put(3);
        scene.owner().reopen();
        scene.owner().compact();
        let seen = read(captured);
        assert_eq!(seen.cut.last_sequence, acknowledged);
        scene.expect(&seen, acknowledged);
    }
}

#[test]
fn owner_and_mode_are_had_of_files_whose_names_are_gone() {
    for hold in [HoldMethod::Links, HoldMethod::Descriptors, HoldMethod::Copies] {
        let scene = LiveOwnerFixture::new();
        let how = CaptureOptions {
            hold,
            ..CaptureOptions::default()
        };
        let database =
            Database::from_captured(how.capture(&scene.directory()).unwrap(), ScanBudget::default());
        fs::remove_dir_all(scene.directory()).unwrap();
        for file in database.files() {
            assert!(file.metadata().is_ok() && file.open().is_ok(), "{}", file.name);
        }
    }
}

#[test]
fn tables_compacted_away_under_it_make_it_begin_again() {
    let scene = LiveOwnerFixture::new();
    let seen = scene.capture(HoldMethod::Links, CaptureStep::Table, SimulatedOwner::compact);
    assert_eq!(seen.cut.retries, 1);
    scene.expect(&seen, 0);
}

#[test]
fn a_log_flushed_under_it_makes_it_begin_again() {
    for step in [CaptureStep::Table, CaptureStep::List, CaptureStep::Log] {
        let scene = LiveOwnerFixture::new();
        let seen = scene.capture(HoldMethod::Descriptors, step, SimulatedOwner::flush);
        assert_eq!(seen.cut.retries, 1, "{step:?}");
        scene.expect(&seen, 0);
    }
}

#[test]
fn an_owner_who_opens_again_makes_it_begin_again() {
    for step in [
        CaptureStep::Manifest,
        CaptureStep::Table,
        CaptureStep::List,
        CaptureStep::Log,
        CaptureStep::Recheck,
    ] {
        let scene = LiveOwnerFixture::new();
        let seen = scene.capture(HoldMethod::Links, step, SimulatedOwner::reopen);
        assert!(seen.cut.retries >= 1, "{step:?}");
        scene.expect(&seen, 0);
    }
}

#[test]
fn a_transaction_past_the_log_is_in_or_out_as_a_whole() {
    let scene = LiveOwnerFixture::new();
    let seen = scene.capture(HoldMethod::Links, CaptureStep::Log, |owner| {
        owner.transaction(6);
        owner.put(2);
    });
    assert_eq!(seen.cut.retries, 1);
    scene.expect(&seen, 0);
}

#[test]
fn a_log_missed_by_the_listing_is_not_hidden_by_a_manifest_that_covers_it() {
    let scene = LiveOwnerFixture::new();
    // The MANIFEST covers all of both logs although no table has them yet.
    scene.owner().edit(VersionEdit::default());
    let seen = scene.capture(HoldMethod::Links, CaptureStep::List, |owner| {
        // An owner who falls behind with deleting: the second log is flushed and gone, the first still there.
        let first = owner.log_path(owner.waiting().unwrap());
        let kept = fs::read(&first).unwrap();
        owner.rotate();
        owner.put(1);
        owner.flush();
        fs::write(first, kept).unwrap();
    });
    assert_eq!(seen.cut.retries, 1);
    scene.expect(&seen, 0);
}

#[test]
fn a_manifest_replaced_under_its_name_makes_it_begin_again() {
    let scene = LiveOwnerFixture::new();
    let seen = scene.capture(HoldMethod::Links, CaptureStep::Recheck, |owner| {
        let current = fs::read_to_string(owner.path("CURRENT")).unwrap();
        let (manifest, other) = (owner.path(current.trim()), owner.path("other"));
        fs::copy(&manifest, &other).unwrap();
        fs::rename(other, manifest).unwrap();
    });
    assert_eq!(seen.cut.retries, 1);
    scene.expect(&seen, 0);
}

#[test]
fn a_table_nobody_deleted_is_damage_and_the_rest_is_captured() {
    for hold in [HoldMethod::Links, HoldMethod::Descriptors, HoldMethod::Copies] {
        let scene = LiveOwnerFixture::new();
        let lost = scene.owner().tables()[0];
        fs::remove_file(scene.owner().table_path(lost)).unwrap();
        let how = CaptureOptions {
            hold,
            ..CaptureOptions::default()
        };
        let seen = read(how.capture(&scene.directory()).unwrap());
        assert!(seen.cut.retries >= 3, "{:?}", seen.cut);
        assert_eq!(seen.outcome.damage.len(), 1);
        assert!(seen.outcome.damage[0].file.ends_with(".ldb"));
        assert!(!seen.records.is_empty());
    }
}

#[test]
fn a_write_that_failed_in_the_owner_is_told_and_costs_no_record() {
    let scene = LiveOwnerFixture::new();
    scene.owner().fail_write();
    scene.owner().put(2);
    let seen = read(CaptureOptions::default().capture(&scene.directory()).unwrap());
    let owner = scene.owner();
    assert_eq!(
        (seen.outcome.damage.len(), seen.outcome.damage[0].sequences_lost),
        (1, Some(1))
    );
    assert_eq!(seen.outcome.uncertain, 0);
    assert_eq!(seen.records, owner.state(owner.last_sequence()));
    assert_eq!(seen.cut.last_sequence, owner.last_sequence());
}

#[test]
fn a_write_under_way_is_cut_off() {
    let scene = LiveOwnerFixture::new();
    let log = scene.owner().log();
    let before = scene.last_sequence();
    let path = scene.owner().log_path(log);
    let whole = fs::metadata(&path).unwrap().len();
    append(&path, &[0x11, 0x22, 0x33, 0x44, 0x50, 0, 1, 7, 7]);
    let captured = CaptureOptions::default().capture(&scene.directory()).unwrap();
    append(&path, &[9; 200]);
    let seen = read(captured);
    scene.expect(&seen, before);
    assert_eq!(seen.outcome.torn_tails.len(), 1);
    assert_eq!(
        (
            seen.outcome.torn_tails[0].offset,
            seen.outcome.torn_tails[0].bytes_left
        ),
        (whole, 9)
    );
}

#[test]
fn an_edit_under_way_is_left_out() {
    let scene = LiveOwnerFixture::new();
    let directory = scene.directory();
    let manifest = String::from_utf8(fs::read(directory.join("CURRENT")).unwrap()).unwrap();
    let path = directory.join(manifest.trim());
    let whole = fs::metadata(&path).unwrap().len();
    append(&path, &[0x11, 0x22, 0x33, 0x44, 0x50, 0, 1, 7, 7]);
    let captured = CaptureOptions::default().capture(&directory).unwrap();
    let (files, _, _) = captured.into_parts();
    assert_eq!(files.manifest.len, whole);
}

#[test]
fn with_log_number_0_an_edit_under_it_makes_it_begin_again() {
    let scene = LiveOwnerFixture::new();
    let directory = scene.directory();
    scene.owner().reopen();
    let log = scene.owner().log();
    scene.owner().edit(VersionEdit {
        log_number: Some(0),
        ..VersionEdit::default()
    });
    scene.owner().put(3);
    let seen = scene.capture(HoldMethod::Links, CaptureStep::Log, |owner| {
        owner.edit(VersionEdit {
            log_number: Some(log),
            ..VersionEdit::default()
        });
    });
    assert_eq!(seen.cut.retries, 1);
    scene.expect(&seen, scene.last_sequence());
    assert_eq!(hidden(&directory), 0);
}

#[test]
fn a_database_that_changes_under_every_try_is_given_up_and_says_what_changed() {
    let scene = LiveOwnerFixture::new();
    let reopen = |step: CaptureStep| {
        if step == CaptureStep::Recheck {
            scene.owner().reopen();
        }
    };
    let how = CaptureOptions {
        timeout: Duration::ZERO,
        before_step: Some(&reopen),
        ..CaptureOptions::default()
    };
    let error = how.capture(&scene.directory()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoConsistentCut);
    assert!(
        error.to_string().contains("CURRENT was another (5 times)"),
        "{error}"
    );
    assert_eq!(hidden(&scene.directory()), 0);
}

#[test]
fn a_manifest_that_stays_unreadable_is_corrupt() {
    let scene = LiveOwnerFixture::new();
    let directory = scene.directory();
    let manifest = String::from_utf8(fs::read(directory.join("CURRENT")).unwrap()).unwrap();
    let path = directory.join(manifest.trim());
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = CaptureOptions::default().capture(&directory).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// What a link in a database's directory names lies elsewhere, perhaps where its owner may not read.
#[test]
fn a_table_or_log_behind_a_symbolic_link_is_not_read_and_is_reported() {
    for hold in [HoldMethod::Links, HoldMethod::Descriptors, HoldMethod::Copies] {
        let scene = LiveOwnerFixture::new();
        let directory = scene.directory();
        let table = {
            let owner = scene.owner();
            owner.table_path(owner.tables()[0])
        };
        let logs = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let log = logs
            .filter(|path| path.extension() == Some("log".as_ref()))
            .max()
            .unwrap();
        for path in [&table, &log] {
            let away = directory.parent().unwrap().join("away");
            fs::rename(path, &away).unwrap();
            std::os::unix::fs::symlink(&away, path).unwrap();
            let how = CaptureOptions {
                hold,
                ..CaptureOptions::default()
            };
            let seen = read(how.capture(&directory).unwrap());
            let name = path.file_name().unwrap().to_string_lossy();
            let told: Vec<_> = seen.outcome.damage.iter().collect();
            let is_told = |damage: &&crate::source::SourceDamage| {
                damage.what.contains("symbolic link") && damage.file.contains(&*name)
            };
            assert!(told.iter().any(is_told), "{hold} {told:?}");
            fs::remove_file(path).unwrap();
            fs::rename(&away, path).unwrap();
        }
        assert_eq!(hidden(&directory), 0);
    }
}

#[test]
fn what_a_killed_capture_left_is_removed_by_the_next() {
    let scene = LiveOwnerFixture::new();
    let directory = scene.directory();
    let left = directory.with_file_name(".db.levault-capture-0123456789abcdef");
    crate::scratch_directory::tests::leave_to_next_process(&left, &["000005.ldb"]);
    drop(CaptureOptions::default().capture(&directory).unwrap());
    assert!(!left.exists());
}

#[test]
fn without_a_place_for_links_descriptors_hold_and_without_those_copies() {
    let scene = LiveOwnerFixture::new();
    let directory = scene.directory().canonicalize().unwrap();
    let nowhere = directory.join("nowhere");
    let directory = HeldDirectory::open_path(&directory).unwrap();
    let tables = scene.owner().tables();
    let mut pins = HeldTables::new(
        &directory,
        HoldMethod::Links,
        Some(&nowhere),
        None,
        &Arc::default(),
    );
    pins.drop_hold_directory(0);
    for table in &tables {
        assert!(pins.hold(*table).unwrap());
    }
    assert_eq!(pins.finish().1, HoldMethod::Descriptors);

    // With too few descriptors links hold the rest, and without those copies do.
    let scratch = tempfile::tempdir().unwrap();
    for (links, held_by) in [(true, HoldMethod::Links), (false, HoldMethod::Copies)] {
        let touched = Arc::default();
        let mut pins = HeldTables::new(
            &directory,
            HoldMethod::Descriptors,
            Some(scratch.path()),
            None,
            &touched,
        );
        pins.set_descriptors_left(1);
        if !links {
            pins.disable_links();
        }
        for table in &tables {
            assert!(pins.hold(*table).unwrap());
        }
        assert_eq!(pins.finish().1, held_by);
    }

    let mut pins = HeldTables::new(
        &directory,
        HoldMethod::Descriptors,
        Some(&nowhere),
        None,
        &Arc::default(),
    );
    pins.drop_hold_directory(0);
    pins.set_descriptors_left(0);
    assert!(pins.hold(tables[0]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_capture_is_a_state_of_its_owner_whatever_happens_between_its_steps(
        before in prop::collection::vec(0u8..12, 0..20),
        between in prop::collection::vec(0u8..12, 0..40),
        calm in 0usize..6,
        hold in prop::sample::select(vec![HoldMethod::Links, HoldMethod::Descriptors, HoldMethod::Copies]),
        habits in prop::sample::select(vec![WriterDialect::CppLevelDb, WriterDialect::GoLevelDb]),
    ) {
        let scene = LiveOwnerFixture::of(habits);
        let act = |action: u8| {
            let mut owner = scene.owner();
            match action {
                0..=3 => owner.put(u64::from(action) + 1),
                4 => owner.rotate(),
                5 | 6 => owner.flush(),
                7 => owner.compact(),
                8 => owner.transaction(3),
                9 => owner.reopen(),
                _ => {}
            }
        };
        before.iter().copied().for_each(act);
        let acknowledged = scene.owner().last_sequence();
        let todo = Mutex::new((between.clone(), 0));
        let before_step = |_: CaptureStep| {
            let mut todo = todo.lock().unwrap();
            todo.1 += 1;
            if todo.1 > calm && let Some(action) = todo.0.pop() {
                act(action);
            }
        };
        let how = CaptureOptions { hold, before_step: Some(&before_step), ..CaptureOptions::default() };
        let seen = read(how.capture(&scene.directory()).unwrap());
        scene.expect(&seen, acknowledged);
    }
}
