#!/usr/bin/env python3
"""What one round of change adds to a repository: levault beside its peers, on the four churned workloads.

usage: bench_growth.py --cache DIR [--record DIR] [--tools levault,restic,borg,rustic] [--scale F] [--rounds N]
                       [--workloads utxo,docs,series,tiles] [--levault PROGRAM]

One database a workload, changed in place round by round by scripts/lib/mkdb.py (C++ LevelDB). After each round every tool
backs the same closed directory up into its own repository: encryption on, its own defaults, zstd level 3 for the peers and 1,
its default, for levault.
Growth is what the sum of the repository's files grew by. After the last round levault's snapshot is restored and
compared with the database by C++ LevelDB. The table goes to standard output, each round as a line of JSON to
CACHE/results; --record keeps a copy in the tree.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench_peers import (
    Borg, arguments, cpu_model, fresh, geometric_mean, keep, run, stream_sha256, tools_of, tree_bytes,
)

from bench_plot import draw

HERE = Path(__file__).resolve().parent


def churn(workload, directory, number, scale):
    maker = [sys.executable, str(HERE / "mkdb.py"), workload, str(directory), str(number), "--scale", str(scale)]
    subprocess.run(maker, check=True, stdout=subprocess.DEVNULL)


def backup(name, tool, source, number, work, log):
    """One backup; what it cost. Borg's archives need names of their own."""
    command = tool.command("backup", source, None)
    if isinstance(tool, Borg):
        command = [f"::round{number}" if word == "::first" else word for word in command]
    if name == "levault":
        command += ["--json"]
    before, start = tree_bytes(tool.repository), log.stat().st_size if log.exists() else 0
    found = run(command, tool.environment(), work, log)
    found["growth"] = tree_bytes(tool.repository) - before
    if name == "levault":
        with open(log, "rb") as text:
            text.seek(start)
            said = [json.loads(line) for line in text if line.startswith(b"{")]
        database = next(line for line in said if line.get("message_type") == "summary")["databases"][0]
        found["scope"] = database["scope"]
        found["bytes_read"] = database["bytes_read"]
    return found


def prove(tool, source, work, log):
    """The restored database is the one that was saved."""
    target = work / "restored"
    shutil.rmtree(target, ignore_errors=True)
    run(tool.command("check data", source, target), tool.environment(), work, log)
    run(tool.command("restore", source, target), tool.environment(), work, log)
    if stream_sha256(target) != stream_sha256(source):
        sys.exit("levault did not bring back the last round")


def measure(workload, tools, args, work, lines):
    """Growth, wall and CPU by tool, a list each with one number a round."""
    source, log = work / "database", work / "log"
    shutil.rmtree(source, ignore_errors=True)
    found = {name: [] for name in tools}
    for name, tool in tools.items():
        tool.prepare()
        run(tool.command("init", source, None), tool.environment(), work, log)
    for number in range(args.rounds + 1):
        churn(workload, source, number, args.scale)
        names = list(tools)
        for name in names[number % len(names):] + names[:number % len(names)]:
            one = backup(name, tools[name], source, number, work, log)
            lines.write(json.dumps({"workload": workload, "tool": name, "round": number, "scale": args.scale, **one}) + "\n")
            lines.flush()
            if number > 0:
                found[name].append(one)
    pruned = {name: forget(tool, work, log) for name, tool in tools.items()}
    if "levault" in tools:
        prove(tools["levault"], source, work, log)
    return found, pruned


def forget(tool, work, log):
    """Forgets all but the newest and gives their space back; what that cost."""
    before = tree_bytes(tool.repository)
    steps = [run(command, tool.environment(), work, log) for command in tool.forget()]
    after = tree_bytes(tool.repository)
    total = {what: sum(step[what] for step in steps) for what in ("wall", "cpu")}
    return {**total, "rss": max(step["rss"] for step in steps), "before": before, "after": after}


def mean(found, what):
    return sum(one[what] for one in found) / len(found)


def report(results, pruned, versions, args):
    lines = [
        "# What one round of change costs",
        "",
        f"Made by `scripts/bench growth --scale {args.scale} --rounds {args.rounds}` on {time.strftime('%Y-%m-%d')}: "
        f"{os.cpu_count()} cores, {platform_machine()}, {cpu_model()}.",
        f"Means of rounds 1 to {args.rounds}; every tool reads the same closed directory after each round.",
        "",
    ]
    lines += [f"- {name}: {version}" for name, version in versions.items()] + [""]
    lines += ["| workload | tool | growth KB a round | wall s | CPU s | RSS MiB |", "|--|--|--:|--:|--:|--:|"]
    for workload, tools in results.items():
        for name, found in tools.items():
            lines.append(
                f"| {workload} | {name} | {mean(found, 'growth') / 1e3:.0f} | {mean(found, 'wall'):.2f} | "
                f"{mean(found, 'cpu'):.2f} | {max(one['rss'] for one in found) / 2**20:.0f} |"
            )
    peers = [name for name in versions if name != "levault"]
    if "levault" in versions and peers:
        lines += ["", "levault over the best peer:", "", "| what | " + " | ".join(results) + " | geometric mean |"]
        lines.append("|--|" + "--:|" * (len(results) + 1))
        for title, what in [("growth", "growth"), ("wall", "wall"), ("CPU", "cpu")]:
            ratios = [mean(t["levault"], what) / min(mean(t[p], what) for p in peers) for t in results.values()]
            cells = " | ".join(f"{ratio:.3f}" for ratio in ratios + [geometric_mean(ratios)])
            lines.append(f"| {title} | {cells} |")
    lines += ["", "Then all but the newest snapshot forgotten, and their space given back:", ""]
    lines += ["| workload | tool | wall s | CPU s | RSS MiB | MB before | MB after |", "|--|--|" + "--:|" * 5]
    for workload, tools in pruned.items():
        lines += [
            f"| {workload} | {name} | {one['wall']:.2f} | {one['cpu']:.2f} | {one['rss'] / 2**20:.0f} | "
            f"{one['before'] / 1e6:.1f} | {one['after'] / 1e6:.1f} |"
            for name, one in tools.items()
        ]
    if "levault" in versions and peers:
        lines += ["", "| levault over the best peer | " + " | ".join(results) + " | geometric mean |"]
        lines.append("|--|" + "--:|" * (len(results) + 1))
        for title, what in [("forget and prune, wall", "wall"), ("repository behind it", "after")]:
            ratios = [tools["levault"][what] / min(tools[p][what] for p in peers) for tools in pruned.values()]
            cells = " | ".join(f"{ratio:.3f}" for ratio in ratios + [geometric_mean(ratios)])
            lines.append(f"| {title} | {cells} |")
    if "levault" in versions:
        lines += ["", "What levault read of the database, over the tables that differ and both states' logs (increments only); and the",
                  "same without the blocks, with their tables' indexes, in which records that changed were looked up:", ""]
        for workload, tools in results.items():
            scopes = [(one["bytes_read"], one["scope"]) for one in tools["levault"]]
            made = [(read, s["bytes_looked_up"], s["bytes_differing"]) for read, s in scopes if s["read"] == "changes"]
            read, looked_up, differing = (max(1, sum(column)) for column in zip(*made))
            lines.append(f"- {workload}: {read / differing:.3f}, {(read - looked_up) / differing:.3f} "
                         f"({len(made)} of {len(scopes)} rounds)")
    return "\n".join(lines) + "\n"


def platform_machine():
    return os.uname().machine


def main():
    parser = arguments(__doc__, 10)
    parser.add_argument("--workloads", default="utxo,docs,series,tiles")
    parser.add_argument("--scale", type=float, default=1.0)
    args = parser.parse_args()
    work = fresh(args.cache / "growth")
    tools = tools_of(args, work)
    versions = {name: tool.version() for name, tool in tools.items()}
    out = args.cache / "results"
    out.mkdir(parents=True, exist_ok=True)
    results, pruned = {}, {}
    with open(out / "growth.jsonl", "w") as lines:
        for workload in args.workloads.split(","):
            results[workload], pruned[workload] = measure(workload, tools, args, work, lines)
            print(f"{workload} done", file=sys.stderr)
    text = report(results, pruned, versions, args)
    (out / "growth.md").write_text(text)
    print(text, end="", flush=True)
    means = {w: {n: {what: mean(f, what) for what in ("growth", "wall")} for n, f in t.items()} for w, t in results.items()}
    draw(out / "growth.svg", means, [
        ("growth a round, KB", lambda r: r["growth"] / 1e3),
        ("a round, s", lambda r: r["wall"]),
    ])
    keep(args, out, "growth")
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
