#!/usr/bin/env python3
"""Makes the databases that are measured: written by C++ LevelDB (plyvel), the same records on every run.

usage: mkdb.py WORKLOAD DIR ROUND [--scale F]

ROUND 0 creates the database; ROUND n > 0 applies the n-th round of churn to it. Each run waits until compaction has
come to rest (else a third of the files can be leftovers of one that was cut short, which differ from run to run),
closes the database cleanly, and prints one line of JSON.

  utxo    random 33-byte keys, dense values of about 48 bytes; a round deletes 0.5 % and adds 0.5 %
  docs    ordered keys, JSON values of 300-1500 bytes; a round rewrites 1 % (skewed to the old) and appends 0.5 %
  series  keys in time order, values of about 80 bytes; a round appends 2 % and drops the oldest 1 %
  tiles   16-byte keys, values of 4-32 KiB that do not compress; a round edits 0.5 % in place
  tiny    two million records of 4 + 2 bytes (memory bound of many records); no rounds
  huge    six values of 64 MiB that do not compress (memory bound of large values); no rounds
"""

import argparse
import hashlib
import json
import os
import random
import struct
import time

import plyvel

BATCH = 2000


def digest(stream, number):
    """32 bytes that depend on nothing but the two numbers."""
    return hashlib.blake2b(struct.pack("<QQ", stream, number), digest_size=32).digest()


class Utxo:
    def __init__(self, scale):
        self.count = int(3_000_000 * scale)
        self.step = self.count // 200

    @staticmethod
    def key(i):
        return b"C" + digest(1, i)

    @staticmethod
    def value(i):
        return digest(7, i) + digest(8, i)[: 8 + i % 16]

    def create(self):
        for i in range(self.count):
            yield self.key(i), self.value(i)

    def churn(self, rnd):
        rng = random.Random(1000 + rnd)
        first = self.count + (rnd - 1) * self.step
        for i in range(first, first + self.step):
            yield self.key(i), self.value(i)
            yield self.key(rng.randrange(first)), None


class Docs:
    WORDS = (
        "account ledger balance session update region status active pending closed order item price currency "
        "euro dollar total shipped customer address street city country phone email note priority created "
        "modified owner group member public private draft review approved rejected archive version label"
    ).split()

    def __init__(self, scale):
        self.count = int(400_000 * scale)

    @staticmethod
    def key(i):
        return b"doc:%04d:%010d" % (i % 97, i)

    def document(self, rng, i, revision):
        # The order of the draws is part of the definition: every field takes from the same generator.
        owner = rng.choice(self.WORDS) + str(rng.randrange(5000))
        status = rng.choice(self.WORDS)
        tags = [rng.choice(self.WORDS) for _ in range(rng.randrange(2, 9))]
        amount = rng.randrange(10**7) / 100
        body = " ".join(rng.choice(self.WORDS) for _ in range(rng.randrange(30, 170)))
        fields = {
            "id": i,
            "rev": revision,
            "owner": owner,
            "status": status,
            "tags": tags,
            "amount": amount,
            "created": 1_700_000_000 + i * 7,
            "body": body,
        }
        return json.dumps(fields, separators=(",", ":")).encode()

    def create(self):
        rng = random.Random(5)
        for i in range(self.count):
            yield self.key(i), self.document(rng, i, 0)

    def churn(self, rnd):
        rng = random.Random(2000 + rnd)
        for _ in range(self.count // 100):
            i = int(self.count * rng.random() ** 3)
            yield self.key(i), self.document(rng, i, rnd)
        step = self.count // 200
        for i in range(self.count + (rnd - 1) * step, self.count + rnd * step):
            yield self.key(i), self.document(rng, i, rnd)


class Series:
    HOSTS = 50

    def __init__(self, scale):
        self.count = int(3_000_000 * scale)
        self.step = self.count // 50

    def key(self, i):
        tick, host = divmod(i, self.HOSTS)
        return b"m/" + struct.pack(">Q", 1_700_000_000_000 + tick * 1000) + b"/%03d" % host

    def value(self, i):
        tick, host = divmod(i, self.HOSTS)
        noise = digest(9, tick)
        reading = (noise[0] % 100, 4000 + noise[1] + host, noise[2] * 7, host)
        return b'{"cpu":%d,"mem":%d,"io":%d,"host":"node-%03d","ok":true}' % reading

    def create(self):
        for i in range(self.count):
            yield self.key(i), self.value(i)

    def churn(self, rnd):
        for i in range((rnd - 1) * (self.step // 2), rnd * (self.step // 2)):
            yield self.key(i), None
        for i in range(self.count + (rnd - 1) * self.step, self.count + rnd * self.step):
            yield self.key(i), self.value(i)


class Tiles:
    def __init__(self, scale):
        self.count = int(20_000 * scale)

    @staticmethod
    def key(i):
        x, y = (i * 2654435761) % 4096 - 2048, (i * 40503) % 4096 - 2048
        return b"T" + struct.pack(">iiI", x, y, i)

    @staticmethod
    def body(i, revision):
        rng = random.Random(i * 1_000_003)
        tile = bytearray(rng.randbytes(rng.randrange(4096, 32768)))
        for past in range(1, revision + 1):
            edit = random.Random(i * 7919 + past)
            at = edit.randrange(len(tile) - 64)
            tile[at : at + 64] = edit.randbytes(64)
        return bytes(tile)

    def create(self):
        for i in range(self.count):
            yield self.key(i), self.body(i, 0)

    def churn(self, rnd):
        rng = random.Random(3000 + rnd)
        for i in sorted(rng.sample(range(self.count), self.count // 200)):
            yield self.key(i), self.body(i, rnd)


class Tiny:
    def __init__(self, scale):
        self.count = int(2_000_000 * scale)

    def create(self):
        for i in range(self.count):
            yield struct.pack(">I", i * 2654435761 & 0xFFFFFFFF), struct.pack("<H", i & 0xFFFF)


class Huge:
    def __init__(self, scale):
        self.bytes = int((64 << 20) * scale)

    def create(self):
        for i in range(6):
            yield b"huge/%d" % i, random.Random(6000 + i).randbytes(self.bytes)


WORKLOADS = {"utxo": Utxo, "docs": Docs, "series": Series, "tiles": Tiles, "tiny": Tiny, "huge": Huge}


def write(database, operations, batch_len):
    """Writes in batches: where they end is part of the definition, since it shapes the files."""
    batch, total = database.write_batch(), 0
    for key, value in operations:
        batch.delete(key) if value is None else batch.put(key, value)
        total += 1
        if total % batch_len == 0:
            batch.write()
            batch = database.write_batch()
    batch.write()
    return total


def settle(directory, seconds_max=120):
    """Waits until no file came, went or grew for half a second."""
    seen, since, end = None, time.time(), time.time() + seconds_max
    while time.time() < end and time.time() - since < 0.5:
        try:
            found = sorted((entry.name, entry.stat().st_size) for entry in os.scandir(directory))
        except FileNotFoundError:
            found = None
        if found is None or found != seen:
            seen, since = found, time.time()
        time.sleep(0.05)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("dir")
    parser.add_argument("round", type=int)
    parser.add_argument("--scale", type=float, default=1.0)
    args = parser.parse_args()
    start = time.time()
    workload = WORKLOADS[args.workload](args.scale)
    operations = workload.create() if args.round == 0 else workload.churn(args.round)
    database = plyvel.DB(args.dir, create_if_missing=args.round == 0, error_if_exists=args.round == 0)
    total = write(database, operations, 1 if args.workload == "huge" else BATCH)
    settle(args.dir)
    database.close()
    seconds = round(time.time() - start, 1)
    print(json.dumps({"workload": args.workload, "round": args.round, "operations": total, "seconds": seconds}))


if __name__ == "__main__":
    main()
