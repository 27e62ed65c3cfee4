//! Parses and formats the names of LevelDB's files.
//!
//! C++ LevelDB and goleveldb agree on all but the pointer to a pending MANIFEST: goleveldb also leaves
//! `CURRENT.bak` and `CURRENT.<number>`, and `.tmp` where C++ writes `.dbtmp`.

use super::database_layout::TableExtension;

/// What a file in a LevelDB directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileName {
    /// `CURRENT`: names the MANIFEST in force.
    Current,
    /// `CURRENT.bak`, `CURRENT.<number>`: goleveldb's old and pending pointers, never authority here.
    CurrentSpare,
    /// `MANIFEST-<number>`: the list of changes to the set of tables.
    Manifest(u64),
    /// `<number>.log`: batches not yet in a table.
    Log(u64),
    /// `<number>.ldb` or `<number>.sst`.
    Table(u64, TableExtension),
    /// `LOCK`: held by the owner while it is open.
    Lock,
    /// `LOG`, `LOG.old`: the owner's diary.
    InfoLog,
    /// `<number>.dbtmp`, `<number>.tmp`: unfinished.
    Temp(u64),
}

impl FileName {
    /// Reads a name; `None` for a file that is not LevelDB's.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "CURRENT" => return Some(Self::Current),
            "CURRENT.bak" => return Some(Self::CurrentSpare),
            "LOCK" => return Some(Self::Lock),
            "LOG" | "LOG.old" => return Some(Self::InfoLog),
            _ => {}
        }
        if let Some(digits) = name.strip_prefix("MANIFEST-") {
            return number(digits).map(Self::Manifest);
        }
        if let Some(digits) = name.strip_prefix("CURRENT.") {
            return number(digits).map(|_| Self::CurrentSpare);
        }
        let (digits, extension) = name.split_once('.')?;
        let number = number(digits)?;
        match extension {
            "log" => Some(Self::Log(number)),
            "ldb" => Some(Self::Table(number, TableExtension::Ldb)),
            "sst" => Some(Self::Table(number, TableExtension::Sst)),
            "dbtmp" | "tmp" => Some(Self::Temp(number)),
            _ => None,
        }
    }

    /// The number in it, if it has one.
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Manifest(number) | Self::Log(number) | Self::Table(number, _) | Self::Temp(number) => {
                Some(number)
            }
            Self::Current | Self::CurrentSpare | Self::Lock | Self::InfoLog => None,
        }
    }
}

/// The name LevelDB gives a table.
pub fn table_name(number: u64, extension: TableExtension) -> String {
    format!("{number:06}.{}", extension.as_str())
}

/// The name LevelDB gives a log.
pub fn log_name(number: u64) -> String {
    format!("{number:06}.log")
}

/// The name LevelDB gives a MANIFEST.
pub fn manifest_name(number: u64) -> String {
    format!("MANIFEST-{number:06}")
}

fn number(digits: &str) -> Option<u64> {
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_out_and_come_back() {
        for number in [0, 1, 999_999, 1_000_000, u64::MAX] {
            assert_eq!(FileName::parse(&log_name(number)), Some(FileName::Log(number)));
            assert_eq!(
                FileName::parse(&manifest_name(number)),
                Some(FileName::Manifest(number))
            );
            for extension in [TableExtension::Ldb, TableExtension::Sst] {
                let name = table_name(number, extension);
                assert_eq!(FileName::parse(&name), Some(FileName::Table(number, extension)));
            }
        }
    }

    #[test]
    fn other_files_are_not_ours() {
        for name in [
            "",
            ".",
            "x",
            "notes.txt",
            ".log",
            "1",
            "1.txt",
            "+1.log",
            "1.log.gz",
            "MANIFEST-",
            "MANIFEST-1a",
            "CURRENT.",
            "current",
            "99999999999999999999.log",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
        assert_eq!(FileName::parse("CURRENT.bak"), Some(FileName::CurrentSpare));
        assert_eq!(FileName::parse("CURRENT.7"), Some(FileName::CurrentSpare));
        assert_eq!(FileName::parse("000007.dbtmp"), Some(FileName::Temp(7)));
    }
}
