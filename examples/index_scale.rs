//! How the index scales: builds a lookup over made-up segments, cold and warm, and prints memory and time.
//!
//! `cargo run --release --example index_scale -- [BLOBS] [CACHE_DIRECTORY]`, 10 million blobs by default.

use std::sync::Arc;
use std::time::Instant;

use levault::error::{Error, ErrorKind, Result};
use levault::id::{BlobId, ObjectId};
use levault::index::{IndexEntry, Location, Segment, SegmentPack};
use levault::index_cache::{IndexLookup, LookupCache};
use levault::kind::BlobKind;

const BLOBS_PER_SEGMENT: u64 = 131_072;
const BLOBS_PER_PACK: u64 = 1_500;
const PACK_BYTES: u64 = 32 << 20;
const LOOKUPS: u64 = 200_000;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let blobs = arguments
        .next()
        .map_or(Ok(10_000_000), |text| text.parse::<u64>());
    let blobs = blobs.map_err(|_| Error::new(ErrorKind::Usage, "index_scale [BLOBS] [CACHE_DIRECTORY]"))?;
    let cache = match arguments.next() {
        Some(directory) => LookupCache::open_directory(directory, [1; 32]),
        None => LookupCache::open_anonymous([1; 32]),
    };
    let listed: Vec<ObjectId> = (0..blobs.div_ceil(BLOBS_PER_SEGMENT)).map(segment_id).collect();
    println!(
        "{blobs} blobs in {} segments; {} at the start",
        listed.len(),
        memory()
    );
    for round in ["first", "second"] {
        let start = Instant::now();
        let lookup = cache.open(&listed, Arc::new(move |id: &ObjectId| segment(id, blobs)))?;
        println!(
            "{round} open: {:.2} s, resident {:.1} MiB = {:.2} bytes a blob; {}",
            start.elapsed().as_secs_f64(),
            lookup.resident_bytes() as f64 / (1 << 20) as f64,
            lookup.resident_bytes() as f64 / blobs as f64,
            memory()
        );
        measure(&lookup, blobs)?;
    }
    Ok(())
}

fn measure(lookup: &IndexLookup, blobs: u64) -> Result<()> {
    let step = (blobs / LOOKUPS).max(1);
    let (found, present) = timed(lookup, (0..LOOKUPS).map(|at| at * step % blobs))?;
    let (wrong, absent) = timed(lookup, (0..LOOKUPS).map(|at| blobs + at))?;
    println!(
        "  {found} of {LOOKUPS} found, {present:.2} us each; {wrong} of as many absent ones, {absent:.2} us each"
    );
    let start = Instant::now();
    let all = lookup
        .iter_rows()?
        .try_fold(0u64, |count, entry| entry.map(|_| count + 1))?;
    println!(
        "  {all} entries in order in {:.2} s; {}",
        start.elapsed().as_secs_f64(),
        memory()
    );
    Ok(())
}

/// How many are there, and microseconds for each question.
fn timed(lookup: &IndexLookup, numbers: impl Iterator<Item = u64>) -> Result<(u64, f64)> {
    let start = Instant::now();
    let mut found = 0;
    for number in numbers {
        found += u64::from(lookup.contains(&blob_id(number))?);
    }
    Ok((found, start.elapsed().as_secs_f64() * 1e6 / LOOKUPS as f64))
}

fn segment_id(number: u64) -> ObjectId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    ObjectId(id)
}

fn blob_id(number: u64) -> BlobId {
    BlobId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn segment(id: &ObjectId, blobs: u64) -> Result<Segment> {
    let number = id.0[..8]
        .iter()
        .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let first = number * BLOBS_PER_SEGMENT;
    let blobs = first..(first + BLOBS_PER_SEGMENT).min(blobs);
    let packs = (blobs.start / BLOBS_PER_PACK)..=(blobs.end / BLOBS_PER_PACK);
    let packs = packs.map(|number| SegmentPack {
        pack: pack_id(number),
        len: PACK_BYTES,
    });
    Segment::new(packs.collect(), Vec::new(), blobs.map(entry).collect())
}

fn pack_id(number: u64) -> ObjectId {
    ObjectId(*blake3::hash(&number.to_be_bytes()).as_bytes())
}

fn entry(number: u64) -> IndexEntry {
    let ordinal = (number % BLOBS_PER_PACK) as u32;
    let location = Location {
        pack: pack_id(number / BLOBS_PER_PACK),
        offset: 200 + ordinal * 20_000,
        len: 20_000,
        plain_len: 64_000,
        kind: BlobKind::Leaf,
        ordinal,
    };
    IndexEntry {
        id: blob_id(number),
        location,
    }
}

/// What Linux says of this process's memory, now and at its highest.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or(" ?")
            .trim()
            .to_owned()
    };
    format!("process {}, at most {}", line("VmRSS:"), line("VmHWM:"))
}
