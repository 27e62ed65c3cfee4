//! What the crates under a first backup cost on one core and a database's own bytes, stage by stage; then the whole backup:
//! `limit DATABASE DIRECTORY`. The repository of the last goes below DIRECTORY, on the disk that counts.
//!
//! Prints a line a stage: its name, MB of what it takes, CPU seconds; then `whole`, MB, CPU seconds, seconds.
//! `scripts/bench limit` makes a table of it.

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use levault::chunk::Chunker;
use levault::error::{Error, ErrorKind, Result, ResultExt};
use levault::keys::{Password, SlotCost};
use levault::limits::{INLINE_VALUE_BYTES_MAX, PACK_BYTES_DEFAULT};
use levault::ops::backup::{Backup, PinMode};
use levault::record::put_element;
use levault::repo::{NewRepository, Repo, RepoSettings};
use levault::report::OperationReport;
use levault::run::{LeafCutter, LeafDraft, encode_leaf, set_digest};
use levault::source::{Database, RecordSink};
use levault::storage::LocalStorage;
use rustix::time::{ClockId, clock_gettime};

const SECRET: [u8; 32] = [7; 32];

fn cpu(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Runs a stage on this thread alone and prints what it took.
fn stage<T>(name: &str, bytes: usize, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let begin = cpu(ClockId::ThreadCPUTime);
    let outcome = act().context(|| name.to_owned())?;
    println!(
        "{name}\t{}\t{:.4}",
        bytes as f64 / 1e6,
        cpu(ClockId::ThreadCPUTime) - begin
    );
    Ok(outcome)
}

struct Nothing;

impl RecordSink for Nothing {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        black_box((key, value));
        Ok(())
    }
}

/// The canonical stream of what stays in leaves, and the values that do not.
#[derive(Default)]
struct Kept {
    keys_and_values: Vec<(Vec<u8>, Vec<u8>)>,
    long: Vec<Vec<u8>>,
    stream: Vec<u8>,
}

impl RecordSink for Kept {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        if value.len() > INLINE_VALUE_BYTES_MAX {
            self.long.push(value.to_vec());
        } else {
            put_element(&mut self.stream, key, value);
            self.keys_and_values.push((key.to_vec(), value.to_vec()));
        }
        Ok(())
    }
}

fn cut(kept: &Kept) -> Result<Vec<LeafDraft>> {
    let mut cutter = LeafCutter::new(&SECRET);
    let mut drafts = vec![LeafDraft::default()];
    for (key, value) in &kept.keys_and_values {
        let last = drafts.len() - 1;
        let weight = drafts[last].push_inline(key, value)?;
        if cutter.cut_after(key, weight) {
            drafts.push(LeafDraft::with_capacity(drafts[last].stream().len()));
        }
    }
    drafts.retain(|draft| !draft.is_empty());
    Ok(drafts)
}

fn chunks(long: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let cutter = Chunker::new(&SECRET);
    long.iter()
        .flat_map(|value| cutter.chunks(value).map(<[u8]>::to_vec))
        .collect()
}

/// What is stored of each blob: the smaller of it and its zstd frame.
fn compress(blobs: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let mut context = zstd::bulk::Compressor::new(1).context(|| "make a context")?;
    blobs
        .iter()
        .map(|blob| {
            let packed = context.compress(blob).context(|| "compress")?;
            Ok(if packed.len() < blob.len() {
                packed
            } else {
                blob.clone()
            })
        })
        .collect()
}

fn each_in_place(
    sealed: &mut [Vec<u8>],
    is_sealing: bool,
    tags: &mut Vec<chacha20poly1305::Tag>,
) -> Result<()> {
    let cipher = ChaCha20Poly1305::new(&SECRET.into());
    let nonce = [0; 12].into();
    let wrong = |_| Error::corrupt("authentication failed");
    for (at, part) in sealed.iter_mut().enumerate() {
        if is_sealing {
            tags.push(
                cipher
                    .encrypt_inout_detached(&nonce, &[], part.as_mut_slice().into())
                    .map_err(wrong)?,
            );
        } else {
            let both = part.as_mut_slice().into();
            cipher
                .decrypt_inout_detached(&nonce, &[], both, &tags[at])
                .map_err(wrong)?;
        }
    }
    Ok(())
}

fn inflate(packed: &[Vec<u8>], blobs: &[Vec<u8>]) -> Result<()> {
    let mut context = zstd::bulk::Decompressor::new().context(|| "make a context")?;
    let mut plain = Vec::with_capacity(blobs.iter().map(Vec::len).max().unwrap_or(0));
    for (packed, blob) in packed
        .iter()
        .zip(blobs)
        .filter(|(packed, blob)| packed.len() < blob.len())
    {
        plain.clear();
        context
            .decompress_to_buffer(packed, &mut plain)
            .context(|| "inflate")?;
        black_box((&plain, blob));
    }
    Ok(())
}

fn hash(parts: &[Vec<u8>]) {
    for part in parts {
        black_box(blake3::keyed_hash(&SECRET, part));
    }
}

/// Writes packs as a local repository does: a file each, synced.
fn store(bytes: &[u8], directory: &Path) -> Result<()> {
    for (number, pack) in bytes.chunks(PACK_BYTES_DEFAULT).enumerate() {
        let path = directory.join(format!("limit-{number}"));
        let mut file = std::fs::File::create(&path).context(|| "create")?;
        file.write_all(pack)
            .and_then(|()| file.sync_all())
            .context(|| "write")?;
        std::fs::remove_file(&path).context(|| "remove")?;
    }
    Ok(())
}

fn stages(database: &Path, directory: &Path) -> Result<usize> {
    let open = || Database::open(database);
    let mut kept = Kept::default();
    open()?.scan(&mut kept)?;
    let long: usize = kept.long.iter().map(Vec::len).sum();
    let plain = kept.stream.len() + long;
    stage("decode and merge", plain, || open()?.scan(&mut Nothing))?;
    let drafts = stage("cut leaves", kept.stream.len(), || cut(&kept))?;
    let mut blobs = stage("encode leaves", kept.stream.len(), || {
        Ok(drafts.iter().map(encode_leaf).collect::<Vec<_>>())
    })?;
    let chunks = stage("cut chunks", long, || Ok(chunks(&kept.long)))?;
    stage("set digest", kept.stream.len(), || {
        drafts
            .iter()
            .try_for_each(|draft| set_digest(draft, &SECRET).map(drop))
    })?;
    stage("stream digest", plain, || {
        black_box(blake3::hash(&kept.stream));
        hash(&kept.long);
        Ok(())
    })?;
    blobs.extend(chunks);
    drop((kept, drafts));
    stage("name (BLAKE3)", plain, || {
        hash(&blobs);
        Ok(())
    })?;
    let packed = stage("compress (zstd 1)", plain, || compress(&blobs))?;
    let (mut sealed, mut tags) = (packed.clone(), Vec::new());
    let stored: usize = packed.iter().map(Vec::len).sum();
    stage("encrypt", stored, || each_in_place(&mut sealed, true, &mut tags))?;
    let bytes = sealed.concat();
    stage("hash packs", stored, || Ok(_ = black_box(blake3::hash(&bytes))))?;
    stage("open: decrypt", stored, || {
        each_in_place(&mut sealed, false, &mut tags)
    })?;
    stage("open: inflate", plain, || inflate(&packed, &blobs))?;
    stage("open: name", plain, || {
        hash(&blobs);
        Ok(())
    })?;
    stage("store", stored, || store(&bytes, directory))?;
    Ok(plain)
}

fn whole(database: &Path, directory: &Path, plain: usize) -> Result<()> {
    let storage = Arc::new(LocalStorage::create(directory.join("repository"))?);
    let new = NewRepository {
        cost: SlotCost::cheap(),
        ..NewRepository::default()
    };
    let repo = Repo::create(
        storage,
        &Password::new(b"limit".to_vec()),
        new,
        RepoSettings::default(),
    )?;
    let backup = Backup {
        databases: levault::ops::backup::DatabaseBackupOptions {
            pinning: PinMode::None,
            ..Default::default()
        },
        ..Backup::new(vec![database.to_owned()])
    };
    let (begin, cpu_begin) = (Instant::now(), cpu(ClockId::ProcessCPUTime));
    backup.run(&repo, &OperationReport::default())?;
    let (wall, used) = (
        begin.elapsed().as_secs_f64(),
        cpu(ClockId::ProcessCPUTime) - cpu_begin,
    );
    println!("whole\t{}\t{used:.4}\t{wall:.4}", plain as f64 / 1e6);
    Ok(())
}

fn run() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (database, directory, plain) = match &arguments[..] {
        [database, directory] => (Path::new(database), Path::new(directory), None),
        [database, directory, plain] => {
            let plain = plain.to_str().and_then(|plain| plain.parse().ok());
            (Path::new(database), Path::new(directory), plain)
        }
        _ => {
            return Err(Error::new(
                ErrorKind::Usage,
                "limit DATABASE DIRECTORY [BYTES, for the whole alone]",
            ));
        }
    };
    let plain = match plain {
        Some(plain) => plain,
        None => stages(database, directory)?,
    };
    whole(database, directory, plain)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
