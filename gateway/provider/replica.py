"""One process of one function: started, asked whether it is ready, stopped for certain."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import httpcore

from gateway.provider.stackfile import Function

# What concerns the gateway alone is not handed to functions.
WITHHELD = frozenset({"GATEWAY_PASSWORD", "GATEWAY_PASSWORD_FILE", "GATEWAY_PORT", "GATEWAY_METRICS_PORT", "STACK_FILE", "LOGS_DIR"})

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

READY_POLL_SECONDS = 0.02


class StartFailed(Exception):
    """The process ended or stayed silent before it was ready. The text says which."""


class PortTaken(StartFailed):
    """Somebody else took the port between our choice and the process's bind."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def _tied_to(parent: int) -> Callable[[], None]:
    """Run in the child between fork and exec: it dies with the gateway, even when the gateway is killed."""

    def tie() -> None:
        if LIBC is not None:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return tie


class Replica:
    """A running function process. `inflight` counts the calls it has and has not finished, `taken` the same by lane."""

    def __init__(self, name: str, port: int, metrics_port: int, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.port = port
        self.metrics_port = metrics_port
        self.process = process
        # A connection a call: whether a function that has just died saw a request is then always known, because it refuses to
        # connect. On loopback that costs a fifth of a millisecond; a POST sent down a dead kept connection would cost the caller a 502.
        self.pool = httpcore.AsyncConnectionPool(max_connections=None, max_keepalive_connections=0)
        self.inflight = 0
        self.taken: Counter[str] = Counter()
        self.draining = False
        self.full_until = 0.0
        self.started = self.last_used = time.monotonic()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def url(self, target: bytes) -> httpcore.URL:
        return httpcore.URL(scheme=b"http", host=b"127.0.0.1", port=self.port, target=target)

    @classmethod
    async def start(cls, function: Function, name: str, log: Path, within_seconds: float) -> Replica:
        """A process that has answered /_/ready. Raises `StartFailed`."""
        port, metrics_port = free_port(), free_port()
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(function.index),
                env=environment(function, os.environ, port, metrics_port),
                cwd=function.root,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_tied_to(os.getpid()),  # one system call, made ready before the fork
            )
        replica = cls(name, port, metrics_port, process)
        try:
            async with asyncio.timeout(within_seconds):
                await replica._ready()
        except TimeoutError:
            await replica.stop(0)
            raise StartFailed(f"not ready after {within_seconds:g} s") from None
        except BaseException:
            await asyncio.shield(replica.stop(0))
            raise
        return replica

    async def _ready(self) -> None:
        while True:
            if not self.alive:
                if _taken(self.port) or _taken(self.metrics_port):
                    raise PortTaken(f"port {self.port} or {self.metrics_port} was taken")
                raise StartFailed(f"ended with {self.process.returncode} before it was ready")
            with contextlib.suppress(httpcore.NetworkError, httpcore.TimeoutException, httpcore.RemoteProtocolError):
                timeouts = {"timeout": {"connect": 1.0, "read": 1.0, "write": 1.0, "pool": 1.0}}
                answer = await self.pool.request("GET", self.url(b"/_/ready"), headers=[(b"Host", b"function")], extensions=timeouts)
                if answer.status == 200:
                    return
            await asyncio.sleep(READY_POLL_SECONDS)  # a starting process has nobody to tell us

    async def stop(self, grace_seconds: float) -> None:
        """SIGTERM, then after the grace SIGKILL; whatever it left in its process group goes with it."""
        self.draining = True
        if self.alive and grace_seconds > 0:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self.process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        await self.process.wait()
        await self.pool.aclose()


def environment(function: Function, ours: Mapping[str, str], port: int, metrics_port: int) -> dict[str, str]:
    """A function's variables: what stack.yml says, then what the operator set here, then its place on this machine."""
    return {
        **function.environment,
        **{name: value for name, value in ours.items() if name not in WITHHELD},
        "FUNCTION_NAME": function.name,
        "FUNCTION_DIR": str(function.folder),
        "PYTHONPATH": str(function.root),
        "BIND": "127.0.0.1",
        "PORT": str(port),
        "METRICS_PORT": str(metrics_port),
        "MAX_INFLIGHT": str(function.max_inflight),
    }
