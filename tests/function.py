"""One function as a process of its own, behind the template's server, as the gateway or an image would run it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
READY_SECONDS = 20


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Function:
    """Use as a context: starts the function, waits until it is ready, and leaves nothing behind."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path, **more: str) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "FUNCTION_DIR": str(ROOT / "functions" / name),
            "FUNCTION_NAME": name,
            "BIND": "127.0.0.1",
            "PORT": str(self.port),
            "METRICS_PORT": "0",
            **environment,
            **more,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Function:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "template/python3-http-ffmpeg/index.py")],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"{self.name} ended: {self._log.read_text()[-3000:]}"
            try:
                if httpx.get(f"{self.url}/_/health", timeout=1).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.02)  # there is nothing to wait on before it listens
        raise AssertionError(f"{self.name} is not ready after {READY_SECONDS} s: {self._log.read_text()[-3000:]}")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """As the kernel would: at once, the server process alone."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(10)

    def log(self) -> str:
        return self._log.read_text()

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
