"""One JSON line per event, on standard error. What is bound (job, attempt, call id) is on every line of that thread."""

from __future__ import annotations

import contextlib
import contextvars
import datetime
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

_service: dict[str, Any] = {}
_bound: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("bound", default=None)

# A presigned URL's signature and our own keys open doors: they never reach a log.
_SECRETS = re.compile(
    r"(X-Amz-(?:Signature|Credential|Security-Token)(?:=|%3D))[^&\s\"']+|\bnve_[A-Za-z0-9_-]{8,}|(?<=://)([^:/@\s]*):[^/\s\"']+@"
)


def redact(text: str) -> str:
    return _SECRETS.sub(lambda m: m.group(1) + "…" if m.group(1) else (f"{m.group(2)}:…@" if m.group(2) is not None else "nve_…"), text)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_service,
            **(_bound.get() or {}),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(event, default=str, ensure_ascii=False))


def setup(name: str) -> None:
    """Send every logger of this process to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(os.environ.get("LOG_LEVEL", "INFO").upper())
    _service["service"] = name


@contextlib.contextmanager
def bind(**facts: Any) -> Iterator[None]:
    """Add facts to every line this thread logs inside the block."""
    token = _bound.set({**(_bound.get() or {}), **facts})
    try:
        yield
    finally:
        _bound.reset(token)


def bound() -> dict[str, Any]:
    return dict(_bound.get() or {})


def event(logger: logging.Logger, level: int, name: str, **facts: Any) -> None:
    logger.log(level, name, extra={"facts": facts})
