"""One command line after the other, and what they cost: `python -I -S meter.py JSON`, answered with JSON.

A process of its own, and a small one: Linux hands the peak memory of whoever starts a process on to it, so a large parent would be
measured instead. It imports nothing of this project, for the same reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import time

UNIT = 1 if sys.platform == "darwin" else 1024  # getrusage(2): ru_maxrss is in bytes there and in KiB on Linux


def main() -> int:
    """{"steps": [[word, …], …], "log": path, "room": path} → {"wall_seconds", "cpu_seconds", "peak_bytes", "read_bytes"} or {"failed"}."""
    job = json.loads(sys.argv[1])
    read = 0
    began = time.perf_counter()
    with open(job["log"], "wb") as log:
        for step in job["steps"]:
            child = subprocess.Popen(step, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=job["room"])
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            read += _read(child.pid)
            if code := child.wait():
                print(json.dumps({"failed": f"{os.path.basename(step[0])} ended with {code}"}))
                return 0
    wall = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    print(json.dumps({"wall_seconds": wall, "cpu_seconds": cpu, "peak_bytes": used.ru_maxrss * UNIT, "read_bytes": read}))
    return 0


def _read(pid: int) -> int:
    """Bytes that an ended and not yet buried process read, its own children's included; proc_pid_io(5)."""
    with contextlib.suppress(OSError, AttributeError), open(f"/proc/{pid}/io") as file:
        found = re.search(r"rchar: (\d+)", file.read())
        return int(found[1]) if found else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
