"""The HTTP server of one function: python3-http's contract, `handle(event, context)`, with a stop that loses nothing.

It serves what of-watchdog would: /_/health, /_/ready, metrics on their own port, a bound on requests in flight (429 with
Retry-After), and on SIGTERM it stops taking work, lets the handler finish or hand back what it has, and exits 0.

A handler may have three more attributes: `handle.check()`, whose exception's text ends a function that cannot serve;
`handle.warm()`, called once in the background when the function starts; `handle.stop(grace_seconds)`, called when it is asked to end.

Environment: PORT (8080), BIND (0.0.0.0), METRICS_PORT (8081), MAX_INFLIGHT (4), MAX_BODY_BYTES (1 MiB), SHUTDOWN_GRACE_SECONDS (3),
FUNCTION_DIR (the folder `function` beside this file), FUNCTION_NAME.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from cheroot import wsgi
from flask import Flask, Response, request
from prometheus_client import Counter, Gauge, Histogram, start_http_server

METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"]
# Requests that only ask how we are need threads of their own, or a full function would look dead.
SPARE_THREADS = 4
# For the last bytes of the last answers to leave.
CLOSE_SECONDS = 0.2

REQUESTS = Counter("http_requests_total", "Requests answered", ["code", "method"])
SECONDS = Histogram(
    "http_request_duration_seconds",
    "Time to the answer's last byte",
    ["code", "method"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600),
)
INFLIGHT = Gauge("http_requests_in_flight", "Requests being answered")


class Event:
    """What python3-http hands to a function: body (bytes), headers, method, query, path."""

    def __init__(self) -> None:
        self.body = request.get_data()
        self.headers = request.headers
        self.method = request.method
        self.query = request.args
        self.path = request.path


class Context:
    def __init__(self) -> None:
        self.hostname = os.getenv("HOSTNAME", socket.gethostname())


def load(folder: Path) -> ModuleType:
    """The handler module of a function folder; what lies beside it (such as native/) can be imported, too."""
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("handler", folder / "handler.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"no handler.py in {folder}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["handler"] = module
    spec.loader.exec_module(module)
    return module


def answer(result: Any) -> Any:
    """A handler's result as Flask wants it: a dict of statusCode, body and headers, or anything Flask knows."""
    if not isinstance(result, dict):
        return result if result is not None else ""
    body = result.get("body", "")
    headers = result.get("headers") or {}
    if isinstance(body, dict | list):
        response = Response(json.dumps(body, ensure_ascii=False), mimetype="application/json")
    else:
        response = Response(body)
    for name, value in headers.items() if isinstance(headers, dict) else headers:
        response.headers[name] = str(value)
    response.status_code = int(result.get("statusCode", 200))
    return response


def problem(status: int, code: str, detail: str, **headers: str) -> Response:
    body = {"type": f"urn:nve:problem:{code}", "title": detail, "status": status, "code": code, "detail": detail}
    return Response(json.dumps(body), status=status, mimetype="application/problem+json", headers=headers)


class Server:
    """One function behind one port."""

    def __init__(self, handle: Callable[[Any, Any], Any], max_inflight: int, max_body: int, grace: float) -> None:
        self._handle = handle
        self._max_inflight = max_inflight
        self._grace = grace
        self._lock = threading.Lock()
        self._inflight = 0
        self._stopping = threading.Event()
        self.app = Flask("function", static_folder=None)
        self.app.config["MAX_CONTENT_LENGTH"] = max_body
        self.app.url_map.strict_slashes = False
        for path in ("/", "/<path:path>"):
            self.app.add_url_rule(path, "call", self._call, methods=METHODS, provide_automatic_options=False)
        self.app.add_url_rule("/_/health", "health", lambda: "OK")
        self.app.add_url_rule("/_/ready", "ready", self._ready)
        self.app.register_error_handler(413, lambda _: problem(413, "too_large", f"The request is larger than {max_body} bytes"))
        self.app.register_error_handler(405, lambda _: problem(405, "method_not_allowed", "This address does not answer that method"))
        self.app.register_error_handler(500, lambda _: problem(500, "internal", "Something went wrong here; it has been logged"))

    def _ready(self) -> Response:
        if self._stopping.is_set():
            return Response("stopping", 503)
        return Response("full", 429) if self._inflight >= self._max_inflight else Response("ready")

    @contextlib.contextmanager
    def _place(self) -> Iterator[bool]:
        """One of the places for requests in flight, or False."""
        with self._lock:
            taken = self._inflight < self._max_inflight
            self._inflight += taken
        INFLIGHT.set(self._inflight)
        try:
            yield taken
        finally:
            with self._lock:
                self._inflight -= taken
            INFLIGHT.set(self._inflight)

    def _call(self, path: str = "") -> Any:  # noqa: ARG002 -- Flask passes it; Event reads request.path
        started = time.monotonic()
        stack = contextlib.ExitStack()
        taken = stack.enter_context(self._place())
        try:
            if self._stopping.is_set():
                response = problem(503, "shutting_down", "This worker is stopping; try again", **{"Retry-After": "1"})
            elif not taken:
                response = problem(429, "busy", "All places of this worker are taken", **{"Retry-After": "1"})
            else:
                response = self.app.make_response(answer(self._handle(Event(), Context())))
        except BaseException:
            stack.close()
            raise

        def finished() -> None:
            stack.close()
            REQUESTS.labels(response.status_code, request_method).inc()
            SECONDS.labels(response.status_code, request_method).observe(time.monotonic() - started)

        request_method = request.method
        # A streamed answer holds its place until its last byte or until its reader has gone.
        response.call_on_close(finished)
        return response

    def run(self, bind: str, port: int, stop: Callable[[float], None] | None) -> None:
        """Serve until SIGTERM or SIGINT, then drain for at most the grace."""
        server = wsgi.Server((bind, port), self.app, numthreads=self._max_inflight + SPARE_THREADS, request_queue_size=256)
        server.shutdown_timeout = CLOSE_SECONDS

        def drain() -> None:
            deadline = time.monotonic() + self._grace
            if stop is not None:
                stop(self._grace)
            while self._inflight and time.monotonic() < deadline:
                time.sleep(0.02)  # a drain has no event to wait for: requests end one by one
            closing = threading.Thread(target=server.stop, daemon=True)
            closing.start()
            closing.join(CLOSE_SECONDS)
            # Nothing is left that is worth waiting for, and threads that wait for idle clients would make us.
            os._exit(0)

        def terminate(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- the signature of a signal handler
            if not self._stopping.is_set():
                self._stopping.set()
                threading.Thread(target=drain, name="drain", daemon=True).start()

        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, terminate)
        server.safe_start()


def main() -> None:
    here = Path(__file__).resolve().parent
    folder = Path(os.environ.get("FUNCTION_DIR", here / "function")).resolve()
    handler = load(folder)
    server = Server(
        handler.handle,
        max_inflight=int(os.environ.get("MAX_INFLIGHT", "4")),
        max_body=int(os.environ.get("MAX_BODY_BYTES", str(1 << 20))),
        grace=float(os.environ.get("SHUTDOWN_GRACE_SECONDS", "3")),
    )
    bind = os.environ.get("BIND", "0.0.0.0")  # noqa: S104 -- a container's only way in; the local stack sets 127.0.0.1
    metrics_port = int(os.environ.get("METRICS_PORT", "8081"))
    if metrics_port:
        start_http_server(metrics_port, addr=bind)
    check, warm = getattr(handler.handle, "check", None), getattr(handler.handle, "warm", None)
    if check is not None:
        try:
            check()
        except Exception as exc:
            raise SystemExit(f"{os.environ.get('FUNCTION_NAME', 'the function')} cannot start: {exc}") from None
    if warm is not None:
        threading.Thread(target=warm, name="warm", daemon=True).start()
    server.run(bind, int(os.environ.get("PORT", "8080")), getattr(handler.handle, "stop", None))


if __name__ == "__main__":
    main()
