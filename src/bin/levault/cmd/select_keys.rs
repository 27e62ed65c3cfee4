//! Parses arguments that select keys.

use std::os::unix::ffi::OsStrExt;

use levault::engine::KeyRange;
use levault::engine::database_series::DatabaseFilter;
use levault::engine::key_selection::KeySelection;
use levault::error::Result;

use crate::args::{DatabaseFilterArgs, KeyArg, SelectionArgs};
use crate::command_context::usage;

/// The keys that the flags select.
pub fn selection(args: &SelectionArgs) -> Result<KeySelection> {
    let text = |words: &str| Ok(words.as_bytes().to_vec());
    match (&args.prefix, &args.prefix_hex, &args.range, &args.range_hex) {
        (Some(words), ..) => text(words).map(KeySelection::Prefix),
        (_, Some(words), ..) => hex(words).map(KeySelection::Prefix),
        (_, _, Some(words), _) => range(words, text).map(KeySelection::Range),
        (.., Some(words)) => range(words, hex).map(KeySelection::Range),
        _ => Ok(KeySelection::All),
    }
}

fn range(words: &str, key: impl Fn(&str) -> Result<Vec<u8>>) -> Result<KeyRange> {
    let (from, to) = words.split_once("..").ok_or_else(|| {
        usage(format!(
            "range {words}: expected FROM..TO; one of the two may be left out"
        ))
    })?;
    let bound = |words: &str| match words {
        "" => Ok(None),
        words => key(words).map(Some),
    };
    Ok(KeyRange {
        from: bound(from)?,
        to: bound(to)?,
    })
}

/// The databases that the flags mean.
pub fn scope(args: &DatabaseFilterArgs) -> DatabaseFilter {
    DatabaseFilter {
        host: args.host.clone(),
        database: args.db.as_ref().map(|name| name.as_bytes().to_vec()),
    }
}

/// The one key that is named.
pub fn key_bytes(words: &KeyArg) -> Result<Vec<u8>> {
    match (&words.key, &words.key_hex, &words.key_b64) {
        (Some(text), ..) => Ok(text.clone().into_bytes()),
        (_, Some(text), _) => hex(text),
        (.., Some(text)) => data_encoding::BASE64
            .decode(text.as_bytes())
            .map_err(|cause| usage(format!("key in base64: {cause}"))),
        _ => Err(usage("no key named")),
    }
}

/// Bytes in hexadecimal.
pub fn hex(text: &str) -> Result<Vec<u8>> {
    data_encoding::HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .map_err(|cause| usage(format!("{text} in hexadecimal: {cause}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_end_of_a_range_may_be_left_out() {
        let text = |words: &str| Ok(words.as_bytes().to_vec());
        let ends = |words| range(words, text).map(|range| (range.from, range.to)).unwrap();
        assert_eq!(ends("a..b"), (Some(b"a".to_vec()), Some(b"b".to_vec())));
        assert_eq!(ends("a.."), (Some(b"a".to_vec()), None));
        assert_eq!(ends("..b"), (None, Some(b"b".to_vec())));
        assert!(range("a", text).is_err());
        assert!(range("0g..", hex).is_err());
    }
}
