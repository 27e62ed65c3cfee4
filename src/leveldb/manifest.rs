//! A MANIFEST's bytes → the version its edits leave, all of them or none.

use super::log::{LogSink, Span, read_log};
use super::read_at::ReadAt;
use super::version::{Version, VersionBuilder, VersionEdit};
use crate::error::{Error, Result};

/// The version that a MANIFEST's bytes leave.
pub fn version_of_manifest(file: &dyn ReadAt) -> Result<Version> {
    let mut edits = Edits {
        record: Vec::new(),
        version: Ok(VersionBuilder::default()),
    };
    let tail = read_log(file, &mut edits);
    let version = edits.version?.finish();
    match tail {
        Some(tail) if !tail.cut_short => Err(Error::corrupt(format!("{} at {}", tail.why, tail.from))),
        _ => version,
    }
}

struct Edits {
    record: Vec<u8>,
    version: Result<VersionBuilder>,
}

impl LogSink for Edits {
    fn part(&mut self, _offset: u64, payload: &[u8]) {
        self.record.extend_from_slice(payload);
    }

    fn end(&mut self, start: u64, hole: Option<Span>) {
        if let Ok(version) = &mut self.version {
            let applied = match hole {
                Some(hole) => Err(Error::corrupt(format!("{} at {}", hole.why, hole.from))),
                None => VersionEdit::decode(&self.record).and_then(|edit| version.apply(edit)),
            };
            if let Err(error) = applied {
                self.version = Err(error.act(format!("edit at {start}")));
            }
        }
        self.record.clear();
    }

    fn abort(&mut self) {
        self.record.clear();
    }
}
