//! Formats and parses sizes, times and keys.

use std::time::Duration;

use jiff::Timestamp;
use levault::clock::UnixNanos;
use serde_json::Value;

/// `1536` as `1.5 KiB`.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return match unit {
                "B" => format!("{count} B"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// Parses a size: `12`, `500M`, `2G`, `3GiB`; units are powers of 1024.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].trim_end_matches(['i', 'B', 'b']) {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        other => return Err(format!("{other} is no unit: want a size like 500M or 20G")),
    };
    let wrong = |_| format!("{text}: want a size like 500M or 20G");
    let number: u64 = digits.parse().map_err(wrong)?;
    number
        .checked_mul(1 << unit)
        .ok_or_else(|| format!("{text} is too large"))
}

/// Parses a duration: `72h`, `3d`, `0`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" if digits == "0" => 0,
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("want a number and a unit: s, m, h or d".into()),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is no number"))?;
    let seconds = number.checked_mul(unit).filter(|seconds| *seconds < 1 << 32);
    seconds.map(Duration::from_secs).ok_or_else(|| "too long".into())
}

/// RFC 3339 with zone, to the second; nanoseconds only where programs read.
pub fn time(at: UnixNanos) -> String {
    time_of_nanos(at.0.into())
}

/// The same of a file's time, which may lie beyond what the program's own times hold.
pub fn time_of_nanos(nanos: i128) -> String {
    match Timestamp::from_nanosecond(nanos) {
        Ok(timestamp) => timestamp
            .round(jiff::Unit::Second)
            .unwrap_or(timestamp)
            .to_string(),
        Err(_) => format!("{nanos} ns"),
    }
}

/// RFC 3339 in full.
pub fn time_exact(at: UnixNanos) -> String {
    time_of_nanos_exact(at.0.into())
}

/// A file's time in full.
pub fn time_of_nanos_exact(nanos: i128) -> String {
    Timestamp::from_nanosecond(nanos).map_or_else(|_| format!("{nanos} ns"), |at| at.to_string())
}

/// A key or value for JSON: `NAME` when it is UTF-8, `NAME_b64` always.
pub fn put_bytes(object: &mut serde_json::Map<String, Value>, name: &str, bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        object.insert(name.into(), text.into());
    }
    object.insert(format!("{name}_b64"), data_encoding::BASE64.encode(bytes).into());
}

/// A key for people: text when printable, else hexadecimal.
pub fn key_text(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.is_empty() && text.chars().all(|c| !c.is_control()) => text.into(),
        _ => format!("0x{}", data_encoding::HEXLOWER.encode(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 40), "5.0 TiB");
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(size("1536"), Ok(1536));
        assert_eq!(size("20G"), Ok(20 << 30));
        assert_eq!((size("2K"), size("3GiB")), (Ok(2048), Ok(3 << 30)));
        for wrong in ["", "G", "1.5G", "-1", "99999999T", "5X"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_that_are_not_text_are_shown_in_hexadecimal() {
        assert_eq!(key_text(b"abc"), "abc");
        assert_eq!(key_text(b"\x00\xff"), "0x00ff");
        assert_eq!(key_text(b""), "0x");
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("3d"), Ok(Duration::from_secs(259_200)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "5", "h", "1w", "99999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
