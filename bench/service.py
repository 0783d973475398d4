"""What the service costs beyond the media work: start, accept, cancel, events, memory. Brings up a stack of its own.

./nve bench service
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import imageio_ffmpeg
import psutil

from bench.table import Row, show
from deployments.local.home import Home

ROOT = Path(__file__).parents[1]
RUNS = int(os.environ.get("NVE_BENCH_RUNS", "5"))
ACCEPTS_PER_SECOND, ACCEPT_SECONDS = 50, 4


def nve(*arguments: str, data: Path) -> None:
    # More jobs may wait than one user's default, or the load itself would be refused.
    environment = {**os.environ, "MAX_QUEUED_JOBS": "5000", "MAX_ACCEPTS_PER_MINUTE": "100000"}
    subprocess.run([str(ROOT / "nve"), *arguments, "--data", str(data)], check=True, capture_output=True, env=environment)


def clip(path: Path, seconds: int, size: str) -> Path:
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", f"testsrc2=s={size}:r=30:d={seconds}",
        "-f", "lavfi", "-i", f"sine=f=440:r=48000:d={seconds}", "-c:v", "libx264", "-preset", "ultrafast", "-g", "30",
        "-pix_fmt", "yuv420p", "-c:a", "aac", "-movflags", "+faststart", str(path),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return path


class Client:
    def __init__(self, home: Home) -> None:
        self.http = httpx.Client(base_url=home.url, headers={"Authorization": f"Bearer {home.key}"}, timeout=120)
        self.home = home

    def upload(self, path: Path) -> str:
        body = path.read_bytes()
        offer = self.http.post("/function/upload", json={"name": path.name, "size": len(body)}).raise_for_status().json()
        for part in offer["parts"]:
            httpx.put(part["url"], content=body[part["offset"] : part["offset"] + part["size"]]).raise_for_status()
        return self.http.post(f"/function/upload/{offer['asset']}/complete").raise_for_status().json()["asset"]

    def submit(self, body: dict[str, Any]) -> str:
        return self.http.post("/function/trim", json=body, headers={"Prefer": "respond-async"}).raise_for_status().json()["id"]


def tree(home: Home) -> list[psutil.Process]:
    """The supervisor of this data directory and everything below it."""
    found = [p for p in psutil.process_iter(["cmdline"]) if str(home.path) in (p.info["cmdline"] or []) and p.ppid() == 1]
    return [member for top in found for member in [top, *top.children(recursive=True)]]


def memory(home: Home) -> float:
    """Megabytes: the proportional share of every process, so that what they share counts once."""
    return sum(member.memory_full_info().pss for member in tree(home)) / 1e6


@contextmanager
def stack(data: Path) -> Iterator[Client]:
    nve("up", "--detach", data=data)
    try:
        yield Client(Home(data))
    finally:
        nve("down", data=data)


def starts(data: Path) -> tuple[list[float], list[float]]:
    """Seconds from `nve up` to the first answered request, and of `nve down`, on a data directory that has been used."""
    ups, downs = [], []
    for _ in range(RUNS):
        started = time.perf_counter()
        nve("up", "--detach", data=data)
        Client(Home(data)).http.get("/function/status").raise_for_status()
        ups.append(time.perf_counter() - started)
        started = time.perf_counter()
        nve("down", data=data)
        downs.append(time.perf_counter() - started)
    return ups, downs


def media_seconds(home: Home, job: str) -> float:
    """What the worker itself spent on media, as its log says."""
    for line in reversed((home.path / "logs/trim.log").read_text().splitlines()):
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("job") == job and entry.get("event") == "succeeded":
            return sum(entry["seconds"].values())
    raise LookupError(job)


def overhead(client: Client, asset: str) -> list[float]:
    """Seconds of a synchronous job beyond its media work and its upload to the store."""
    found = []
    for n in range(4 * RUNS):
        body = {"source": asset, "start": f"{n}f", "end": "2"}
        started = time.perf_counter()
        job = client.http.post("/function/trim", json=body).raise_for_status().json()["id"]
        took = time.perf_counter() - started
        found.append(took - media_seconds(client.home, job))
    return found[1:]  # the first one starts the function


def accepts(client: Client, asset: str) -> list[float]:
    """Seconds of each accept at a steady rate, while earlier jobs are being worked on."""
    took: list[float] = []

    def one(n: int) -> None:
        body = {"source": asset, "start": f"{n % 40}f", "end": "2", "mode": "instant"}
        started = time.perf_counter()
        # One client for all: making one costs more processor time than the accept does, on the machine that is measured.
        client.http.post("/function/trim", json=body, headers={"Prefer": "respond-async"}).raise_for_status()
        took.append(time.perf_counter() - started)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(ACCEPTS_PER_SECOND * ACCEPT_SECONDS)]
    begun = time.perf_counter()
    for n, thread in enumerate(threads):
        time.sleep(max(0.0, begun + n / ACCEPTS_PER_SECOND - time.perf_counter()))
        thread.start()
    for thread in threads:
        thread.join()
    while jobs := client.http.get("/function/status", params={"state": "queued", "limit": 100}).json()["jobs"]:
        for job in jobs:
            client.http.delete(f"/function/status/{job['id']}")
    while client.http.get("/function/status", params={"state": "running", "limit": 1}).json()["jobs"]:
        time.sleep(0.1)
    return sorted(took)


def gaps(client: Client, asset: str) -> float:
    """The longest time between two events while a job encodes."""
    job = client.submit({"source": asset, "start": 0, "end": 60, "mode": "encode"})
    seen, longest = None, 0.0
    with client.http.stream("GET", f"/function/status/{job}", headers={"Accept": "text/event-stream"}) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data:"):
                continue
            document = json.loads(line[5:])
            if document["stage"] != "encoding" and seen:
                break
            if document["stage"] == "encoding":
                longest, seen = max(longest, time.perf_counter() - seen) if seen else 0.0, time.perf_counter()
    client.http.delete(f"/function/status/{job}")
    return longest


def cancels(client: Client, asset: str) -> float:
    """Seconds from the request to cancel until the encoding process is dead."""
    job = client.submit({"source": asset, "start": 0, "end": 60, "mode": "encode"})
    while client.http.get(f"/function/status/{job}").json()["progress"]["frames"] < 10:
        time.sleep(0.05)
    busy = max((p for p in tree(client.home) if "native.media.worker" in p.cmdline()), key=lambda p: p.cpu_times().user)
    started = time.perf_counter()
    client.http.delete(f"/function/status/{job}")
    psutil.wait_procs([busy], timeout=10)
    return time.perf_counter() - started


def colds(client: Client) -> list[float]:
    """Seconds of a first call to a function that is not running."""
    found = []
    for _ in range(RUNS):
        for process in tree(client.home):
            if process.is_running() and process.environ().get("FUNCTION_NAME") == "inspect":
                process.terminate()
                process.wait(5)
        started = time.perf_counter()
        client.http.get("/function/inspect/x")
        found.append(time.perf_counter() - started)
    return found


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="nve-bench-") as folder:
        data = Path(folder) / "data"
        short, long = clip(Path(folder) / "short.mp4", 4, "320x180"), clip(Path(folder) / "long.mp4", 60, "1280x720")
        nve("up", "--detach", data=data)
        nve("down", data=data)
        ups, downs = starts(data)
        with stack(data) as client:
            idle = memory(client.home)
            asset, film = client.upload(short), client.upload(long)
            costs = overhead(client, asset)
            longest = [gaps(client, film) for _ in range(RUNS)]
            dead = [cancels(client, film) for _ in range(RUNS)]
            cold = colds(client)
            took = [accepts(client, asset) for _ in range(RUNS)]
    rows = [
        Row("nve up, warm, to the first answered request", ups, "s", 4),
        Row("nve down", downs, "s", 4),
        Row("a job beyond its media work", [1000 * it for it in costs], "ms", 100),
        Row(f"accept at {ACCEPTS_PER_SECOND}/s, 50th percentile", [1000 * statistics.median(it) for it in took], "ms"),
        Row(f"accept at {ACCEPTS_PER_SECOND}/s, 99th percentile", [1000 * it[int(len(it) * 0.99)] for it in took], "ms", 100),
        Row("longest time between two progress events", longest, "s", 1),
        Row("cancel to dead encoder", dead, "s", 1),
        Row("cold start of a function", cold, "s", 1.5),
        Row("the whole stack idle, memory", [idle], "MB", 700),
    ]
    return show("The service", rows)


if __name__ == "__main__":
    sys.exit(main())
