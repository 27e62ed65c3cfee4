#!/usr/bin/env python3
"""The real program is killed, or its disk is full, at random times, in backup, forget, prune, copy and repair; nothing that
was reported may be lost. Needs plyvel and a built levault.

usage: soak_deaths.py kill|full --levault PROGRAM [--rounds N] [--seed N] [--acts backup,prune,copy,repair]
                      [--filesystem memory|ext4]

kill: SIGKILL at a random time of each act. full: the repository lies on a small tmpfs (needs root) that a filler leaves a
random, small room in. With ext4 the repository lies on an image of that kind (needs root) and some values are larger, so that
packs are written past the page cache. The judge: each snapshot that was reported and not forgotten dumps to the stream that its database
was (read by C++ LevelDB when it was saved); each snapshot of the copy is one of the source's, and after a copy that ended
well all of the source's are there. Repairs run on a damaged copy of the repository, are killed, and run again.
"""

import argparse
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import plyvel

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stream_sha256 import stream_of  # noqa: E402

LIVE_MAX = 6
ROOM_BYTES = 64 << 20
GRACELESS = ("--grace", "0", "--unsafe-grace")


class Tool:
    def __init__(self, program, place, cache):
        self.program, self.repository, self.cache = program, place, cache
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LEVAULT_")},
            "LEVAULT_REPOSITORY": str(place), "LEVAULT_PASSWORD": "soak", "LEVAULT_CACHE_DIR": str(cache),
            "LEVAULT_FROM_PASSWORD": "soak",
        }
        self.usual = {}

    def run(self, *words, kill_after=None):
        """Exit code (None where it was killed) and standard output."""
        begun = time.monotonic()
        child = subprocess.Popen([self.program, *map(str, words)], env=self.environment, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        try:
            out, err = child.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            out, err = child.communicate()
            return None, out, err
        self.usual[words[0]] = time.monotonic() - begun
        return child.returncode, out, err

    def must(self, *words):
        code, out, err = self.run(*words)
        if code != 0:
            raise SystemExit(f"{' '.join(map(str, words))}: exit {code}\n{err.decode()}")
        return out

    def snapshots(self):
        return [row["id"] for row in json.loads(self.must("snapshots", "--json"))]

    def digest(self, snapshot):
        code, out, err = self.run("dump", snapshot, "--format", "raw")
        return code, hashlib.sha256(out).hexdigest(), err.decode()


class World:
    def __init__(self, program, base, seed, rooms, long_values):
        self.dice = random.Random(seed)
        self.long_values = long_values
        self.base, self.rooms = base, rooms
        self.source = Tool(program, base / "room" / "repository", base / "cache")
        self.copy = Tool(program, base / "room" / "copy", base / "cache")
        (base / "room").mkdir(exist_ok=True)
        for tool in (self.source, self.copy):
            tool.must("init")
        self.databases = [base / "db0", base / "db1"]
        self.live, self.ever = {}, set()
        self.told = {"acts": 0, "killed": 0, "failed": 0, "judged": 0, "repairs": 0, "holes": 0}
        self.wrong = []

    # What may go wrong

    def hurt(self, tool, *words):
        """One act that may die, or meet a full disk."""
        self.told["acts"] += 1
        kill_after, filler = None, self.base / "room" / "filler"
        if self.rooms is None and self.dice.random() < 0.7:
            kill_after = self.dice.uniform(0.02, 1.15 * tool.usual.get(words[0], 0.6))
        if self.rooms is not None and self.dice.random() < 0.85:
            left = int(self.dice.choice((64 << 10, 512 << 10, 2 << 20)) * self.dice.random())
            fill(filler, max(0, shutil.disk_usage(filler.parent).free - left))
        code, out, err = tool.run(*words, kill_after=kill_after)
        if code is None and words[0] in ("prune", "forget"):
            tool.must("unlock")
        filler.unlink(missing_ok=True)
        self.told["killed"] += code is None
        self.told["failed"] += code not in (None, 0)
        if code is not None and (code < 0 or code == 101):
            self.wrong.append(f"{' '.join(map(str, words))}: ended with {code}\n{err.decode()}")
        return code, out

    # Acts

    def change(self, path):
        with plyvel.DB(str(path), create_if_missing=True, write_buffer_size=64 << 10) as database:
            for _ in range(self.dice.randrange(1, 400)):
                key = b"key%05d" % self.dice.randrange(3000)
                if self.dice.random() < 0.15:
                    database.delete(key)
                else:
                    length = 150_000 if self.dice.random() < 0.003 else self.dice.randrange(300)
                    database.put(key, self.dice.randbytes(length))
            if self.long_values and self.dice.random() < 0.5:
                database.put(b"long", self.dice.randbytes(self.dice.randrange(1 << 20, 3 << 20)))

    def backup(self):
        path = self.dice.choice(self.databases)
        self.change(path)
        stream = stream_of(path, self.base)[0]
        code, out = self.hurt(self.source, "backup", "--json", path)
        lines = [json.loads(line) for line in out.decode().splitlines() if line.endswith("}")]
        reported = [line["snapshot_id"] for line in lines if line.get("message_type") == "summary"]
        self.ever.add(stream)
        for snapshot in filter(None, reported):
            self.live[snapshot] = stream

    def forget(self):
        count = max(1, len(self.live) - LIVE_MAX)
        gone = self.dice.sample(sorted(self.live), min(count, len(self.live) - 1))
        if gone:
            for snapshot in gone:
                del self.live[snapshot]
            self.hurt(self.source, "forget", *gone)

    def prune(self):
        tool = self.dice.choice((self.source, self.source, self.copy))
        if tool is self.copy and len(tool.snapshots()) > LIVE_MAX:
            tool.must("forget", "--keep-last", LIVE_MAX, "--group-by", "")
        self.hurt(tool, "prune", *GRACELESS)

    def carry(self):
        code, _ = self.hurt(self.copy, "copy", "--from-repo", self.source.repository)
        if code == 0:
            there = {self.copy.digest(snapshot)[1] for snapshot in self.copy.snapshots()}
            lacking = set(self.live.values()) - there
            if lacking:
                self.wrong.append(f"a copy that ended well lacks {len(lacking)} states")

    def repair(self):
        """On a damaged copy of the repository, so that its own life goes on."""
        self.told["repairs"] += 1
        with tempfile.TemporaryDirectory(dir=self.base) as scratch:
            ground = Path(scratch) / "repository"
            shutil.copytree(self.source.repository, ground)
            tool = Tool(self.source.program, ground, Path(scratch) / "cache")
            kind = self.dice.choice(("packs", "index"))
            files = sorted(path for path in (ground / kind).rglob("*") if path.is_file())
            if not files:
                return
            for path in self.dice.sample(files, min(len(files), self.dice.randrange(1, 3))):
                damage(path, self.dice)
            acts = [("repair", verb, "--apply") for verb in ("index", "packs", "snapshots")]
            for act in acts:
                self.told["acts"] += 1
                code, _, _ = tool.run(*act, kill_after=self.dice.uniform(0.02, 0.6))
                self.told["killed"] += code is None
            tool.must("unlock")
            for act in acts:
                code, _, err = tool.run(*act)
                if code not in (0, 3):
                    self.wrong.append(f"{' '.join(act)} on damaged {kind}: exit {code}\n{err.decode()}")
                    return
            for snapshot in tool.snapshots():
                code, digest, err = tool.digest(snapshot)
                holes = code == 3 and kind == "packs"
                self.told["holes"] += holes
                if not holes and (code != 0 or digest not in self.ever):
                    self.wrong.append(f"behind a repair of damaged {kind}: {snapshot[:8]}: exit {code}\n{err}")

    # Judgement

    def judge(self):
        for snapshot, stream in self.live.items():
            self.told["judged"] += 1
            code, digest, err = self.source.digest(snapshot)
            if (code, digest) != (0, stream):
                self.wrong.append(f"{snapshot[:8]}: exit {code}, another stream\n{err}")
        for snapshot in self.copy.snapshots():
            code, digest, err = self.copy.digest(snapshot)
            if code != 0 or digest not in self.ever:
                self.wrong.append(f"copy {snapshot[:8]}: exit {code}\n{err}")

    def live_on(self, rounds, words):
        weights = {"backup": (self.backup, 5), "prune": (self.prune, 2), "copy": (self.carry, 2), "repair": (self.repair, 2)}
        acts = [act for word, (act, weight) in weights.items() if word in words for _ in range(weight)]
        for number in range(rounds):
            act = self.forget if len(self.live) > LIVE_MAX else self.dice.choice(acts)
            act()
            if number % 10 == 9 or number + 1 == rounds:
                self.judge()
            if number % 50 == 49:
                print(f"{number + 1} rounds: {self.told}", flush=True)
            if self.wrong:
                return


def fill(path, length):
    """Less, where the filesystem itself needs some of it."""
    try:
        path.write_bytes(bytes(length))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def damage(path, dice):
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    way = dice.randrange(3)
    if way == 0:
        path.unlink()
        return
    if way == 1:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    else:
        del data[dice.randrange(len(data)):]
    path.write_bytes(data)


def mount(args, room):
    """The place of the repositories, where it is a filesystem of its own."""
    if args.filesystem == "ext4":
        image = room.with_suffix(".ext4")
        image.write_bytes(b"")
        os.truncate(image, 4 * ROOM_BYTES if args.how == "kill" else 2 * ROOM_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        what = ["-o", "loop", image]
    elif args.how == "full":
        what = ["-t", "tmpfs", "-o", f"size={ROOM_BYTES}", "levault-soak"]
    else:
        return False
    room.mkdir()
    subprocess.run(["mount", *what, room], check=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=("kill", "full"))
    parser.add_argument("--levault", required=True)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--filesystem", choices=("memory", "ext4"), default="memory")
    parser.add_argument("--acts", default="backup,prune,copy,repair")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) and args.filesystem == "memory" else None
    with tempfile.TemporaryDirectory(dir=memory) as base:
        room = Path(base) / "room"
        rooms = ROOM_BYTES if args.how == "full" else None
        mounted = mount(args, room)
        try:
            world = World(args.levault, Path(base), args.seed, rooms, args.filesystem == "ext4")
            world.live_on(args.rounds, args.acts.split(","))
        finally:
            if mounted:
                subprocess.run(["umount", "-l", room], check=True)
    print(f"{world.told}")
    sys.exit("\n".join(world.wrong) if world.wrong else 0)


main()
