"""Writes batches into a C++ LevelDB at full speed until it is killed, and tells each acknowledged one outside of it.

writer.py DB ACKS --buffer BYTES --value BYTES [--reopen-ms MS] [--pace-us US] [--first N]

ACKS is a file of 8 bytes, shared by mmap: the number of the newest acknowledged batch, little-endian.
"""

import argparse
import mmap
import struct
import time

import plyvel
from batches import batch


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("db")
    parser.add_argument("acks")
    parser.add_argument("--buffer", type=int, default=64 << 10)
    parser.add_argument("--value", type=int, default=100)
    parser.add_argument("--reopen-ms", type=int, default=0)
    parser.add_argument("--pace-us", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the batch before the first of a new database")
    return parser.parse_args()


def open_database(args):
    return plyvel.DB(args.db, create_if_missing=True, write_buffer_size=args.buffer, max_file_size=1 << 20)


def main():
    args = arguments()
    database = open_database(args)
    number = int(database.get(b"counter/00", b"%d" % args.first))
    reopen_at = time.monotonic() + args.reopen_ms / 1000
    with open(args.acks, "r+b") as file:
        acks = mmap.mmap(file.fileno(), 8)
    while True:
        number += 1
        with database.write_batch() as changes:
            for key, value in batch(number, args.value):
                if value is None:
                    changes.delete(key.encode())
                else:
                    changes.put(key.encode(), value.encode())
        struct.pack_into("<Q", acks, 0, number)
        if args.reopen_ms and time.monotonic() > reopen_at:
            database.close()
            database = open_database(args)
            reopen_at = time.monotonic() + args.reopen_ms / 1000
        if args.pace_us:
            time.sleep(args.pace_us / 1e6)


main()
