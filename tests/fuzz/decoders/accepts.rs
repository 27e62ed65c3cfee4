//! Which inputs are good: a fuzzer that starts from none finds little behind a format's first check.

use levault::annotations;
use levault::chunk::ChunkList;
use levault::codec::Reader;
use levault::envelope::Header;
use levault::envelope::gate::Features;
use levault::index::Segment;
use levault::index::{decode_body, decode_header};
use levault::keys::config::Config;
use levault::keys::key_slot::KeySlot;
use levault::keys::stored_keyring::StoredKeyring;
use levault::keys::{SealedCredential, fuzz_entry};
use levault::leveldb::block_decompressor::{Decompressor, codec_of};
use levault::leveldb::file_name::FileName;
use levault::leveldb::table_reader::Table;
use levault::leveldb::version::VersionEdit;
use levault::pack::{pack_directory, scan_directory};
use levault::parity::ParityObject;
use levault::record::StreamElements;
use levault::run::{LeafReader, Patch, RunNode};
use levault::snapshot::snapshot_codec;
use levault::snapshot::tree_blob::TreeBlob;
use levault::storage::ObjectName;

use super::bounds::{keys, log_records};
use super::leveldb::{batch_in_pieces, database_records};
use super::objects::{audits_of, patch_of, with_checksum};
use super::seeds::own_pack;

/// True if the target's decoder takes all of it.
pub fn accepts(target: &str, data: &[u8]) -> bool {
    let text = || std::str::from_utf8(data).unwrap_or_default();
    match target {
        "leveldb_log" => !log_records(data, 1 << 20).is_empty(),
        "leveldb_batch" => batch_in_pieces(data, data.len()).is_some(),
        "leveldb_version" => VersionEdit::decode(data).is_ok(),
        "leveldb_name" => FileName::parse(text()).is_some(),
        "leveldb_table" => {
            Table::open(&data.to_vec(), data.len() as u64, &mut Decompressor::default()).is_ok()
        }
        "leveldb_block" => is_block(data),
        "leveldb_database" => database_records(data).is_some(),
        "leveldb_bounds" => !log_records(data, 1 << 20).is_empty() || keys(data).is_some(),
        "idb_order" => data.len() >= 3,
        "record_stream" => !data.is_empty() && StreamElements::new(data).all(|element| element.is_ok()),
        "run_leaf" => is_leaf(data),
        "run_node" => RunNode::decode(data).is_ok(),
        "run_patch" => patch_of(data).is_some_and(|(_, patch)| Patch::decode(patch).is_ok()),
        "bad" => annotations::bad_blobs::decode(data).is_ok(),
        "audit" => audits_of(data).next().is_some(),
        "mark" => annotations::deletion_mark::decode(data).is_ok(),
        "parity" => ParityObject::open(data).is_ok(),
        "forgotten" => annotations::forget_record::decode(data).is_ok(),
        "chunk_list" => ChunkList::decode_blob(data).is_ok(),
        "snapshot_body" => snapshot_codec::decode(data).is_ok(),
        "directory_tree" => TreeBlob::decode(data).is_ok(),
        "object_clear" => Header::decode(data).is_ok(),
        "config" => Config::decode(&with_checksum(data)).is_ok(),
        "slot" => KeySlot::decode(&with_checksum(data)).is_ok(),
        "keyring" => StoredKeyring::parse(data).is_ok(),
        "credential" => {
            SealedCredential::decode(data).is_ok() || fuzz_entry::credential_payload(data).is_ok()
        }
        "host_state" => levault::repo::reencode_remembered(data).is_ok(),
        "object_name" => ObjectName::from_path(text()).is_some(),
        "features" => Features::decode(&mut Reader::new(data)).is_ok(),
        "pack" => scan_directory(&own_pack().0, data).is_ok(),
        "pack_directory" => is_directory(data),
        "index_segment" => is_segment(data),
        "sealed_keys" => {
            fuzz_entry::keyring_body(data).is_ok()
                || fuzz_entry::parameters(data).is_ok()
                || fuzz_entry::slot_payload(data).is_ok()
        }
        "note" => annotations::note::decode(data).is_ok(),
        _ => false,
    }
}

fn is_block(data: &[u8]) -> bool {
    let Some((id, stored)) = data.split_first() else {
        return false;
    };
    let decompress = |codec| Decompressor::default().decompress(codec, stored, &mut Vec::new());
    codec_of(*id, stored).is_some_and(|codec| decompress(codec).is_ok())
}

fn is_leaf(data: &[u8]) -> bool {
    let Ok(mut leaf) = LeafReader::new(data) else {
        return false;
    };
    loop {
        match leaf.next() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn is_directory(data: &[u8]) -> bool {
    data.split_first_chunk::<4>()
        .is_some_and(|(end, plain)| pack_directory::decode(plain, u32::from_le_bytes(*end).into()).is_ok())
}

fn is_segment(data: &[u8]) -> bool {
    let Ok((packs, supersedes, used)) = decode_header(data) else {
        return false;
    };
    decode_body(&data[used..], &packs)
        .and_then(|entries| Segment::new(packs, supersedes, entries))
        .is_ok()
}
