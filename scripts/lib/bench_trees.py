#!/usr/bin/env python3
"""Backs up a gigabyte of mixed files with levault and its peers, and compares what it cost.

usage: bench_trees.py --cache DIR [--record DIR] [--tools levault,restic,borg,rustic] [--megabytes N] [--rounds N]
                      [--levault PROGRAM]

The files are this machine's own: documentation, headers, programs, libraries and what else lies in /usr, copied once, a
share of each. Every tool: encryption on, its own defaults, zstd level 3, as
levault; everything on one local disk, the repository made anew in every round; the order of the tools changes from round to
round. The source is read once before each step, so all find it in the page cache. The best of the rounds counts. After
each round what was restored is compared with the source: names, kinds, modes, owners, times, and every byte.
"""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

from bench_peers import arguments, cpu_model, fresh, keep, least, restore, run, tools_of, tree_bytes, warm
from bench_plot import draw

# Where files are taken from, and of a thousand how many bytes.
PARTS = [
    ("/usr/share/doc", 120), ("/usr/include", 110), ("/usr/bin", 230), ("/usr/lib", 320), ("/usr/share", 220),
]
STEPS = ["backup", "backup unchanged", "restore", "restore unverified"]


def make_source(cache, megabytes):
    """The tree, made once per size: each part's files in order of names until its share is reached."""
    final = cache / "trees" / f"mixed-{megabytes}"
    if final.exists():
        return final
    part = final.with_name(final.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for number, (origin, share) in enumerate(PARTS):
        left = megabytes * 1000 * share
        taken = {Path(o) for o, _ in PARTS[:number]}
        for directory, below, names in os.walk(origin):
            below[:] = sorted(name for name in below if Path(directory, name) not in taken)
            target = part / directory.lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            for name in sorted(names):
                left -= copy(Path(directory, name), target / name, left)
            if left <= 0:
                break
    part.rename(final)
    return final


def copy(origin, target, left):
    """Copies a file or link if there is room for it; the bytes it has."""
    facts = origin.lstat()
    if stat.S_ISLNK(facts.st_mode):
        target.symlink_to(os.readlink(origin))
        return 0
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > left or facts.st_size > 64 << 20:
        return 0
    shutil.copy2(origin, target)
    return facts.st_size


def listing(root):
    """A digest of everything below a root, as it has to come back, and how much it is. Made by a process of its own: the
    memory of this one would be taken for that of the tools, which begin as copies of it."""
    made = [sys.executable, __file__, "--list", str(root)]
    return json.loads(subprocess.run(made, check=True, capture_output=True, text=True).stdout)


def make_listing(root):
    found = {}
    for directory, below, names in os.walk(root):
        for name in below + names:
            path = Path(directory, name)
            facts = path.lstat()
            facts_kept = (facts.st_mode, facts.st_uid, facts.st_gid)
            if stat.S_ISLNK(facts.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(facts.st_mode):
                content = (hashlib.sha256(path.read_bytes()).hexdigest(), facts.st_mtime_ns)
            else:
                content = facts.st_mtime_ns
            found[os.fsdecode(os.fsencode(path.relative_to(root)))] = (facts_kept, content)
    text = "\n".join(f"{name!r} {found[name]!r}" for name in sorted(found))
    return {"entries": len(found), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def file_bytes(root):
    """The bytes of its regular files; a link is none."""
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def command(tool, step, source, target):
    if step == "backup unchanged":
        again = tool.command("backup", source, target)
        return [word.replace("::first", "::second") for word in again]
    return tool.command(step, source, target)


def measure(tool, source, work, log, expected, turn):
    """One tool's steps on the tree."""
    tool.prepare()
    found = {}
    run(tool.command("init", source, work), tool.environment(), work, log)
    for step in STEPS[:2]:
        warm(source)
        found[step] = run(command(tool, step, source, work), tool.environment(), work, log)
        if step == "backup":
            found["bytes"] = tree_bytes(tool.repository)
    return {**found, **restore(tool, source, work, log, turn, lambda target: restored(target, source) == expected)}


def restored(target, source):
    """Some tools put the source's whole path below the target, others its name or what is in it."""
    for root in [target / str(source).lstrip("/"), target / source.name, target]:
        if root.exists():
            return listing(root)
    return None


def best(rounds):
    merged = {"bytes": min(found["bytes"] for found in rounds)}
    for step in STEPS:
        merged[step] = least([found[step] for found in rounds])
    return merged


MEASURES = [(f"{step}, wall", lambda r, step=step: r[step]["wall"]) for step in STEPS]
MEASURES += [(f"{step}, CPU", lambda r, step=step: r[step]["cpu"]) for step in STEPS]
MEASURES += [("repository", lambda r: r["bytes"])]


def report(results, versions, source, files, args):
    lines = [
        "# A directory of files, levault beside its peers",
        "",
        f"Made by `scripts/bench trees --megabytes {args.megabytes} --rounds {args.rounds}` on {time.strftime('%Y-%m-%d')}: "
        f"{os.cpu_count()} cores, {cpu_model()}.",
        f"{files} files and directories of /usr, {file_bytes(source) / 1e6:.0f} MB; encryption on, zstd level 3, levault",
        "too; best of the rounds; every tool's restored tree compared with the source.",
        "",
    ]
    lines += [f"- {name}: {version}" for name, version in versions.items()]
    lines += ["", "| tool | " + " | ".join(f"{step} s | CPU s | RSS MiB" for step in STEPS) + " | repository MB |"]
    lines.append("|--|" + "--:|" * (3 * len(STEPS) + 1))
    for name, found in results.items():
        cells = [f"{found[s]['wall']:.2f} | {found[s]['cpu']:.2f} | {found[s]['rss'] / 2**20:.0f}" for s in STEPS]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {found['bytes'] / 1e6:.1f} |")
    peers = [name for name in results if name != "levault"]
    if "levault" in results and peers:
        lines += ["", "levault over the best peer of each row:", "", "| what | ratio |", "|--|--:|"]
        for title, value in MEASURES:
            lines.append(f"| {title} | {value(results['levault']) / min(value(results[p]) for p in peers):.3f} |")
    return "\n".join(lines) + "\n"


def main():
    if sys.argv[1:2] == ["--list"]:
        print(json.dumps(make_listing(Path(sys.argv[2]))))
        return
    parser = arguments(__doc__, 2)
    parser.add_argument("--megabytes", type=int, default=1000)
    args = parser.parse_args()
    work = fresh(args.cache / "work")
    tools = tools_of(args, work)
    names = list(tools)
    versions = {name: tool.version() for name, tool in tools.items()}
    source = make_source(args.cache, args.megabytes)
    expected = listing(source)
    out = args.cache / "results"
    out.mkdir(parents=True, exist_ok=True)
    rounds = {name: [] for name in names}
    with open(out / "trees.jsonl", "w") as lines:
        for turn in range(args.rounds):
            for name in names[turn % len(names):] + names[:turn % len(names)]:
                found = measure(tools[name], source, work, work / "log", expected, turn)
                rounds[name].append(found)
                lines.write(json.dumps({"tool": name, "round": turn, **found}) + "\n")
                lines.flush()
                steps = ", ".join(f"{step} {found[step]['wall']:.2f} s" for step in STEPS)
                print(f"round {turn} {name}: {steps}, {found['bytes'] / 1e6:.1f} MB", file=sys.stderr)
    results = {name: best(rounds[name]) for name in names}
    text = report(results, versions, source, expected["entries"], args)
    (out / "trees.md").write_text(text)
    print(text, end="", flush=True)
    draw(out / "trees.svg", {"mixed": results}, [
        (f"{step}, s", lambda r, step=step: r[step]["wall"]) for step in STEPS[:3]
    ] + [("repository, MB", lambda r: r["bytes"] / 1e6)])
    keep(args, out, "trees")
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
