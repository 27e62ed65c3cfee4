//! Generates a database's records as a file of JSON lines.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use levault::engine::read_records::{self, RecordQuery};
use levault::engine::tree;
use levault::error::{Error, ErrorKind, Result};
use levault::report::OperationReport;

use super::mount_context::ShownSnapshot;
use crate::cmd::get::record_json;

/// Bytes made at once; a record may be longer.
const PIECE_BYTES: usize = 128 << 10;

/// Pieces made ahead of the reader.
const AHEAD: usize = 4;

/// An open file of records. To read backwards begins anew.
pub struct RecordStream {
    shown: Arc<ShownSnapshot>,
    number: u32,
    report: Arc<OperationReport>,
    state: Mutex<RecordStreamState>,
}

struct RecordStreamState {
    pieces: Receiver<Result<Vec<u8>>>,
    /// Where in the file `piece` begins.
    at: u64,
    /// Made, and given in part.
    piece: Vec<u8>,
}

impl RecordStream {
    /// Begins to make lines.
    pub fn new(shown: Arc<ShownSnapshot>, number: u32, report: Arc<OperationReport>) -> Self {
        let state = Mutex::new(begin(&shown, number, &report));
        Self {
            shown,
            number,
            report,
            state,
        }
    }

    /// Bytes from `offset` on, fewer than `len` only at the end.
    pub fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if offset < state.at {
            *state = begin(&self.shown, self.number, &self.report);
        }
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let wanted = offset + bytes.len() as u64;
            let skip = usize::try_from(wanted - state.at).unwrap_or(usize::MAX);
            if skip < state.piece.len() {
                let rest = &state.piece[skip..];
                bytes.extend_from_slice(&rest[..rest.len().min(len - bytes.len())]);
            } else if !state.next()? {
                break;
            }
        }
        Ok(bytes)
    }
}

impl RecordStreamState {
    /// Goes to the next piece; false behind the last. What failed is no end: whoever reads on begins anew.
    fn next(&mut self) -> Result<bool> {
        let Ok(piece) = self.pieces.recv() else {
            return Ok(false);
        };
        self.at += self.piece.len() as u64;
        self.piece = piece.inspect_err(|_| self.at = u64::MAX)?;
        Ok(true)
    }
}

fn begin(shown: &Arc<ShownSnapshot>, number: u32, report: &Arc<OperationReport>) -> RecordStreamState {
    let (sender, pieces) = sync_channel(AHEAD);
    let (shown, report) = (Arc::clone(shown), Arc::clone(report));
    std::thread::spawn(move || produce(&shown, number, &report, &sender));
    RecordStreamState {
        pieces,
        at: 0,
        piece: Vec::new(),
    }
}

/// Ends when all is made, or when nobody reads any more.
fn produce(
    shown: &ShownSnapshot,
    number: u32,
    report: &OperationReport,
    sender: &SyncSender<Result<Vec<u8>>>,
) {
    let mut piece = Vec::new();
    let closed = || Error::new(ErrorKind::Interrupted, "nobody reads any more");
    let mut line = |key: &[u8], value: &[u8]| {
        piece.extend_from_slice(record_json(key, value).to_string().as_bytes());
        piece.push(b'\n');
        if piece.len() >= PIECE_BYTES {
            sender.send(Ok(std::mem::take(&mut piece))).map_err(|_| closed())
        } else {
            Ok(())
        }
    };
    let made = tree::database_by_number(&shown.stored.snapshot, number).and_then(|database| {
        shown.opened.read_once(|reader| {
            read_records::read_records_with(reader, database, &RecordQuery::default(), report, &mut line)
        })
    });
    // To send fails only when nobody reads.
    let _ = sender.send(made.map(|()| piece));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_not_read_on_from_but_begun_anew() {
        let (sender, pieces) = sync_channel(2);
        let mut state = RecordStreamState {
            pieces,
            at: 0,
            piece: Vec::new(),
        };
        sender.send(Ok(b"first".to_vec())).unwrap();
        sender.send(Err(Error::corrupt("a leaf"))).unwrap();
        drop(sender);
        assert!(state.next().unwrap() && state.piece == b"first");
        assert!(state.next().is_err());
        assert!(
            state.at > 5,
            "whoever asks for what is behind the first piece begins anew"
        );
        assert!(state.at > u64::from(u32::MAX));
    }
}
