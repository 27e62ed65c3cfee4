#!/usr/bin/env python3
"""Many increments of one database, and increments of databases of different sizes. Needs plyvel and a built levault.

usage: soak_increments.py thousand --levault PROGRAM [--increments N] [--records N] [--share F]
       soak_increments.py scale --levault PROGRAM [--gigabytes 0.1,1,4] [--rounds N] [--changes N]

thousand: a database of so many records of 100 bytes; each increment overwrites, inserts and deletes a share of them (0.0001).
Watched: runs of each stack, repository bytes beside one base and the sum of changes. At the end the newest, middle and
oldest snapshot are restored and compared with copies that C++ LevelDB reads, everything is checked, first and last are
compared by `diff`, and the restore is timed beside that of a fresh full snapshot of the same state.

scale: the same number of changes in databases of several sizes; what an increment costs by /proc/PID/io and CPU.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import plyvel

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_peers import tree_bytes  # noqa: E402
from stream_sha256 import stream_of  # noqa: E402


class Levault:
    """The tool on one repository."""

    def __init__(self, program, base):
        self.program = program
        self.repository = base / "repository"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LEVAULT_")},
            "LEVAULT_REPOSITORY": str(self.repository),
            "LEVAULT_PASSWORD": "soak",
            "LEVAULT_CACHE_DIR": str(base / "cache"),
        }
        self.run("init")

    def run(self, *words):
        """One run: JSON lines, CPU seconds, and what /proc says it read."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            child = subprocess.Popen([self.program, *map(str, words), "--json"], env=self.environment, stdout=out, stderr=errors)
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            try:
                counters = dict(line.split(": ") for line in Path(f"/proc/{child.pid}/io").read_text().splitlines())
            except OSError:
                counters = {"rchar": "0"}
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            errors.seek(0)
            if child.returncode != 0:
                sys.exit(f"levault {' '.join(map(str, words))} ended with {child.returncode}: {errors.read().decode()}")
            out.seek(0)
            lines = [json.loads(line) for line in out if line.strip()]
        return {"lines": lines, "cpu": usage.ru_utime + usage.ru_stime, "rchar": int(counters["rchar"])}

    def backup(self, database, *words):
        ended = self.run("backup", database, *words)
        ended["summary"] = next(line for line in ended["lines"] if line.get("message_type") == "summary")
        ended["database"] = ended["summary"]["databases"][0]
        return ended


def key(number):
    return b"key:" + struct.pack(">Q", (number * 0x9E3779B97F4A7C15) & (2**64 - 1)).hex().encode()


def value(rng):
    return rng.randbytes(40).hex().encode()


def fill(directory, records, rng):
    database = plyvel.DB(str(directory), create_if_missing=True)
    for start in range(0, records, 10_000):
        with database.write_batch() as batch:
            for number in range(start, min(start + 10_000, records)):
                batch.put(key(number), value(rng))
    database.close()


def change(directory, records, changes, rng):
    """So many keys: two thirds overwritten, the rest new or deleted."""
    database = plyvel.DB(str(directory))
    with database.write_batch() as batch:
        for _ in range(changes):
            kind, number = rng.randrange(6), rng.randrange(records)
            if kind == 0:
                batch.delete(key(number))
            else:
                batch.put(key(number if kind < 5 else records + rng.randrange(records)), value(rng))
    database.close()


def restored_sha256(levault, words, base):
    target = base / "restored"
    shutil.rmtree(target, ignore_errors=True)
    ended = levault.run("restore", words, "--target", target)
    return stream_of(target), ended["cpu"]


def thousand(args, base):
    rng, database, levault = random.Random(1), base / "db", Levault(args.levault, base)
    fill(database, args.records, rng)
    levault.backup(database)
    size_of_base, changes = tree_bytes(levault.repository), max(1, int(args.records * args.share))
    kept, packed = {0: stream_of(database)}, 0
    middle = args.increments // 2
    costs = []
    for number in range(1, args.increments + 1):
        change(database, args.records, changes, rng)
        ended = levault.backup(database)
        costs.append(ended["cpu"])
        packed += ended["summary"]["data_added_packed"]
        if ended["database"]["scope"]["read"] != "changes":
            print(f"increment {number}: {ended['database']['scope']}")
        if number in (middle, args.increments):
            kept[number] = stream_of(database)
        if number % 50 == 0:
            print(f"{number}: {tree_bytes(levault.repository) / 1e6:.2f} MB, CPU {statistics.median(costs[-50:]):.2f} s", flush=True)
    size = tree_bytes(levault.repository)
    snapshots = levault.run("snapshots")["lines"][0]
    most = max(run for snapshot in snapshots for run in [db.get("runs", 0) for db in snapshot["databases"]])
    print(f"most runs in any stack: {most}")
    bound = 1.5 * (size_of_base + packed)
    print(f"repository {size}, base {size_of_base}, changes {packed}: {size / (size_of_base + packed):.3f} of base and changes")
    times = {}
    for number, expected in kept.items():
        found, times[number] = restored_sha256(levault, f"latest~{args.increments - number}", base)
        assert found == expected, f"snapshot {number} came back another"
        print(f"snapshot {number} restored right, CPU {times[number]:.2f} s")
    print(levault.run("check", "--read-data")["lines"][-1])
    diff = levault.run("diff", f"latest~{args.increments}", "latest")
    print(f"diff first..last: {diff['lines'][-1]}, CPU {diff['cpu']:.2f} s")
    levault.backup(database, "--no-pins")
    found, fresh = restored_sha256(levault, "latest", base)
    assert found == kept[args.increments]
    print(f"restore of the stack takes {times[args.increments] / fresh:.2f} of a fresh full snapshot's CPU ({fresh:.2f} s)")
    assert most <= 24 and size <= bound


def scale(args, base):
    found = {}
    for gigabytes in map(float, args.gigabytes.split(",")):
        place = base / f"{gigabytes}"
        place.mkdir()
        rng, database, levault = random.Random(2), place / "db", Levault(args.levault, place)
        records = int(gigabytes * 1e9 / 104)
        fill(database, records, rng)
        levault.backup(database)
        rounds = []
        for _ in range(args.rounds):
            change(database, records, args.changes, rng)
            ended = levault.backup(database)
            scope = ended["database"]["scope"]
            rounds.append((ended["cpu"], ended["rchar"], ended["database"]["bytes_read"], scope.get("bytes_differing", 0)))
            print(f"{gigabytes} GB: CPU {ended['cpu']:.2f} s, rchar {ended['rchar']}, read of the source "
                  f"{ended['database']['bytes_read']}, differing {scope.get('bytes_differing')}, {scope['read']}", flush=True)
        found[gigabytes] = [statistics.median(column) for column in zip(*rounds)]
        shutil.rmtree(place)
    for gigabytes, (cpu, rchar, read, differing) in found.items():
        print(f"{gigabytes} GB, medians: CPU {cpu:.2f} s, rchar {rchar / 1e6:.1f} MB, source {read / 1e6:.1f} MB, differing {differing / 1e6:.1f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["thousand", "scale"])
    parser.add_argument("--levault", required=True)
    parser.add_argument("--increments", type=int, default=1000)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--share", type=float, default=0.0001)
    parser.add_argument("--gigabytes", default="0.1,1,4")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--changes", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("LEVAULT_SOAK_DIR")) as base:
        {"thousand": thousand, "scale": scale}[args.what](args, Path(base))


if __name__ == "__main__":
    main()
