//! `init`: a new repository.

use std::sync::Arc;

use clap::Args;
use levault::error::Result;
use levault::parity::Share;
use levault::repo::{NewRepo, Repo};
use levault::storage::LocalStorage;
use serde_json::json;

use super::Run;
use crate::advice::Ending;
use crate::password::{self, Purpose};

#[derive(Args)]
pub struct InitArgs {
    /// Store parity beside each pack: a burst of damage up to this share of it can be healed, without a password (5%)
    #[arg(long, value_name = "SHARE")]
    parity: Option<Share>,
}

/// Makes the repository and says what must not be lost.
pub fn run(run: &Run, args: &InitArgs) -> Result<Ending> {
    let place = run.repository()?;
    let password = password::read(run.global, Purpose::Choose)?;
    let storage = Arc::new(LocalStorage::create(&place)?);
    let repo = Repo::create(storage, &password, NewRepo::default(), run.settings()?)?;
    if args.parity.is_some() {
        repo.put_parity_share(args.parity)?;
    }
    let id = repo.id().to_hex();
    run.output.emit(
        &json!({"message_type": "initialized", "id": id, "repository": place.display().to_string(),
            "parity": args.parity.map(|share| share.to_string())}),
    )?;
    run.output.say(format!(
        "created repository {} at {}",
        repo.id().short(),
        place.display()
    ))?;
    run.output
        .say("Keep the password: without it nothing in this repository can be read, by anyone.")?;
    Ok(Ending::Done)
}
