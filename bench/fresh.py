"""From a fresh clone to a finished demo: with nothing cached, and again.

./nve bench fresh
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.table import Row, show

ROOT = Path(__file__).parents[1]


def demo(clone: Path, cache: Path) -> float:
    environment = {**os.environ, "UV_CACHE_DIR": str(cache / "uv"), "PIP_CACHE_DIR": str(cache / "pip")}
    started = time.perf_counter()
    subprocess.run([str(clone / "nve"), "demo"], check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="nve-fresh-") as folder:
        clone, cache = Path(folder) / "clone", Path(folder) / "cache"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        first, again = demo(clone, cache), [demo(clone, cache) for _ in range(3)]
    rows = [Row("fresh clone to a finished demo, nothing cached", [first], "s", 120), Row("the demo again", again, "s", 12)]
    return show("First use", rows)


if __name__ == "__main__":
    sys.exit(main())
