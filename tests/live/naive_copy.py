"""A copy as users make them: file by file.  naive_copy.py DB DIR SLEEP_MS"""

import os
import shutil
import sys
import time

source, target, sleep = sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000
os.mkdir(target)
for name in os.listdir(source):
    if name == "LOCK":
        continue
    try:
        shutil.copyfile(os.path.join(source, name), os.path.join(target, name))
    except FileNotFoundError:
        pass
    time.sleep(sleep)
