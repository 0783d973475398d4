"""`/async-function/<name>`: a call that is taken now, kept in Redis and delivered when there is a place for it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.callback import Callbacks, Result
from gateway.metrics import Metrics, label
from gateway.provider.process import Provider
from gateway.proxy import Call, Headers, Proxy, function_name, read_body, target, upward
from gateway.settings import Settings
from gateway.stream import TROUBLE, Again, Clients, Dead, Done, Message, Stream, Verdict
from native import errors, log

logger = logging.getLogger("gateway.queue")

# The answers after which another try may go better. A 500 is a fault of the function: repeating it repeats the fault.
REPEAT = frozenset({429, 502, 503, 504})
RESULT_BYTES = 1 << 20


class Queue:
    def __init__(
        self, *, settings: Settings, provider: Provider, proxy: Proxy, callbacks: Callbacks, metrics: Metrics, clients: Clients
    ) -> None:
        self._settings = settings
        self._provider = provider
        self._proxy = proxy
        self._callbacks = callbacks
        self._metrics = metrics
        self._clients = clients
        self._streams: dict[str, Stream] = {}
        self._consumer = ""

    def start(self, consumer: str) -> None:
        self._consumer = consumer
        self.renew()

    def renew(self) -> None:
        """A consumer for every function there is. The queue of a removed function keeps its messages."""
        for pool in self._provider:
            name = pool.function.name
            if name not in self._streams:
                self._streams[name] = self._stream(name)
                self._streams[name].start()

    def _stream(self, name: str) -> Stream:
        retries = self._metrics.retries.labels(label(name))
        return Stream(
            name,
            clients=self._clients,
            consumer=self._consumer,
            settings=self._settings,
            deliver=lambda message: self._deliver(name, message),
            parallel=lambda: self._provider.parallel(name),
            bury=lambda message, reason: self._bury(name, message, reason),
            max_deliveries=self._settings.queue_max_deliveries,
            on_retry=retries.inc,
        )

    async def stop_reading(self, within_seconds: float) -> None:
        await asyncio.gather(*(stream.stop_reading(within_seconds) for stream in self._streams.values()))

    async def stop(self, within_seconds: float) -> None:
        await asyncio.gather(*(stream.stop(within_seconds) for stream in self._streams.values()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI side: 202 once Redis has the call."""
        name = function_name(scope)
        self._provider.pool(name)
        scope["function"] = name
        if scope["method"] != "POST":
            raise errors.METHOD_NOT_ALLOWED("POST is needed here")
        started = time.monotonic()
        self._metrics.started(name)
        code = 202
        try:
            body = await read_body(scope, receive, self._settings.gateway_max_async_body_bytes, self._settings.gateway_body_seconds)
            headers = upward(scope)
            callback = next((value.decode("latin-1") for header, value in headers if header == b"x-callback-url"), "")
            if callback:
                self._callbacks.check(callback)
            await self._streams[name].add(
                {
                    "call": scope["call_id"],
                    "target": target(scope),
                    "headers": json.dumps([[header.decode("latin-1"), value.decode("latin-1")] for header, value in headers]),
                    "body": body,
                    "callback": callback,
                    "accepted": str(time.time()),
                }
            )
        except errors.Problem as refusal:
            code = refusal.status
            raise
        finally:
            self._metrics.finished(name, code, time.monotonic() - started)
        await Response(status_code=202)(scope, receive, send)

    async def _deliver(self, name: str, message: Message) -> Verdict:
        """One try: the function's answer, and what it means for the message."""
        call = Call(
            name=name,
            method=b"POST",
            target=message.fields.get(b"target", b"/"),
            headers=_headers(message),
            body=message.fields.get(b"body", b""),
            lane="queue",
        )
        started = time.monotonic()
        wants_result = bool(message.text("callback"))
        try:
            async with self._proxy.call(call, wait_seconds=None) as answer:
                body = await answer.read(RESULT_BYTES)
                status, headers = answer.status, answer.headers
        except errors.Problem as trouble:
            if trouble.kind is errors.NOT_FOUND:
                return Dead("no such function")
            return Again(trouble.code, trouble.retry_after or 0.0)
        seconds = time.monotonic() - started
        facts: dict[str, Any] = {"call": message.text("call"), "function": name, "status": status, "delivery": message.deliveries}
        log.event(logger, logging.INFO, "delivered", **facts, seconds=round(seconds, 4))
        if status in REPEAT:
            return Again(f"status {status}", _retry_after(headers))
        if wants_result:
            result = Result(function=name, status=status, seconds=seconds, content_type=_content_type(headers), body=body or b"")
            await self._callbacks.add(message, result)
        return Done()

    async def _bury(self, name: str, message: Message, reason: str) -> Mapping[bytes, bytes]:
        """The caller that asked for a result hears of the failure, too. Keys are not kept in what is given up."""
        if message.text("callback"):
            refusal = errors.FUNCTION_UNAVAILABLE(f"The call was given up: {reason}")
            body = json.dumps(refusal.document()).encode()
            result = Result(function=name, status=503, seconds=0.0, content_type="application/problem+json", body=body)
            await self._callbacks.add(message, result)
        kept = [header for header in json.loads(message.text("headers") or "[]") if header[0].lower() not in ("authorization", "cookie")]
        return {**message.fields, b"headers": json.dumps(kept).encode()}

    async def measure(self) -> None:
        """Put the depths of all queues into the metrics."""
        try:
            for name, stream in self._streams.items():
                depth = await stream.depth()
                self._metrics.queue_depth.labels(label(name)).set(depth.messages)
                self._metrics.queue_pending.labels(label(name)).set(depth.pending)
                self._metrics.queue_oldest.labels(label(name)).set(depth.oldest_seconds)
                self._metrics.dead_letters.labels(label(name)).set(depth.dead)
            self._metrics.redis_up.set(1)
        except TROUBLE:
            self._metrics.redis_up.set(0)


def _headers(message: Message) -> Headers:
    given = json.loads(message.text("headers") or "[]")
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given if name.lower() != "x-callback-url"]


def _retry_after(headers: Headers) -> float:
    value = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
    return float(value) if value.isdigit() else 0.0


def _content_type(headers: Headers) -> str:
    return next((value.decode("latin-1") for name, value in headers if name.lower() == b"content-type"), "application/octet-stream")
