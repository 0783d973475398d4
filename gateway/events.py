"""`/ws`: job events for browsers, which cannot put a key on an event stream. Each subscription is one stream of `status`.

Client: `{"key": "nve_…"}` first, unless the key came as `Authorization` or as a subprotocol beside "nve"; then
`{"subscribe": "<job>"}` and `{"unsubscribe": "<job>"}`. Server: `{"event": "job", "job": {…}}` at once and at every change,
`{"event": "problem", "job_id": …, "problem": {…}}`, `{"event": "heartbeat"}`. A subscription ends with its job.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import uuid
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.metrics import Metrics
from gateway.proxy import Answer, Call, Proxy
from gateway.settings import Settings
from native import errors, log

logger = logging.getLogger("gateway.events")

SUBPROTOCOL = "nve"
FUNCTION = "status"
KEY = re.compile(r"nve_[A-Za-z0-9_-]{1,200}")
JOB = re.compile(r"[A-Za-z0-9-]{1,64}")
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})

UNAUTHENTICATED, GOING_AWAY = 4401, 1001
KEY_SECONDS = 10.0
GOODBYE_SECONDS = 0.3
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0
MOST_LINE_BYTES = 4 << 20
PASSING = frozenset({429, 502, 503, 504})


class Sockets:
    """The websocket route."""

    def __init__(self, settings: Settings, proxy: Proxy, metrics: Metrics) -> None:
        self._settings = settings
        self._proxy = proxy
        self._metrics = metrics
        self._open: set[WebSocket] = set()

    async def __call__(self, websocket: WebSocket) -> None:
        if not self._welcome(websocket):
            await websocket.close()  # before accept: 403
            return
        offered = websocket.scope.get("subprotocols", ())
        await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
        self._open.add(websocket)
        self._metrics.sockets.inc()
        session = _Session(websocket, self._settings, self._proxy)
        try:
            await session.run()
        except (WebSocketDisconnect, RuntimeError):
            pass  # it has gone, at some point between a receive and a send
        finally:
            self._open.discard(websocket)
            self._metrics.sockets.dec()
            await session.end()

    async def stop(self) -> None:
        """Say goodbye to all at once; who does not read does not hold up the others."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await asyncio.gather(*(websocket.close(GOING_AWAY) for websocket in self._open), return_exceptions=True)

    def _welcome(self, websocket: WebSocket) -> bool:
        """A page of another origin has no business here unless the operator named it."""
        origin = websocket.headers.get("origin")
        return not origin or origin in self._settings.origins or urlsplit(origin).netloc == websocket.headers.get("host")


class _Session:
    """One socket: its key and its subscriptions."""

    def __init__(self, websocket: WebSocket, settings: Settings, proxy: Proxy) -> None:
        self._websocket = websocket
        self._settings = settings
        self._proxy = proxy
        self._key = _key(websocket)
        self._following: dict[str, asyncio.Task[None]] = {}
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        beating = asyncio.create_task(self._beat())
        try:
            while True:
                try:
                    async with asyncio.timeout(None if self._key else KEY_SECONDS):
                        text = await self._websocket.receive_text()
                except (TimeoutError, KeyError):  # KeyError: bytes instead of text
                    return await self._websocket.close(UNAUTHENTICATED, 'the first message must be {"key": "nve_…"}')
                try:
                    await self._hear(json.loads(text))
                except (ValueError, RecursionError):
                    await self._problem(errors.MALFORMED_REQUEST("A message is one JSON object"))
                if not self._key:
                    return await self._websocket.close(UNAUTHENTICATED, 'the first message must be {"key": "nve_…"}')
        finally:
            beating.cancel()

    async def end(self) -> None:
        for task in self._following.values():
            task.cancel()
        await asyncio.gather(*self._following.values(), return_exceptions=True)

    async def _hear(self, message: Any) -> None:
        match message:
            case {"key": str(key)} if KEY.fullmatch(key):
                self._key = key
            case {"subscribe": str(job)} if self._key and JOB.fullmatch(job):
                await self._subscribe(job)
            case {"unsubscribe": str(job)}:
                if task := self._following.pop(job, None):
                    task.cancel()
            case _:
                await self._problem(errors.INVALID_REQUEST('{"key": …}, {"subscribe": job} or {"unsubscribe": job} is needed'))

    async def _subscribe(self, job: str) -> None:
        if job in self._following:
            return
        most = self._settings.ws_max_subscriptions
        if len(self._following) >= most:
            await self._problem(errors.QUOTA_EXCEEDED(f"One socket follows {most} jobs at most"), job)
            return
        task = asyncio.create_task(self._follow(job), name=f"follow {job}")
        self._following[job] = task
        task.add_done_callback(lambda _: self._following.pop(job, None) if self._following.get(job) is task else None)

    async def _follow(self, job: str) -> None:
        """Forward a job's events until it has ended; a stream that ends or breaks before that is opened again."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._proxy.call(self._call(job), self._settings.gateway_busy_seconds) as answer:
                    if answer.status != 200:
                        problem = await _problem_of(answer)
                        if answer.status not in PASSING:
                            return await self._send({"event": "problem", "job_id": job, "problem": problem})
                    else:
                        async with contextlib.aclosing(events(answer)) as stream:
                            async for event, data in stream:
                                pause = FIRST_PAUSE_SECONDS
                                if event == "job":
                                    await self._send({"event": "job", "job": data})
                                    if data.get("state") in TERMINAL:
                                        return None
            except errors.Problem as trouble:
                if trouble.kind is errors.NOT_FOUND:
                    return await self._problem(trouble, job)
            except (WebSocketDisconnect, RuntimeError):
                return None
            except Exception:
                logger.exception("following")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _call(self, job: str) -> Call:
        call_id = str(uuid.uuid4())
        log.event(logger, logging.INFO, "follow", call=call_id, job=job)
        headers = [(b"accept", b"text/event-stream"), (b"authorization", f"Bearer {self._key}".encode()), (b"x-call-id", call_id.encode())]
        return Call(name=FUNCTION, method=b"GET", target=f"/{job}".encode(), headers=headers, lane="stream")

    async def _beat(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await asyncio.sleep(self._settings.ws_beat_seconds)
                await self._send({"event": "heartbeat"})

    async def _problem(self, problem: errors.Problem, job: str | None = None) -> None:
        about = {"job_id": job} if job else {}
        await self._send({"event": "problem", **about, "problem": problem.document()})

    async def _send(self, message: dict[str, Any]) -> None:
        async with self._sending:
            await self._websocket.send_text(json.dumps(message, ensure_ascii=False))


async def events(answer: Answer) -> AsyncGenerator[tuple[str, Any], None]:
    """Server-sent events whose data is JSON, as (name, data). Raises FUNCTION_LOST when a line has no end."""
    name, data, rest = "message", [], b""
    async with contextlib.aclosing(answer.chunks()) as chunks:
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > MOST_LINE_BYTES:
                raise errors.FUNCTION_LOST("The event stream cannot be read")
            for line in lines:
                field, _, value = line.rstrip(b"\r").partition(b":")
                value = value.removeprefix(b" ")
                if field == b"event":
                    name = value.decode()
                elif field == b"data":
                    data.append(value)
                elif not field and not value:
                    if data:
                        with contextlib.suppress(ValueError):
                            yield name, json.loads(b"\n".join(data))
                    name, data = "message", []


async def _problem_of(answer: Answer) -> Any:
    with contextlib.suppress(ValueError):
        return json.loads(await answer.read(64 << 10) or b"")
    return errors.INTERNAL().document()


def _key(websocket: WebSocket) -> str | None:
    scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
    given = [token.strip()] if scheme.lower() == "bearer" else []
    # A browser cannot set headers on a websocket, but it can offer subprotocols.
    return next((key for key in [*given, *websocket.scope.get("subprotocols", ())] if KEY.fullmatch(key)), None)
