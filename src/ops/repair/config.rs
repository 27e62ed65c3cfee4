//! Repairs config from its copy.
//!
//! `repair config`: of config and its copy, the one that is whole is put in the place of the one that is not.

use crate::error::{Error, ErrorKind, Result};
use crate::repo::Repo;
use crate::storage::ObjectKind;

use super::RepairMode;

/// What is wrong with one of the two, and put right by the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRepair {
    /// Which of them: `config` or `config.copy`.
    pub object: &'static str,
    /// What is wrong with it.
    pub what: String,
}

/// Looks at both, and puts back what is missing or damaged if it is told to. `None`: both are whole.
///
/// # Errors
/// The storage's. A repository of which neither is whole does not open, so that this cannot be asked of it.
pub fn run(repo: &Repo, mode: RepairMode) -> Result<Option<ConfigRepair>> {
    let config = repo.config_copy(ObjectKind::Config)?;
    let copy = repo.config_copy(ObjectKind::ConfigCopy)?;
    let (kind, object, error, bytes) = match (config, copy) {
        (Ok(config), Ok(copy)) if config == copy => return Ok(None),
        (Ok(config), Ok(_)) => {
            let error = Error::corrupt("it is whole, and not the same as config");
            (ObjectKind::ConfigCopy, "config.copy", error, config)
        }
        (Err(error), Ok(copy)) => (ObjectKind::Config, "config", error, copy),
        (Ok(config), Err(error)) => (ObjectKind::ConfigCopy, "config.copy", error, config),
        (Err(error), Err(_)) => return Err(error),
    };
    if error.kind() == ErrorKind::TooNew {
        return Err(error);
    }
    if mode == RepairMode::Apply {
        repo.restore_config_copy(kind, &bytes)?;
    }
    Ok(Some(ConfigRepair {
        object,
        what: error.to_string(),
    }))
}
