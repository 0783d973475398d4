"""Around every request: its call id, its times, its log line, and a problem for what nobody caught."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from native import log

logger = logging.getLogger("gateway.request")

# What a client may choose as call id: it ends up in logs, keys and headers. The functions take the same.
CALL_ID = re.compile(rb"[A-Za-z0-9._-]{1,100}")

OURS = (b"x-call-id", b"x-start-time", b"x-duration-seconds")


class Trace:
    """Puts `call_id` (str), `start_time` (str, ns since 1970) and `function` (filled in by the routes) into the scope."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        given = next((value for name, value in scope["headers"] if name == b"x-call-id"), b"")
        call_id = given.decode() if CALL_ID.fullmatch(given) else str(uuid.uuid4())
        scope["call_id"], scope["start_time"] = call_id, str(time.time_ns())
        status = 0

        async def traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [
                    (b"x-call-id", call_id.encode()),
                    (b"x-start-time", scope["start_time"].encode()),
                    (b"x-duration-seconds", b"%.6f" % (time.monotonic() - started)),
                ]
                message["headers"] = [*((n, v) for n, v in message.get("headers", ()) if n.lower() not in OURS), *own]
            await send(message)

        try:
            await self._app(scope, receive, traced)
        finally:
            facts = {"function": scope["function"]} if scope.get("function") else {}
            log.event(
                logger,
                logging.DEBUG if scope["path"] in ("/healthz", "/health") else logging.INFO,
                "request",
                call=call_id,
                method=scope["method"],
                path=scope["path"],
                status=status,
                seconds=round(time.monotonic() - started, 4),
                **facts,
            )
