"""Is an owner slowed by captures? Batches written with and without, in alternating pairs of one run.

stall.py --levault PROGRAM [--pairs N] [--seconds S] [--every S] [--work DIR]
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from torture import Owner, Scenario


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--levault", required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--every", type=float, default=1)
    parser.add_argument("--work")
    return parser.parse_args()


def batches(args, capturing):
    """Batches a second, and the captures taken meanwhile."""
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        owner = Owner(Scenario(buffer=4 << 20, value=1000), args, work)
        try:
            owner.wait_for(2000)
            before, begin, captures = owner.acknowledged(), time.monotonic(), 0
            while time.monotonic() < begin + args.seconds:
                time.sleep(args.every)
                if capturing:
                    copy = os.path.join(work, "copy")
                    subprocess.run([args.levault, "capture", "--quiet", "--link", owner.database, copy], check=True)
                    shutil.rmtree(copy, ignore_errors=True)
                    captures += 1
            return (owner.acknowledged() - before) / (time.monotonic() - begin), captures
        finally:
            owner.stop()


def main():
    args = arguments()
    ratios = []
    print("| pair | batches/s without | with captures | captures | ratio |\n|--|--|--|--|--|")
    for pair in range(args.pairs):
        order = (False, True) if pair % 2 == 0 else (True, False)
        found = {capturing: batches(args, capturing) for capturing in order}
        ratios.append(found[True][0] / found[False][0])
        print(f"| {pair + 1} | {found[False][0]:.0f} | {found[True][0]:.0f} | {found[True][1]} | {ratios[-1]:.3f} |", flush=True)
    print(f"ratio: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    sys.exit(main())
