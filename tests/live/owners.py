"""Captures databases while their owners destroy, rebuild, swap, repair and copy over them, and judges every result.

owners.py --levault PROGRAM --captures N [--go PROGRAM] [--work DIR] [--seed N] [WAY...]

A writer (C++ LevelDB, or goleveldb) writes at full speed. Again and again it is stopped, and its database is
  rebuild    deleted file by file, and begun anew: file numbers begin anew, too
  swap       renamed away, and another one, of other data and the same file numbers, comes in its place
  repair     repaired (C++ LevelDB's RepairDB), which moves its logs away long before it writes a MANIFEST
  copy       overwritten with an older copy of its own, file by file onto the same inodes; what the copy has not is deleted
  times      the same as `rsync --inplace -t` does it: with the copy's times
and the writer goes on. Meanwhile it is saved, by `backup` with and without pins and by `capture`, and what comes of it
is judged by C++ LevelDB. Every other time levault itself is stopped somewhere in its work while that is done. A result with exit code 0 (or 24: saved, and told that the changes disagreed) is exactly the
state behind one batch of one of the databases. A sound database ends with 0 or 21, and never with 1, 3 or 22; and
with 20 (no database there) only where the owner takes it away for a time, which on a loaded machine may be longer than levault
waits.
Prints a table by way, writer and exit code. Ends with 1 when a result is wrong, an exit code is another, nothing was had,
or more than a quarter ended with 21 or 20.
"""

import argparse
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter

import plyvel
from batches import Model, batch

HERE = os.path.dirname(os.path.abspath(__file__))
WAYS = ["rebuild", "swap", "repair", "copy", "times"]
VALUE, BUFFER = 100, 64 << 10
# Batches of one database: its successor begins behind so many.
EPOCH = 10_000_000


class Owner:
    """A writer, and somebody who stops it and does something to its database."""

    def __init__(self, writer, way, args, work):
        self.writer, self.way, self.args, self.work = writer, way, args, work
        self.database, self.acks = os.path.join(work, "db"), os.path.join(work, "acks")
        self.random = random.Random(args.seed)
        self.epochs, self.acts, self.stopping, self.acting = 0, 0, threading.Event(), threading.Lock()
        self.log = open(os.path.join(work, "writer.log"), "ab")
        self.begin()
        self.wait()
        self.thread = threading.Thread(target=self.act_in_a_loop)
        self.thread.start()

    def begin(self):
        with open(self.acks, "wb") as file:
            file.write(bytes(8))
        first = ["--first", str(self.epochs * EPOCH)]
        sizes = [str(BUFFER), str(VALUE), str(200)]
        if self.writer == "go":
            words = [self.args.go, self.database, self.acks, *sizes, *first]
        else:
            flags = ["--buffer", sizes[0], "--value", sizes[1], "--pace-us", sizes[2]]
            words = [sys.executable, os.path.join(HERE, "writer.py"), self.database, self.acks, *flags, *first]
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log)

    def acknowledged(self):
        with open(self.acks, "rb") as file:
            # Empty for a moment when another writer begins.
            return struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]

    def wait(self):
        """Until it writes."""
        deadline = time.monotonic() + 60
        while self.acknowledged() == 0 and not self.stopping.is_set():
            with self.acting:
                has_ended = self.process.poll() is not None
            if time.monotonic() > deadline or has_ended:
                with open(self.log.name, errors="replace") as log:
                    raise RuntimeError(f"the writer does not write: {log.read()[-2000:]}")
            time.sleep(0.005)

    def end(self):
        self.process.kill()
        self.process.wait()

    def act_in_a_loop(self):
        while not self.stopping.wait(self.random.uniform(0.1, 1.2)):
            self.act()
            self.wait()

    def act(self):
        """All but that the writer is at work again."""
        with self.acting:
            self.end()
            getattr(self, self.way)()
            self.acts += 1
            self.begin()

    def rebuild(self):
        for name in sorted(os.listdir(self.database), key=lambda _: self.random.random()):
            path = os.path.join(self.database, name)
            if os.path.isfile(path):
                os.remove(path)
        self.epochs += 1

    def swap(self):
        away = os.path.join(self.work, f"away-{self.acts}")
        os.rename(self.database, away)
        self.epochs += 1
        new = os.path.join(self.work, "new")
        self.prepare(new)
        os.rename(new, self.database)
        shutil.rmtree(os.path.join(self.work, f"away-{self.acts - 1}"), ignore_errors=True)

    def prepare(self, path):
        """Another database, of some batches."""
        database = plyvel.DB(path, create_if_missing=True, write_buffer_size=BUFFER)
        database.close()

    def repair(self):
        # A repair takes tables in that a killed owner had compacted away: opening removes those. Then what it had in logs
        # is in tables, so some batches more.
        database = plyvel.DB(self.database, write_buffer_size=BUFFER)
        number = int(database.get(b"counter/00", b"0"))
        for number in range(number + 1, number + 20):
            with database.write_batch() as changes:
                for key, value in batch(number, VALUE):
                    if value is None:
                        changes.delete(key.encode())
                    else:
                        changes.put(key.encode(), value.encode())
        database.close()
        plyvel.repair_db(self.database)

    def copy(self, keep_times=False):
        saved = os.path.join(self.work, "saved")
        if not os.path.isdir(saved) or self.acts % 8 == 7:
            shutil.rmtree(saved, ignore_errors=True)
            # As its owner left it when it was killed; LevelDB opens that.
            shutil.copytree(self.database, saved)
            return
        names = sorted(os.listdir(saved))
        for name in names:
            source, target = os.path.join(saved, name), os.path.join(self.database, name)
            with open(source, "rb") as read, open(target, "wb") as write:
                write.write(read.read())
            if keep_times:
                shutil.copystat(source, target)
        for name in set(os.listdir(self.database)) - set(names):
            os.remove(os.path.join(self.database, name))

    def times(self):
        self.copy(keep_times=True)

    def stop(self):
        self.stopping.set()
        self.thread.join()
        self.end()


class States:
    """The states behind batches, of any database; it need not go forward."""

    def __init__(self):
        self.models = {}

    def at(self, number):
        epoch = (number - 1) // EPOCH
        model = self.models.get(epoch)
        if model is None or model.number > number:
            model = self.models[epoch] = Model(VALUE, epoch * EPOCH)
        return model.at(number)


def judge(copy, states):
    """"ok", or what is wrong."""
    try:
        database = plyvel.DB(copy, paranoid_checks=True)
        records = {key.decode(): value.decode() for key, value in database.iterator(verify_checksums=True)}
        database.close()
    except Exception as error:  # whatever it says, the copy is of no use
        return f"does not open: {error}"
    if not records:
        return "ok"
    if "counter/00" not in records:
        return f"{len(records)} records of no batch"
    number = int(records["counter/00"])
    expected = states.at(number)
    if records == expected:
        return "ok"
    differing = [key for key in sorted(records.keys() | expected.keys()) if records.get(key) != expected.get(key)]
    key = differing[0]
    return f"{len(differing)} records are others than behind batch {number}: {key} is {records.get(key, 'missing')[:30]!r}"


class Tool:
    """levault on one repository."""

    def __init__(self, program, work):
        self.program, self.work = program, work
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LEVAULT_")}
        self.environment = {
            **kept,
            "LEVAULT_REPOSITORY": os.path.join(work, "repository"),
            "LEVAULT_PASSWORD": "soak",
            "LEVAULT_CACHE_DIR": os.path.join(work, "cache"),
        }
        ended = self.run("init")
        if ended.returncode:
            sys.exit(f"levault init: {ended.stderr}")

    def run(self, *words, meanwhile=None):
        """Stopped somewhere while something is done meanwhile."""
        words = [self.program, *words]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            child = subprocess.Popen(words, env=self.environment, stdout=out, stderr=errors)
            if meanwhile:
                time.sleep(random.choice([0, 0.02, 0.05, 0.1, 0.3]) * random.random())
                child.send_signal(signal.SIGSTOP)
                meanwhile()
                child.send_signal(signal.SIGCONT)
            child.wait()
            out.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(words, child.returncode, out.read(), errors.read())

    def saved(self, database, how, out, meanwhile):
        """How it ended, and whether there is a result."""
        common = ["-q", "--json", "--capture-timeout", "10"]
        if how == "capture":
            ended = self.run("capture", *common, database, out, meanwhile=meanwhile)
            return ended, ended.returncode == 0
        flags = {"pins": ["--audit-every", "3"], "no-pins": ["--no-pins"], "files": ["--physical"]}[how]
        ended = self.run("backup", *common, *flags, database, meanwhile=meanwhile)
        return ended, ended.returncode in (0, 24)

    def restore(self, ended, out):
        summary = json.loads([line for line in ended.stdout.splitlines() if '"summary"' in line][-1])
        return self.run("restore", "-q", summary["snapshot_id"], "--target", out)


def one(tool, owner, states, how, out, row, examples):
    """One result, judged."""
    shutil.rmtree(out, ignore_errors=True)
    meanwhile = owner.act if random.random() < 0.5 else None
    ended, has_result = tool.saved(owner.database, how, out, meanwhile)
    row[ended.returncode] += 1
    alarms = (1, 3, 22) if owner.way in ("rebuild", "swap") else (1, 3, 20, 22)
    if ended.returncode in alarms or ended.returncode < 0:
        examples.append(f"{how}: exit {ended.returncode}: {ended.stderr.strip()[-400:]}")
        row["alarm"] += 1
    if not has_result:
        return
    verdict = "ok"
    if how != "capture":
        restored = tool.restore(ended, out)
        if restored.returncode:
            verdict = f"restore ends with {restored.returncode}: {restored.stderr.strip()[-200:]}"
    found = [at for at, _, files in os.walk(out) if "CURRENT" in files]
    if verdict == "ok" and not found:
        # Between deletion and rebuilding there is a directory without a database.
        verdict = "ok" if owner.way in ("rebuild", "swap") else "no database"
        row["empty"] += 1
    elif verdict == "ok":
        verdict = judge(found[0], states)
    if verdict != "ok":
        row["wrong"] += 1
        examples.append(f"{how}: exit {ended.returncode}, and {verdict}")


def trial(writer, way, captures, args):
    """Counts of one way."""
    row, examples = Counter(), []
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        tool, owner, states = Tool(args.levault, work), Owner(writer, way, args, work), States()
        try:
            for index in range(captures):
                if not owner.thread.is_alive():
                    sys.exit(f"the owner of {writer} {way} has ended")
                time.sleep(random.uniform(0, 0.1))
                how = ["pins", "pins", "no-pins", "capture", "files"][index % 5]
                one(tool, owner, states, how, os.path.join(work, "out"), row, examples)
        finally:
            owner.stop()
        row["acts"] = owner.acts
    return row, examples


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--levault", required=True)
    parser.add_argument("--captures", type=int, required=True)
    parser.add_argument("--go")
    parser.add_argument("--work")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("ways", nargs="*", choices=[*WAYS, []])
    return parser.parse_args()


def main():
    args = arguments()
    ways = args.ways or WAYS
    kinds = [(writer, way) for writer in (["cpp", "go"] if args.go else ["cpp"]) for way in ways]
    codes = [0, 21, 24, 1, 3, 20, 22]
    print("| writer | way | acts |", " | ".join(f"exit {code}" for code in codes), "| empty | wrong |")
    print("|--" * (len(codes) + 5) + "|")
    total, failed = Counter(), []
    for index, (writer, way) in enumerate(kinds):
        captures = args.captures // len(kinds) + (index < args.captures % len(kinds))
        row, examples = trial(writer, way, captures, args)
        counts = " | ".join(str(row[code]) for code in codes)
        print(f"| {writer} | {way} | {row['acts']} | {counts} | {row['empty']} | {row['wrong']} |", *examples[:5], sep="\n", flush=True)
        total += row
        had = row[0] + row[24]
        if row["wrong"] or row["alarm"] or not had or (row[21] + row[20]) * 4 > captures:
            failed.append(f"{writer} {way}")
    counts = " | ".join(str(total[code]) for code in codes)
    print(f"| all | | {total['acts']} | {counts} | {total['empty']} | {total['wrong']} |", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
