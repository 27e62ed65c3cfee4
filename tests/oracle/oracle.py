"""C++ LevelDB (plyvel) as a long-running servant of the tests: one request in, one answer out, over stdin and
stdout, until stdin closes. A judge, so nothing in here is shared with levault. tests/oracle/go/servant.go is
goleveldb's, for W, D, A, K, C and P.

    request   le32 length, then: command (1 byte), fields
    answer    le32 length, then: 0 and the result, or 1 and the text of the error
    field     le32 length, bytes

    W path options operations   write with C++ LevelDB; options is JSON of plyvel.DB's arguments
    D path                      read all of it, checksums verified -> canonical record stream
    A path                      the same with every check there is; only goleveldb has more of them
    S path                      its SHA-256, in the database's own order, and counts -> JSON
    R path                      what rawdump.py, which is no LevelDB at all, finds in it -> JSON
    H path                      SHA-256 of a file -> hex
    K path options operations   write, and keep the database open for the next K, which ignores its options
    C path                      close what K keeps open; whoever kills the servant instead leaves it as a crash does
    P path                      RepairDB

An operation is p (put) and two fields, d (delete) and one, b (batch) and le32 n: the next n puts and deletes go in
together; r closes and opens the database again, c compacts the whole range.
"""

import hashlib
import json
import struct
import sys
import traceback

import plyvel

import rawdump


class Fields:
    """The rest of a request."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, length):
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self):
        return struct.unpack("<I", self.raw(4))[0]

    def bytes(self):
        return self.raw(self.number())

    def text(self):
        return self.bytes().decode()

    def done(self):
        return self.at >= len(self.data)


def apply_one(writer, kind, fields):
    if kind == b"p":
        writer.put(fields.bytes(), fields.bytes())
    elif kind == b"d":
        writer.delete(fields.bytes())
    else:
        raise ValueError(f"operation {kind!r}")


def write_on(database, path, options, fields):
    while not fields.done():
        kind = fields.raw(1)
        if kind == b"r":
            database.close()
            database = plyvel.DB(path, **{**options, "error_if_exists": False})
        elif kind == b"c":
            database.compact_range()
        elif kind == b"b":
            with database.write_batch() as batch:
                for _ in range(fields.number()):
                    apply_one(batch, fields.raw(1), fields)
        else:
            apply_one(database, kind, fields)
    return database


def write(fields):
    path, options = fields.text(), json.loads(fields.text())
    database = plyvel.DB(path, **options)
    try:
        database = write_on(database, path, options, fields)
    finally:
        database.close()
    return b""


KEPT = {}


def keep_writing(fields):
    path, options = fields.text(), json.loads(fields.text())
    database = KEPT.pop(path, None) or plyvel.DB(path, **options)
    KEPT[path] = write_on(database, path, options, fields)
    return b""


def close(fields):
    database = KEPT.pop(fields.text(), None)
    if database:
        database.close()
    return b""


def repair(fields):
    plyvel.repair_db(fields.text())
    return b""


def records(path):
    database = plyvel.DB(path, paranoid_checks=True)
    try:
        yield from database.iterator(verify_checksums=True)
    finally:
        database.close()


def dump(fields):
    out = bytearray()
    for key, value in records(fields.text()):
        out += struct.pack("<I", len(key)) + key + struct.pack("<I", len(value)) + value
    return bytes(out)


def stream(fields):
    return json.dumps(rawdump.stream_sha256(records(fields.text()))).encode()


def raw(fields):
    return json.dumps(rawdump.summary(fields.text())).encode()


def file_hash(fields):
    digest = hashlib.sha256()
    with open(fields.text(), "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest().encode()


COMMANDS = {
    b"W": write,
    b"D": dump,
    b"A": dump,
    b"S": stream,
    b"R": raw,
    b"H": file_hash,
    b"K": keep_writing,
    b"C": close,
    b"P": repair,
}


def main():
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := requests.read(4):
        request = Fields(requests.read(struct.unpack("<I", header)[0]))
        try:
            answer = b"\0" + COMMANDS[request.raw(1)](request)
        except Exception:
            answer = b"\1" + traceback.format_exc().encode()
        answers.write(struct.pack("<I", len(answer)) + answer)
        answers.flush()


if __name__ == "__main__":
    main()
