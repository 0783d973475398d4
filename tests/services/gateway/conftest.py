"""A real gateway as a process of its own, over the smallest functions that keep the contract."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PATIENCE = 15.0

_numbers = itertools.count(1)

FUNCTIONS: dict[str, dict[str, Any]] = {
    # room for many calls in one process
    "echo": {"environment": {"MAX_INFLIGHT": "8", "WORD": "hello"}, "labels": {"com.openfaas.scale.max": "1"}},
    # one call per process, two processes
    "pair": {"environment": {"MAX_INFLIGHT": "1"}, "labels": {"com.openfaas.scale.max": "2"}},
    "status": {"environment": {"MAX_INFLIGHT": "64"}, "labels": {"com.openfaas.scale.max": "1"}},
    # an answer is due within a second
    "hasty": {"environment": {"MAX_INFLIGHT": "2", "write_timeout": "1s"}, "labels": {"com.openfaas.scale.max": "1"}},
}


def until(condition: Callable[[], Any], what: str, within: float = PATIENCE) -> Any:
    """Poll until `condition` holds, and give back what it gave."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {within:g} s: {what}")


class Gateway:
    """A running gateway: its addresses, what its functions noted, what it logged."""

    def __init__(self, folder: Path, redis_url: str, functions: dict[str, dict[str, Any]], **variables: str) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self._variables = variables
        (folder / "logs").mkdir(parents=True)
        shutil.copytree(HERE / "template", folder / "template")
        self.write(functions)
        self.client = httpx.Client(timeout=PATIENCE)
        self._lives = itertools.count(1)
        self.start()

    def write(self, functions: dict[str, dict[str, Any]]) -> None:
        """The stack file, with a folder for every function."""
        for name in functions:
            (self.folder / "functions" / name).mkdir(parents=True, exist_ok=True)
        entries = {name: {"lang": "tiny", "handler": f"./functions/{name}", **entry} for name, entry in functions.items()}
        (self.folder / "stack.yml").write_text(yaml.safe_dump({"functions": entries}))

    def start(self, **variables: str) -> None:
        self._log = self.folder / f"gateway-{next(self._lives)}.log"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY", "REDIS", "QUEUE"))},
            "REDIS_URL": self.redis_url,
            "QUEUE_PREFIX": f"{self.folder.name}",
            "GATEWAY_PORT": "0",
            "GATEWAY_METRICS_PORT": "0",
            "STACK_FILE": str(self.folder / "stack.yml"),
            "LOGS_DIR": str(self.folder / "logs"),
            "NOTES": str(self.folder / "notes"),
            **self._variables,
            **variables,
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "gateway"], cwd=ROOT, env=environment, stdout=log, stderr=log)
        facts = until(
            lambda: next((line for line in self.log() if line["event"] == "listening"), None), f"listening: {self._log.read_text()}"
        )
        self.url = f"http://127.0.0.1:{facts['port']}"
        self.port = facts["port"]
        self.metrics_url = f"http://127.0.0.1:{facts['metrics_port']}"
        self.client.base_url = self.url

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]

    def notes(self, event: str | None = None, **facts: Any) -> list[dict[str, Any]]:
        """What the functions noted, in all their lives."""
        with contextlib.suppress(FileNotFoundError):
            lines = [json.loads(line) for line in (self.folder / "notes").read_text().splitlines()]
            return [it for it in lines if event in (None, it["event"]) and all(it.get(name) == value for name, value in facts.items())]
        return []

    def replicas(self) -> list[psutil.Process]:
        """The function processes that live now."""
        return [
            p for p in psutil.process_iter(["cmdline"]) if any(str(self.folder) in word for word in p.info["cmdline"] or ()) and alive(p)
        ]

    def metric(self, name: str, **labels: str) -> float:
        """One sample of /metrics; 0 when there is none."""
        wanted = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        for line in self.client.get(f"{self.metrics_url}/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample in (name, f"{name}{{{wanted}}}"):
                return float(value)
        return 0.0

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(5)

    def close(self) -> None:
        """Stop it, and see that nothing is left."""
        self.client.close()
        try:
            self.stop()
        finally:
            left = self.replicas()
            for process in left:
                process.kill()
        assert not left, "the gateway left functions behind"


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


Start = Callable[..., Gateway]


@pytest.fixture(scope="session")
def gateway(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for the tests that change nothing."""
    redis_url = servers.home.environment()["REDIS_URL"]
    running = Gateway(tmp_path_factory.mktemp("gateway") / f"gateway-{os.getpid()}", redis_url, FUNCTIONS, GATEWAY_PASSWORD="open sesame")
    yield running
    running.close()


@pytest.fixture
def start(redis_url: str, tmp_path: Path) -> Iterator[Start]:
    """`start(functions={…}, VARIABLE=…)`: gateways of this test's own."""
    running: list[Gateway] = []

    def begin(functions: dict[str, dict[str, Any]] | None = None, redis_url: str = redis_url, **variables: str) -> Gateway:
        folder = tmp_path / f"gateway-{os.getpid()}-{next(_numbers)}"
        running.append(Gateway(folder, redis_url, functions or FUNCTIONS, **variables))
        return running[-1]

    yield begin
    for one in running:
        one.close()
