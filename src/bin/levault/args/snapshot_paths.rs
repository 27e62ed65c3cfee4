//! Arguments that name snapshots and paths in them.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::{KeyArg, SelectionArgs};

/// `SNAPSHOT` or `SNAPSHOT:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPath {
    /// Words for a snapshot.
    pub snapshot: String,
    /// Where in it; empty for the whole.
    pub address: Vec<u8>,
}

impl SnapshotPath {
    /// No word for a snapshot has a colon in it.
    fn parse(words: OsString) -> Result<Self, String> {
        let bytes = words.into_vec();
        let colon = bytes.iter().position(|byte| *byte == b':');
        let (snapshot, address) = match colon {
            Some(at) => (&bytes[..at], bytes[at + 1..].to_vec()),
            None => (&bytes[..], Vec::new()),
        };
        match String::from_utf8(snapshot.to_vec()) {
            Ok(snapshot) => Ok(Self { snapshot, address }),
            Err(_) => Err("a snapshot's id is hexadecimal".into()),
        }
    }

    pub fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new().try_map(Self::parse)
    }

    /// The place of `path` below this one.
    pub fn path_below(&self, path: &std::ffi::OsStr) -> Self {
        let address = if self.address.is_empty() {
            path.as_bytes().to_vec()
        } else {
            [&self.address, &b"/"[..], path.as_bytes()].concat()
        };
        let snapshot = self.snapshot.clone();
        Self { snapshot, address }
    }
}

/// Which database of a snapshot: needed when it holds several.
#[derive(Args)]
pub struct DatabaseArg {
    /// Snapshot: an id or its beginning, `latest`, `latest~N`; behind a colon what is meant in it, by name or path
    #[arg(value_name = "SNAPSHOT[:PATH]", value_parser = SnapshotPath::parser())]
    pub place: SnapshotPath,
    /// Which database, when the snapshot holds several: its name, or the whole path where it stood
    #[arg(long, value_name = "NAME")]
    pub db: Option<OsString>,
}

#[derive(Args)]
pub struct LsArgs {
    #[command(flatten)]
    pub pick: DatabaseArg,
    /// Only what lies in these directories
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Mode, owner, group, size and time as well
    #[arg(short, long)]
    pub long: bool,
    /// Sizes with units
    #[arg(long)]
    pub human_readable: bool,
    /// Also what lies in directories below the given ones (without any, all is listed)
    #[arg(long)]
    pub recursive: bool,
    /// List the keys of a database
    #[arg(long)]
    pub keys: bool,
    /// Only keys that begin so
    #[arg(long, requires = "keys")]
    pub prefix: Option<String>,
}

#[derive(Args)]
pub struct GetArgs {
    #[command(flatten)]
    pub pick: DatabaseArg,
    #[command(flatten)]
    pub key: KeyArg,
}

#[derive(Args)]
pub struct DumpArgs {
    #[command(flatten)]
    pub pick: DatabaseArg,
    /// A file, directory or database in it
    #[arg(value_name = "PATH")]
    pub path: Option<OsString>,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Of a database: jsonl: an object a record; raw: le32 key length, key, le32 value length, value; leveldb: a new database
    #[arg(long, value_enum, default_value_t = DumpFormat::Jsonl)]
    pub format: DumpFormat,
    /// Of a directory (always), a database or a file: with all that belongs to it, for any tar to unpack
    #[arg(short, long, value_enum, value_name = "FORMAT", conflicts_with_all = ["format", "SelectionArgs", "with_uncertain"])]
    pub archive: Option<ArchiveFormat>,
    /// Where it goes instead of standard output: a new file; of a new database, an absent or empty directory
    #[arg(short, long, value_name = "PATH", required_if_eq("format", "leveldb"), value_parser = crate::address::parser())]
    pub target: Option<PathBuf>,
    /// Also records that damage in the source made uncertain
    #[arg(long)]
    pub with_uncertain: bool,
}

impl DumpArgs {
    /// Where in which snapshot.
    pub fn restore_place(&self) -> SnapshotPath {
        match &self.path {
            Some(path) => self.pick.place.path_below(path),
            None => self.pick.place.clone(),
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub enum ArchiveFormat {
    Tar,
}

#[derive(Args)]
pub struct DiffArgs {
    /// The old state: a snapshot's id or its beginning, `latest`, `latest~N`; behind a colon a part of it
    #[arg(value_name = "SNAPSHOT1[:PATH]", value_parser = SnapshotPath::parser())]
    pub old: SnapshotPath,
    /// The new state
    #[arg(value_name = "SNAPSHOT2[:PATH]", value_parser = SnapshotPath::parser())]
    pub new: SnapshotPath,
    /// This database alone: its name, or the whole path where it stood
    #[arg(long, value_name = "NAME")]
    pub db: Option<OsString>,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Also files of which mode, owner, time or extended attributes alone differ
    #[arg(long)]
    pub metadata: bool,
    /// Only count what differs
    #[arg(long)]
    pub counts: bool,
}

/// Which databases of which hosts.
#[derive(Args)]
pub struct DatabaseFilterArgs {
    /// Only databases of this name, or at this whole path
    #[arg(long, value_name = "NAME")]
    pub db: Option<OsString>,
    /// Only snapshots of this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
}

#[derive(Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    pub key: KeyArg,
    #[command(flatten)]
    pub scope: DatabaseFilterArgs,
}

#[derive(Args)]
pub struct FindArgs {
    /// Files whose names match, as in .gitignore (*.sqlite, /home/*/tmp), and records with these keys
    #[arg(value_name = "PATTERN", conflicts_with = "SelectionArgs", required_unless_present_any = ["key_hex", "prefix", "prefix_hex", "range", "range_hex"])]
    pub words: Vec<OsString>,
    /// Files of any case
    #[arg(short, long)]
    pub ignore_case: bool,
    /// Mode, owner, group, size and time of files as well
    #[arg(short, long)]
    pub long: bool,
    /// A key in hexadecimal; may be given several times
    #[arg(long, value_name = "HEX", conflicts_with = "SelectionArgs")]
    pub key_hex: Vec<String>,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub scope: DatabaseFilterArgs,
    /// Only this snapshot; may be given several times
    #[arg(short, long, value_name = "SNAPSHOT")]
    pub snapshot: Vec<String>,
    /// Only snapshots that have all of these tags ('': those without tags); may be given several times, one must fit
    #[arg(long, value_name = "TAG[,TAG]")]
    pub tag: Vec<String>,
}

#[cfg(all(feature = "mount", target_os = "linux"))]
#[derive(Args)]
pub struct MountArgs {
    /// A directory; what is in it is hidden until the end
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
    /// Let others than who mounts look into it, as far as modes and owners let them
    #[arg(long)]
    pub allow_other: bool,
    /// With --allow-other, let them read everything
    #[arg(long, requires = "allow_other")]
    pub no_default_permissions: bool,
    /// Show everything as root's
    #[arg(long)]
    pub owner_root: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum DumpFormat {
    Jsonl,
    Raw,
    Leveldb,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_snapshot_and_what_is_behind_the_first_colon() {
        let place = |words: &[u8]| SnapshotPath::parse(OsString::from_vec(words.to_vec()));
        let of = |snapshot: &str, address: &[u8]| SnapshotPath {
            snapshot: snapshot.into(),
            address: address.to_vec(),
        };
        assert_eq!(place(b"latest~1"), Ok(of("latest~1", b"")));
        assert_eq!(place(b"latest:/a:b/\xff"), Ok(of("latest", b"/a:b/\xff")));
        assert!(place(b"\xff:a").is_err());
        assert_eq!(of("x", b"a").path_below("b/c".as_ref()), of("x", b"a/b/c"));
        assert_eq!(of("x", b"").path_below("/b".as_ref()), of("x", b"/b"));
    }
}
