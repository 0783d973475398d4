"""A bad network between us and a real store: an HTTP proxy that loses, cuts, delays, refuses or rewrites what a test tells it to."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Refuse:
    """Answer this without asking the store."""

    status: int
    body: bytes = b""


@dataclass(frozen=True)
class Lose:
    """Let the store do it, then reset the connection in place of its answer."""


@dataclass(frozen=True)
class Cut:
    """Reset the connection after so many bytes of the answer's body."""

    after: int


@dataclass(frozen=True)
class Hang:
    """Say nothing for so many seconds, then reset the connection."""

    seconds: float


@dataclass(frozen=True)
class Trickle:
    """Send the answer's body at so many bytes a second."""

    rate: int


Fault = Refuse | Lose | Cut | Hang | Trickle
# Called with the method, the path with its query, and how many such requests came before; None lets it pass.
Plan = Callable[[str, str, int], Fault | None]


@dataclass
class Network:
    """`url` is where the store seems to be; `requests` and `connections` is what was seen there."""

    url: str
    plan: Plan = lambda method, path, before: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    connections: int = 0


@contextmanager
def network(store_url: str) -> Iterator[Network]:
    """A proxy before the store, gone afterwards."""
    upstream = urlsplit(store_url)
    lock = threading.Lock()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def setup(self) -> None:
            super().setup()
            with lock:
                seen.connections += 1

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                before = sum(1 for method, path in seen.requests if (method, path) == (self.command, self.path))
                seen.requests.append((self.command, self.path))
            fault = seen.plan(self.command, self.path, before)
            if isinstance(fault, Refuse):
                self.answer(fault.status, {"Content-Type": "application/xml"}, fault.body)
            elif isinstance(fault, Hang):
                time.sleep(fault.seconds)
                self.reset()
            else:
                status, headers, answer = self.ask(body)
                if isinstance(fault, Lose):
                    self.reset()
                else:
                    self.answer(status, headers, answer, fault)

        def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            server = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=30)
            try:
                server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in {"connection", "expect"}:
                        server.putheader(name, value)
                server.endheaders(body)
                answer = server.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            finally:
                server.close()

        def answer(self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
            self.send_header("Content-Length", length)
            self.end_headers()
            if isinstance(fault, Cut):
                self.wfile.write(body[: fault.after])
                self.reset()
            elif isinstance(fault, Trickle):
                step = max(1, fault.rate // 20)
                for start in range(0, len(body), step):
                    self.wfile.write(body[start : start + step])
                    time.sleep(0.05)
            elif self.command != "HEAD":
                self.wfile.write(body)

        def reset(self) -> None:
            # A close with linger 0 is a RST: what a dying peer or a firewall looks like.
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    seen = Network(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
