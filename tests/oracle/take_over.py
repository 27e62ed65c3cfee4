"""C++ LevelDB (plyvel) takes a restored database over: opens, reads, looks up, writes, compacts, reopens.

    take_over.py DATABASE EXPECTED OPTIONS

EXPECTED holds the records in order as le32 length and bytes, key and value by turns. OPTIONS is JSON:
"level" (where every table must stand, null for no table; without it anywhere), "bloom_filter_bits", "block_size" and "compression" of
the owner, "comparator" ("bytewise"), "churn" (changes to make afterwards). Any difference is an exception.
"""

import json
import random
import struct
import sys

import plyvel


def read_expected(path):
    with open(path, "rb") as file:
        data = file.read()
    records, at = [], 0
    while at < len(data):
        pair = []
        for _ in range(2):
            (length,) = struct.unpack_from("<I", data, at)
            pair.append(data[at + 4 : at + 4 + length])
            at += 4 + length
        records.append(tuple(pair))
    return records


def files_at_levels(database):
    return [int(database.get_property(b"leveldb.num-files-at-level%d" % level)) for level in range(7)]


def check_level(database, level):
    levels = files_at_levels(database)
    filled = [number for number, files in enumerate(levels) if files]
    assert filled == ([] if level is None else [level]), f"tables on levels {levels}, wanted them on {level}"


def check_scan(database, model):
    found = list(database.iterator(verify_checksums=True))
    assert found == sorted(model.items()), f"{len(found)} records read, {len(model)} expected, or they differ"
    backwards = list(database.iterator(verify_checksums=True, reverse=True))
    assert backwards == found[::-1], "the reverse scan differs"


def check_gets(database, model, rng):
    keys = list(model)
    for key in rng.sample(keys, min(len(keys), 20000)) + keys[:3] + keys[-3:]:
        assert database.get(key, verify_checksums=True) == model[key], f"get {key[:40]!r}"
    for _ in range(2000):
        key = rng.choice(keys) + b"\0absent" if keys else b"absent"
        assert database.get(key) == model.get(key), f"get {key[:40]!r}"


def churn(database, model, changes, rng):
    keys = list(model) or [b"first"]
    for _ in range(changes):
        key = rng.choice(keys) + rng.choice([b"", b"", b"+"])
        if rng.random() < 0.3:
            database.delete(key)
            model.pop(key, None)
        else:
            value = rng.randbytes(rng.randrange(300))
            database.put(key, value)
            model[key] = value


def main():
    path, expected, options = sys.argv[1], read_expected(sys.argv[2]), json.loads(sys.argv[3])
    rng = random.Random(7)
    model = dict(expected)
    opening = {"paranoid_checks": True, "write_buffer_size": 256 << 10, "lru_cache_size": 1 << 20}
    for name in ("bloom_filter_bits", "block_size", "compression"):
        if name in options:
            opening[name] = options[name]
    database = plyvel.DB(path, **opening)
    if "level" in options:
        check_level(database, options["level"])
    assert list(database.iterator(verify_checksums=True)) == expected
    check_gets(database, model, rng)
    if "level" in options:
        check_level(database, options["level"])
    for _ in range(3):
        churn(database, model, options["churn"], rng)
        check_scan(database, model)
        database.close()
        database = plyvel.DB(path, **opening)
        check_scan(database, model)
        database.compact_range()
        check_scan(database, model)
        check_gets(database, model, rng)
    database.close()


if __name__ == "__main__":
    main()
