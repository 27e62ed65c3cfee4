"""A whole Chromium profile, backed up again and again while its pages write; every snapshot is restored and opened.

profile.py --levault PROGRAM [--minutes N] [--every SECONDS] [--work DIR]

A page (profile.html) writes IndexedDB (transfers between accounts, a counter and a log in one transaction; a megabyte at a
time, so that LevelDB compacts; blobs, which are files beside the database), cookies (SQLite) and localStorage, the latter
in several origins. Chromium is killed once and closed once in the middle of a backup, and goes on with what it finds.

Of every snapshot must hold, when Chromium opens what was restored:
- IndexedDB: what the page says (`readDatabase`), each counter at least what was finished before the backup began, and the
  file of each blob that was not deleted before the backup ended;
- localStorage and cookies: the last ten numbers, each with its checksum, one behind the other;
- no number lower than in the snapshot before;
- SQLite finds each of its databases sound, unless levault said that it was written meanwhile.
Stores beside one another promise nothing: they are of different moments. Nor do blobs that are deleted within the
backup: these are counted.

Every LevelDB restored is opened by C++ LevelDB without repair, or read by rawdump.py if its order is IndexedDB's own.
"""

import argparse
import atexit
import glob
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import plyvel
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "oracle"))
import rawdump  # noqa: E402

PAGE = Path(__file__).with_name("profile.html").read_bytes()
# The first origin writes everything, the others localStorage: Chromium writes each out once a minute at most.
PORTS = range(8130, 8136)
COUNTERS = ["moved", "bulk", "blobs"]
# As the page keeps them.
BLOBS = 60
QUIET = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --password-store=basic --disable-background-networking "
    "--disable-component-update --disable-sync --disable-quic --disable-background-timer-throttling "
    "--disable-backgrounding-occluded-windows --disable-renderer-backgrounding --remote-debugging-port=0"
).split()


class Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


class Browser:
    """A Chromium of our own, which can be killed."""

    def __init__(self, playwright, profile):
        (profile / "DevToolsActivePort").unlink(missing_ok=True)
        command = ["chromium", *QUIET, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        # Whatever ends this program, Chromium does not go on without it.
        atexit.register(self.kill)
        port = self.wait_for(profile / "DevToolsActivePort")
        self.remote = playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{port}")
        self.context = self.remote.contexts[0]

    def wait_for(self, file):
        for _ in range(600):
            if file.exists() and "\n" in (lines := file.read_text()):
                return lines.split("\n")[0]
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        sys.exit(f"Chromium does not open {file.parent}")

    def page(self, port):
        page = self.context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        return page

    def write(self):
        main, *others = [self.page(port) for port in PORTS]
        main.evaluate("writeDatabase().then(writeCookies)")
        for page in [main, *others]:
            page.evaluate("writeLocal()")
        self.main = main

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def close(self):
        self.remote.new_browser_cdp_session().send("Browser.close")
        self.process.wait(timeout=60)


class Levault:
    def __init__(self, program, base):
        self.program, self.problems = program, Counter()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("LEVAULT_")}
        self.environment = {**ours, "LEVAULT_REPOSITORY": str(base / "repository"), "LEVAULT_PASSWORD": "soak"}
        self.environment["LEVAULT_CACHE_DIR"] = str(base / "cache")
        self.finish(self.start("init"), {0})

    def start(self, *words):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([self.program, *map(str, words), "--json"], env=self.environment, **pipes)

    def finish(self, child, codes):
        """The JSON lines of both outputs."""
        out, errors = child.communicate()
        if child.returncode not in codes:
            sys.exit(f"{' '.join(child.args)} ended with {child.returncode}: {out[-3000:]}\n{errors[-3000:]}")
        return [json.loads(line) for line in (out + errors).splitlines() if line.startswith("{")]


def backups(args, playwright, levault, profile):
    """One after the other: each snapshot's id, what was finished before, and what levault told."""
    browser, taken = Browser(playwright, profile), []
    browser.write()
    time.sleep(5)
    rounds = round(args.minutes * 60 / args.every)
    begin = time.monotonic()
    for number in range(rounds):
        time.sleep(max(0, begin + number * args.every - time.monotonic()))
        finished = browser.main.evaluate("finished")
        words = ["--sqlite-backup"] if number % 10 == 5 else []
        started = time.monotonic()
        backup = levault.start("backup", profile, "--name", "profile", *words)
        if number in (rounds // 3, 2 * rounds // 3):
            time.sleep(0.3)
            browser.kill() if number == rounds // 3 else browser.close()
        lines = levault.finish(backup, {0, 3})
        summary = next(line for line in lines if line.get("message_type") == "summary")
        taken.append({"id": summary["snapshot_id"], "finished": finished, "lines": lines, "code": backup.returncode})
        print(f"{number}: {summary['snapshot_id'][:8]} in {time.monotonic() - started:.1f} s, exit {backup.returncode}, "
              f"{len(summary['databases'])} databases, finished before {finished}", flush=True)
        if browser.process.poll() is not None:
            browser = Browser(playwright, profile)
            browser.write()
            browser.main.wait_for_function("finished.blobs !== undefined")
        taken[-1]["ended"] = browser.main.evaluate("finished")
    browser.kill()
    return taken


def said(snapshot):
    """Notices and errors of the backup."""
    for line in snapshot["lines"]:
        if line.get("message_type") not in ("summary", "status"):
            yield json.dumps({name: value for name, value in line.items() if name != "message_type"})


def is_bytewise(database):
    return any(b"leveldb.BytewiseComparator" in manifest.read_bytes() for manifest in database.glob("MANIFEST-*"))


def opened_by_others(restored, work, outcome):
    """Every LevelDB of the profile, on a copy, for to open it writes."""
    for current in restored.rglob("CURRENT"):
        if not is_bytewise(current.parent):
            rawdump.summary(str(current.parent))
            outcome["LevelDBs read by rawdump.py"] += 1
            continue
        copy = shutil.copytree(current.parent, work / "opened")
        reader = plyvel.DB(str(copy), paranoid_checks=True)
        for _ in reader.iterator(verify_checksums=True):
            pass
        reader.close()
        shutil.rmtree(copy)
        outcome["LevelDBs opened by C++"] += 1


def torn_sqlite(restored, work, outcome):
    """The names of SQLite's databases that SQLite finds torn, with what lies beside them."""
    torn = []
    for file in restored.rglob("*"):
        if not file.is_file() or file.is_symlink() or file.open("rb").read(16) != b"SQLite format 3\0":
            continue
        place = work / "sqlite"
        place.mkdir()
        for path in file.parent.glob(glob.escape(file.name) + "*"):
            if path.name[len(file.name):] in ("", "-wal", "-journal"):
                shutil.copy(path, place)
        try:
            with closing(sqlite3.connect(place / file.name)) as opened:
                is_sound = opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        except sqlite3.DatabaseError:
            is_sound = False
        outcome["SQLite databases checked"] += 1
        torn += [] if is_sound else [file.name]
        shutil.rmtree(place)
    return torn


def read(playwright, restored):
    """What pages find."""
    browser = Browser(playwright, restored)
    page = browser.page(PORTS[0])
    found = {"database": page.evaluate("readDatabase()"), "cookies": page.evaluate("readCookies()"), "local": []}
    for port in PORTS:
        page.goto(f"http://127.0.0.1:{port}/")
        found["local"].append(page.evaluate("readLocal()"))
    browser.close()
    return found


def newest(store, missing_max):
    """The number that was written last, if the ten before it are there, but for so many on their way; else what is wrong."""
    numbers = [number for number in [store["last"], *store["ring"]] if number is not None]
    if not numbers:
        return 0
    if any(isinstance(number, str) for number in numbers):
        return f"{store}"
    last, missing = max(numbers), min(max(numbers), 10) + 1 - len(numbers)
    near = all(last - number <= 10 for number in store["ring"]) and store["last"] in (None, last, last - 1)
    return last if near and missing <= missing_max else f"{store}"


def wrong_with(found, before, snapshot):
    """What must not be, by store; and the newest numbers."""
    database, wrong = found["database"], []
    wrong += [("IndexedDB", what) for what in database["wrong"]]
    # Of those that its page had not deleted when the backup ended, each file must be there.
    gone = [number for number in database["gone"] if number > snapshot["ended"].get("blobs", 0) + 1 - BLOBS]
    wrong += [("IndexedDB", f"blob {number} of {database['blobs']}") for number in gone]
    numbers = {f"IndexedDB {name}": database[name] for name in COUNTERS}
    # An overwritten cookie is deleted and put again by Chromium, and the two may fall into different transactions.
    stores = {"cookies": newest(found["cookies"], 1)}
    stores |= {f"localStorage {port}": newest(area, 0) for port, area in zip(PORTS, found["local"])}
    for name, number in stores.items():
        if isinstance(number, str):
            wrong.append((name, number))
        else:
            numbers[name] = number
    least = dict(before)
    for name in COUNTERS:
        least[f"IndexedDB {name}"] = max(least.get(f"IndexedDB {name}", 0), snapshot["finished"].get(name, 0))
    wrong += [(name, f"{number}, after {least[name]}") for name, number in numbers.items() if number < least.get(name, 0)]
    return wrong, numbers


def judge(args, playwright, levault, taken, base):
    outcome, before, failed = Counter(), {}, 0
    for number, snapshot in enumerate(taken):
        restored = base / "restored"
        levault.finish(levault.start("restore", snapshot["id"], "--target", restored), {0})
        opened_by_others(restored, base, outcome)
        torn = torn_sqlite(restored, base, outcome)
        found = read(playwright, restored)
        wrong, numbers = wrong_with(found, before, snapshot)
        moved = {what.split(": SQLite wrote to it")[0].split("/")[-1] for what in said(snapshot) if ": SQLite wrote to it" in what}
        outcome["SQLite databases that were written while copied, as was told"] += len(moved)
        outcome["of them torn"] += len([name for name in torn if name in moved])
        wrong += [("SQLite", f"{name} is torn, and nobody said so") for name in torn if name not in moved]
        wrong = [what for what in wrong if not (what[0] == "cookies" and "Cookies" in moved)]
        outcome["fleeting blobs there"] += found["database"]["fleeting"]
        outcome["fleeting blobs"] += min(3, found["database"]["blobs"])
        outcome["blobs that were deleted within the backup, and are not there"] += len(found["database"]["gone"])
        print(f"{number}: {snapshot['id'][:8]} {numbers} {wrong or 'sound'}", flush=True)
        before |= numbers
        failed += bool(wrong)
        restored.rename(base / f"bad-{number}") if wrong else shutil.rmtree(restored)
    return outcome, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levault", required=True)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--every", type=float, default=5)
    parser.add_argument("--work")
    args = parser.parse_args()
    for port in PORTS:
        threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", port), Pages).serve_forever, daemon=True).start()
    base = Path(tempfile.mkdtemp(prefix="levault-profile-", dir=args.work))
    levault = Levault(args.levault, base)
    with sync_playwright() as playwright:
        taken = backups(args, playwright, levault, base / "profile")
        outcome, failed = judge(args, playwright, levault, taken, base)
    levault.finish(levault.start("check", "--read-data"), {0})
    told = Counter(what for snapshot in taken for what in said(snapshot))
    for what, number in told.most_common(12):
        print(f"told {number} times: {what}")
    for what, number in outcome.items():
        print(f"{what}: {number}")
    print(f"{len(taken)} snapshots, {sum(s['code'] == 3 for s in taken)} with something told, {failed} not as they must be")
    if failed:
        sys.exit(f"the bad ones are in {base}")
    shutil.rmtree(base)


main()
