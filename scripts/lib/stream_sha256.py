#!/usr/bin/env python3
"""usage: stream_sha256.py DIR [COPY_BELOW]: what C++ LevelDB reads in a database, as `SHA256 RECORDS`.

The hash is over le32 key length, key, le32 value length, value of every record in the database's order: the same
bytes that `levault dump SNAPSHOT --format raw` prints. A copy is opened, because opening a LevelDB writes to it.
"""

import hashlib
import shutil
import struct
import sys
import tempfile
from pathlib import Path

import plyvel


def stream_of(directory, copy_below=None):
    """The hash and the number of records."""
    digest, records = hashlib.sha256(), 0
    with tempfile.TemporaryDirectory(dir=copy_below) as copies:
        copy = Path(copies) / "db"
        shutil.copytree(directory, copy)
        database = plyvel.DB(str(copy), paranoid_checks=True)
        for key, value in database.iterator(verify_checksums=True, fill_cache=False):
            digest.update(struct.pack("<I", len(key)) + key + struct.pack("<I", len(value)))
            digest.update(value)
            records += 1
        database.close()
    return digest.hexdigest(), records


def main():
    print(*stream_of(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))


if __name__ == "__main__":
    main()
