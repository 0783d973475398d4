"""The gateway as one process of the stack; it starts the functions itself."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import ports
from .home import ROOT
from .server import Server

# `nve down` is to take four seconds at most, so a stop has three acts with a bound each. A function first: a job that is cut
# off goes back to the queue.
GRACE_SECONDS = 1.5
# Between SIGTERM and SIGKILL of a function: its grace, and a moment to say its last words and to end.
KILL_SECONDS = GRACE_SECONDS + 0.5
# What the functions answered last is settled in the queue.
SETTLE_SECONDS = 0.8
# To hear of it and to end as a process.
ENDING_SECONDS = 0.5


class Gateway(Server):
    name = "gateway"
    ports = ("gateway", "gateway_metrics")
    polite = signal.SIGTERM
    patience_seconds = KILL_SECONDS + SETTLE_SECONDS + ENDING_SECONDS
    reason = re.compile(r'"level": "(error|critical)"|^[A-Za-z.]*(Error|Exception|Unset)\b')

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-m", "gateway"]

    def environment(self) -> Mapping[str, str]:
        return {
            # The user's own settings of limits and the like go through: the functions read them.
            **os.environ,
            # But not these: who stops us counts on them.
            "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
            "GATEWAY_KILL_SECONDS": str(KILL_SECONDS),
            "GATEWAY_SETTLE_SECONDS": str(SETTLE_SECONDS),
            # For `faas-cli login`, user admin.
            "GATEWAY_PASSWORD": self.home.secret("gateway-password"),
            **self.home.environment(),
            "BIND": ports.BIND,
            "GATEWAY_PORT": str(self.home.ports["gateway"]),
            "GATEWAY_METRICS_PORT": str(self.home.ports["gateway_metrics"]),
            "STACK_FILE": str(ROOT / "stack.yml"),
            "LOGS_DIR": str(self.home.path / "logs"),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    def answers(self) -> bool:
        link = http.client.HTTPConnection(ports.BIND, self.home.ports["gateway"], timeout=1)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(link):
            link.request("GET", "/healthz")
            return link.getresponse().status == 200
        return False
