//! The error type: what was attempted, on what, and the cause.
//!
//! One error type: what was being done, to what, and why it did not work.
//!
//! [`ErrorKind`] is coarse and stable, because people act differently on each; texts may change. A layer that
//! passes an error on adds only what it alone knows (see [`Error::context`]), so a message reads outside in:
//! `back up: read table 000034.ldb: block at 6583: checksum mismatch`.

use std::fmt;

/// What sort of failure it was: decides the exit code and the advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system or the store failed; the cause says how.
    Io,
    /// The named thing is not there.
    NotFound,
    /// It is there although it must not be (a target that is not empty, a repository at `init`).
    Exists,
    /// The store or the source refused us.
    Denied,
    /// The disk or the quota is full.
    Full,
    /// Something is held by someone else: a lock, a lease.
    Busy,
    /// Bytes are there and wrong: checksum, authentication, structure.
    Corrupt,
    /// Bytes end too early: a write that never finished.
    Torn,
    /// Written by a newer levault: a version or feature this program does not know.
    TooNew,
    /// No slot opens with this password.
    WrongPassword,
    /// Whole, but sealed under a key that is not the one at hand.
    WrongKey,
    /// There is no repository at this place.
    NoRepository,
    /// Not a LevelDB, or a dialect we do not read.
    NotLevelDb,
    /// Written by another program or fork in a form that this one does not read (a codec, a field): whole, not damaged.
    UnknownFormat,
    /// No consistent cut was had within the retries.
    NoConsistentCut,
    /// A file of the source was written to or replaced while it was read: what was read is no state of it.
    Changed,
    /// The storage shows an older state than this client has seen, or one that parted from it.
    RolledBack,
    /// What was written or rescanned does not agree with what was recorded.
    Mismatch,
    /// What was asked for was lost in the repository, and that is recorded: nobody can say whether it was there.
    Lost,
    /// A bound was passed that protects memory or time.
    Limit,
    /// The request itself makes no sense.
    Usage,
    /// The user interrupted it.
    Interrupted,
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An act, the thing it was done to, and the cause; a chain of acts when layers add theirs.
pub struct Error(Box<ErrorInner>);

struct ErrorInner {
    kind: ErrorKind,
    acts: Vec<String>,
    message: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of our own finding: `Error::new(ErrorKind::Corrupt, "block at 6583: checksum mismatch")`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorInner {
            kind,
            acts: Vec::new(),
            message: message.into(),
            cause: None,
        }))
    }

    /// Bytes that are there and wrong.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// An error of somebody else's finding, kept whole.
    pub fn with_cause(
        kind: ErrorKind,
        message: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self(Box::new(ErrorInner {
            kind,
            acts: Vec::new(),
            message: message.into(),
            cause: Some(cause.into()),
        }))
    }

    /// The operating system's error, its kind told from the error number.
    pub fn io(message: impl Into<String>, cause: std::io::Error) -> Self {
        Self::with_cause(kind_of(&cause), message, cause)
    }

    /// Adds the act of the layer that passes the error on: `error.context("read table 000034.ldb")`.
    #[must_use]
    pub fn context(mut self, act: impl Into<String>) -> Self {
        self.0.acts.push(act.into());
        self
    }

    /// Replaces the kind where an upper layer knows better what it means to its caller.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

fn kind_of(cause: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as K;
    match cause.kind() {
        K::NotFound => ErrorKind::NotFound,
        K::AlreadyExists | K::DirectoryNotEmpty => ErrorKind::Exists,
        K::PermissionDenied => ErrorKind::Denied,
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => ErrorKind::Full,
        K::UnexpectedEof => ErrorKind::Torn,
        K::Interrupted => ErrorKind::Interrupted,
        K::ResourceBusy | K::WouldBlock => ErrorKind::Busy,
        _ => ErrorKind::Io,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for act in self.0.acts.iter().rev() {
            write!(f, "{act}: ")?;
        }
        f.write_str(&self.0.message)?;
        match &self.0.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.cause {
            Some(cause) => Some(cause.as_ref()),
            None => None,
        }
    }
}

/// Adds an act to whatever error a result holds.
pub trait ResultExt<T> {
    /// `read_table(n).context(|| format!("read table {n}"))?`
    fn context<S: Into<String>>(self, act: impl FnOnce() -> S) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn context<S: Into<String>>(self, act: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.context(act()))
    }
}

impl<T> ResultExt<T> for std::io::Result<T> {
    fn context<S: Into<String>>(self, act: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|cause| Error::io(act(), cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_from_the_outermost_act_to_the_cause() {
        let cause = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Error::io("write 17 bytes", cause)
            .context("store pack")
            .context("back up");
        assert_eq!(
            error.to_string(),
            "back up: store pack: write 17 bytes: no storage space"
        );
        assert_eq!(error.kind(), ErrorKind::Full);
    }
}
