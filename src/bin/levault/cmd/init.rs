//! `init`: creates a repository.

use std::sync::Arc;

use levault::error::Result;
use levault::repo::ParityShare;
use levault::repo::{NewRepository, Repo};
use levault::storage::LocalStorage;
use serde_json::json;

use crate::args::InitArgs;
use crate::command_context::{CommandContext, usage};
use crate::exit_status::ExitStatus;
use crate::password::{self, PasswordPurpose};

/// Makes the repository and says what must not be lost.
pub fn run(run: &CommandContext, args: &InitArgs) -> Result<ExitStatus> {
    let source = &args.source;
    let named = source.from_repo.is_some() || source.from_repository_file.is_some();
    let like = match (args.copy_chunker_params, named) {
        (true, _) => Some(super::copy::source(run, source)?),
        (false, false) => None,
        (false, true) => {
            return Err(usage(
                "a repository to copy from is named: say --copy-chunker-params too, or leave it out",
            ));
        }
    };
    let repo = create_repository(run, like.as_ref())?;
    if args.parity.is_some() {
        repo.put_parity_share(args.parity)?;
    }
    print_created(run, &repo, args.parity)?;
    Ok(ExitStatus::Done)
}

/// Makes it; cutting as `like`, if there is one.
pub fn create_repository(run: &CommandContext, like: Option<&Repo>) -> Result<Repo> {
    let place = run.repository()?;
    let password = password::read(run.global, PasswordPurpose::Choose)?;
    let storage = Arc::new(LocalStorage::create(&place)?);
    let (new, settings) = (NewRepository::default(), run.settings()?);
    match like {
        None => Repo::create(storage, &password, new, settings),
        Some(like) => Repo::create_like(storage, &password, new, settings, like),
    }
}

/// What must not be lost.
pub fn print_created(run: &CommandContext, repo: &Repo, parity: Option<ParityShare>) -> Result<()> {
    let (id, place) = (repo.id().to_hex(), run.repository()?);
    run.output.write_json(
        &json!({"message_type": "initialized", "id": id, "repository": place.display().to_string(),
            "parity": parity.map(|share| share.to_string())}),
    )?;
    run.output.print(format!(
        "created repository {} at {}",
        repo.id().short(),
        place.display()
    ))?;
    run.output
        .print("Keep the password: without it nothing in this repository can be read, by anyone.")
}
