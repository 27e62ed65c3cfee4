//! Tells local paths from addresses of other storages.
//!
//! Users of other tools write `s3:bucket`, `host:/path` or `sftp://...`, and unit files hold `~/repo`, which no shell
//! expands there. Taken for a path, each makes a directory of that name below the current one, and the data is believed to
//! be elsewhere. Such words are refused before anything is made; with `./` before them they are a path.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

/// A path that something is written to; the error says why the words are none.
pub fn path(words: &OsStr) -> Result<PathBuf, String> {
    let text = words.to_string_lossy();
    match refuse_foreign_scheme(words.as_bytes()) {
        None => Ok(PathBuf::from(words)),
        Some(why) => Err(format!("`{text}` {why}; `./{text}` is a path of that name")),
    }
}

/// The same for the command line and its variables.
pub fn parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|words: OsString| path(&words))
}

/// Why the words are no path, if they are none.
fn refuse_foreign_scheme(words: &[u8]) -> Option<&'static str> {
    let first = words.split(|byte| *byte == b'/').next().unwrap_or_default();
    match words.first() {
        None => Some("is empty"),
        Some(b'/') => None,
        Some(b'~') => {
            Some("begins with `~`, which a shell expands and levault does not: name the directory in full")
        }
        Some(b'$' | b'%') => {
            Some("begins with a variable that is not expanded here: name the directory in full")
        }
        Some(b'"' | b'\'') => Some("begins with a quotation mark, which belongs to no path here"),
        Some(byte) if byte.is_ascii_whitespace() => Some("begins with white space"),
        Some(_) if first.contains(&b':') => Some(
            "is the address of another storage or host, and this version writes to local directories only",
        ),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_what_a_shell_would_expand_are_no_paths() {
        for words in [
            "s3:s3.host/bucket",
            "s3://bucket",
            "sftp:user@host:/srv",
            "sftp://user@host/srv",
            "ssh://host/srv",
            "rest:https://host/",
            "https://host/",
            "rclone:remote:path",
            "b2:bucket:path",
            "azure:container:/",
            "gs:bucket:/",
            "swift:container:/",
            "host:/srv",
            "user@host:srv",
            "[::1]:/srv",
            "opendal:s3",
            "file:///srv/repo",
            "C:\\backup",
            ":/srv",
            "~",
            "~/repo",
            "~user/repo",
            "$HOME/repo",
            "${HOME}/repo",
            "%h/repo",
            "\"/srv/repo\"",
            "'/srv/repo'",
            " /srv/repo",
            "\t/srv",
            "",
        ] {
            assert!(path(words.as_ref()).is_err(), "{words:?}");
        }
    }

    #[test]
    fn paths_are_paths_whatever_lies_behind_their_first_part() {
        for words in [
            "/srv/a:b",
            "./s3:bucket",
            "./~",
            "../host:x",
            "repo",
            "a/b:c",
            "a/~/b",
            ".",
            "..",
            "-x",
            "a$b",
            "a b",
        ] {
            assert_eq!(path(words.as_ref()), Ok(PathBuf::from(words)));
        }
    }
}
