"""`/function/<name>…`: a call on its way to a replica and back. Bodies go up whole (they are small) and come down live."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import httpcore
from starlette.types import Message, Receive, Scope, Send

from gateway.metrics import Metrics
from gateway.provider.process import Lane, Pool, Provider
from gateway.provider.replica import Replica
from gateway.settings import Settings
from native import errors, log

logger = logging.getLogger("gateway.proxy")

NAMESPACE = "openfaas-fn"

Headers = list[tuple[bytes, bytes]]

# What concerns one connection only (RFC 9110 §7.6.1), and what the sides compute themselves.
HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
NOT_UP = HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-call-id",
    b"x-start-time",
}
NOT_DOWN = HOP | {b"date", b"server"}

BODILESS = frozenset({204, 304})

CONNECT_SECONDS = 2.0
BUSY_BODY_BYTES = 64 << 10
# A replica that died may be met once more before its end is noticed.
TRIES = 3


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of one function. `target` is what the function sees: path and query, as the client wrote them."""

    name: str
    method: bytes
    target: bytes
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    lane: Lane = "call"

    @property
    def repeatable(self) -> bool:
        return self.method in (b"GET", b"HEAD", b"OPTIONS")


class Answer:
    """A replica's answer whose head has arrived. Close it: its place in the replica is held until then."""

    def __init__(self, response: httpcore.Response, deadline: float, close: Callable[[], Awaitable[None]]) -> None:
        self.status = response.status
        # An answer that never has a body may still tell a length; our own server takes that for a promise.
        not_down = NOT_DOWN | {b"content-length"} if self.status in BODILESS else NOT_DOWN
        self.headers: Headers = [(name, value) for name, value in response.headers if name.lower() not in not_down]
        self._response = response
        self._deadline = deadline
        self.aclose = close

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. Raises FUNCTION_LOST when it breaks off and FUNCTION_TIMEOUT past the function's time."""
        stream = self._response.aiter_stream()
        while True:
            try:
                async with asyncio.timeout_at(self._deadline):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise errors.FUNCTION_TIMEOUT() from None
            except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as exc:
                raise errors.FUNCTION_LOST() from exc
            yield chunk

    async def read(self, most_bytes: int) -> bytes | None:
        """The whole body, or None when it is larger."""
        body = bytearray()
        async with contextlib.aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > most_bytes:
                    return None
        return bytes(body)


class Proxy:
    """Calls functions, for clients and for the gateway's own parts (queue, cron, websockets)."""

    def __init__(self, settings: Settings, provider: Provider, metrics: Metrics) -> None:
        self._settings = settings
        self._provider = provider
        self._metrics = metrics

    @contextlib.asynccontextmanager
    async def call(self, call: Call, wait_seconds: float | None) -> AsyncIterator[Answer]:
        """Raises NOT_FOUND, BUSY, FUNCTION_UNAVAILABLE, FUNCTION_LOST, FUNCTION_TIMEOUT."""
        pool = self._provider.pool(call.name)
        started = time.monotonic()
        self._metrics.started(call.name)
        code = 500
        try:
            answer = await self._reach(pool, call, wait_seconds)
            try:
                code = answer.status
                yield answer
            finally:
                await answer.aclose()
        except errors.Problem as problem:
            code = problem.status
            raise
        finally:
            self._metrics.finished(call.name, code, time.monotonic() - started)

    async def _reach(self, pool: Pool, call: Call, wait_seconds: float | None) -> Answer:
        """Offer the call to replicas until one takes it."""
        loop = asyncio.get_running_loop()
        until = None if wait_seconds is None else loop.time() + wait_seconds
        tries = 0
        while True:
            left = None if until is None else max(0.0, until - loop.time())
            replica = await pool.acquire(left, call.lane)
            tries += 1
            try:
                answer = await self._send(pool, replica, call)
            except httpcore.ConnectError:
                # It never saw the call, so another one may.
                pool.release(replica, call.lane)
                pool.full(replica)
                if tries >= TRIES:
                    raise errors.FUNCTION_LOST() from None
            except (httpcore.NetworkError, httpcore.ProtocolError) as exc:
                pool.release(replica, call.lane)
                # A process that dies takes connections until the kernel has it: give it a moment to be gone before it is offered more.
                pool.full(replica)
                if not call.repeatable or tries >= TRIES:
                    raise errors.FUNCTION_LOST() from exc
            except (TimeoutError, httpcore.TimeoutException):
                pool.release(replica, call.lane)
                raise errors.FUNCTION_TIMEOUT() from None
            except BaseException:
                pool.release(replica, call.lane)
                raise
            else:
                if answer.status != 429 or not await _is_full(answer):
                    return answer
                await answer.aclose()
                pool.full(replica)

    async def _send(self, pool: Pool, replica: Replica, call: Call) -> Answer:
        deadline = asyncio.get_running_loop().time() + pool.function.timeout_seconds
        request = httpcore.Request(
            call.method,
            replica.url(call.target),
            headers=[(b"Host", b"127.0.0.1:%d" % replica.port), *call.headers, *_length(call)],
            content=call.body,
            extensions={"timeout": {"connect": CONNECT_SECONDS, "write": pool.function.timeout_seconds, "read": None, "pool": None}},
        )
        async with asyncio.timeout_at(deadline):
            response = await replica.pool.handle_async_request(request)

        async def close() -> None:
            try:
                await response.aclose()
            finally:
                pool.release(replica, call.lane)

        return Answer(response, deadline, _once(close))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI side."""
        name = function_name(scope)
        self._provider.pool(name)
        scope["function"] = name
        body = await read_body(scope, receive, self._settings.gateway_max_body_bytes, self._settings.gateway_body_seconds)
        call = Call(name=name, method=scope["method"].encode(), target=target(scope), headers=upward(scope), body=body, lane=lane(scope))
        forward = self._forward(call, send)
        if not call.repeatable:
            # The client may go; what it asked for ends anyway. Sending to a closed connection does nothing.
            await forward
            return
        # A reader that has gone frees its place at once: event streams would hold it for minutes.
        work, gone = asyncio.ensure_future(forward), asyncio.ensure_future(_disconnect(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            gone.cancel()
            if not work.done():
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work

    async def _forward(self, call: Call, send: Send) -> None:
        async with self.call(call, self._settings.gateway_busy_seconds) as answer:
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
            try:
                async with contextlib.aclosing(answer.chunks()) as chunks:
                    async for chunk in chunks:
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except errors.Problem as problem:
                # The head has gone out: all that is left is to close the connection, so that it does not look whole.
                log.event(logger, logging.WARNING, "broke off", function=call.name, reason=problem.code)
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _is_full(answer: Answer) -> bool:
    """Is this 429 the replica's own (no place), and not the function's answer (a quota)? Its body is small and stays readable."""
    if any(name.lower() == b"x-openfaas-internal" for name, _ in answer.headers):
        return True
    body = await answer.read(BUSY_BODY_BYTES) or b""
    answer.chunks = lambda: _replay(body)
    with contextlib.suppress(ValueError, AttributeError):
        return json.loads(body).get("code") == errors.BUSY.code
    return False


async def _replay(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _length(call: Call) -> Headers:
    if call.body or call.method in (b"POST", b"PUT", b"PATCH"):
        return [(b"Content-Length", b"%d" % len(call.body))]
    return []


def _once(close: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    closed = False

    async def first() -> None:
        nonlocal closed
        if not closed:
            closed = True
            await close()

    return first


def function_name(scope: Scope) -> str:
    """`trim` of /function/trim and /function/trim.openfaas-fn; faas-cli always writes the latter. Raises NOT_FOUND."""
    name, _, namespace = scope["path_params"]["name"].partition(".")
    if namespace not in ("", NAMESPACE):
        raise errors.NOT_FOUND(f"There is no namespace {namespace[:63]}; the only one is {NAMESPACE}")
    return name


def lane(scope: Scope) -> Lane:
    """Who wants events will stay."""
    wanted = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    return "stream" if scope["method"] == "GET" and wanted.lower().startswith(b"text/event-stream") else "call"


def target(scope: Scope) -> bytes:
    """What follows the function's name, byte for byte, and at least "/"."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    rest = raw.split(b"?", 1)[0].split(b"/", 3)[3:]
    query: bytes = scope["query_string"]
    return b"/" + (rest[0] if rest else b"") + (b"?" + query if query else b"")


def upward(scope: Scope) -> Headers:
    """The client's headers as the function gets them. Raises MALFORMED_REQUEST when they show two keys: we do not choose between them."""
    given: Headers = scope["headers"]
    if sum(name == b"authorization" for name, _ in given) > 1:
        raise errors.MALFORMED_REQUEST("The request has more than one Authorization header")
    first = {name: value for name, value in reversed(given)}
    named = {token.strip().lower() for token in first.get(b"connection", b"").split(b",")}
    kept = [(name, value) for name, value in given if name not in NOT_UP and name not in named]
    client = (scope.get("client") or ("",))[0].encode()
    hops = [hop for hop in (first.get(b"x-forwarded-for"), client) if hop]
    return [
        *kept,
        (b"x-call-id", scope["call_id"].encode()),
        (b"x-start-time", scope["start_time"].encode()),
        (b"x-forwarded-for", b", ".join(hops)),
        (b"x-forwarded-host", first.get(b"x-forwarded-host") or first.get(b"host", b"")),
        (b"x-forwarded-proto", first.get(b"x-forwarded-proto") or scope["scheme"].encode()),
    ]


async def read_body(scope: Scope, receive: Receive, most_bytes: int, within_seconds: float) -> bytes:
    """The whole request body. It is read before a replica is chosen: a slow client then holds no place, and a call that
    finds a replica full can be offered to another. Raises TOO_LARGE, MALFORMED_REQUEST."""
    too_large = errors.TOO_LARGE(f"A request may have {most_bytes} bytes; media go to the store by POST /function/upload")
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > most_bytes:
            raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(within_seconds):
            while True:
                message: Message = await receive()
                if message["type"] == "http.disconnect":
                    raise errors.MALFORMED_REQUEST("The request ended before its body did")
                body += message.get("body", b"")
                if len(body) > most_bytes:
                    raise too_large
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise errors.MALFORMED_REQUEST(f"The request's body did not arrive within {within_seconds:g} s") from None
