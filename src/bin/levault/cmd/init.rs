//! `init`: a new repository.

use std::sync::Arc;

use levault::error::Result;
use levault::repo::{NewRepo, Repo};
use levault::storage::LocalStorage;
use serde_json::json;

use super::Run;
use crate::advice::Ending;
use crate::password::{self, Purpose};

/// Makes the repository and says what must not be lost.
pub fn run(run: &Run) -> Result<Ending> {
    let place = run.repository()?;
    let password = password::read(run.global, Purpose::Choose)?;
    let storage = Arc::new(LocalStorage::create(&place)?);
    let repo = Repo::create(storage, &password, NewRepo::default(), run.settings()?)?;
    let id = repo.id().to_hex();
    run.output
        .emit(&json!({"message_type": "initialized", "id": id, "repository": place.display().to_string()}))?;
    run.output.say(format!(
        "created repository {} at {}",
        repo.id().short(),
        place.display()
    ))?;
    run.output
        .say("Keep the password: without it nothing in this repository can be read, by anyone.")?;
    Ok(Ending::Done)
}
