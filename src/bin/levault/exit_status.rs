//! Maps results and errors to exit codes and advice.
//!
//! Error kind to exit code, and what to do next. Exit codes are a promise: README lists them.

use levault::error::{Error, ErrorKind};

/// How a run ended when it did not fail: the graver of what happened wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Done,
    /// Something could not be read or restored.
    Incomplete,
    /// The source database is damaged; what is readable was saved and the rest listed.
    SourceDamaged,
    /// Saved, but all of a database said another thing than its changes before.
    Disagreement,
    /// `check` found errors.
    CheckFailed,
}

impl ExitStatus {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Incomplete => 3,
            Self::SourceDamaged => 22,
            Self::Disagreement => 24,
            Self::CheckFailed => 25,
        }
    }
}

/// What to do when `check` found errors, before anything else.
pub const FOUND: &str = "do not prune; docs/CHECK.md says what to do, and which snapshots are whole";

/// The exit code of a failure.
pub fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Usage => 2,
        ErrorKind::Lost => 3,
        ErrorKind::NoRepository => 10,
        ErrorKind::Busy => 11,
        ErrorKind::WrongPassword => 12,
        ErrorKind::NotLevelDb | ErrorKind::UnknownFormat => 20,
        ErrorKind::NoConsistentCut | ErrorKind::Changed => 21,
        ErrorKind::Mismatch => 24,
        ErrorKind::RolledBack => 26,
        ErrorKind::Interrupted => 130,
        _ => 1,
    }
}

/// One sentence on what to do, where we know one.
pub fn advice(error: &Error) -> Option<&'static str> {
    Some(match error.kind() {
        ErrorKind::NoRepository => "check -r/LEVAULT_REPOSITORY, or make one with `levault init`",
        ErrorKind::WrongPassword => "check LEVAULT_PASSWORD, --password-file or --password-command",
        ErrorKind::Full => "free some space and run the same command again; nothing that was stored is lost",
        ErrorKind::Busy => {
            "run it again when the other has ended: a program that has the database open, or a prune (if that was killed: \
             `levault unlock`)"
        }
        ErrorKind::Corrupt | ErrorKind::Torn => {
            "run `levault check --read-data` to see what is affected; `levault quarantine list` shows what stops a prune"
        }
        ErrorKind::Lost => "ask a snapshot from before or after it; `levault ls` lists what a snapshot lacks",
        ErrorKind::TooNew => "install the levault version named above",
        ErrorKind::NotLevelDb => "name a directory that holds CURRENT and MANIFEST files",
        ErrorKind::UnknownFormat => {
            "`levault backup` stores its directory as files; stop its program meanwhile. docs/WRITERS.md lists what is read"
        }
        ErrorKind::NoConsistentCut => {
            "try again when the owner writes less, raise --capture-timeout, or let --pre-hook pause the owner"
        }
        ErrorKind::Changed => {
            "run it again when nothing is copied over the source any more; nothing of it was stored as a snapshot"
        }
        ErrorKind::Mismatch => {
            "keep the source, run `levault check --read-data`, and report this: it should not happen"
        }
        ErrorKind::RolledBack => {
            "ask who keeps the repository; if an older copy was brought back on purpose, --accept-rollback goes on with it"
        }
        ErrorKind::Denied => {
            "run as a user who may read the source and write the repository, or with the password in place of a credential"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_promised_ones() {
        for (kind, code) in [
            (ErrorKind::Io, 1),
            (ErrorKind::Usage, 2),
            (ErrorKind::Lost, 3),
            (ErrorKind::NoRepository, 10),
            (ErrorKind::Busy, 11),
            (ErrorKind::WrongPassword, 12),
            (ErrorKind::NotLevelDb, 20),
            (ErrorKind::UnknownFormat, 20),
            (ErrorKind::NoConsistentCut, 21),
            (ErrorKind::Changed, 21),
            (ErrorKind::Mismatch, 24),
            (ErrorKind::RolledBack, 26),
            (ErrorKind::Interrupted, 130),
        ] {
            assert_eq!(exit_code(&Error::new(kind, "x")), code, "{kind:?}");
        }
    }
}
