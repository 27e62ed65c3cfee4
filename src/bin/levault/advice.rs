//! Error kind to exit code, and what to do next. Exit codes are a promise: README lists them.

use levault::error::{Error, Kind};

/// How a run ended when it did not fail: the graver of what happened wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
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

impl Ending {
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
        Kind::Usage => 2,
        Kind::Lost => 3,
        Kind::NoRepository => 10,
        Kind::Busy => 11,
        Kind::WrongPassword => 12,
        Kind::NotLevelDb | Kind::UnknownFormat => 20,
        Kind::NoConsistentCut | Kind::Changed => 21,
        Kind::Mismatch => 24,
        Kind::RolledBack => 26,
        Kind::Interrupted => 130,
        _ => 1,
    }
}

/// One sentence on what to do, where we know one.
pub fn advice(error: &Error) -> Option<&'static str> {
    Some(match error.kind() {
        Kind::NoRepository => "check -r/LEVAULT_REPOSITORY, or make one with `levault init`",
        Kind::WrongPassword => "check LEVAULT_PASSWORD, --password-file or --password-command",
        Kind::Full => "free some space and run the same command again; nothing that was stored is lost",
        Kind::Busy => {
            "run it again when the other has ended: a program that has the database open, or a prune (if that was killed: \
             `levault unlock`)"
        }
        Kind::Corrupt | Kind::Torn => {
            "run `levault check --read-data` to see what is affected; `levault quarantine list` shows what stops a prune"
        }
        Kind::Lost => "ask a snapshot from before or after it; `levault ls` lists what a snapshot lacks",
        Kind::TooNew => "install the levault version named above",
        Kind::NotLevelDb => "name a directory that holds CURRENT and MANIFEST files",
        Kind::UnknownFormat => {
            "`levault backup` stores its directory as files; stop its program meanwhile. docs/WRITERS.md lists what is read"
        }
        Kind::NoConsistentCut => {
            "try again when the owner writes less, raise --capture-timeout, or let --pre-hook pause the owner"
        }
        Kind::Changed => {
            "run it again when nothing is copied over the source any more; nothing of it was stored as a snapshot"
        }
        Kind::Mismatch => {
            "keep the source, run `levault check --read-data`, and report this: it should not happen"
        }
        Kind::RolledBack => {
            "ask who keeps the repository; if an older copy was brought back on purpose, --accept-rollback goes on with it"
        }
        Kind::Denied => {
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
            (Kind::Io, 1),
            (Kind::Usage, 2),
            (Kind::Lost, 3),
            (Kind::NoRepository, 10),
            (Kind::Busy, 11),
            (Kind::WrongPassword, 12),
            (Kind::NotLevelDb, 20),
            (Kind::UnknownFormat, 20),
            (Kind::NoConsistentCut, 21),
            (Kind::Changed, 21),
            (Kind::Mismatch, 24),
            (Kind::RolledBack, 26),
            (Kind::Interrupted, 130),
        ] {
            assert_eq!(exit_code(&Error::new(kind, "x")), code, "{kind:?}");
        }
    }
}
