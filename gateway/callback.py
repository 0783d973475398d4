"""`X-Callback-Url`: the result of an asynchronous call, posted to an address that a stranger chose.

So the address is not trusted: only http and https, only hosts whose every address is public, the connection goes to the very
address that was checked, redirects are not followed, and nothing of the answer but its status is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import httpcore

import gateway
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.stream import Again, Clients, Dead, Done, Message, Stream, Verdict
from native import errors, log

logger = logging.getLogger("gateway.callback")

PARALLEL = 8
MAX_DELIVERIES = 5
MAX_URL = 2000

# IPv6 ranges that carry an IPv4 address which the checks below would not see.
TRANSLATED = [ipaddress.ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")]


class Refused(Exception):
    """The address may not be called. The text says why."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a function answered to a call whose caller did not wait."""

    function: str
    status: int
    seconds: float
    content_type: str
    body: bytes


def public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif any(ip in net for net in TRANSLATED):
            return False
    return ip.is_global and not ip.is_multicast


def parse(url: str) -> SplitResult:
    """Raises `Refused`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("it is not a valid address") from None
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise Refused("it is not a valid address")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise Refused("http://host/… or https://host/… is needed")
    if parts.username is not None or parts.password is not None:
        raise Refused("it must not carry a user name")
    return parts


async def resolve(parts: SplitResult, private: bool) -> list[str]:
    """The host's addresses, all of which may be called. Raises `Refused`, and OSError when there are none."""
    assert parts.hostname
    found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port or 0, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not private and not all(public(address) for address in addresses):
        raise Refused("its host is not on the public network")
    return addresses


class Callbacks:
    """Results on their way out: a durable queue of their own, so that a slow receiver delays no call."""

    def __init__(self, settings: Settings, metrics: Metrics, clients: Clients) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clients = clients
        self._stream: Stream | None = None

    def start(self, consumer: str) -> None:
        self._stream = Stream(
            "callbacks:",  # no function can have this name
            clients=self._clients,
            consumer=consumer,
            settings=self._settings,
            deliver=self._deliver,
            parallel=lambda: PARALLEL,
            bury=self._bury,
            max_deliveries=MAX_DELIVERIES,
        )
        self._stream.start()

    async def stop_reading(self, within_seconds: float) -> None:
        if self._stream:
            await self._stream.stop_reading(within_seconds)

    async def stop(self, within_seconds: float) -> None:
        if self._stream:
            await self._stream.stop(within_seconds)

    def check(self, url: str) -> None:
        """Refuse at once what needs no name service to be refused. Raises INVALID_REQUEST."""
        try:
            parts = parse(url)
            with contextlib.suppress(ValueError):  # a name: looked up when it is called
                if not self._settings.gateway_callback_private and not public(parts.hostname or ""):
                    raise Refused("its host is not on the public network")
        except Refused as exc:
            raise errors.INVALID_REQUEST(f"X-Callback-Url: {exc}", field="X-Callback-Url") from None

    async def add(self, message: Message, result: Result) -> None:
        """Queue a result. When even that fails the result is lost, and the log says so: the call itself is done."""
        assert self._stream
        try:
            await self._stream.add(
                {
                    "call": message.text("call"),
                    "url": message.text("callback"),
                    "function": result.function,
                    "status": str(result.status),
                    "seconds": f"{result.seconds:.6f}",
                    "type": result.content_type,
                    "body": result.body,
                }
            )
        except errors.Problem as trouble:
            self._metrics.callbacks.labels("lost").inc()
            log.event(logger, logging.ERROR, "callback lost", call=message.text("call"), reason=trouble.code)

    async def _deliver(self, message: Message) -> Verdict:
        try:
            async with asyncio.timeout(self._settings.gateway_callback_seconds):
                status = await self._post(message)
        except Refused as exc:
            return Dead(f"refused: {exc}")
        except (OSError, TimeoutError, httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as exc:
            return Again(type(exc).__name__)
        if 200 <= status < 300:
            self._metrics.callbacks.labels("delivered").inc()
            return Done()
        return Again(f"status {status}") if status == 429 or status >= 500 else Dead(f"status {status}")

    async def _bury(self, message: Message, reason: str) -> Mapping[bytes, bytes]:
        self._metrics.callbacks.labels("refused" if reason.startswith("refused") else "failed").inc()
        return {name: value for name, value in message.fields.items() if name != b"body"}

    async def _post(self, message: Message) -> int:
        parts = parse(message.text("url"))
        addresses = await resolve(parts, self._settings.gateway_callback_private)
        assert parts.hostname
        port = parts.port or (443 if parts.scheme == "https" else 80)
        headers = {
            "Host": parts.netloc,
            "Content-Type": message.text("type"),
            "Content-Length": str(len(message.fields.get(b"body", b""))),
            "User-Agent": f"native-video-editor/{gateway.VERSION}",
            "X-Call-Id": message.text("call"),
            "X-Duration-Seconds": message.text("seconds"),
            "X-Function-Status": message.text("status"),
            "X-Function-Name": message.text("function"),
        }
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # The address that was checked is the address that is called; the certificate is still the name's.
        url = httpcore.URL(scheme=parts.scheme.encode(), host=addresses[0].encode(), port=port, target=target.encode())
        async with (
            httpcore.AsyncConnectionPool() as pool,
            pool.stream(
                "POST",
                url,
                headers=[(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()],
                content=message.fields.get(b"body", b""),
                extensions={"sni_hostname": parts.hostname},
            ) as response,
        ):
            return response.status
