"""The one door to Redis, for what may be lost: a lock that saves work, progress for eyes, counters. It never decides and never raises.

Nothing is waited for: short time-outs, and after the first failure nobody asks again until a thread of our own has found the
server answering. So a dead or slow Redis costs one time-out per outage and process, not one per job.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger("jobs")

T = TypeVar("T")

# On one machine or one network Redis answers in a millisecond. What takes longer than this costs more than it saves.
TIMEOUT_SECONDS = 0.25
# How often the thread asks a server that is away.
PROBE_SECONDS = 0.5


class Hints:
    """A Redis that may be away. Connects when first used; thread-safe."""

    def __init__(self, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS, probe_seconds: float = PROBE_SECONDS) -> None:
        # One repetition, at once and only for a broken connection: after a restart of the server every pooled one is.
        retry = Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,))
        self.client: redis.Redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=retry,
            retry_on_error=[],
            decode_responses=True,
            client_name="nve",
        )
        self.timeout_seconds = timeout_seconds
        self._probe_seconds = probe_seconds
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._probe: threading.Thread | None = None

    @property
    def away(self) -> bool:
        return self._probe is not None

    def ask(self, question: Callable[[redis.Redis], T], default: T) -> T:
        """The answer, or `default` when Redis is away."""
        if self._probe is not None:
            return default
        try:
            return question(self.client)
        except (exceptions.RedisError, OSError) as exc:
            self.lost(exc)
            return default

    def lost(self, exc: Exception) -> None:
        """It failed: ask nothing more until it answers. One line per outage."""
        with self._lock:
            if self._probe is not None or self._closed.is_set():
                return
            self._probe = threading.Thread(target=self._until_back, name="redis-probe", daemon=True)
            self._probe.start()
        logger.warning("redis does not answer, going on without it: %s: %s", type(exc).__name__, exc)

    def close(self) -> None:
        self._closed.set()
        if (probe := self._probe) is not None:
            probe.join(timeout=2)
        self.client.close()

    def _until_back(self) -> None:
        while not self._closed.wait(self._probe_seconds):
            try:
                self.client.ping()
            except (exceptions.RedisError, OSError):
                continue
            break
        with self._lock:
            self._probe = None
        if not self._closed.is_set():
            logger.info("redis answers again")


def script(text: str) -> Callable[[redis.Redis, list[str], list[Any]], Any]:
    """A Lua script as a call: by its hash, or in full when the server does not know it (any more)."""

    def call(client: redis.Redis, keys: list[str], args: list[Any]) -> Any:
        # register_script only computes the hash; EVALSHA falls back to loading it after a flush or a restart
        return client.register_script(text)(keys=keys, args=args)

    return call
