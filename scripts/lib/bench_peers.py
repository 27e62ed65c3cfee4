#!/usr/bin/env python3
"""Backs up the four workloads with levault and its peers, and compares what it cost.

usage: bench_peers.py --cache DIR [--record DIR] [--tools levault,restic,borg,rustic] [--scale F] [--rounds N]
                      [--workloads utxo,docs,series,tiles] [--levault PROGRAM]

Every tool: encryption on, its own defaults, zstd level 3 for the peers and 1, its default, for levault
(docs/decisions/0004-compression-level.md), everything on one local disk, and the repository made anew in every round; the order of the tools changes from round to round. The source is read
once before each step, so all find it in the page cache; everybody restores twice. Times are wall seconds and user + system seconds of
the process and its children, peak memory is theirs too; the best of the rounds counts (the least disturbed
one). A repository's size is the sum of its files. After the first round each restored database is read by
C++ LevelDB and compared with the source. The table goes to standard output and, with every single round as a
line of JSON, to CACHE/results; --record keeps a copy in the tree.
"""

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench_plot import draw

HERE = Path(__file__).resolve().parent
PASSWORD = "a password for measurements only"
STEPS = ["init", "backup", "restore", "restore unverified", "check", "check data"]


class Tool:
    """One backup program: how to say each step to it. `base` holds its repository, cache and password."""

    def __init__(self, program, base):
        self.program, self.base = str(program), base
        self.repository = base / "repository"
        self.password_file = base / "password"

    def prepare(self):
        shutil.rmtree(self.base, ignore_errors=True)
        self.base.mkdir(parents=True)
        self.password_file.write_text(PASSWORD + "\n")

    def environment(self):
        return {}

    def version(self):
        printed = subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout
        return printed.strip().splitlines()[0]


class Levault(Tool):
    def environment(self):
        return {
            "LEVAULT_REPOSITORY": str(self.repository),
            "LEVAULT_PASSWORD_FILE": str(self.password_file),
            "LEVAULT_CACHE_DIR": str(self.base / "cache"),
        }

    def command(self, step, source, target):
        return {
            "init": [self.program, "init"],
            "backup": [self.program, "backup", str(source), "--compression", "auto"],
            "restore": [self.program, "restore", "latest", "--target", str(target)],
            "restore unverified": [self.program, "restore", "latest", "--target", str(target), "--verify", "none"],
            "check": [self.program, "check"],
            "check data": [self.program, "check", "--read-data"],
        }[step]

    def forget(self):
        """Without a grace a prune sweeps at once what it marked."""
        now = ["--grace", "0h", "--unsafe-grace"]
        return [[self.program, "forget", "--keep-last", "1", "--prune", *now]]


class Restic(Tool):
    def version(self):
        return subprocess.run([self.program, "version"], capture_output=True, text=True).stdout.strip()

    def environment(self):
        return {
            "RESTIC_REPOSITORY": str(self.repository),
            "RESTIC_PASSWORD_FILE": str(self.password_file),
            "RESTIC_CACHE_DIR": str(self.base / "cache"),
        }

    def command(self, step, source, target):
        return {
            "init": [self.program, "init"],
            "backup": [self.program, "backup", "--compression", "auto", str(source)],
            "restore": [self.program, "restore", "latest", "--target", str(target)],
            "check": [self.program, "check"],
            "check data": [self.program, "check", "--read-data"],
        }[step]

    def forget(self):
        return [[self.program, "forget", "--keep-last", "1", "--prune"]]


class Borg(Tool):
    def environment(self):
        return {
            "BORG_REPO": str(self.repository),
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_BASE_DIR": str(self.base / "home"),
        }

    def command(self, step, source, target):
        return {
            "init": [self.program, "init", "-e", "repokey-blake2"],
            "backup": [self.program, "create", "-C", "zstd,3", "::first", str(source)],
            "restore": [self.program, "extract", "::first"],
            "check": [self.program, "check"],
            "check data": [self.program, "check", "--verify-data"],
        }[step]

    def forget(self):
        return [[self.program, "prune", "--keep-last", "1"], [self.program, "compact"]]


class Rustic(Tool):
    def environment(self):
        return {
            "RUSTIC_REPOSITORY": str(self.repository),
            "RUSTIC_PASSWORD_FILE": str(self.password_file),
            "RUSTIC_CACHE_DIR": str(self.base / "cache"),
            "RUSTIC_NO_PROGRESS": "true",
        }

    def command(self, step, source, target):
        return {
            "init": [self.program, "init", "--set-compression", "3"],
            "backup": [self.program, "backup", str(source)],
            "restore": [self.program, "restore", "latest", str(target)],
            "check": [self.program, "check"],
            "check data": [self.program, "check", "--read-data"],
        }[step]

    def forget(self):
        return [[self.program, "forget", "--keep-last", "1", "--prune", "--instant-delete", "--keep-delete", "0s"]]


TOOLS = {"levault": Levault, "restic": Restic, "borg": Borg, "rustic": Rustic}


def run(command, environment, directory, log):
    """Runs one step to its end: wall seconds, CPU seconds, peak resident bytes. A failure ends the bench."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEVAULT_")}
    start = time.monotonic()
    with open(log, "ab") as out:
        child = subprocess.Popen(
            command, env={**kept, **environment}, cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        tail = Path(log).read_bytes()[-2000:].decode(errors="replace")
        sys.exit(f"{' '.join(command)} ended with {child.returncode}:\n{tail}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss * 1024}


def tree_bytes(directory):
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def warm(directory):
    for path in directory.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                while file.read(1 << 20):
                    pass


def database(workload, scale, cache):
    """The workload's database, made once per scale."""
    final = cache / "db" / f"{workload}-{scale}"
    if not final.exists():
        part = final.with_name(final.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        maker = [sys.executable, str(HERE / "mkdb.py"), workload, str(part), "0", "--scale", str(scale)]
        subprocess.run(maker, check=True, stdout=sys.stderr)
        part.rename(final)
    return final


def stream_sha256(directory):
    """What C++ LevelDB reads in a database; asked of a copy, because opening writes."""
    script = HERE / "stream_sha256.py"
    printed = subprocess.run([sys.executable, str(script), str(directory)], check=True, capture_output=True, text=True)
    return printed.stdout.strip()


def measure(tool, source, work, log, expected, turn):
    """One tool's steps on one database; `expected` is what C++ LevelDB read in it, asked in the first round."""
    tool.prepare()
    found = {}
    for step in ["init", "backup"]:
        warm(source if step == "backup" else work)
        found[step] = run(tool.command(step, source, work), tool.environment(), work, log)
    found["bytes"] = tree_bytes(tool.repository)
    is_right = lambda target: turn > 0 or stream_sha256(next(target.rglob("CURRENT")).parent) == expected
    found.update(restore(tool, source, work, log, turn, is_right))
    for step in ["check", "check data"]:
        warm(tool.repository)
        found[step] = run(tool.command(step, source, work), tool.environment(), work, log)
    return found


def restore(tool, source, work, log, turn, is_right):
    """Everybody restores twice: whoever comes first gets pages from a virtual machine's host that the second finds at hand.
    levault verifies what it restored once in two, first in one round and second in the next; its peers never do."""
    steps = ["restore", "restore unverified"] if isinstance(tool, Levault) else ["restore", "restore"]
    target = work / "restored"
    found = {}
    for step in steps[::-1] if turn % 2 else steps:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(tool, Borg):
            target.mkdir()
        warm(tool.repository)
        directory = target if isinstance(tool, Borg) else work
        one = run(tool.command(step, source, target), tool.environment(), directory, log)
        found[step] = least([one] + ([found[step]] if step in found else []))
        if not is_right(target):
            sys.exit(f"{' '.join(tool.command(step, source, target))} did not bring it back")
    found.setdefault("restore unverified", found["restore"])
    shutil.rmtree(target)
    return found


def least(measured):
    return {what: min(one[what] for one in measured) for what in ("wall", "cpu", "rss")}


def best(rounds):
    """The least wall, CPU and memory seen for each step."""
    merged = {"bytes": min(found["bytes"] for found in rounds)}
    for step in STEPS:
        merged[step] = least([found[step] for found in rounds])
    return merged


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def ratios(results, workloads, peers, value):
    """levault over the best peer, per workload and as geometric mean."""
    found = [value(results[w]["levault"]) / min(value(results[w][p]) for p in peers) for w in workloads]
    return found + [geometric_mean(found)]


MEASURES = [
    ("backup, wall", lambda r: r["backup"]["wall"]),
    ("backup, CPU", lambda r: r["backup"]["cpu"]),
    ("backup, memory", lambda r: r["backup"]["rss"]),
    ("repository", lambda r: r["bytes"]),
    ("restore, wall", lambda r: r["restore"]["wall"]),
    ("restore without verifying, wall", lambda r: r["restore unverified"]["wall"]),
    ("restore, memory", lambda r: r["restore"]["rss"]),
    ("check, wall", lambda r: r["check"]["wall"]),
    ("check of all data, wall", lambda r: r["check data"]["wall"]),
]


def report(results, versions, sizes, args):
    """The tables, as markdown that reads well on a terminal too."""
    lines = [
        "# levault beside its peers",
        "",
        f"Made by `scripts/bench peers --scale {args.scale} --rounds {args.rounds}` on {time.strftime('%Y-%m-%d')}: "
        f"{os.cpu_count()} cores, {platform.machine()}, {cpu_model()}.",
        "First backup of a closed database; encryption on, zstd level 3 (levault: 1, its default); best of the rounds.",
        "",
    ]
    lines += [f"- {name}: {version}" for name, version in versions.items()] + [""]
    columns = ["init s", "backup s", "CPU s", "RSS MiB", "repository MB", "restore s", "unverified s", "check s", "all data s"]
    lines.append("| workload | source MB | tool | " + " | ".join(columns) + " |")
    lines.append("|--|--:|--|" + "--:|" * len(columns))
    for workload, tools in results.items():
        for name, found in tools.items():
            cells = [
                f"{found['init']['wall']:.2f}",
                f"{found['backup']['wall']:.2f}",
                f"{found['backup']['cpu']:.2f}",
                f"{found['backup']['rss'] / 2**20:.0f}",
                f"{found['bytes'] / 1e6:.2f}",
                f"{found['restore']['wall']:.2f}",
                f"{found['restore unverified']['wall']:.2f}",
                f"{found['check']['wall']:.2f}",
                f"{found['check data']['wall']:.2f}",
            ]
            lines.append(f"| {workload} | {sizes[workload] / 1e6:.1f} | {name} | " + " | ".join(cells) + " |")
    peers = [name for name in versions if name != "levault"]
    if "levault" in versions and peers:
        workloads = list(results)
        lines += ["", "levault over the best peer of each row and workload (below 1: levault is better):", ""]
        lines.append("| what | " + " | ".join(workloads) + " | geometric mean |")
        lines.append("|--|" + "--:|" * (len(workloads) + 1))
        for title, value in MEASURES:
            cells = " | ".join(f"{ratio:.2f}" for ratio in ratios(results, workloads, peers, value))
            lines.append(f"| {title} | {cells} |")
    return "\n".join(lines) + "\n"


def cpu_model():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def arguments(doc, rounds):
    """What every comparison takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--record", type=Path, help="a directory that gets a copy of the results")
    parser.add_argument("--tools", default="levault,restic,borg,rustic")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--levault", type=Path, help="the levault to measure")
    return parser


def fresh(directory):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def tools_of(args, work):
    programs = {
        "levault": args.levault,
        "restic": shutil.which("restic"),
        "borg": args.cache / "borg/bin/borg",
        "rustic": args.cache / "rustic/bin/rustic",
    }
    return {name: TOOLS[name](programs[name], work / name) for name in args.tools.split(",")}


def keep(args, out, name):
    """Copies a measurement's results to where --record says."""
    if args.record:
        args.record.mkdir(parents=True, exist_ok=True)
        for ending in ("md", "jsonl", "svg"):
            shutil.copy(out / f"{name}.{ending}", args.record / f"{name}.{ending}")


def main():
    parser = arguments(__doc__, 2)
    parser.add_argument("--workloads", default="utxo,docs,series,tiles")
    parser.add_argument("--scale", type=float, default=1.0)
    args = parser.parse_args()
    work = fresh(args.cache / "work")
    tools = tools_of(args, work)
    names = list(tools)
    versions = {name: tool.version() for name, tool in tools.items()}
    results, sizes = {}, {}
    out = args.cache / "results"
    out.mkdir(parents=True, exist_ok=True)
    log = work / "log"
    with open(out / "peers.jsonl", "w") as lines:
        for workload in args.workloads.split(","):
            source = database(workload, args.scale, args.cache)
            sizes[workload] = tree_bytes(source)
            expected = stream_sha256(source)
            rounds = {name: [] for name in names}
            for turn in range(args.rounds):
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    found = measure(tools[name], source, work, log, expected, turn)
                    rounds[name].append(found)
                    record = {"workload": workload, "tool": name, "round": turn, "scale": args.scale, **found}
                    lines.write(json.dumps(record) + "\n")
                    lines.flush()
                    print(f"{workload} round {turn} {name}: {found['backup']['wall']:.2f} s, "
                          f"{found['bytes'] / 1e6:.1f} MB", file=sys.stderr)
            results[workload] = {name: best(rounds[name]) for name in names}
    text = report(results, versions, sizes, args)
    (out / "peers.md").write_text(text)
    print(text, end="", flush=True)
    draw(out / "peers.svg", results, [
        ("first backup, s", lambda r: r["backup"]["wall"]),
        ("repository, MB", lambda r: r["bytes"] / 1e6),
        ("restore, s", lambda r: r["restore"]["wall"]),
        ("check of all data, s", lambda r: r["check data"]["wall"]),
    ])
    keep(args, out, "peers")
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
