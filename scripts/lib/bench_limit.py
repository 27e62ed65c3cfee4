#!/usr/bin/env python3
"""What the crates under a first backup allow, and what of it the whole backup reaches.

usage: bench_limit.py --cache DIR --limit PROGRAM [--record DIR] [--scale F] [--workloads utxo,docs,series,tiles] [--rounds N]

PROGRAM is examples/limit.rs: each stage alone on one core, on the database's own bytes, in CPU seconds; then the whole
backup, without the password. The limit is the sum of the stages on all cores at once, with nothing lost between them; the share is
that time over the backup's. The same backup bound to one core tells what the second one gives. The best of the rounds counts.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench_peers import cpu_model, database, geometric_mean, warm


def ask(words):
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return [line.split("\t") for line in printed.splitlines()]


def fresh(directory):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def measure(limit, source, work, rounds):
    """Stages (name to MB and seconds), and the least seconds of the whole on all cores and on one."""
    stages, whole, single, cpu = {}, [], [], []
    for _ in range(rounds):
        warm(source)
        *rows, last = ask([limit, source, fresh(work)])
        for name, megabytes, seconds in rows:
            before = stages.get(name, (0, float("inf")))[1]
            stages[name] = (float(megabytes), min(before, float(seconds)))
        cpu.append(float(last[2]))
        whole.append(float(last[3]))
        plain = str(round(float(last[1]) * 1e6))
        core = str(min(os.sched_getaffinity(0)))
        one = ask(["taskset", "-c", core, limit, source, fresh(work), plain])
        single.append(float(one[-1][3]))
    return stages, float(last[1]), min(whole), min(single), min(cpu)


def report(found, cores):
    workloads = list(found)
    lines = [
        "# What the crates allow",
        "",
        f"Made by `scripts/bench limit` on {time.strftime('%Y-%m-%d')}: {cores} cores, {os.uname().machine}, {cpu_model()}.",
        "A first backup, stage by stage on one core, CPU seconds, and MB of plain bytes a second of CPU:",
        "",
        "| stage | " + " | ".join(workloads) + " |",
        "|--|" + "--:|" * len(workloads),
    ]
    for name in next(iter(found.values()))[0]:
        cells = []
        for stages, plain, *_ in found.values():
            seconds = stages[name][1]
            speed = f" ({plain / seconds:.0f} MB/s)" if seconds > 0.0005 else ""
            cells.append(f"{seconds:.3f}{speed}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    rows = {
        "all stages, CPU s": [sum(s for _, s in stages.values()) for stages, *_ in found.values()],
        "the backup, CPU s": [cpu for *_, cpu in found.values()],
        f"the limit on {cores} cores, s": [sum(s for _, s in stages.values()) / cores for stages, *_ in found.values()],
        "the backup, s": [whole for _, _, whole, _, _ in found.values()],
    }
    lines += [f"| **{name}** | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |" for name, cells in rows.items()]
    shares = [limit / whole for limit, whole in zip(rows[f"the limit on {cores} cores, s"], rows["the backup, s"])]
    gains = [single / whole for _, _, whole, single, _ in found.values()]
    lines += ["", "| | " + " | ".join(workloads) + " | geometric mean |", "|--|" + "--:|" * (len(workloads) + 1)]
    for name, cells in [("share of the limit", shares), (f"{cores} cores over one", gains)]:
        lines.append(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells + [geometric_mean(cells)]) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--limit", type=Path, required=True)
    parser.add_argument("--record", type=Path, help="a directory that gets a copy of the table")
    parser.add_argument("--workloads", default="utxo,docs,series,tiles")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    work = args.cache / "limit"
    found = {}
    for workload in args.workloads.split(","):
        source = database(workload, args.scale, args.cache)
        found[workload] = measure(args.limit, source, work, args.rounds)
        print(f"{workload} done", file=sys.stderr)
    shutil.rmtree(work, ignore_errors=True)
    text = report(found, os.cpu_count())
    print(text, end="")
    if args.record:
        args.record.mkdir(parents=True, exist_ok=True)
        (args.record / "limit.md").write_text(text)


if __name__ == "__main__":
    main()
