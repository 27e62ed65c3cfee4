#!/usr/bin/env python3
"""What prune gives back: fifty snapshots of each churned workload, all but two forgotten, against a fresh repository that
holds those two.

usage: soak_prune.py --levault PROGRAM [--scale F] [--rounds N] [--workloads utxo,docs,series,tiles]

The database lies at one path in both repositories, so names and hosts are the same. The grace is zero here: nothing else
uses the repository. Both kept snapshots are compared with what they were made of, record by record, before and after.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Levault:
    def __init__(self, program, place):
        self.program, self.repository = program, place / "repository"
        self.environment = dict(os.environ, LEVAULT_REPOSITORY=str(self.repository), LEVAULT_PASSWORD="soak",
                                LEVAULT_CACHE_DIR=str(place / "cache"))
        self("init")

    def __call__(self, *arguments):
        command = [self.program, "--json", *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]

    def backup(self, database):
        return next(line for line in self("backup", database) if line.get("message_type") == "summary")["snapshot_id"]

    def dump(self, snapshot):
        command = [self.program, "dump", snapshot, "--format", "raw"]
        digest = subprocess.run(["sha256sum"], stdin=subprocess.Popen(command, env=self.environment,
                                stdout=subprocess.PIPE).stdout, capture_output=True, text=True, check=True)
        return digest.stdout.split()[0]

    def size(self):
        return sum(path.stat().st_size for path in self.repository.rglob("*") if path.is_file())


def life(program, workload, scale, rounds, place):
    database = place / "db" / workload
    database.parent.mkdir(parents=True)
    churned = Levault(program, place / "churned")
    kept = {}
    for number in range(rounds):
        maker = [sys.executable, str(HERE / "mkdb.py"), workload, str(database), str(number), "--scale", str(scale)]
        subprocess.run(maker, check=True, stdout=subprocess.DEVNULL)
        snapshot = churned.backup(database)
        if number in (rounds // 2, rounds - 1):
            state = place / f"state{number}"
            shutil.copytree(database, state)
            kept[snapshot] = (state, churned.dump(snapshot))
    before = churned.size()
    churned("forget", *(row["id"] for row in churned("snapshots")[0] if row["id"] not in kept))
    churned("prune", "--grace", "0", "--unsafe-grace")
    churned("prune", "--grace", "0", "--unsafe-grace")
    churned("check", "--read-data")
    for snapshot, (_, digest) in kept.items():
        if churned.dump(snapshot) != digest:
            sys.exit(f"{workload}: snapshot {snapshot} is not what it was")
    fresh = Levault(program, place / "fresh")
    for state, _ in kept.values():
        shutil.rmtree(database)
        shutil.copytree(state, database)
        fresh.backup(database)
    after, anew = churned.size(), fresh.size()
    print(f"{workload}: {before / 1e6:.2f} MB of {rounds} snapshots, {after / 1e6:.2f} MB of 2 after prune, "
          f"{anew / 1e6:.2f} MB in a fresh repository: {after / anew:.3f}", flush=True)
    return after / anew


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levault", required=True)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--workloads", default="utxo,docs,series,tiles")
    args = parser.parse_args()
    worst = 0.0
    for workload in args.workloads.split(","):
        with tempfile.TemporaryDirectory() as place:
            worst = max(worst, life(args.levault, workload, args.scale, args.rounds, Path(place)))
    sys.exit(0 if worst <= 1.05 else f"{worst:.3f} of a fresh repository; at most 1.05 is promised")


main()
