"""A durable queue in Redis: at least once, taken over when its consumer dies, repeated with patience, given up in the end.

One stream with one consumer group per kind of work. A message stays pending in the group until it is settled; while it is
in hand a beat keeps its idle time low, so only messages whose consumer has died grow old enough to be taken over. The number
of deliveries is the one that Redis keeps for the pending message, so it outlives us. Losing Redis loses the queue and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.settings import Settings
from native import errors, log

logger = logging.getLogger("gateway.stream")

GROUP = "gateway"
BLOCK_SECONDS = 2.0
COMMAND_SECONDS = 1.5
DOWN_SECONDS = 0.5
MOST_RESTING = 256  # messages that wait for their next try; past that nothing new is read
MOST_DEAD = 1000
GONE_CONSUMER_SECONDS = 600

TROUBLE = (exceptions.RedisError, OSError, TimeoutError)

# Beat, but only for what is still ours: after a long pause somebody else may have taken a message over.
BEAT = """
for i = 3, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) == 1 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
  end
end
"""


@dataclass(frozen=True)
class Message:
    id: bytes
    fields: Mapping[bytes, bytes]
    deliveries: int = 1

    def text(self, name: str) -> str:
        return self.fields.get(name.encode(), b"").decode("utf-8", "replace")


@dataclass(frozen=True)
class Done:
    """The message is settled."""


@dataclass(frozen=True)
class Again:
    """It should be delivered again, not sooner than `after_seconds`."""

    reason: str
    after_seconds: float = 0.0


@dataclass(frozen=True)
class Dead:
    """It will never succeed."""

    reason: str


Verdict = Done | Again | Dead


@dataclass(frozen=True, kw_only=True)
class Depth:
    messages: int
    pending: int
    oldest_seconds: float
    dead: int


# redis-py types every answer as the union of all protocols' answers; ours speaks RESP2 bytes.
Clients = tuple[Any, Any]


def connect(url: str) -> Clients:
    """Two clients: one that answers or fails quickly, one whose reads may block."""
    # One repetition at once heals a connection that died since its last use; more would only hide that Redis is down.
    common = {"socket_connect_timeout": 1.0, "retry": Retry(NoBackoff(), 1), "socket_keepalive": True, "protocol": 2}
    quick = Redis.from_url(url, socket_timeout=COMMAND_SECONDS, **common)
    return quick, Redis.from_url(url, socket_timeout=BLOCK_SECONDS + 3, **common)


class Stream:
    """One queue and its consumer. `deliver` is called for every message, `parallel()` times at once at most."""

    def __init__(
        self,
        name: str,
        *,
        clients: Clients,
        consumer: str,
        settings: Settings,
        deliver: Callable[[Message], Awaitable[Verdict]],
        parallel: Callable[[], int],
        bury: Callable[[Message, str], Awaitable[Mapping[bytes, bytes]]],
        max_deliveries: int,
        on_retry: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._key, self._dead = f"{settings.queue_prefix}:queue:{name}", f"{settings.queue_prefix}:dead:{name}"
        self._quick, self._blocking = clients
        self._consumer = consumer
        self._settings = settings
        self._deliver, self._parallel, self._bury = deliver, parallel, bury
        self._max_deliveries = max_deliveries
        self._on_retry = on_retry
        self._backlog: deque[Message] = deque()
        self._in_hand: dict[bytes, asyncio.Task[None]] = {}
        self._resting: set[bytes] = set()
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._down = False
        self._stopping = self._closed = False

    # -- putting in

    async def add(self, fields: Mapping[str, bytes | str]) -> None:
        """Raises QUEUE_UNAVAILABLE, and QUOTA_EXCEEDED when too much waits already."""
        try:
            if await self._quick.xlen(self._key) >= self._settings.queue_max_messages:
                raise errors.QUOTA_EXCEEDED(f"{self._settings.queue_max_messages} calls of {self.name} wait already")
            await self._quick.xadd(self._key, dict(fields))
        except TROUBLE as exc:
            log.event(logger, logging.WARNING, "not queued", queue=self.name, reason=type(exc).__name__)
            raise errors.QUEUE_UNAVAILABLE("The queue does not answer; try again, or call /function/… instead") from exc

    # -- taking out

    def start(self) -> None:
        self._tasks = [asyncio.create_task(work(), name=f"{work.__name__} {self.name}") for work in (self._read, self._keep)]

    async def stop_reading(self, within_seconds: float) -> None:
        """Take no message any more, and deliver none again."""
        self._stopping = True
        await _end(self._tasks, within_seconds)

    async def stop(self, within_seconds: float) -> None:
        """What is in hand may end; the rest stays pending, and whoever bears our name or finds it idle takes it."""
        busy = [task for message, task in self._in_hand.items() if message not in self._resting]
        ending = within_seconds / 4
        if busy:
            await asyncio.wait(busy, timeout=within_seconds - ending)
        self._closed = True
        await _end(self._in_hand.values(), ending)

    async def _read(self) -> None:
        recovered = False
        while not self._stopping:
            await self._have_room()
            try:
                if not recovered:
                    # Nobody else can bear our name (host and port), so what is pending under it was our predecessor's.
                    await self._recover()
                    recovered = True
                elif self._backlog:
                    self._begin(self._backlog.popleft())
                else:
                    await self._wait_for_one()
                self._up()
            except exceptions.ResponseError as exc:
                # No such group: the first start, or somebody flushed Redis.
                await self._trouble(exc) if not _no_group(exc) else await self._make_group()
            except TROUBLE as exc:
                await self._trouble(exc)

    async def _wait_for_one(self) -> None:
        block = int(BLOCK_SECONDS * 1000)
        found = await self._blocking.xreadgroup(GROUP, self._consumer, {self._key: ">"}, count=1, block=block)
        for id, fields in found[0][1] if found else ():
            self._begin(Message(id, fields))

    async def _have_room(self) -> None:
        while len(self._in_hand) - len(self._resting) >= self._parallel() or len(self._resting) >= MOST_RESTING:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BLOCK_SECONDS):  # parallel() may have grown
                    await self._room.wait()

    async def _make_group(self) -> None:
        try:
            await self._quick.xgroup_create(self._key, GROUP, id="0", mkstream=True)
            log.event(logger, logging.INFO, "group made", queue=self.name)
        except exceptions.ResponseError as exc:
            if "BUSYGROUP" not in str(exc):
                await self._trouble(exc)
        except TROUBLE as exc:
            await self._trouble(exc)

    async def _recover(self) -> None:
        pending = await self._quick.xpending_range(self._key, GROUP, "-", "+", 10_000, self._consumer)
        await self._adopt([entry["message_id"] for entry in pending], 0)

    async def _take_over(self) -> None:
        """Messages whose consumer stopped beating."""
        idle = int(self._settings.queue_idle_seconds * 1000)
        room = self._parallel() + MOST_RESTING - len(self._in_hand) - len(self._backlog)
        if room > 0:
            old = await self._quick.xpending_range(self._key, GROUP, "-", "+", room, idle=idle)
            await self._adopt([entry["message_id"] for entry in old if entry["message_id"] not in self._in_hand], idle)

    async def _adopt(self, ids: list[bytes], idle: int) -> None:
        if not ids:
            return
        # XCLAIM with a minimal idle time is a race that one claimer wins; it counts as one more delivery.
        claimed = await self._quick.xclaim(self._key, GROUP, self._consumer, idle, ids)
        known = {message.id for message in self._backlog} | set(self._in_hand)
        for id, fields in claimed:
            counts = await self._quick.xpending_range(self._key, GROUP, id, id, 1)
            if fields and id not in known:
                self._backlog.append(Message(id, fields, counts[0]["times_delivered"] if counts else 1))
        log.event(logger, logging.INFO, "taken over", queue=self.name, messages=len(claimed))
        self._room.set()

    def _begin(self, message: Message) -> None:
        task = asyncio.create_task(self._settle(message), name=f"deliver {self.name}")
        self._in_hand[message.id] = task
        task.add_done_callback(lambda _: self._end(message.id))

    def _end(self, id: bytes) -> None:
        self._in_hand.pop(id, None)
        self._room.set()

    # -- one message's way

    async def _settle(self, message: Message) -> None:
        """Deliver until there is a last word, then remove the message."""
        while message.deliveries <= self._max_deliveries:
            try:
                verdict = await self._deliver(message)
            except Exception:
                logger.exception("delivery of %s", self.name)
                verdict = Again("unexpected")
            if isinstance(verdict, Done):
                return await self._remove(message)
            if isinstance(verdict, Dead):
                return await self._give_up(message, verdict.reason)
            if self._stopping:
                # It stays pending, and a stop is no failure that would count against it.
                facts = {"queue": self.name, "call": message.text("call"), "reason": verdict.reason}
                return log.event(logger, logging.INFO, "left", **facts)
            message = await self._rest(message, verdict)
        return await self._give_up(message, f"{self._max_deliveries} deliveries")

    async def _rest(self, message: Message, verdict: Again) -> Message:
        """Wait with growing patience. Half of each pause is left to chance, so that many do not come back at once."""
        pause = min(self._settings.queue_max_backoff_seconds, self._settings.queue_backoff_seconds * 2 ** (message.deliveries - 1))
        pause = max(random.uniform(pause / 2, pause), min(verdict.after_seconds, self._settings.queue_max_backoff_seconds))  # noqa: S311
        after = replace(message, deliveries=message.deliveries + 1)
        self._on_retry()
        facts = {"queue": self.name, "call": message.text("call"), "reason": verdict.reason, "delivery": message.deliveries}
        log.event(logger, logging.WARNING, "again", **facts, pause=round(pause, 2))
        self._resting.add(message.id)
        self._room.set()
        try:
            with contextlib.suppress(*TROUBLE):
                await self._quick.xclaim(self._key, GROUP, self._consumer, 0, [message.id], retrycount=after.deliveries, justid=True)
            await asyncio.sleep(pause)
        finally:
            self._resting.discard(message.id)
        return after

    async def _remove(self, message: Message, dead: Mapping[bytes, bytes] | None = None) -> None:
        """Until Redis has heard it the message stays in hand, or it would be delivered once more."""
        while not self._closed:
            try:
                async with self._quick.pipeline(transaction=True) as steps:
                    if dead is not None:
                        steps.xadd(self._dead, dict(dead), maxlen=MOST_DEAD, approximate=False)
                    steps.xack(self._key, GROUP, message.id)
                    steps.xdel(self._key, message.id)
                    results = await steps.execute(raise_on_error=False)
                    # After a flush there is no group to tell.
                    if all(not isinstance(result, Exception) or _no_group(result) for result in results):
                        return
            except TROUBLE:
                pass
            await asyncio.sleep(DOWN_SECONDS)

    async def _give_up(self, message: Message, reason: str) -> None:
        facts = {"queue": self.name, "call": message.text("call"), "reason": reason, "deliveries": message.deliveries}
        log.event(logger, logging.ERROR, "given up", **facts)
        fields = await self._bury(message, reason)
        await self._remove(message, {**fields, b"reason": reason.encode(), b"deliveries": b"%d" % message.deliveries})

    # -- keeping

    async def _keep(self) -> None:
        """Beat for what is in hand, look for what others dropped, forget consumers that are gone."""
        while not self._stopping:
            await asyncio.sleep(self._settings.queue_beat_seconds)
            with contextlib.suppress(*TROUBLE):
                held = [*self._in_hand, *(message.id for message in self._backlog)]
                if held:
                    await self._quick.eval(BEAT, 1, self._key, GROUP, self._consumer, *held)
                await self._take_over()
                for consumer in await self._quick.xinfo_consumers(self._key, GROUP):
                    gone = consumer["pending"] == 0 and consumer["idle"] > GONE_CONSUMER_SECONDS * 1000
                    if gone and consumer["name"] != self._consumer.encode():
                        await self._quick.xgroup_delconsumer(self._key, GROUP, consumer["name"])

    async def depth(self) -> Depth:
        """Raises whatever redis-py raises."""
        async with self._quick.pipeline(transaction=False) as steps:
            steps.xlen(self._key)
            steps.xlen(self._dead)
            steps.xrange(self._key, count=1)
            messages, dead, first = await steps.execute()
        try:
            pending = (await self._quick.xpending(self._key, GROUP))["pending"]
        except exceptions.ResponseError:
            pending = 0
        oldest = time.time() - int(first[0][0].split(b"-")[0]) / 1000 if first else 0.0
        return Depth(messages=messages, pending=pending, oldest_seconds=max(0.0, oldest), dead=dead)

    async def _trouble(self, exc: Exception) -> None:
        if not self._down:
            self._down = True
            log.event(logger, logging.WARNING, "redis does not answer", queue=self.name, reason=f"{type(exc).__name__}: {exc}")
        await asyncio.sleep(DOWN_SECONDS)

    def _up(self) -> None:
        if self._down:
            self._down = False
            log.event(logger, logging.INFO, "redis answers again", queue=self.name)


async def _end(tasks: Iterable[asyncio.Task[None]], within_seconds: float) -> None:
    """Cancel until they have ended: redis-py loses a cancellation that meets it while it connects."""
    left, deadline = set(tasks), time.monotonic() + within_seconds
    while left and time.monotonic() < deadline:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)


def _no_group(exc: Exception) -> bool:
    # A reader that was blocked while the stream vanished is told UNBLOCKED; every other command NOGROUP.
    return isinstance(exc, exceptions.ResponseError) and any(word in str(exc) for word in ("NOGROUP", "UNBLOCKED", "no such key"))
