"""`/system/*`: the provider API that faas-cli speaks, for looking and scaling. What runs is decided by stack.yml alone."""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime
import hmac
import json
import platform
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import gateway
from gateway.metrics import Metrics
from gateway.provider.process import Pool, Provider
from gateway.proxy import NAMESPACE
from gateway.settings import Settings
from native import errors

USER = "admin"
FOLLOW_SECONDS = 0.25
MOST_LOG_BYTES = 4 << 20
VERSION = {"sha": "", "release": gateway.VERSION}


class BasicAuth:
    """Only the operator gets through. Without a password nobody does."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        password = settings.gateway_password
        self._expected = f"{USER}:{password.get_secret_value()}".encode() if password and password.get_secret_value() else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if not self._allowed(given):
            raise errors.UNAUTHENTICATED("The operator's password is needed: faas-cli login, user admin")
        await self._app(scope, receive, send)

    def _allowed(self, given: bytes) -> bool:
        scheme, _, coded = given.partition(b" ")
        try:
            shown = base64.b64decode(coded.strip(), validate=True)
        except binascii.Error:
            return False
        return self._expected is not None and scheme.lower() == b"basic" and hmac.compare_digest(shown, self._expected)


class System:
    def __init__(self, settings: Settings, provider: Provider, metrics: Metrics, reload: Callable[[], None]) -> None:
        self._settings = settings
        self._provider = provider
        self._metrics = metrics
        self._reload = reload

    def routes(self) -> list[Route]:
        """Below /system."""
        return [
            Route("/functions", self._functions),
            Route("/functions", not_here, methods=["POST", "PUT", "DELETE"]),
            Route("/function/{name}", self._function),
            Route("/scale-function/{name}", self._scale, methods=["POST"]),
            Route("/secrets", self._secrets),
            Route("/secrets", not_here, methods=["POST", "PUT", "DELETE"]),
            Route("/namespaces", self._namespaces),
            Route("/namespace/{name}", not_here, methods=["GET", "POST", "PUT", "DELETE"]),
            Route("/info", self._info),
            Route("/logs", self._logs),
            Route("/reload", self._renew, methods=["POST"]),
        ]

    async def _functions(self, request: Request) -> Response:
        ours = request.query_params.get("namespace") in (None, "", NAMESPACE)
        return JSONResponse([self._status(pool) for pool in self._provider] if ours else [])

    async def _function(self, request: Request) -> Response:
        return JSONResponse(self._status(self._named(request.path_params["name"])))

    async def _scale(self, request: Request) -> Response:
        """{"serviceName", "replicas"}: so many now; load and idleness change it again."""
        pool = self._named(request.path_params["name"])
        try:
            replicas = json.loads(await request.body())["replicas"]
        except (ValueError, KeyError, TypeError):
            replicas = None
        if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
            raise errors.INVALID_REQUEST("replicas: a number of processes is needed", field="replicas")
        await pool.scale(replicas)
        return Response(status_code=202)

    async def _secrets(self, _: Request) -> Response:
        names = sorted({secret for pool in self._provider for secret in pool.function.secrets})
        return JSONResponse([{"name": name, "namespace": NAMESPACE} for name in names])

    async def _namespaces(self, _: Request) -> Response:
        return JSONResponse([NAMESPACE])

    async def _info(self, _: Request) -> Response:
        provider = {"provider": "native-video-editor", "orchestration": "processes", "version": VERSION}
        return JSONResponse({"provider": provider, "version": VERSION, "arch": platform.machine()})

    async def _renew(self, _: Request) -> Response:
        """Not OpenFaaS's: read stack.yml again and restart every function in turn, as SIGHUP does."""
        self._reload()
        return Response(status_code=202)

    async def _logs(self, request: Request) -> Response:
        """One JSON object per line; follows the file unless ?follow=false."""
        query = request.query_params
        pool = self._named(query.get("name", ""))
        log = self._settings.logs_dir / f"{pool.function.name}.log"
        lines = _lines(
            log,
            pool.function.name,
            tail=_whole(query.get("tail"), -1),
            since=_moment(query.get("since")),
            follow=query.get("follow", "").lower() in ("1", "true"),
        )
        return StreamingResponse(lines, media_type="application/x-ndjson")

    def _named(self, name: str) -> Pool:
        return self._provider.pool(name.removesuffix(f".{NAMESPACE}"))

    def _status(self, pool: Pool) -> dict[str, Any]:
        """OpenFaaS's FunctionStatus."""
        function = pool.function
        created = datetime.datetime.fromtimestamp(self._provider.created, datetime.UTC)
        return {
            "name": function.name,
            "image": function.image,
            "namespace": NAMESPACE,
            "envProcess": "python index.py",
            "envVars": dict(function.environment),
            "constraints": [],
            "secrets": list(function.secrets),
            "labels": dict(function.labels),
            "annotations": dict(function.annotations),
            "limits": dict(function.limits) or None,
            "requests": dict(function.requests) or None,
            "readOnlyRootFilesystem": function.read_only,
            "invocationCount": self._metrics.answered(function.name),
            "replicas": len(pool.ready) + pool.starting,
            "availableReplicas": len(pool.ready),
            "createdAt": created.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }


async def not_here(_: Request) -> Response:
    raise errors.NOT_IMPLEMENTED("Functions come from stack.yml here: change it and restart the gateway, or send it SIGHUP")


def _whole(text: str | None, default: int) -> int:
    try:
        return int(text) if text else default
    except ValueError:
        raise errors.INVALID_REQUEST("tail: a whole number is needed", field="tail") from None


def _moment(text: str | None) -> datetime.datetime | None:
    try:
        moment = datetime.datetime.fromisoformat(text) if text else None
    except ValueError:
        raise errors.INVALID_REQUEST("since: a time such as 2026-01-31T12:00:00Z is needed", field="since") from None
    return moment.replace(tzinfo=moment.tzinfo or datetime.UTC) if moment else None


async def _lines(log: Path, name: str, *, tail: int, since: datetime.datetime | None, follow: bool) -> AsyncIterator[bytes]:
    """A function's log as OpenFaaS's log messages. A file that shrinks was rotated and is read from its start."""
    at, rest = 0, b""
    first = True
    while True:
        chunk, at = await asyncio.to_thread(_read, log, at)
        *lines, rest = (rest + chunk).split(b"\n")
        if first and tail >= 0:
            lines = lines[len(lines) - min(tail, len(lines)) :]
        for line in lines:
            when = _when(line)
            if line and (since is None or when >= since):
                text = line.decode(errors="replace")
                message = {"name": name, "namespace": NAMESPACE, "instance": name, "timestamp": when.isoformat(), "text": text}
                yield json.dumps(message, ensure_ascii=False).encode() + b"\n"
        first = False
        if not chunk:
            if not follow:
                return
            await asyncio.sleep(FOLLOW_SECONDS)


def _read(log: Path, at: int) -> tuple[bytes, int]:
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            at = 0 if size < at else at
            # Of a long past only the end is worth reading.
            at = max(at, size - MOST_LOG_BYTES)
            file.seek(at)
            chunk = file.read(MOST_LOG_BYTES)
    except FileNotFoundError:
        return b"", 0
    return chunk, at + len(chunk)


def _when(line: bytes) -> datetime.datetime:
    """The line's own time when it is one of ours (JSON), else now."""
    try:
        return datetime.datetime.fromisoformat(json.loads(line)["time"])
    except (ValueError, KeyError, TypeError):
        return datetime.datetime.now(datetime.UTC)
