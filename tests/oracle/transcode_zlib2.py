"""usage: transcode_zlib2.py SOURCE TARGET

Copies a LevelDB and rewrites its tables so that every second data block, and the index, is compressed as old worlds
of a well-known game were: zlib under id 2, which upstream LevelDB uses for zstd. The other blocks stay as they are.
A reader has to look at the bytes themselves.
"""

import shutil
import struct
import sys
import zlib
from collections import Counter
from pathlib import Path

import rawdump


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def prefixed(data):
    return varint(len(data)) + bytes(data)


def plain_block(pairs):
    """Every entry is a restart point."""
    out, restarts = bytearray(), []
    for key, value in pairs:
        restarts.append(len(out))
        out += varint(0) + varint(len(key)) + varint(len(value)) + key + value
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def put_block(table, stored, codec):
    """Appends a block with its trailer; returns its handle."""
    handle = varint(len(table)) + varint(len(stored))
    trailer = bytes([codec])
    table += stored + trailer + struct.pack("<I", rawdump.masked_crc(stored + trailer))
    return handle


def transcode_table(data):
    footer = rawdump.Cursor(data[-48:])
    _, _, index_at, index_len = (footer.varint() for _ in range(4))
    table, index = bytearray(), []
    entries = rawdump.block_entries(rawdump.block(data, index_at, index_len, Counter()))
    for number, (key, handle) in enumerate(entries):
        cursor = rawdump.Cursor(handle)
        at, length = cursor.varint(), cursor.varint()
        if number % 2:
            new = put_block(table, data[at : at + length], data[at + length])
        else:
            new = put_block(table, zlib.compress(rawdump.block(data, at, length, Counter())), 2)
        index.append((bytes(key), new))
    meta = put_block(table, plain_block([]), 0)  # the filter is left out
    handles = meta + put_block(table, zlib.compress(plain_block(index)), 2)
    return bytes(table) + handles.ljust(40, b"\0") + struct.pack("<Q", rawdump.TABLE_MAGIC)


def main(source, target):
    shutil.copytree(source, target)
    current = (source / "CURRENT").read_text().strip()
    old = rawdump.Manifest((source / current).read_bytes(), [])
    edit = varint(1) + prefixed(old.comparator.encode())
    # 3 is the next file number; any above those in use will do.
    next_file = max([old.log, *(number for _, number in old.files)]) + 10
    for tag, number in ((2, old.log), (9, old.previous_log), (3, next_file), (4, old.last_sequence)):
        edit += varint(tag) + varint(number)
    for (level, number), (_, smallest, largest) in sorted(old.files.items()):
        path = target / f"{number:06}.ldb"
        table = transcode_table(path.read_bytes())
        path.write_bytes(table)
        edit += varint(7) + varint(level) + varint(number) + varint(len(table))
        edit += prefixed(smallest) + prefixed(largest)
    assert len(edit) < 32000, "one log record of one fragment"
    header = struct.pack("<IHB", rawdump.masked_crc(b"\x01" + edit), len(edit), 1)
    (target / current).write_bytes(header + edit)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
