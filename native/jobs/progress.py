"""How far a running job is, for eyes: a hash that fades, and a channel that wakes those who wait. State is Postgres's alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis import exceptions
from redis.client import PubSub

from native.jobs.hints import Hints

# Progress that nobody has renewed for this long describes a worker that is not there any more.
TTL_SECONDS = 120
# Without Redis nobody is woken: those who wait look by themselves this often.
POLL_SECONDS = 0.5


class Progress:
    def __init__(self, hints: Hints) -> None:
        self._hints = hints

    def publish(self, job_id: str, stage: str, progress: dict[str, Any]) -> None:
        """Say how far it is, and wake whoever waits. Also called at every change of state."""
        text = json.dumps({"stage": stage, "progress": progress}, separators=(",", ":"))

        def send(client: redis.Redis) -> None:
            pipe = client.pipeline(transaction=False)
            pipe.set(_key(job_id), text, ex=TTL_SECONDS)
            pipe.publish(_key(job_id), text)
            pipe.execute()

        self._hints.ask(send, None)

    def read(self, job_id: str) -> tuple[str, dict[str, Any]] | None:
        """The newest (stage, progress), or None: nothing was said lately, or Redis is away."""
        text = self._hints.ask(lambda client: client.get(_key(job_id)), None)
        if not text:
            return None
        said = json.loads(text)
        return said["stage"], said["progress"]

    @contextmanager
    def listen(self, job_id: str) -> Iterator[Listener]:
        """From here on nothing is missed. Listen first, look at the job then, wait last."""
        listener = Listener(self._hints, _key(job_id))
        try:
            yield listener
        finally:
            listener.close()

    def wait(self, job_id: str, timeout_seconds: float) -> bool:
        """Whether something was said before the time was over. What was said before the call is missed: see `listen`."""
        with self.listen(job_id) as listener:
            return listener.wait(timeout_seconds)


class Listener:
    """One waiter's ear; has a connection of its own while it lives."""

    def __init__(self, hints: Hints, channel: str) -> None:
        self._hints = hints
        self._channel = channel
        self._ear: PubSub | None = None
        self._tune()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until something is said, at most this long. True: look at the job now.

        Without Redis the wait is short and ends with True, so that who looks each time sees changes at most half a second late.
        """
        deadline = time.monotonic() + timeout_seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._ear is None and not self._tune():
                time.sleep(min(left, POLL_SECONDS))
                return True
            assert self._ear is not None, "it was just tuned"
            try:
                message = self._ear.get_message(timeout=min(left, 5.0))
            except (exceptions.RedisError, OSError) as exc:
                self.close()
                self._hints.lost(exc)
                continue
            if message is None:
                continue
            if message["type"] == "message":
                while self._ear.get_message(timeout=0.0) is not None:
                    """Several words at once are one reason to look."""
                return True
        return False

    def close(self) -> None:
        ear, self._ear = self._ear, None
        if ear is not None:
            try:
                ear.close()
            except (exceptions.RedisError, OSError):
                """A connection that is broken is closed."""

    def _tune(self) -> bool:
        def subscribe(client: redis.Redis) -> PubSub:
            ear = client.pubsub()
            ear.subscribe(self._channel)
            # wait for the server's word: what is said after this is heard
            if ear.get_message(timeout=self._hints.timeout_seconds) is None:
                ear.close()
                raise exceptions.TimeoutError("no answer to SUBSCRIBE")
            return ear

        self._ear = self._hints.ask(subscribe, None)
        return self._ear is not None


def _key(job_id: str) -> str:
    return f"nve:progress:{job_id}"
