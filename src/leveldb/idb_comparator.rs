//! Compares Chromium's IndexedDB keys (`idb_cmp1`).
//!
//! `idb_cmp1`: the order in which Chromium keeps IndexedDB keys.
//!
//! A key is a prefix of three numbers (database, object store, index), then what the prefix says: metadata with
//! a type byte, or an encoded IndexedDB key (an index entry also has a sequence number and a primary key).
//!
//! ```text
//! [ddd ooo ii] database (d+1 bytes, LE) object store (o+1) index (i+1) | rest
//!   0 _ _      global metadata: type, then nothing (< 7), bytes (50), varint (100), two strings (201)
//!   d 0 _      database metadata: type, then nothing (< 6), varints, strings
//!   d o 1|2|3  record, exists entry, blob entry: IDB key           d o >=30  index entry: IDB key, varint, IDB key
//! IDB key: 0 null | 1 varint n, n UTF-16BE units | 2 date, 3 number: f64 LE | 4 varint n, n keys | 5 min | 6 varint n, n bytes
//! ```
//!
//! Chromium calls two keys equal when it cannot decode one, which is no order at all. Here a part that cannot be
//! decoded sorts behind every part that can, and two such parts by their bytes: equal to Chromium on every valid
//! pair, and total on the rest, so that no input can lose a record or upset a sort.

use std::cmp::Ordering;

/// Global metadata types below this have no payload.
const GLOBAL_SIMPLE_MAX: u8 = 7;
/// Database metadata types below this have no payload.
const DATABASE_SIMPLE_MAX: u8 = 6;
/// The first index number a page's own index can have.
const INDEX_ID_MIN: u64 = 30;

/// Compares two keys in Chromium's order.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (IdbKeyReader(a), IdbKeyReader(b));
    match compare_key(&mut a, &mut b) {
        PartOrder::Equal => Ordering::Equal,
        PartOrder::Decided(order) => order,
    }
}

/// The outcome of comparing one part.
enum PartOrder {
    /// Equal so far: go on with the next part.
    Equal,
    /// No later part matters.
    Decided(Ordering),
}

macro_rules! part {
    ($step:expr) => {
        match $step {
            PartOrder::Equal => {}
            decided => return decided,
        }
    };
}

impl From<Ordering> for PartOrder {
    fn from(order: Ordering) -> Self {
        match order {
            Ordering::Equal => PartOrder::Equal,
            other => PartOrder::Decided(other),
        }
    }
}

#[derive(Clone, Copy)]
struct IdbKeyReader<'a>(&'a [u8]);

impl<'a> IdbKeyReader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&mut self, len: u64) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    /// A number of up to 63 bits; Chromium reads 64 and treats what turns out negative as invalid.
    fn varint(&mut self) -> Option<u64> {
        let mut reader = crate::codec::Reader::new(self.0);
        let value = reader.varint().ok().filter(|&value| value <= i64::MAX as u64)?;
        self.0 = &self.0[reader.position()..];
        Some(value)
    }

    fn little_endian(&mut self, len: u64) -> Option<u64> {
        let bytes = self.bytes(len)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |value, &byte| value << 8 | u64::from(byte)),
        )
    }

    fn prefix(&mut self) -> Option<IdbKeyPrefix> {
        let first = self.byte()?;
        Some(IdbKeyPrefix {
            database: self.little_endian(u64::from(first >> 5 & 7) + 1)?,
            object_store: self.little_endian(u64::from(first >> 2 & 7) + 1)?,
            index: self.little_endian(u64::from(first & 3) + 1)?,
        })
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct IdbKeyPrefix {
    database: u64,
    object_store: u64,
    index: u64,
}

/// Reads one part of each key and orders them; a part that cannot be read sorts last.
fn parts<'a, T: Ord>(
    a: &mut IdbKeyReader<'a>,
    b: &mut IdbKeyReader<'a>,
    read: impl Fn(&mut IdbKeyReader<'a>) -> Option<T>,
) -> Result<(T, T), PartOrder> {
    let before = (*a, *b);
    match (read(a), read(b)) {
        (Some(x), Some(y)) => Ok((x, y)),
        (None, Some(_)) => Err(PartOrder::Decided(Ordering::Greater)),
        (Some(_), None) => Err(PartOrder::Decided(Ordering::Less)),
        (None, None) => Err(PartOrder::Decided(before.0.0.cmp(before.1.0))),
    }
}

fn ordered<'a, T: Ord>(
    a: &mut IdbKeyReader<'a>,
    b: &mut IdbKeyReader<'a>,
    read: impl Fn(&mut IdbKeyReader<'a>) -> Option<T>,
) -> PartOrder {
    match parts(a, b, read) {
        Ok((x, y)) => x.cmp(&y).into(),
        Err(decided) => decided,
    }
}

fn varints<'a>(a: &mut IdbKeyReader<'a>, b: &mut IdbKeyReader<'a>) -> PartOrder {
    ordered(a, b, IdbKeyReader::varint)
}

/// Strings are UTF-16BE, so their bytes order as their units do.
fn strings<'a>(a: &mut IdbKeyReader<'a>, b: &mut IdbKeyReader<'a>) -> PartOrder {
    ordered(a, b, |cursor| {
        let units = cursor.varint()?;
        cursor.bytes(units.checked_mul(2)?)
    })
}

fn compare_key<'a>(a: &mut IdbKeyReader<'a>, b: &mut IdbKeyReader<'a>) -> PartOrder {
    let prefix = match parts(a, b, IdbKeyReader::prefix) {
        Ok((x, y)) if x == y => x,
        Ok((x, y)) => return x.cmp(&y).into(),
        Err(decided) => return decided,
    };
    match prefix {
        IdbKeyPrefix { database: 0, .. } => global_metadata(a, b),
        IdbKeyPrefix { object_store: 0, .. } => database_metadata(a, b),
        IdbKeyPrefix { index: 1..=3, .. } => record(a, b),
        IdbKeyPrefix { index, .. } if index >= INDEX_ID_MIN => index_entry(a, b),
        _ => a.0.cmp(b.0).into(),
    }
}

/// The type byte, when both have the same.
fn metadata_type<'a>(a: &mut IdbKeyReader<'a>, b: &mut IdbKeyReader<'a>) -> Result<u8, PartOrder> {
    let (x, y) = parts(a, b, IdbKeyReader::byte)?;
    match x.cmp(&y) {
        Ordering::Equal => Ok(x),
        order => Err(PartOrder::Decided(order)),
    }
}

fn global_metadata<'a>(a: &mut IdbKeyReader<'a>, b: &mut IdbKeyReader<'a>) -> PartOrder {
    match metadata_type(a, b) {
        Err(decided) => decided,
        Ok(0..GLOBAL_SIMPLE_MAX) => PartOrder::Equal,
        Ok(100) => varints(a, b),
        Ok(201) => {
            part!(strings(a, b));
            strings(a, b)
        }
        // 50 is the scopes' own key space, ordered by bytes; other types Chromium has never written.
        Ok(_) => a.0.cmp(b.0).into(),
    }
}

fn database_metadata<'a>(a: &mut IdbKeyReader<'a>, b: &mut IdbKeyReader<'a>) -> PartOrder {
    let kind = match metadata_type(a, b) {
        Ok(kind) => kind,
        Err(decided) => return decided,
    };
    match kind {
        0..DATABASE_SIMPLE_MAX => PartOrder::Equal,
        50 => {
            part!(varints(a, b));
            ordered(a, b, IdbKeyReader::byte)
        }
        100 => {
            part!(varints(a, b));
            part!(varints(a, b));
            ordered(a, b, IdbKeyReader::byte)
        }
        150 => varints(a, b),
        151 => {
            part!(varints(a, b));
            varints(a, b)
        }
        200 => strings(a, b),
        201 => {
            part!(varints(a, b));
            strings(a, b)
        }
        _ => a.0.cmp(b.0).into(),
    }
}

fn record<'a>(a: &mut IdbKeyReader<'a>, b: &mut IdbKeyReader<'a>) -> PartOrder {
    match (a.is_empty(), b.is_empty()) {
        (false, false) => keys(a, b),
        _ => a.0.len().cmp(&b.0.len()).into(),
    }
}

/// Index entries order by key, then primary key, then sequence number; old ones lack the last two.
fn index_entry<'a>(a: &mut IdbKeyReader<'a>, b: &mut IdbKeyReader<'a>) -> PartOrder {
    if a.is_empty() || b.is_empty() {
        return a.0.len().cmp(&b.0.len()).into();
    }
    part!(keys(a, b));
    let sequence = |cursor: &mut IdbKeyReader<'a>| {
        if cursor.is_empty() {
            Some(-1)
        } else {
            cursor.varint().map(|value| value as i64)
        }
    };
    let (x, y) = match parts(a, b, sequence) {
        Ok(numbers) => numbers,
        Err(decided) => return decided,
    };
    if a.is_empty() || b.is_empty() {
        return a.0.len().cmp(&b.0.len()).into();
    }
    part!(keys(a, b));
    x.cmp(&y).into()
}

/// Two encoded IndexedDB keys. Arrays nest as deep as a hostile file likes, so the open ones wait on a heap
/// stack: each holds how many elements both still have, and what follows when those are all equal.
fn keys<'a>(a: &mut IdbKeyReader<'a>, b: &mut IdbKeyReader<'a>) -> PartOrder {
    let mut open: Vec<(u64, Ordering)> = Vec::new();
    loop {
        match element(a, b) {
            IdbKeyElement::Step(PartOrder::Equal) => {}
            IdbKeyElement::Step(decided) => return decided,
            IdbKeyElement::Arrays(x, y) => open.push((x.min(y), x.cmp(&y))),
        }
        loop {
            match open.last_mut() {
                None => return PartOrder::Equal,
                Some((0, Ordering::Equal)) => {
                    open.pop();
                }
                Some((0, order)) => return PartOrder::Decided(*order),
                Some((left, _)) => {
                    *left -= 1;
                    break;
                }
            }
        }
    }
}

enum IdbKeyElement {
    Step(PartOrder),
    /// Two arrays, with their lengths: their elements come next.
    Arrays(u64, u64),
}

fn element<'a>(a: &mut IdbKeyReader<'a>, b: &mut IdbKeyReader<'a>) -> IdbKeyElement {
    let kind = match parts(a, b, |cursor| cursor.byte().filter(|&kind| kind <= 6)) {
        Ok((x, y)) if x == y => x,
        Ok((x, y)) => return IdbKeyElement::Step(rank(x).cmp(&rank(y)).into()),
        Err(decided) => return IdbKeyElement::Step(decided),
    };
    match kind {
        1 => IdbKeyElement::Step(strings(a, b)),
        2 | 3 => IdbKeyElement::Step(numbers(a, b)),
        4 => match parts(a, b, IdbKeyReader::varint) {
            Ok((x, y)) => IdbKeyElement::Arrays(x, y),
            Err(decided) => IdbKeyElement::Step(decided),
        },
        6 => IdbKeyElement::Step(ordered(a, b, |cursor| {
            let len = cursor.varint()?;
            cursor.bytes(len)
        })),
        _ => IdbKeyElement::Step(PartOrder::Equal),
    }
}

/// Type bytes in IndexedDB's order: min, number, date, string, binary, array, null.
fn rank(kind: u8) -> u8 {
    match kind {
        5 => 0,
        3 => 1,
        2 => 2,
        1 => 3,
        6 => 4,
        4 => 5,
        _ => 6,
    }
}

/// -0 equals 0. IndexedDB has no NaN; a crafted one sorts behind every number.
fn numbers<'a>(a: &mut IdbKeyReader<'a>, b: &mut IdbKeyReader<'a>) -> PartOrder {
    let number = |cursor: &mut IdbKeyReader<'a>| {
        let bytes = cursor.bytes(8)?.try_into().ok()?;
        let value = f64::from_le_bytes(bytes);
        let zero_or_value = if value == 0.0 { 0.0 } else { value };
        (!value.is_nan()).then_some(IdbNumber(zero_or_value))
    };
    ordered(a, b, number)
}

struct IdbNumber(f64);

impl PartialEq for IdbNumber {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for IdbNumber {}

impl PartialOrd for IdbNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IdbNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
#[path = "idb_tests.rs"]
mod tests;
