"""A small world to break: real stores, workers as processes, a queue that may lose or repeat, and a reaper.

Workers reach the object store through a network that a test can hold, slow down or cut. To hold a request is how a fault is put at
a point of the flow: a stage takes milliseconds on one machine and seconds on another, but a held request waits for the test.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import psutil

from native import assets, kept, reaping
from native.jobs.store import Job
from native.service import Services
from native.settings import Settings
from tests.faults import invariants
from tests.function import Function
from tests.services.objects.toxic import Fault, network

# Leases so short that a test can wait for one to run out, and beats that keep them with room to spare on a busy machine.
SHORT = {"LEASE_SECONDS": "3", "BEAT_SECONDS": "0.6", "RING_AFTER_SECONDS": "1", "MAX_INFLIGHT": "8"}
OWNER = "tester"
PATIENCE_SECONDS = 90
# A process that was killed, or whose owner has just woken up, is gone a moment later; the machine may be busy.
PASSING_SECONDS = 3.0
# Names the attempt in the paths of its workspace.
ROOM = re.compile(r"/(?P<job>[0-9a-f-]{36})-(?P<attempt>[0-9]+)-[^/]+(?:/|$)")

# Points of the flow, by the request to the store that is on its way there. One asks for the index of the slow clip, three are made to know
# it, and four for the encoder, each before it is needed. "verifying" is no such point: it asks nobody,
# and takes a millisecond.
POINTS = {
    "probing": ("GET", "/src/", 2),
    "encoding": ("GET", "/src/", 5),
    "encoding the end": ("GET", "/src/", 8),
    "storing": ("PUT", "/out/", 1),
}


class Gate:
    """Holds the nth request of a kind, and every later one, until it is opened; a store waits 20 s for an answer, so open it before."""

    def __init__(self, method: str, part: str, number: int) -> None:
        self._kind = (method, part)
        self._number = number
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._opened = threading.Event()

    def plan(self, method: str, path: str, before: int) -> Fault | None:
        wanted, part = self._kind
        if method == wanted and part in path:
            with self._lock:
                self._number -= 1
                held = self._number <= 0
            if held:
                self._arrived.set()
                self._opened.wait(PATIENCE_SECONDS)
        return None

    def reached(self) -> None:
        """Wait until the request is here."""
        assert self._arrived.wait(PATIENCE_SECONDS), f"no {' '.join(self._kind)} in {PATIENCE_SECONDS} s"

    def open(self) -> None:
        self._opened.set()


class Queue:
    """Stands where the gateway's asynchronous route stands: takes rings and passes each on to a worker that lives."""

    def __init__(self) -> None:
        self.workers: list[Function] = []
        self.deaf = False
        self.copies = 1
        self.heard: list[str] = []
        queue = self

        class Ear(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                queue.heard.append(json.loads(body)["job"])
                if not queue.deaf:
                    for _ in range(queue.copies):
                        threading.Thread(target=queue.deliver, args=(body,), daemon=True).start()
                self.send_response(202)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ear)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def deliver(self, body: bytes) -> None:
        for worker in reversed(self.workers):
            if worker.process is not None and worker.process.poll() is None:
                with contextlib.suppress(httpx.HTTPError):
                    httpx.post(worker.url, content=body, timeout=PATIENCE_SECONDS)
                return

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class World:
    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.queue = Queue()
        self.environment = {**environment, **SHORT, "GATEWAY_URL": self.queue.url}
        given = {name.lower(): value for name, value in self.environment.items()}
        self.settings = Settings.model_validate({name: given[name] for name in given.keys() & Settings.model_fields.keys()})
        self.services = Services(self.settings)
        self.key = self.services.keys.create(OWNER, f"test-{uuid.uuid4().hex[:8]}")
        self.folder = folder
        self.promised: list[str] = []
        #: (owner, idempotency key, job) of every answer
        self.keyed: list[tuple[str, str, str]] = []
        self._gates: list[Gate] = []
        self._stack = contextlib.ExitStack()
        #: between the workers and the store; clients, and this process, reach the store directly
        self.network = self._stack.enter_context(network(self.settings.s3_endpoint))

    def worker(self, name: str = "trim", **more: str) -> Function:
        through = {"S3_ENDPOINT": self.network.url, "S3_PUBLIC_ENDPOINT": self.settings.public_endpoint}
        function = self._stack.enter_context(Function(name, {**self.environment, **through}, self.folder / f"{name}.log", **more))
        self.queue.workers.append(function)
        return function

    def upload(self, path: Path) -> str:
        """A file as an asset, the way clients bring one."""
        body = path.read_bytes()
        asset = assets.create(self.services, OWNER, path.name, len(body), "video/mp4")
        for part in assets.offer(self.services, asset)["parts"]:
            assert httpx.put(part["url"], content=body[part["offset"] : part["offset"] + part["size"]], timeout=60).status_code == 200
        # its index is not kept yet, so that a job's requests are the same in every test
        with mock.patch.object(kept, "WORTH_BYTES", 1 << 60):
            return assets.complete(self.services, OWNER, asset.id).id

    def submit(self, worker: Function, body: dict[str, Any], **headers: str) -> str:
        answer = self.post(worker, body, Prefer="respond-async", **headers)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def post(self, worker: Function, body: dict[str, Any], timeout: float = PATIENCE_SECONDS, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = httpx.post(worker.url, json=body, headers={"Authorization": f"Bearer {self.key}", **named}, timeout=timeout)
        document = answer.json()
        job = document.get("id") or document.get("job", {}).get("id")
        if job:  # whatever the answer's status: who was told of a job was promised it
            self.promised.append(job)
            if "Idempotency-Key" in named:
                self.keyed.append((OWNER, named["Idempotency-Key"], job))
        return answer

    def gate(self, point: str) -> Gate:
        """From now on the flow stops at this point. Ask for it before the job is submitted."""
        gate = Gate(*POINTS[point])
        self._gates.append(gate)
        self.network.plan = gate.plan
        return gate

    def job(self, job: str) -> Job:
        return self.services.jobs.get(OWNER, job)

    def until(self, claim: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """Wait until a claim is true; fails with its words when it never is."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if result := claim():
                return result
            time.sleep(0.02)  # the claim is about other processes: there is nothing to wait on
        raise AssertionError(f"not in {seconds} s: {what}")

    def ended(self, job: str) -> Job:
        return self.until(lambda: it if (it := self.job(job)).state.terminal else None, f"the end of {job}")

    @contextlib.contextmanager
    def reaper(self) -> Iterator[None]:
        """Sweeps, as the schedule would, while the block runs."""
        over = threading.Event()

        def sweep() -> None:
            while not over.wait(0.3):
                with contextlib.suppress(Exception):  # its own faults are another test's business
                    reaping.sweep(self.services)

        thread = threading.Thread(target=sweep, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def violations(self) -> list[invariants.Violation]:
        """Everything that must hold and does not, once all jobs have ended and the store has been swept."""
        self.collect()
        deadline = time.monotonic() + PASSING_SECONDS
        while True:
            found = invariants.check(
                self.services.settings.database_url.get_secret_value(),
                objects=self.objects,
                sha256=self.sha256,
                processes=self.processes,
                promised=self.promised,
                keyed=self.keyed,
                collected=True,
            )
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)  # what passes is a process that ends, and there is nothing to wait on

    def collect(self) -> None:
        """Sweep the store as if an hour had gone by."""
        # Less than nothing: the store's clock counts whole seconds, and may round up.
        with mock.patch.multiple(reaping, ORPHAN_SECONDS=-2, STORE_SECONDS=0):
            reaping.sweep(self.services)

    def objects(self) -> list[invariants.Object]:
        """What lies in both buckets."""
        buckets = (self.settings.s3_media_bucket, self.settings.s3_outputs_bucket)
        listed = [(bucket, it) for bucket in buckets for it in self.services.objects.list(bucket, "")]
        return [invariants.Object(bucket=bucket, key=it.key, size=it.size) for bucket, it in listed]

    def sha256(self, bucket: str, key: str) -> str:
        """Of an object, read whole."""
        size = self.services.objects.stat(bucket, key).size
        return hashlib.sha256(self.services.objects.reader(bucket, key, size).read(0, size)).hexdigest()

    def processes(self) -> list[invariants.Process]:
        """Every process at work in a room of this world, whoever started it and whether that still lives.

        A media worker between two reads has no file of its room open, and names no attempt: it is not in here.
        """
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE or process.pid in self._servers():
                    continue
                paths = [process.cwd(), *(file.path for file in process.open_files())]
                rooms = {m.groups() for path in paths if path.startswith(str(self.settings.workspace_dir)) and (m := ROOM.search(path))}
                found += [invariants.Process(pid=process.pid, job=job, attempt=int(attempt)) for job, attempt in rooms]
        return found

    def _servers(self) -> set[int]:
        """The workers' own processes, which read a result while it is stored."""
        return {worker.pid for worker in self.queue.workers}

    def results(self) -> list[str]:
        """The keys of what attempts have stored."""
        return [it.key for it in self.services.objects.list(self.settings.s3_outputs_bucket, "")]

    def close(self) -> None:
        for gate in self._gates:  # nobody ends while a request is held
            gate.open()
        self._stack.close()
        self.queue.close()


def media_processes(worker: Function) -> list[psutil.Process]:
    """The children that do a worker's media work."""
    return psutil.Process(worker.pid).children(recursive=True)


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all of them ended within so long."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
