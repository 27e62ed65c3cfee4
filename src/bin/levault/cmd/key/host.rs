//! `key add --write-only`: creates a host's credential.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use levault::error::{Error, ErrorKind, Result, ResultExt};
use levault::id::DomainId;
use levault::keys::{Password, SlotCost};
use levault::repo::{HostInfo, Repo};
use serde_json::{Value, json};

use crate::args::KeyAddArgs;
use crate::command_context::{CommandContext, usage};
use crate::exit_status::ExitStatus;
use crate::password;

/// Makes a domain, unless one is named, and writes its credential.
pub fn add(run: &CommandContext, args: &KeyAddArgs) -> Result<ExitStatus> {
    let Some(output) = &args.output else {
        return Err(usage(
            "--write-only takes --output FILE, where the credential goes",
        ));
    };
    if output.symlink_metadata().is_ok() {
        return Err(Error::new(
            ErrorKind::Exists,
            format!("{} is there already", output.display()),
        ));
    }
    if args.domain.is_none() && args.new.label.is_empty() {
        return Err(usage(
            "--write-only takes --label NAME, by which people know the host",
        ));
    }
    let repo = run.open()?;
    let password = if args.new_insecure_no_password {
        Password::new(Vec::new())
    } else {
        password::read_new(args.new.new_password_file.as_deref())?
    };
    let domain = match args.domain {
        Some(number) => DomainId(number),
        None => repo.add_host(&args.new.label)?,
    };
    let host = host(&repo, domain)?;
    let written = repo
        .credential(domain, &password, SlotCost::default())
        .and_then(|bytes| write_new(output, &bytes));
    written.map_err(|error| {
        error.context(format!(
            "write the credential of domain {0} (`key add --write-only --domain {0} --output FILE` tries again)",
            domain.0
        ))
    })?;
    run.output
        .write_json(&json!({"message_type": "summary", "key": "added", "id": null,
        "domain": domain.0, "label": host.label, "output": output.display().to_string()}))?;
    run.output.print(format!(
        "domain {}: {} can back up with --credential {}; take nothing but new objects from it at the storage \
         (docs/WRITE-ONLY.md)",
        domain.0,
        host.label,
        output.display()
    ))?;
    Ok(ExitStatus::Done)
}

/// The host of a domain.
pub fn host(repo: &Repo, domain: DomainId) -> Result<HostInfo> {
    let mut hosts = repo.hosts()?.into_iter();
    let found = hosts.find(|host| host.domain == domain);
    found.ok_or_else(|| {
        let what = format!(
            "no write-only host has domain {}; `levault key list` lists them",
            domain.0
        );
        Error::new(ErrorKind::NotFound, what)
    })
}

/// Never over anything, and for this user's eyes alone.
fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .context(|| format!("make {}", path.display()))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .context(|| format!("write {}", path.display()))
}

/// A write-only host, for programs.
pub fn to_json(host: &HostInfo) -> Value {
    json!({"kind": "write-only", "domain": host.domain.0, "label": host.label})
}

/// Why a host is not removed as a password is.
pub fn remove(repo: &Repo, words: &str) -> Result<ExitStatus> {
    let number = words
        .strip_prefix("domain:")
        .and_then(|number| number.parse().ok());
    let Some(number) = number else {
        return Err(usage(format!(
            "{words}: a write-only host is named by domain:NUMBER"
        )));
    };
    let host = host(repo, DomainId(number))?;
    Err(usage(format!(
        "the keys of domain {number} ({}) stay, or what it saved would be lost, and its credential seals as long as there \
         is one: take the host's access to the storage away, then `forget` its snapshots if they are not wanted",
        host.label
    )))
}
