"""A TCP proxy on loopback that can be slow, deaf, or cut the line after the server has acted and before the client hears of it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit


class Proxy:
    """`url` leads through the proxy to the server. Change its behaviour at any time by its attributes."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lines: list[socket.socket] = []
        self._lock = threading.Lock()
        self._closed = False
        #: seconds that each answer is late
        self.delay = 0.0
        #: bytes: once the client has sent them, the server's next answer is lost and the line cut; then it is None again
        self.cut_after: bytes | None = None
        #: how often the line was cut that way
        self.cuts = 0
        #: how many connections were made
        self.connections = 0
        #: False: new connections are refused and old ones cut
        self.up = True
        self.url = ""
        threading.Thread(target=self._accept, daemon=True).start()

    @classmethod
    @contextlib.contextmanager
    def before(cls, url: str) -> Iterator[Proxy]:
        """A proxy before the server of this URL."""
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        proxy = cls(parts.hostname, parts.port)
        proxy.url = url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{proxy._listener.getsockname()[1]}")
        try:
            yield proxy
        finally:
            proxy.close()

    def cut(self) -> None:
        """Cut every line."""
        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
                if not self.up:
                    client.close()
                    continue
                server = socket.create_connection(self._server, timeout=5)
            except OSError:
                continue
            server.settimeout(None)
            self.connections += 1
            with self._lock:
                self._lines += [client, server]
            doomed = threading.Event()
            threading.Thread(target=self._requests, args=(client, server, doomed), daemon=True).start()
            threading.Thread(target=self._answers, args=(server, client, doomed), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with _ending(client, server):
            while data := client.recv(65536):
                if self.cut_after is not None and self.cut_after in data:
                    self.cut_after = None
                    doomed.set()
                server.sendall(data)

    def _answers(self, server: socket.socket, client: socket.socket, doomed: threading.Event) -> None:
        with _ending(server, client):
            while data := server.recv(65536):
                if doomed.is_set():
                    self.cuts += 1
                    return
                if self.delay:
                    time.sleep(self.delay)
                client.sendall(data)


@contextlib.contextmanager
def _ending(one: socket.socket, other: socket.socket) -> Iterator[None]:
    try:
        with contextlib.suppress(OSError):
            yield
    finally:
        for line in (one, other):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
