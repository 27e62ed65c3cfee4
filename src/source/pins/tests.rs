use std::fs;

use super::*;
use crate::leveldb::Comparator;
use crate::leveldb::test_databases::MemoryFiles;

/// A copy of the descriptor is what a process has that another thread forks, until it runs its program.
#[test]
fn pins_and_who_looks_at_them_give_the_lock_back_though_a_forked_process_has_a_copy() {
    let place = tempfile::tempdir().unwrap();
    let db = place.path().join("db");
    fs::create_dir(&db).unwrap();
    MemoryFiles::new(&Comparator::Bytewise).write_to(&db);
    let open = || DatabasePins::open(&db, RepositoryId([1; 32]), PinOptions::default(), Arc::default());
    let pins = open().unwrap();
    // With a name of no table's in it the directory stays.
    fs::create_dir(pins.path().join("stays")).unwrap();
    let inherited = {
        use std::os::fd::AsFd;
        pins.directory.as_fd().try_clone_to_owned().unwrap()
    };
    assert_eq!(open().unwrap_err().kind(), ErrorKind::Busy);
    assert!(list(&db).unwrap()[0].in_use);
    drop(pins);
    assert!(!list(&db).unwrap()[0].in_use);
    drop(open().unwrap());
    let again = open().unwrap().directory.stat_self().unwrap();
    let before = rustix::fs::fstat(&inherited).unwrap();
    assert_eq!(again.st_ino, before.st_ino, "it stayed");
}
