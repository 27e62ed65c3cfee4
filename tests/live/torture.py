"""Captures databases that are being written at full speed, and judges every copy.

torture.py --list
torture.py --capture PROGRAM --captures N [--work DIR] [--node DIR] [--go PROGRAM] [--control] SCENARIO...

PROGRAM is called as: PROGRAM DB DIR [flags of the scenario]; it ends with 0, or 21 when no consistent cut was had.
Prints a table. Ends with 1 when a copy is bad, or more than one try in fifty ends with 21. With --control a naive
copy is judged too, and at least one must be bad: a judge that never objects proves nothing.
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

from batches import Model
from judge import judge

NAIVE_COPIES = 40
HERE = os.path.dirname(os.path.abspath(__file__))


class Scenario:
    """One way of writing, and one way of capturing."""

    def __init__(self, writer="cpp", buffer=64 << 10, value=100, flags=(), pace_us=0, capture=(), kill=False, place=None):
        self.writer, self.buffer, self.value = writer, buffer, value
        self.pace_us = pace_us
        self.flags, self.capture, self.kill, self.place = list(flags), list(capture), kill, place
        self.restarts = kill or "--reopen-ms" in self.flags

    def command(self, args, database, acks):
        """The writer's command."""
        words = [database, acks]
        if self.writer == "cpp":
            sizes = ["--buffer", str(self.buffer), "--value", str(self.value)]
            sizes += ["--pace-us", str(self.pace_us)]
            return [sys.executable, os.path.join(HERE, "writer.py"), *words, *sizes, *self.flags]
        words += [str(self.buffer), str(self.value), str(self.pace_us)]
        if self.writer == "node":
            return ["node", os.path.join(args.node, "writer.js"), *words]
        return [args.go, *words, *self.flags]


SCENARIOS = {
    "cpp-64k": Scenario(),
    "cpp-bigval": Scenario(buffer=1 << 20, value=20_000),
    "cpp-4m": Scenario(buffer=4 << 20),
    "cpp-reopen": Scenario(flags=["--reopen-ms", "300"]),
    "cpp-kill": Scenario(kill=True),
    # The sleeps are longer than a table or a log lives at full speed, so these writers pause a little.
    "cpp-sleeps": Scenario(pace_us=2000, capture=["--sleep-ms", "20"]),
    "kill-sleeps": Scenario(kill=True, pace_us=500, capture=["--sleep-ms", "5"]),
    "descriptors": Scenario(capture=["--pin", "descriptor"]),
    "descriptors-reopen-sleeps": Scenario(
        flags=["--reopen-ms", "600"], pace_us=2000, capture=["--pin", "descriptor", "--sleep-ms", "20"]
    ),
    "copies": Scenario(capture=["--pin", "copy"]),
    "tmpfs": Scenario(place="/dev/shm"),
    "tmpfs-reopen": Scenario(place="/dev/shm", flags=["--reopen-ms", "300"]),
    "node": Scenario(writer="node"),
    "go": Scenario(writer="go"),
    # Batches of some 80 KB: above the buffer, so each is a table of its own.
    "go-transactions": Scenario(writer="go", value=20_000),
    # Small transactions meet flushes, and logs are rotated away empty.
    "go-compactions": Scenario(writer="go", pace_us=300, flags=["--compact"]),
    # Memtables fill up and are flushed beside transactions, too.
    "go-compactions-large": Scenario(writer="go", value=6_000, pace_us=300, flags=["--compact"]),
    # This owner replaces all its tables every 50 ms or so: a try whose steps sleep for longer than that cannot succeed.
    "go-compactions-sleeps": Scenario(
        writer="go", pace_us=2000, flags=["--compact"], capture=["--sleep-ms", "5"]
    ),
    "go-sleeps": Scenario(writer="go", pace_us=2000, capture=["--sleep-ms", "20"]),
}


class Owner:
    """The writer's process, killed and started again if the scenario says so."""

    def __init__(self, scenario, args, work):
        self.database, self.acks = os.path.join(work, "db"), os.path.join(work, "acks")
        with open(self.acks, "wb") as file:
            file.write(bytes(8))
        self.command = scenario.command(args, self.database, self.acks)
        self.stopping, self.kills = threading.Event(), 0
        self.log = open(os.path.join(work, "writer.log"), "ab")
        self.process = self.start()
        self.killer = threading.Thread(target=self.kill_in_a_loop) if scenario.kill else None
        if self.killer:
            self.killer.start()

    def start(self):
        return subprocess.Popen(self.command, stdout=self.log, stderr=self.log)

    def kill_in_a_loop(self):
        while not self.stopping.wait(random.uniform(0.1, 0.6)):
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.kills += 1
            self.process = self.start()

    def acknowledged(self):
        with open(self.acks, "rb") as file:
            return struct.unpack("<Q", file.read(8))[0]

    def wait_for(self, number):
        deadline = time.monotonic() + 60
        while self.acknowledged() < number:
            if time.monotonic() > deadline or (not self.killer and self.process.poll() is not None):
                with open(self.log.name, errors="replace") as log:
                    sys.exit(f"the writer does not write: {' '.join(self.command)}\n{log.read()[-2000:]}")
            time.sleep(0.01)

    def stop(self):
        self.stopping.set()
        if self.killer:
            self.killer.join()
        self.process.kill()
        self.process.wait()


def torture(name, args, capture, captures):
    """Counts and times of one scenario."""
    scenario = SCENARIOS[name]
    outcome = {"scenario": name, "captures": 0, "bad": 0, "no_cut": 0, "retries": [], "ms": [], "examples": []}
    with tempfile.TemporaryDirectory(dir=args.work) as work, tempfile.TemporaryDirectory(dir=scenario.place) as place:
        owner = Owner(scenario, args, place)
        try:
            owner.wait_for(200)
            model = Model(scenario.value)
            for index in range(captures):
                if scenario.restarts:
                    time.sleep(random.uniform(0, 0.15))
                one(outcome, owner, model, capture(scenario, index), os.path.join(work, "copy"))
        finally:
            owner.stop()
        outcome["kills"] = owner.kills
    return outcome


def one(outcome, owner, model, command, copy):
    """One capture, judged."""
    acknowledged = owner.acknowledged()
    ended = subprocess.run([command[0], *command[1], owner.database, copy, *command[2]], capture_output=True, text=True)
    if ended.returncode == 21:
        outcome["no_cut"] += 1
        return
    outcome["captures"] += 1
    verdict = f"wont_open: exit {ended.returncode}: {ended.stderr[-300:]}"
    if ended.returncode == 0:
        verdict = judge(copy, model, acknowledged)
    if verdict != "ok":
        outcome["bad"] += 1
        outcome["examples"].append(verdict)
    if ended.stdout.startswith("{"):
        told = json.loads(ended.stdout)
        outcome["retries"].append(told["retries"])
        outcome["ms"].append(told["capture_seconds"] * 1000)
        if told["damage"]:
            outcome["bad"] += 1
            outcome["examples"].append(f"damage told of a sound database: {ended.stdout}")
    shutil.rmtree(copy, ignore_errors=True)


def share(numbers, share_of_all):
    """A quantile."""
    return sorted(numbers)[min(len(numbers) - 1, int(len(numbers) * share_of_all))] if numbers else 0


def line(outcome):
    """A row of the table."""
    return "| {} | {} | {} | {} | {} | {} | {:.1f} | {:.1f} | {} |".format(
        outcome["scenario"],
        outcome["captures"],
        outcome["bad"],
        outcome["no_cut"],
        outcome["kills"],
        max(outcome["retries"], default=0),
        share(outcome["ms"], 0.5),
        share(outcome["ms"], 0.99),
        Counter(example.split(":")[0] for example in outcome["examples"]) or "",
    )


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--capture")
    parser.add_argument("--captures", type=int)
    parser.add_argument("--work")
    parser.add_argument("--node")
    parser.add_argument("--go")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--naive-sleep-ms", default="0.3")
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []])
    return parser.parse_args()


def main():
    args = arguments()
    if args.list:
        print(*SCENARIOS, sep="\n")
        return
    print("| scenario | captures | bad | no cut | kills | retries max | ms p50 | ms p99 | verdicts |\n|--|--|--|--|--|--|--|--|--|")
    failed, captures, bad = [], 0, 0
    for name in args.scenarios:
        outcome = torture(
            name, args, lambda scenario, index: (args.capture, [], [*scenario.capture, "--seed", str(index * 77 + 1)]),
            args.captures,
        )
        print(line(outcome), *outcome["examples"][:3], sep="\n", flush=True)
        captures, bad = captures + outcome["captures"], bad + outcome["bad"]
        if outcome["bad"] or outcome["captures"] == 0 or outcome["no_cut"] * 50 > args.captures:
            failed.append(name)
    print(f"| all | {captures} | {bad} |", flush=True)
    if args.control:
        naive = [os.path.join(HERE, "naive_copy.py")]
        outcome = torture("cpp-64k", args, lambda *_: (sys.executable, naive, [args.naive_sleep_ms]), NAIVE_COPIES)
        print(line({**outcome, "scenario": "control: a naive copy"}), flush=True)
        if outcome["bad"] == 0:
            failed.append("control")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
