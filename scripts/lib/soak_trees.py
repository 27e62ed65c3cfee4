#!/usr/bin/env python3
"""Whole directories there and back: a browser's profile, a game's world, /usr/share/doc, and a tree like Linux's sources.

usage: soak_trees.py --levault PROGRAM [--files N] [--only NAME,...]

Each is backed up three times, with changes in between. Before each backup stands the list of what is there: kind, mode, owner,
time to the nanosecond, length, links and where they lead (find -printf), attributes (getfattr), SHA-256 of each file.
After it the snapshot is restored and must give the same list. A database's own files are not the same files: its records
are held to the corpus's truth by the oracle's parser, which shares nothing with levault.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/oracle"))
import rawdump  # noqa: E402

OWN = ("CURRENT", "LOCK", "LOG", "LOG.old", "MANIFEST-")
TRUTH = ("comparator", "records", "key_bytes", "value_bytes", "sha256_bytewise")


class Levault:
    def __init__(self, program, place):
        self.program, self.place = program, place
        self.environment = dict(os.environ, LEVAULT_REPOSITORY=str(place / "repository"), LEVAULT_PASSWORD="soak",
                                LEVAULT_CACHE_DIR=str(place / "cache"))
        self("init")

    def __call__(self, *arguments):
        command = [self.program, "--json", *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return next((line for line in lines if line.get("message_type") == "summary"), None)


def is_own(name, databases):
    """A file that belongs to a database, or to the pins beside one."""
    parts = name.split("/")
    if any(part.startswith(".") and ".levault-" in part for part in parts):
        return True
    directory, file = "/".join(parts[:-1]), parts[-1]
    number = file.split(".")[0].isdigit() and file.endswith((".ldb", ".sst", ".log"))
    return directory in databases and (number or file.startswith(OWN))


def seen(root, databases):
    """Everything to be the same, by path."""
    text = lambda raw: raw.decode("utf-8", "surrogateescape")
    printf = r"%P\0%y %m %U %G %T@ %n %s\0%l\0"
    found = text(subprocess.run(["find", ".", "-printf", printf], cwd=root, capture_output=True, check=True).stdout)
    fields = found.split("\0")[:-1]
    things = {}
    for name, facts, target in zip(fields[::3], fields[1::3], fields[2::3]):
        if is_own(name, databases):
            continue
        if facts.startswith("d"):
            # Links and length of a directory are the filesystem's own.
            facts = facts.rsplit(" ", 2)[0]
        content = ""
        if facts.startswith("f"):
            with open(os.path.join(root, name), "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        things[name] = [facts, target, content, ""]
    command = ["getfattr", "-R", "-h", "-P", "-d", "-m", "-", "-e", "hex", "."]
    listed = text(subprocess.run(command, cwd=root, capture_output=True, check=True).stdout)
    for block in listed.split("\n\n"):
        if not block.strip():
            continue
        name, *attributes = block.strip().split("\n")
        name = name.removeprefix("# file: ").removeprefix(".").removeprefix("/")
        if name in things:
            things[name][3] = "\n".join(sorted(attributes))
    return things


def same(name, was, back):
    if was == back:
        return
    for path in sorted(was.keys() | back.keys()):
        if was.get(path) != back.get(path):
            print(f"  {path!r}\n    was  {was.get(path)}\n    back {back.get(path)}", file=sys.stderr)
    sys.exit(f"{name}: what came back is not what was there")


def judge(root, truths):
    for path, truth in truths.items():
        raw = rawdump.summary(str(root / path))
        for fact in TRUTH:
            if raw[fact] != truth[fact]:
                sys.exit(f"{root / path}: {fact} is {raw[fact]}, {truth[fact]} in truth")


def change(root, number):
    """A new file, a file with more in it, and one less, each beside databases and elsewhere."""
    directories = sorted(path for path in root.rglob("*") if path.is_dir() and ".levault-" not in str(path))
    chosen = random.Random(number).sample(directories, min(5, len(directories)))
    for directory in chosen:
        (directory / f"new{number}").write_text(f"round {number}")
        gone = directory / f"new{number - 1}"
        gone.unlink(missing_ok=True)
    (root / "grows").open("a").write("more\n" * 1000)


def attributes(root):
    names = ["user.origin", "user.empty"] + (["trusted.note", "security.levault"] if os.geteuid() == 0 else [])
    for number, path in enumerate(sorted(root.rglob("*"))):
        if number % 7 == 0 and not path.is_symlink() and (path.is_dir() or path.is_file()):
            for name in names:
                os.setxattr(path, name, b"" if name.endswith("empty") else b"\x00\xff" + str(number).encode())


def corpus(name, place):
    folder = ROOT / "tests/corpora" / name
    subprocess.run(["tar", "-xf", folder / f"{name}.tar.xz", "-C", place], check=True)
    attributes(place / name)
    return place / name, json.loads((folder / "truth.json").read_text())["databases"]


def sources(place, files):
    """Like Linux's: directories in directories, small files of text that repeats itself, links of both kinds."""
    dice, root = random.Random(7), place / "linux"
    words = [f"{dice.choice('abcdefgh')}{dice.randrange(10**5):x}_{dice.choice('rwxyz')}" for _ in range(5000)]
    directories = [root]
    root.mkdir()
    for _ in range(files // 12):
        above = dice.choice(directories[-400:])
        if len(above.relative_to(root).parts) < 9:
            directories.append(above / dice.choice(words))
            directories[-1].mkdir(exist_ok=True)
    made = []
    for number in range(files):
        path = dice.choice(directories) / f"{dice.choice(words)}{number}.{dice.choice(['c', 'h', 'S', 'rst', 'dts'])}"
        lines = dice.randrange(1, 160) if number % 50 else dice.randrange(0, 4000)
        text = "".join(f"static int {dice.choice(words)}(struct {dice.choice(words)} *p);\n" for _ in range(lines))
        path.write_text(text)
        made.append(path)
    for number in range(files // 100):
        dice.choice(made).chmod(dice.choice([0o600, 0o755, 0o4755, 0o440]))
        os.symlink(f"../{dice.choice(words)}", dice.choice(directories) / f"link{number}")
        os.link(dice.choice(made), dice.choice(directories) / f"same{number}")
    for number, name in enumerate([b"\xff\xfe", b"new\nline", b" ", b"-n", "ü".encode()]):
        with open(os.path.join(os.fsencode(dice.choice(directories)), name), "wb") as odd:
            odd.seek(number << 20)
            odd.write(b"end")
    os.mkfifo(root / "pipe")
    for path in dice.sample(made, files // 10):
        os.utime(path, ns=(0, dice.randrange(10**18)), follow_symlinks=False)
    return root, {}


def there_and_back(name, source, truths, changes, levault, place):
    databases = {path.removeprefix("./").rstrip("/") for path in truths}
    for number in range(3):
        if number and changes:
            change(source, number)
        was = seen(source, databases)
        saved = levault("backup", source)
        target = place / "target"
        back = levault("restore", "latest", "--target", target)
        # A snapshot of one tree stands at the target itself.
        same(name, was, seen(target, databases))
        judge(target, truths)
        print(f"{name}: backup {number + 1}: {len(was)} names and {len(databases)} databases came back; "
              f"{saved['files_new']} files new, {saved['files_changed']} changed, {saved['files_unmodified']} as they were; "
              f"verified: {back['verified']}", flush=True)
        shutil.rmtree(target)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--levault", required=True)
    arguments.add_argument("--files", type=int, default=50_000)
    arguments.add_argument("--only", default="chromium_closed,minetest_world,doc,sources")
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="levault-trees-") as place:
        place = Path(place)
        levault = Levault(arguments.levault, place)
        for name in arguments.only.split(","):
            if name == "doc":
                source, truths = Path("/usr/share/doc"), {}
            elif name == "sources":
                source, truths = sources(place, arguments.files)
            else:
                source, truths = corpus(name, place)
            there_and_back(name, source, truths, name != "doc", levault, place)
        levault("check", "--read-data")
        print("check --read-data: sound")


if __name__ == "__main__":
    main()
