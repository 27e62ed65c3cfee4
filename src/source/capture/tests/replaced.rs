//! Another database comes in the place of the one that is captured and read: made anew, by a rename, by a copy onto the
//! same files. What is read and proven is a state of one of them.

use super::*;
use crate::leveldb::merging_iterator::RecordSink;

/// How another database comes in the place of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplacementMethod {
    /// All files are deleted, and the other's are made.
    MadeAnew,
    /// The directory is renamed away, and the other's takes its name.
    Renamed,
    /// The other's files are copied onto these, and what it has not is deleted.
    CopiedOver,
    /// The same, with the times of the files that were there.
    CopiedOverWithTimes,
}

const REPLACEMENT_METHODS: [ReplacementMethod; 4] = [
    ReplacementMethod::MadeAnew,
    ReplacementMethod::Renamed,
    ReplacementMethod::CopiedOver,
    ReplacementMethod::CopiedOverWithTimes,
];

/// A directory, who owns the database in it, and those who did.
struct ReplacedDatabaseFixture {
    place: tempfile::TempDir,
    owners: Vec<SimulatedOwner>,
    made: usize,
}

impl ReplacedDatabaseFixture {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let owners = vec![settle(SimulatedOwner::create_tagged(
            &place.path().join("db"),
            WriterDialect::CppLevelDb,
            "0 ",
        ))];
        Self {
            place,
            owners,
            made: 1,
        }
    }

    fn directory(&self) -> std::path::PathBuf {
        self.place.path().join("db")
    }

    fn owner(&mut self) -> &mut SimulatedOwner {
        self.owners.last_mut().unwrap()
    }

    /// Another owner's database comes, with the same file numbers, and the same lengths of files.
    fn replace(&mut self, way: ReplacementMethod) {
        let (db, new) = (
            self.directory(),
            self.place.path().join(format!("new-{}", self.made)),
        );
        let tag = format!("{} ", self.made % 10);
        self.made += 1;
        let mut owner = settle(SimulatedOwner::create_tagged(
            &new,
            WriterDialect::CppLevelDb,
            &tag,
        ));
        // Clocks that times of change are taken from may tick as rarely as this.
        std::thread::sleep(Duration::from_millis(11));
        match way {
            ReplacementMethod::MadeAnew => {
                list_utf8_names(&HeldDirectory::open_path(&db).unwrap())
                    .unwrap()
                    .iter()
                    .for_each(|name| fs::remove_file(db.join(name)).unwrap());
                copy(&new, &db, false);
            }
            ReplacementMethod::Renamed => {
                fs::rename(&db, self.place.path().join(format!("old-{}", self.made))).unwrap();
                fs::rename(&new, &db).unwrap();
            }
            ReplacementMethod::CopiedOver | ReplacementMethod::CopiedOverWithTimes => {
                copy(&new, &db, way == ReplacementMethod::CopiedOverWithTimes)
            }
        }
        owner.directory = db;
        self.owners.push(owner);
    }

    fn is_state_of_one(&self, records: &BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
        let mut owners = self.owners.iter();
        owners.any(|owner| owner.ends.iter().any(|end| owner.state(*end) == *records))
    }
}

/// Two tables, a waiting log and a log.
fn settle(mut owner: SimulatedOwner) -> SimulatedOwner {
    for _ in 0..2 {
        owner.put(9);
        owner.rotate();
    }
    owner.flush();
    owner.put(5);
    owner.rotate();
    owner.put(4);
    owner
}

/// Onto the files that are there; others go.
fn copy(from: &Path, to: &Path, keep_times: bool) {
    let all = list_utf8_names(&HeldDirectory::open_path(from).unwrap()).unwrap();
    for name in &all {
        let path = to.join(name);
        let before = fs::metadata(&path).and_then(|facts| facts.modified());
        fs::write(&path, fs::read(from.join(name)).unwrap()).unwrap();
        if let (true, Ok(time)) = (keep_times, before) {
            fs::File::open(&path).unwrap().set_modified(time).unwrap();
        }
    }
    for name in list_utf8_names(&HeldDirectory::open_path(to).unwrap()).unwrap() {
        if !all.contains(&name) {
            fs::remove_file(to.join(name)).unwrap();
        }
    }
}

/// Records, and something that is done behind so many of them.
struct InterruptingSink<'a> {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    left: usize,
    act: &'a dyn Fn(),
}

impl RecordSink for InterruptingSink<'_> {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        self.records.insert(key.to_vec(), value.to_vec());
        if self.left == 0 {
            (self.act)();
        }
        self.left = self.left.wrapping_sub(1);
        Ok(())
    }
}

/// Captures and reads; `act` is done before each step and behind so many records. What is proven is right; true if it was.
fn is_had(
    world: &Mutex<ReplacedDatabaseFixture>,
    hold: HoldMethod,
    act: &(dyn Fn(Option<CaptureStep>) + Sync),
    behind: usize,
) -> bool {
    let before = |step: CaptureStep| act(Some(step));
    let how = CaptureOptions {
        hold,
        timeout: Duration::from_secs(5),
        before_step: Some(&before),
        ..CaptureOptions::default()
    };
    let directory = world.lock().unwrap().directory();
    let captured = match how.capture(&directory) {
        Err(error) if error.kind() == ErrorKind::NoConsistentCut => return false,
        captured => captured.unwrap(),
    };
    let database = Database::from_captured(captured, ScanBudget::default());
    let mut during = InterruptingSink {
        records: BTreeMap::new(),
        left: behind,
        act: &|| act(None),
    };
    let scanned = database.scan(&mut during);
    if let Err(error) = database.prove_unchanged() {
        assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
        return false;
    }
    let damage = scanned.unwrap().damage;
    assert_eq!(damage, [], "nothing is damaged");
    assert!(
        world.lock().unwrap().is_state_of_one(&during.records),
        "a mixture"
    );
    true
}

#[test]
fn a_capture_is_of_one_of_two_databases_that_have_the_same_file_numbers() {
    let steps = [
        CaptureStep::Current,
        CaptureStep::Manifest,
        CaptureStep::Table,
        CaptureStep::List,
        CaptureStep::Log,
        CaptureStep::ReadLogs,
        CaptureStep::Recheck,
    ];
    for way in REPLACEMENT_METHODS {
        for (step, nth) in steps.iter().flat_map(|step| [(step, 0), (step, 1), (step, 2)]) {
            for hold in [HoldMethod::Links, HoldMethod::Descriptors, HoldMethod::Copies] {
                let world = Mutex::new(ReplacedDatabaseFixture::new());
                let left = Mutex::new(nth);
                let act = |now: Option<CaptureStep>| {
                    if now == Some(*step) {
                        let mut left = left.lock().unwrap();
                        if *left == 0 {
                            world.lock().unwrap().replace(way);
                        }
                        *left -= 1;
                    }
                };
                let had = is_had(&world, hold, &act, usize::MAX);
                assert!(
                    had,
                    "{way:?} {step:?} {nth} {hold:?}: there was time for another try"
                );
            }
        }
    }
}

#[test]
fn what_is_copied_over_while_it_is_read_is_seen() {
    for way in REPLACEMENT_METHODS {
        for hold in [HoldMethod::Links, HoldMethod::Descriptors, HoldMethod::Copies] {
            let world = Mutex::new(ReplacedDatabaseFixture::new());
            let act = |now: Option<CaptureStep>| {
                if now.is_none() {
                    world.lock().unwrap().replace(way);
                }
            };
            let had = is_had(&world, hold, &act, 3);
            // What is held is whole, whatever becomes of the names; the logs are not held apart.
            let onto_the_same = matches!(
                way,
                ReplacementMethod::CopiedOver | ReplacementMethod::CopiedOverWithTimes
            );
            assert_eq!(had, !onto_the_same, "{way:?} {hold:?}");
        }
    }
}

#[test]
fn a_table_that_the_owner_deletes_while_it_is_read_is_what_it_was() {
    for hold in [HoldMethod::Links, HoldMethod::Descriptors] {
        let world = Mutex::new(ReplacedDatabaseFixture::new());
        let act = |now: Option<CaptureStep>| {
            if now.is_none() {
                world.lock().unwrap().owner().compact();
                world.lock().unwrap().owner().put(3);
            }
        };
        assert!(is_had(&world, hold, &act, 3), "{hold:?}");
    }
}

/// What was written over and is deleted then has other times for two reasons.
#[test]
fn tables_that_are_written_over_and_then_deleted_by_a_compaction_are_no_others_mixture() {
    for way in REPLACEMENT_METHODS {
        for hold in [HoldMethod::Links, HoldMethod::Descriptors, HoldMethod::Copies] {
            for calm in 0..9 {
                let world = Mutex::new(ReplacedDatabaseFixture::new());
                let steps = Mutex::new(0);
                let act = |_: Option<CaptureStep>| {
                    let mut steps = steps.lock().unwrap();
                    *steps += 1;
                    match *steps - 1 {
                        step if step == calm => world.lock().unwrap().replace(way),
                        step if step == calm + 1 => world.lock().unwrap().owner().compact(),
                        _ => {}
                    }
                };
                is_had(&world, hold, &act, 3);
            }
        }
    }
}

/// A compaction explains that the held tables have no name any more, of whichever database it is. That another database
/// was copied onto the MANIFEST and CURRENT, whose bytes are the same, shows in their times alone.
#[test]
fn a_copy_over_a_database_whose_held_tables_were_compacted_away_is_seen() {
    for method in [
        ReplacementMethod::CopiedOver,
        ReplacementMethod::CopiedOverWithTimes,
    ] {
        for hold in [HoldMethod::Links, HoldMethod::Descriptors, HoldMethod::Copies] {
            for calm in 0..9 {
                let world = Mutex::new(ReplacedDatabaseFixture::new());
                let steps = Mutex::new(0);
                let act = |_: Option<CaptureStep>| {
                    let mut steps = steps.lock().unwrap();
                    *steps += 1;
                    let mut world = world.lock().unwrap();
                    match *steps - 1 {
                        step if step == calm || step == calm + 2 => world.owner().compact(),
                        step if step == calm + 1 => world.replace(method),
                        _ => {}
                    }
                };
                is_had(&world, hold, &act, 3);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_is_proven_is_a_state_of_one_database_whatever_comes_in_its_place(
        acts in prop::collection::vec(0u8..16, 0..12),
        calm in 0usize..20,
        behind in 0usize..40,
        hold in prop::sample::select(vec![HoldMethod::Links, HoldMethod::Descriptors, HoldMethod::Copies]),
    ) {
        let world = Mutex::new(ReplacedDatabaseFixture::new());
        let todo = Mutex::new((acts.clone(), 0));
        let act = |step: Option<CaptureStep>| {
            let mut todo = todo.lock().unwrap();
            todo.1 += 1;
            if todo.1 <= calm && step.is_some() {
                return;
            }
            let Some(act) = todo.0.pop() else { return };
            let mut world = world.lock().unwrap();
            match act {
                0 => world.replace(ReplacementMethod::MadeAnew),
                1 => world.replace(ReplacementMethod::Renamed),
                2 => world.replace(ReplacementMethod::CopiedOver),
                3 => world.replace(ReplacementMethod::CopiedOverWithTimes),
                4 | 5 => world.owner().put(3),
                6 => world.owner().rotate(),
                7 => world.owner().flush(),
                8 => world.owner().compact(),
                9 => world.owner().reopen(),
                _ => {}
            }
        };
        is_had(&world, hold, &act, behind);
    }
}
