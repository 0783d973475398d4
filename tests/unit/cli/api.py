"""A small real HTTP server in a thread, which answers what a test tells it to and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """`body` is JSON unless it is bytes; with `cut` the connection breaks after it, though more was promised."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


Reply = Callable[[Asked], Answer]


@dataclass
class Api:
    url: str
    replies: dict[tuple[str, str], list[Reply]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def on(self, method: str, path: str, *replies: Reply | Answer) -> None:
        """Answer these in turn; the last one for ever."""
        self.replies[method, path] = [reply if callable(reply) else (lambda asked, it=reply: it) for reply in replies]

    def calls(self, method: str, path: str) -> list[Asked]:
        return [it for it in self.asked if (it.method, it.path) == (method, path)]


@contextmanager
def api() -> Iterator[Api]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def serve(self) -> None:
            url = urlsplit(self.path)
            if self.headers.get("Transfer-Encoding"):
                raise AssertionError("a body of unknown length")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, url.path, parse_qs(url.query), dict(self.headers.items()), body)
            with lock:
                it.asked.append(asked)
                replies = it.replies.get((self.command, url.path))
                reply = None if not replies else replies.pop(0) if len(replies) > 1 else replies[0]
            answer = reply(asked) if reply else Answer(404, {"code": "not_found", "title": "There is no such thing here"})
            content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response_only(answer.status)
            if not isinstance(answer.body, bytes):
                self.send_header("Content-Type", "application/json" if answer.status < 400 else "application/problem+json")
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) + (1000 if answer.cut else 0)))
            self.end_headers()
            self.wfile.write(content)
            if answer.cut:
                self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    it = Api(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
