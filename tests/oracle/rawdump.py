"""A second opinion on a LevelDB directory that shares no code with any LevelDB: CURRENT -> MANIFEST -> live
tables and logs, every checksum verified, the newest entry of each user key kept.

usage: rawdump.py DIR       prints a summary as JSON
"""

import hashlib
import json
import struct
import sys
import zlib
from collections import Counter
from pathlib import Path

import cramjam
import crc32c
import zstandard

BLOCK = 32768
TABLE_MAGIC = 0xDB4775248B80FB57
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def masked_crc(data):
    crc = crc32c.crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class Cursor:
    """Reads forward through bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self):
        return len(self.data) - self.at

    def varint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def take(self, length):
        if self.left() < length:
            raise ValueError("too short")
        self.at += length
        return self.data[self.at - length : self.at]

    def prefixed(self):
        return self.take(self.varint())


def log_records(data, notes):
    """The whole records of a log; what ends it early is noted."""
    at, fragments = 0, None
    while at + 7 <= len(data):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        crc, length, kind = struct.unpack_from("<IHB", data, at)
        if kind == 0 and length == 0:  # zeros that were allocated and never written
            at += left
            continue
        payload = data[at + 7 : at + 7 + length]
        if len(payload) < length:
            notes.append("log: torn tail")
            return
        if masked_crc(data[at + 6 : at + 7 + length]) != crc:
            notes.append(f"log: bad checksum at {at}")
            return
        at += 7 + length
        if kind == 1:
            fragments = None
            yield payload
        elif kind == 2:
            fragments = [payload]
        elif fragments is not None:
            fragments.append(payload)
            if kind == 4:
                yield b"".join(fragments)
                fragments = None
    if fragments is not None or at < len(data):
        notes.append("log: torn tail")


def batch_entries(record):
    """key, sequence, kind (1 put, 0 delete), value."""
    first, count = struct.unpack_from("<QI", record, 0)
    cursor = Cursor(record)
    cursor.take(12)
    for number in range(count):
        kind = cursor.take(1)[0]
        if kind > 1:
            raise ValueError(f"batch entry of kind {kind}")
        key = cursor.prefixed()
        yield key, first + number, kind, cursor.prefixed() if kind else b""


class Manifest:
    def __init__(self, data, notes):
        self.files, self.comparator = {}, None
        self.log = self.previous_log = self.last_sequence = 0
        for record in log_records(data, notes):
            cursor = Cursor(record)
            while cursor.left():
                self.apply(cursor.varint(), cursor)

    def apply(self, tag, cursor):
        if tag == 1:
            self.comparator = cursor.prefixed().decode()
        elif tag == 2:
            self.log = cursor.varint()
        elif tag == 3:
            cursor.varint()
        elif tag == 4:
            self.last_sequence = cursor.varint()
        elif tag == 5:
            cursor.varint(), cursor.prefixed()
        elif tag == 6:
            self.files.pop((cursor.varint(), cursor.varint()), None)
        elif tag == 7:
            level, number = cursor.varint(), cursor.varint()
            self.files[(level, number)] = (cursor.varint(), cursor.prefixed(), cursor.prefixed())
        elif tag == 9:
            self.previous_log = cursor.varint()
        else:
            raise ValueError(f"manifest tag {tag}")


def block(data, offset, length, codecs):
    """One block, verified and inflated; counts its codec."""
    raw, codec = data[offset : offset + length], data[offset + length]
    if masked_crc(data[offset : offset + length + 1]) != struct.unpack_from("<I", data, offset + length + 1)[0]:
        raise ValueError(f"block at {offset}: bad checksum")
    if codec == 0:
        name = "none"
    elif codec == 1:
        name, raw = "snappy", bytes(cramjam.snappy.decompress_raw(raw))
    elif codec == 2 and raw[:4] == ZSTD_MAGIC:
        name, raw = "zstd(2)", zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    elif codec == 2:
        name, raw = "zlib(2)", zlib.decompress(raw)
    elif codec == 4:
        name, raw = "rawdeflate(4)", zlib.decompress(raw, -15)
    else:
        raise ValueError(f"block at {offset}: codec {codec}")
    codecs[name] += 1
    return raw


def block_entries(plain):
    restarts = struct.unpack_from("<I", plain, len(plain) - 4)[0]
    cursor, key = Cursor(plain[: len(plain) - 4 - 4 * restarts]), b""
    while cursor.left():
        shared, unshared, value_len = cursor.varint(), cursor.varint(), cursor.varint()
        key = key[:shared] + cursor.take(unshared)
        yield key, cursor.take(value_len)


def table_entries(data, codecs, meta):
    if struct.unpack_from("<Q", data, len(data) - 8)[0] != TABLE_MAGIC:
        raise ValueError("no table footer")
    footer = Cursor(data[-48:])
    meta_at, meta_len, index_at, index_len = (footer.varint() for _ in range(4))
    meta.update(key.decode() for key, _ in block_entries(block(data, meta_at, meta_len, Counter())))
    for _, handle in block_entries(block(data, index_at, index_len, Counter())):
        cursor = Cursor(handle)
        yield from block_entries(block(data, cursor.varint(), cursor.varint(), codecs))


def load(directory):
    """All live records and a summary: {"live": {key: value}, ...}."""
    directory, notes, codecs, meta = Path(directory), [], Counter(), set()
    current = (directory / "CURRENT").read_text().strip()
    manifest = Manifest((directory / current).read_bytes(), notes)
    newest = {}

    def add(key, sequence, kind, value):
        held = newest.get(key)
        if held is None or held[0] < sequence:
            newest[key] = (sequence, kind, value)

    for _, number in sorted(manifest.files):
        found = [directory / f"{number:06}.{extension}" for extension in ("ldb", "sst")]
        path = next(path for path in found if path.exists())
        for key, value in table_entries(path.read_bytes(), codecs, meta):
            tag = struct.unpack("<Q", key[-8:])[0]
            add(bytes(key[:-8]), tag >> 8, tag & 255, bytes(value))
    log_entries = 0
    for path in sorted(directory.glob("*.log")):
        if not path.stem.isdigit() or int(path.stem) < manifest.log and int(path.stem) != manifest.previous_log:
            continue
        for record in log_records(path.read_bytes(), notes):
            for key, sequence, kind, value in batch_entries(record):
                log_entries += 1
                add(bytes(key), sequence, kind, bytes(value))
    return {
        "live": {key: held[2] for key, held in newest.items() if held[1] == 1},
        "comparator": manifest.comparator,
        "tables": len(manifest.files),
        "levels": dict(Counter(str(level) for level, _ in manifest.files)),
        "log_entries": log_entries,
        "blocks": dict(codecs),
        "meta": sorted(meta),
        "last_sequence": manifest.last_sequence,
        "notes": notes,
    }


def stream_sha256(pairs):
    """The hash of the canonical record stream, and what is in it."""
    digest, records, key_bytes, value_bytes = hashlib.sha256(), 0, 0, 0
    for key, value in pairs:
        digest.update(struct.pack("<I", len(key)) + key + struct.pack("<I", len(value)) + value)
        records += 1
        key_bytes += len(key)
        value_bytes += len(value)
    return {"records": records, "key_bytes": key_bytes, "value_bytes": value_bytes, "sha256": digest.hexdigest()}


def summary(directory):
    """What `load` found, with the hash of the records sorted as plain bytes."""
    found = load(directory)
    found["sha256_bytewise"] = (stream := stream_sha256(sorted(found.pop("live").items()))).pop("sha256")
    return {**stream, **found}


if __name__ == "__main__":
    print(json.dumps(summary(sys.argv[1]), indent=1))
