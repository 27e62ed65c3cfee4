use super::*;
use crate::codec::{put_prefixed, put_varint};
use proptest::prelude::*;

/// Key, sequence number, and where the value lies and what it is; `None` for a deletion.
type Operation = (Vec<u8>, u64, Option<(u64, Vec<u8>)>);

#[derive(Debug, Default, PartialEq, Clone)]
struct Seen(Vec<Operation>);

impl BatchSink for Seen {
    fn delete(&mut self, key: &[u8], sequence: u64) {
        self.0.push((key.to_vec(), sequence, None));
    }
    fn put(&mut self, key: &[u8], sequence: u64, _len: usize, offset: u64) {
        self.0.push((key.to_vec(), sequence, Some((offset, Vec::new()))));
    }
    fn value(&mut self, piece: &[u8]) {
        let last = self.0.last_mut().unwrap();
        last.2.as_mut().unwrap().1.extend_from_slice(piece);
    }
}

fn encode(sequence: u64, operations: &[(Vec<u8>, Option<Vec<u8>>)]) -> Vec<u8> {
    let mut out = sequence.to_le_bytes().to_vec();
    out.extend((operations.len() as u32).to_le_bytes());
    for (key, value) in operations {
        out.push(u8::from(value.is_some()));
        put_prefixed(&mut out, key);
        if let Some(value) = value {
            put_prefixed(&mut out, value);
        }
    }
    out
}

fn parse(pieces: &[&[u8]]) -> Result<(BatchHeader, Seen)> {
    let (mut parser, mut seen, mut offset) = (BatchParser::default(), Seen::default(), 0);
    for piece in pieces {
        parser.push(offset, piece, &mut seen)?;
        offset += piece.len() as u64;
    }
    Ok((parser.finish()?, seen))
}

fn operations() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    prop::collection::vec((bytes(), prop::option::of(bytes())), 0..12)
}

proptest! {
    #[test]
    fn a_batch_reads_the_same_whole_and_in_any_pieces(
        operations in operations(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let batch = encode(7, &operations);
        let (header, seen) = parse(&[&batch]).unwrap();
        prop_assert_eq!(header, BatchHeader { sequence: 7, count: operations.len() as u32 });
        for (index, (key, value)) in operations.iter().enumerate() {
            prop_assert_eq!((&seen.0[index].0, seen.0[index].1), (key, 7 + index as u64));
            let found = seen.0[index].2.as_ref();
            prop_assert_eq!(found.map(|found| &found.1), value.as_ref());
            if let Some((offset, value)) = found {
                prop_assert_eq!(&batch[*offset as usize..][..value.len()], &value[..]);
            }
        }
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(batch.len() + 1)).collect();
        ends.extend([0, batch.len()]);
        ends.sort();
        let pieces: Vec<&[u8]> = ends.windows(2).map(|ends| &batch[ends[0]..ends[1]]).collect();
        prop_assert_eq!(parse(&pieces).unwrap(), (header, seen));
    }

    #[test]
    fn any_bytes_parse_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..100), flips in any::<u64>()) {
        let _ = parse(&[&bytes]);
        let mut batch = encode(1, &[(bytes.clone(), Some(bytes))]);
        let at = flips as usize % batch.len();
        batch[at] ^= (flips >> 32) as u8;
        let _ = parse(&[&batch[..at], &batch[at..]]);
    }
}

#[test]
fn a_batch_cut_at_any_byte_is_an_error() {
    let batch = encode(
        1,
        &[
            (b"key".to_vec(), Some(b"value".to_vec())),
            (b"gone".to_vec(), None),
        ],
    );
    for len in 0..batch.len() {
        assert!(parse(&[&batch[..len]]).is_err(), "{len}");
    }
}

#[test]
fn a_wrong_count_a_wrong_kind_and_an_unbounded_length_are_errors() {
    let good = encode(1, &[(b"key".to_vec(), None)]);
    let with = |at: usize, byte: u8| {
        let mut batch = good.clone();
        batch[at] = byte;
        batch
    };
    assert!(parse(&[&with(8, 0)]).is_err());
    assert!(parse(&[&with(8, 2)]).is_err());
    assert!(parse(&[&with(12, 2)]).is_err());
    assert!(parse(&[&with(7, 0xff)]).is_err());
    let mut huge = encode(1, &[]);
    huge[8] = 1;
    huge.push(1);
    put_varint(&mut huge, u64::MAX);
    assert!(parse(&[&huge]).is_err());
}
