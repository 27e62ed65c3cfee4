//! A program that backs up the LevelDB it has open itself: `cargo run --example own_database`.

use std::sync::Arc;

use levault::keys::Password;
use levault::ops::backup::Backup;
use levault::repo::{NewRepository, Repo, RepoSettings};
use levault::report::OperationReport;
use levault::source::HandleSource;
use levault::storage::LocalStorage;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let place = dir.path().join("orders");
    let mut db = rusty_leveldb::DB::open(&place, rusty_leveldb::Options::default())?;
    for order in 0..1000 {
        db.put(format!("order/{order:05}").as_bytes(), b"two apples")?;
    }

    let storage = Arc::new(LocalStorage::create(dir.path().join("repository"))?);
    let password = Password::new(b"a long sentence".to_vec());
    let repo = Repo::create(
        storage,
        &password,
        NewRepository::default(),
        RepoSettings::default(),
    )?;

    // The handle is lent: nobody can write until the backup is done, and the lock stays the program's.
    let mut handle = HandleSource::on_disk(&mut db, &place)?;
    let outcome =
        Backup::new(vec![place.clone()]).from_handle(&repo, &mut handle, &OperationReport::default())?;
    println!(
        "{} records in snapshot {:?}",
        outcome.databases[0].records, outcome.snapshot
    );

    db.put(b"order/01000", b"the program goes on")?;
    Ok(())
}
