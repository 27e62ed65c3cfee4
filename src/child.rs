//! Starts child processes without levault's secrets in their environment.
//!
//! Hooks, password commands and sources are other people's programs, and what they start inherits what they have. A variable
//! is withheld by its name: one of ours that holds a password or a credential, or says where one is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// A command that inherits all variables but those that [`is_secret_variable`] names.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_secret_variable(name)) {
        command.env_remove(name);
    }
    command
}

/// Whether a variable holds a secret of levault or leads to one: LEVAULT_PASSWORD, its _FILE, _COMMAND and _FD, the same of
/// LEVAULT_NEW_ and LEVAULT_FROM_, and LEVAULT_CREDENTIAL.
pub fn is_secret_variable(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let has = |word: &[u8]| name.windows(word.len()).any(|part| part == word);
    name.starts_with(b"LEVAULT_") && (has(b"PASSWORD") || has(b"CREDENTIAL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_lead_to_a_secret_are_told_from_the_others() {
        for end in ["", "_FILE", "_COMMAND", "_FD"] {
            for begin in ["", "NEW_", "FROM_"] {
                let name = format!("LEVAULT_{begin}PASSWORD{end}");
                assert!(is_secret_variable(name.as_ref()), "{name}");
            }
        }
        assert!(is_secret_variable("LEVAULT_CREDENTIAL".as_ref()));
        for other in [
            "LEVAULT_REPOSITORY",
            "LEVAULT_HOST",
            "PASSWORD",
            "PATH",
            "XLEVAULT_PASSWORD",
        ] {
            assert!(!is_secret_variable(other.as_ref()), "{other}");
        }
    }
}
