//! Reads a MANIFEST's edits into a version, all or none.

use super::log_reader::{LogSink, UnreadableSpan, read_log_from};
use super::read_at::ReadAt;
use super::version::{Version, VersionBuilder, VersionEdit};
use crate::error::{Error, ErrorKind, Result};

/// The version that a MANIFEST's bytes leave.
pub fn version_of_manifest(file: &dyn ReadAt) -> Result<Version> {
    ManifestReader::default().read_new_edits(file)
}

/// Reads a MANIFEST that may be growing: each time only what was appended since the time before.
#[derive(Debug, Default)]
pub struct ManifestReader {
    version: VersionBuilder,
    read_to: u64,
}

impl ManifestReader {
    /// The version that all whole edits leave, up to the length the file had when it was opened. An edit that is
    /// being written is left out, as LevelDB does; anything else that cannot be read makes the whole unusable, for
    /// an edit less is another set of files.
    pub fn read_new_edits(&mut self, file: &dyn ReadAt) -> Result<Version> {
        let mut edits = ManifestEdits {
            version: &mut self.version,
            record: Vec::new(),
            behind: self.read_to,
            read_to: self.read_to,
            failure: None,
        };
        let tail = read_log_from(file, self.read_to, &mut edits);
        let (read_to, failure) = (edits.read_to, edits.failure);
        self.read_to = read_to;
        match (failure, tail) {
            (Some(error), _) => Err(error),
            (None, Some(tail)) if !tail.cut_short => {
                Err(Error::corrupt(format!("{} at {}", tail.why, tail.from)))
            }
            (None, _) => self.version.clone().finish(),
        }
    }

    /// First byte behind the last whole edit.
    pub fn read_position(&self) -> u64 {
        self.read_to
    }
}

struct ManifestEdits<'a> {
    version: &'a mut VersionBuilder,
    record: Vec<u8>,
    /// First byte behind the newest fragment.
    behind: u64,
    read_to: u64,
    failure: Option<Error>,
}

impl ManifestEdits<'_> {
    /// False for what may be any bytes: a MANIFEST begins with its comparator, be it a fork's.
    fn is_a_manifest(&self) -> bool {
        self.version.has_comparator() || self.record.first() == Some(&1)
    }
}

impl LogSink for ManifestEdits<'_> {
    fn part(&mut self, offset: u64, payload: &[u8]) {
        self.record.extend_from_slice(payload);
        self.behind = offset + payload.len() as u64;
    }

    fn end(&mut self, start: u64, hole: Option<UnreadableSpan>) {
        if self.failure.is_none() {
            let applied = match hole {
                Some(hole) => Err(Error::corrupt(format!("{} at {}", hole.why, hole.from))),
                None => VersionEdit::decode(&self.record).and_then(|edit| self.version.apply(edit)),
            };
            match applied {
                Ok(()) => self.read_to = self.behind,
                Err(error) => {
                    let error = match error.kind() {
                        ErrorKind::UnknownFormat if !self.is_a_manifest() => {
                            error.with_kind(ErrorKind::Corrupt)
                        }
                        _ => error,
                    };
                    self.failure = Some(error.context(format!("edit at {start}")));
                }
            }
        }
        self.record.clear();
    }

    fn abort(&mut self) {
        self.record.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::log_writer::append_record;
    use super::super::version::TableMeta;
    use super::*;

    fn edits(count: u64) -> Vec<VersionEdit> {
        let table = |number| TableMeta {
            number,
            size: 300,
            smallest: [&vec![b'k'; 3000][..], &[0; 8]].concat(),
            largest: b"z\x01\x06\0\0\0\0\0\0".to_vec(),
        };
        let first = VersionEdit {
            log_number: Some(0),
            next_file: Some(1),
            last_sequence: Some(1),
            ..VersionEdit::default()
        };
        let adds = (1..count).map(|number| VersionEdit {
            added: vec![(0, table(number))],
            last_sequence: Some(number),
            ..VersionEdit::default()
        });
        std::iter::once(first).chain(adds).collect()
    }

    #[test]
    fn read_on_at_any_length_it_ends_where_a_reading_from_the_start_does() {
        let mut whole = Vec::new();
        let mut ends = Vec::new();
        for edit in edits(40) {
            let mut record = Vec::new();
            edit.encode(&mut record);
            append_record(&mut whole, &record);
            ends.push(whole.len());
        }
        let mut reader = ManifestReader::default();
        for len in (ends[0]..=whole.len()).step_by(97).chain([whole.len()]) {
            let now = whole[..len].to_vec();
            let version = reader.read_new_edits(&now).unwrap();
            assert_eq!(version, version_of_manifest(&now).unwrap());
            let end = ends.iter().rev().find(|end| **end <= len).unwrap();
            assert_eq!(reader.read_position(), *end as u64, "length {len}");
        }
        assert_eq!(reader.read_new_edits(&whole).unwrap().tables.len(), 39);
    }

    #[test]
    fn a_bad_edit_stays_bad_on_the_next_reading() {
        let mut whole = Vec::new();
        for edit in edits(4) {
            let mut record = Vec::new();
            edit.encode(&mut record);
            append_record(&mut whole, &record);
        }
        let middle = whole.len() / 2;
        whole[middle] ^= 1;
        let mut reader = ManifestReader::default();
        assert!(reader.read_new_edits(&whole).is_err());
        assert!(reader.read_new_edits(&whole).is_err());
    }
}
