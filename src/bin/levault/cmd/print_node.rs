//! Prints files, directories and databases of a snapshot.

use levault::engine::tree::TreeNode;
use levault::snapshot::{DatabaseRoot, EntryKind, FileMetadata};
use serde_json::{Map, Value};

use crate::format::{bytes, time_of_nanos, time_of_nanos_exact};

/// A node, where it stood, and its database if it is one.
pub struct ShownNode<'a> {
    pub path: &'a [u8],
    pub node: &'a TreeNode,
    pub database: Option<&'a DatabaseRoot>,
}

impl ShownNode<'_> {
    fn meta(&self) -> &FileMetadata {
        &self.node.entry.meta
    }

    /// Bytes of a file or of a database's records.
    pub fn size(&self) -> u64 {
        match &self.node.entry.kind {
            EntryKind::File(list) => list.bytes(),
            _ => self.database.map_or(0, DatabaseRoot::bytes),
        }
    }

    /// The path on one line.
    pub fn path_text(&self) -> String {
        one_line(self.path)
    }

    /// Mode, owner, group, size, time and path.
    pub fn long(&self, human_readable: bool) -> String {
        let meta = self.meta();
        let number = |number: Option<u32>| number.map_or("-".into(), |number| number.to_string());
        let size = if human_readable {
            bytes(self.size())
        } else {
            self.size().to_string()
        };
        let mtime = meta.mtime_nanos.map_or("-".into(), time_of_nanos);
        format!(
            "{} {:>5} {:>5} {size:>10} {mtime:>20} {}{}",
            permissions(&self.node.entry.kind, meta.mode),
            number(meta.uid),
            number(meta.gid),
            self.path_text(),
            self.details()
        )
    }

    fn details(&self) -> String {
        match (&self.node.entry.kind, self.database) {
            (EntryKind::Symlink(target), _) => format!(" -> {}", one_line(target)),
            (_, Some(database)) => format!("  (database, {} records)", database.records),
            _ => String::new(),
        }
    }

    /// restic's fields. Mode is what the system's `stat` says; names and paths that are not UTF-8 are there in base64 too.
    pub fn json(&self) -> Value {
        let (entry, meta) = (&self.node.entry, self.meta());
        let mut object = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            value.map(|value| object.insert(name.into(), value));
        };
        let at = |at: Option<i128>| at.map(|at| time_of_nanos_exact(at).into());
        put("message_type", Some("node".into()));
        put("struct_type", Some("node".into()));
        put("type", Some(type_name(&entry.kind).into()));
        put("uid", meta.uid.map(Value::from));
        put("gid", meta.gid.map(Value::from));
        put(
            "mode",
            meta.mode.map(|mode| (type_bits(&entry.kind) | mode).into()),
        );
        put("permissions", Some(permissions(&entry.kind, meta.mode).into()));
        put("mtime", at(meta.mtime_nanos));
        put("ctime", at(meta.ctime_nanos));
        put("inode", meta.inode.map(Value::from));
        if matches!(entry.kind, EntryKind::File(_) | EntryKind::Database(_)) {
            put("size", Some(self.size().into()));
        }
        put("db", self.database.map(|database| database.name.clone().into()));
        put("records", self.database.map(|database| database.records.into()));
        put_path(&mut object, "name", &entry.name);
        put_path(&mut object, "path", self.path);
        if let EntryKind::Symlink(target) = &entry.kind {
            put_path(&mut object, "linktarget", target);
        }
        object.into()
    }
}

/// A name or path for programs: text always, and what it stands for in base64 where it is not UTF-8.
pub fn put_path(object: &mut Map<String, Value>, name: &str, path: &[u8]) {
    let text = String::from_utf8_lossy(path);
    if text.as_bytes() != path {
        object.insert(format!("{name}_b64"), data_encoding::BASE64.encode(path).into());
    }
    object.insert(name.into(), text.into());
}

/// Paths for programs: text always, and all of them in base64 where one is not UTF-8.
pub fn put_paths(object: &mut Map<String, Value>, name: &str, paths: &[&[u8]]) {
    let texts: Vec<Value> = paths
        .iter()
        .map(|path| String::from_utf8_lossy(path).into())
        .collect();
    if paths.iter().any(|path| std::str::from_utf8(path).is_err()) {
        let exact: Vec<Value> = paths
            .iter()
            .map(|path| data_encoding::BASE64.encode(path).into())
            .collect();
        object.insert(format!("{name}_b64"), exact.into());
    }
    object.insert(name.into(), texts.into());
}

/// An object, and a path in it.
pub fn with_path(mut value: Value, name: &str, path: &[u8]) -> Value {
    if let Value::Object(object) = &mut value {
        put_path(object, name, path);
    }
    value
}

/// A path that cannot be taken for two lines, nor move the terminal's cursor.
pub fn one_line(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let plain = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(plain).collect()
}

/// What it is, in restic's words.
pub fn type_name(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File(_) => "file",
        EntryKind::Directory(_) => "dir",
        EntryKind::Symlink(_) => "symlink",
        EntryKind::Database(_) => "database",
        EntryKind::Fifo => "fifo",
        EntryKind::Device(device) if device.is_block => "dev",
        EntryKind::Device(_) => "chardev",
    }
}

fn type_bits(kind: &EntryKind) -> u32 {
    match kind {
        EntryKind::File(_) => 0o100_000,
        EntryKind::Directory(_) | EntryKind::Database(_) => 0o040_000,
        EntryKind::Symlink(_) => 0o120_000,
        EntryKind::Fifo => 0o010_000,
        EntryKind::Device(device) if device.is_block => 0o060_000,
        EntryKind::Device(_) => 0o020_000,
    }
}

/// As `ls -l` shows it.
fn permissions(kind: &EntryKind, mode: Option<u32>) -> String {
    let first = match kind {
        EntryKind::File(_) => '-',
        EntryKind::Directory(_) | EntryKind::Database(_) => 'd',
        EntryKind::Symlink(_) => 'l',
        EntryKind::Fifo => 'p',
        EntryKind::Device(device) if device.is_block => 'b',
        EntryKind::Device(_) => 'c',
    };
    let Some(mode) = mode else {
        return format!("{first}?????????");
    };
    let mut text = String::from(first);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bit = |bit: u32, c: char| if mode >> shift & bit != 0 { c } else { '-' };
        text.push(bit(4, 'r'));
        text.push(bit(2, 'w'));
        text.push(match (mode & special != 0, mode >> shift & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, _) => bit(1, 'x'),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_read_as_ls_shows_them() {
        let of = |mode| permissions(&EntryKind::Fifo, mode);
        assert_eq!(of(Some(0o644)), "prw-r--r--");
        assert_eq!(of(Some(0o7755)), "prwsr-sr-t");
        assert_eq!(of(Some(0o7000)), "p--S--S--T");
        assert_eq!(of(None), "p?????????");
    }

    #[test]
    fn a_name_never_is_two_lines() {
        assert_eq!(one_line(b"a\nb\x1b[1m\xff"), "a\\nb\\u{1b}[1m\u{fffd}");
        let mut object = Map::new();
        put_path(&mut object, "path", b"\xff");
        put_path(&mut object, "name", b"a");
        let expected = serde_json::json!({"path": "\u{fffd}", "path_b64": "/w==", "name": "a"});
        assert_eq!(Value::from(object), expected);
    }
}
