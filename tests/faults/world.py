"""A small world to break: real stores, workers as processes, a queue that may lose or repeat, and a reaper."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from native import assets, reaping
from native.jobs.store import Job
from native.service import Services
from native.settings import Settings
from tests.faults import invariants
from tests.function import Function

# Leases so short that a test can wait for one to run out, and beats that keep them with room to spare on a busy machine.
SHORT = {"LEASE_SECONDS": "3", "BEAT_SECONDS": "0.6", "RING_AFTER_SECONDS": "1", "MAX_INFLIGHT": "8"}
OWNER = "tester"
PATIENCE_SECONDS = 90


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
        self._stack = contextlib.ExitStack()
        self._reaping = threading.Event()

    def worker(self, name: str = "trim", **more: str) -> Function:
        function = self._stack.enter_context(Function(name, self.environment, self.folder / f"{name}.log", **more))
        self.queue.workers.append(function)
        return function

    def upload(self, path: Path) -> str:
        """A file as an asset, the way clients bring one."""
        body = path.read_bytes()
        asset = assets.create(self.services, OWNER, path.name, len(body), "video/mp4")
        for part in assets.offer(self.services, asset)["parts"]:
            assert httpx.put(part["url"], content=body[part["offset"] : part["offset"] + part["size"]], timeout=60).status_code == 200
        return assets.complete(self.services, OWNER, asset.id).id

    def submit(self, worker: Function, body: dict[str, Any], **headers: str) -> str:
        answer = self.post(worker, body, Prefer="respond-async", **headers)
        assert answer.status_code == 202, answer.text
        self.promised.append(answer.json()["id"])
        return answer.json()["id"]

    def post(self, worker: Function, body: dict[str, Any], timeout: float = PATIENCE_SECONDS, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(worker.url, json=body, headers={"Authorization": f"Bearer {self.key}", **named}, timeout=timeout)

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

    def reached(self, job: str, stage: str, percent: float = 0) -> None:
        """Wait until a job's attempt has come this far."""

        def there() -> bool:
            seen = self.services.progress.read(job)
            assert not self.job(job).state.terminal, f"it ended before {stage} {percent}"
            return bool(seen and seen[0] == stage and seen[1].get("percent", 0) >= percent)

        self.until(there, f"stage {stage} at {percent} %")

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
        """Everything that must hold and does not."""
        return invariants.check(self.environment["DATABASE_URL"], objects=self.objects, promised=self.promised)

    def objects(self) -> list[invariants.Object]:
        """What lies in both buckets."""
        buckets = (self.settings.s3_media_bucket, self.settings.s3_outputs_bucket)
        listed = [(bucket, it) for bucket in buckets for it in self.services.objects.list(bucket, "")]
        return [invariants.Object(bucket=bucket, key=it.key, size=it.size) for bucket, it in listed]

    def results(self) -> list[str]:
        """The keys of what attempts have stored."""
        return [it.key for it in self.services.objects.list(self.settings.s3_outputs_bucket, "")]

    def close(self) -> None:
        self._stack.close()
        self.queue.close()


def media_processes(worker: Function) -> list[psutil.Process]:
    """The children that do a worker's media work."""
    return psutil.Process(worker.pid).children(recursive=True)


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all of them ended within so long."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
