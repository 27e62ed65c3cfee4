//! Prints lines, JSON and numbers with units.

use std::io::{IsTerminal, Write};

use jiff::Timestamp;
use levault::clock::UnixNanos;
use levault::error::{Error, Result, ResultExt};
use serde_json::{Value, json};

use crate::args::GlobalArgs;
use crate::exit_status;

/// How this run talks.
#[derive(Clone, Copy)]
pub struct OutputSettings {
    pub json: bool,
    pub quiet: bool,
    pub verbose: u8,
}

impl OutputSettings {
    /// As the flags say.
    pub fn new(global: &GlobalArgs) -> Self {
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
        }
    }

    /// A line for people; programs and the quiet see nothing.
    pub fn print(&self, line: impl AsRef<str>) -> Result<()> {
        if self.json || self.quiet {
            Ok(())
        } else {
            print_line(line.as_ref())
        }
    }

    /// A line only for those who asked for more.
    pub fn detail(&self, line: impl AsRef<str>) -> Result<()> {
        if self.verbose > 0 {
            self.print(line)
        } else {
            Ok(())
        }
    }

    /// A line for people who asked for everything.
    pub fn indented(&self, line: impl AsRef<str>) -> Result<()> {
        if self.verbose > 1 {
            self.print(line)
        } else {
            Ok(())
        }
    }

    /// One JSON document on a line, for programs.
    pub fn write_json(&self, value: &Value) -> Result<()> {
        if self.json {
            print_line(&value.to_string())
        } else {
            Ok(())
        }
    }

    /// A problem that did not end the run: standard error, both for people and programs.
    pub fn warn(&self, text: &str) {
        if self.json {
            print_error(&json!({"message_type": "error", "error": {"message": text}}).to_string())
        } else {
            print_error(&format!("warning: {text}"))
        }
    }

    /// The error that ended the run, with advice.
    pub fn fail(&self, error: &Error) {
        let code = exit_status::exit_code(error);
        if self.json {
            let message = json!({"message_type": "exit_error", "code": code, "message": error.to_string(),
                "advice": exit_status::advice(error)});
            print_error(&message.to_string());
            return;
        }
        print_error(&format!("levault: {error}"));
        if let Some(advice) = exit_status::advice(error) {
            print_error(&format!("  {advice}"));
        }
    }

    /// True when a progress bar would be seen and not disturb.
    pub fn shows_progress(&self) -> bool {
        !self.json && !self.quiet && std::io::stderr().is_terminal()
    }
}

/// Writes a line; a closed pipe is an error like any other, not a panic.
pub fn print_line(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").context(|| "write to standard output")
}

/// Writes a line to standard error. If its reader is gone the work goes on, and the exit code tells how it ended.
pub fn print_error(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

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

/// `20G` as bytes, as people write it: a whole number, and K, M, G or T in powers of 1024.
pub fn size(words: &str) -> std::result::Result<u64, String> {
    let wrong = || format!("{words}: want a size like 500M or 20G");
    let (count, shift) = match words.chars().last() {
        Some('K' | 'k') => (&words[..words.len() - 1], 10),
        Some('M' | 'm') => (&words[..words.len() - 1], 20),
        Some('G' | 'g') => (&words[..words.len() - 1], 30),
        Some('T' | 't') => (&words[..words.len() - 1], 40),
        _ => (words, 0),
    };
    let count: u64 = count.parse().map_err(|_| wrong())?;
    count.checked_mul(1 << shift).ok_or_else(wrong)
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
        for wrong in ["", "G", "1.5G", "-1", "99999999T", "1GB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_that_are_not_text_are_shown_in_hexadecimal() {
        assert_eq!(key_text(b"abc"), "abc");
        assert_eq!(key_text(b"\x00\xff"), "0x00ff");
        assert_eq!(key_text(b""), "0x");
    }
}
