"""Captures the LevelDBs of a running Chromium, and has them judged.

browser.py --levault PROGRAM --node DIR --rounds N [--work DIR]

Every copy passes `levault verify-db`; C++ LevelDB opens those of the bytewise comparator; some of the others (and
localStorage) go into a fresh profile after the browser was killed, where a page of the same origin must find a
committed state, never older than the one found before.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import plyvel

PORT = "8124"
READ_BY_CHROMIUM = 6
# Seconds between rounds: Chromium writes localStorage out every few seconds only.
PAUSE = 0.5


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--levault", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--work")
    return parser.parse_args()


def start(args, profile):
    """The browser, writing."""
    command = ["node", os.path.join(args.node, "browser.js"), "write", str(profile), PORT]
    browser = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    if browser.stdout.readline().strip() != "READY":
        sys.exit("the browser does not write")
    return browser


def stop(browser):
    os.killpg(browser.pid, signal.SIGKILL)
    browser.wait()
    time.sleep(1)


def databases(profile):
    """Every LevelDB of the profile, as a path inside of it."""
    return sorted(current.parent.relative_to(profile) for current in profile.rglob("CURRENT"))


def must(words):
    """The program's standard output; ends the run if it fails."""
    ended = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: exit {ended.returncode}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}")
    return ended.stdout


def is_bytewise(copy):
    return any(b"leveldb.BytewiseComparator" in manifest.read_bytes() for manifest in copy.glob("MANIFEST-*"))


def one_round(args, profile, kept, outcome):
    """Captures every database once, into `kept`."""
    for database in databases(profile):
        copy = kept / database
        copy.parent.mkdir(parents=True, exist_ok=True)
        told = json.loads(must([args.levault, "capture", "--json", profile / database, copy]))
        must([args.levault, "verify-db", copy])
        outcome["captures", str(database)] += 1
        outcome["retries", str(database)] += told["retries"]
        if is_bytewise(copy):
            opened = shutil.copytree(copy, kept / "opened")
            reader = plyvel.DB(str(opened), paranoid_checks=True)
            outcome["records read by C++", str(database)] = sum(1 for _ in reader.iterator(verify_checksums=True))
            reader.close()
            shutil.rmtree(opened)


def judged_by_chromium(args, kept, newest):
    """What a page finds in the copies: the transaction's number, and how many items of localStorage."""
    with tempfile.TemporaryDirectory(dir=args.work) as fresh:
        for database in databases(kept):
            if database.parts[1] in ("IndexedDB", "Local Storage"):
                shutil.copytree(kept / database, Path(fresh) / database)
        found = json.loads(must(["node", os.path.join(args.node, "browser.js"), "read", fresh, PORT]))
    number = found["counters"][0]
    if set(found["counters"]) != {number} or len(found["counters"]) != 8 or not found["sound"]:
        sys.exit(f"Chromium finds a state that was never committed: {found}")
    if found["log"][1] != number or found["words"] != found["log"][2] or number < newest:
        sys.exit(f"Chromium finds {found} after transaction {newest} was captured")
    return number, found["items"]


def main():
    args = arguments()
    outcome, every = Counter(), max(1, args.rounds // READ_BY_CHROMIUM)
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        profile, to_read = Path(work) / "profile", []
        browser = start(args, profile)
        try:
            for index in range(args.rounds):
                time.sleep(PAUSE)
                kept = Path(work) / f"round-{index}"
                one_round(args, profile, kept, outcome)
                if index % every == 0:
                    to_read.append(kept)
                else:
                    shutil.rmtree(kept)
        finally:
            stop(browser)
        newest = 0
        for kept in to_read:
            newest, items = judged_by_chromium(args, kept, newest)
            print(f"{kept.name}: Chromium opens the copies and finds transaction {newest}, {items} items", flush=True)
        if items == 0:
            sys.exit("localStorage never came to the disk, or never back")
    for (what, database), number in sorted(outcome.items(), key=lambda item: (item[0][1], item[0][0])):
        print(f"{database}: {what} {number}")


main()
