"""The routes, all of them, and the parts behind them, started and stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Mapping

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute

from gateway import cron, docs, openapi, problem
from gateway.callback import Callbacks
from gateway.events import Sockets
from gateway.health import Health, healthz
from gateway.metrics import CONTENT_TYPE, Metrics, label
from gateway.provider import stackfile
from gateway.provider.process import Provider
from gateway.provider.stackfile import Function
from gateway.proxy import Proxy
from gateway.queue import Queue
from gateway.settings import Settings
from gateway.stream import connect
from gateway.system import BasicAuth, System
from gateway.trace import Trace
from native import log

logger = logging.getLogger("gateway")

EXPOSED = ["X-Call-Id", "X-Duration-Seconds", "Location", "Retry-After", "Preference-Applied"]


class Gateway:
    """Everything that runs."""

    def __init__(self, settings: Settings, functions: Mapping[str, Function]) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.redis = connect(settings.redis_url.get_secret_value())
        self.provider = Provider(functions, settings, self.metrics.cold_start)
        self.proxy = Proxy(settings, self.provider, self.metrics)
        self.callbacks = Callbacks(settings, self.metrics, self.redis)
        self.queue = Queue(
            settings=settings,
            provider=self.provider,
            proxy=self.proxy,
            callbacks=self.callbacks,
            metrics=self.metrics,
            clients=self.redis,
        )
        self.sockets = Sockets(settings, self.proxy, self.metrics)
        self.cron = cron.Cron(self.provider, self.proxy)
        self.system = System(settings, self.provider, self.metrics, self.reload)
        self._renewing: asyncio.Task[None] | None = None

    def public(self) -> Starlette:
        """Port 8080."""
        contract = openapi.document()
        described = JSONResponse(contract)
        page = HTMLResponse(docs.page(contract), headers=docs.HEADERS)
        routes = [
            Route("/function/{name}", self.proxy),
            Route("/function/{name}/{path:path}", self.proxy),
            Route("/async-function/{name}", self.queue),
            Route("/async-function/{name}/{path:path}", self.queue),
            WebSocketRoute("/ws", self.sockets.__call__),
            Mount("/system", routes=self.system.routes(), middleware=[Middleware(BasicAuth, settings=self.settings)]),
            Route("/healthz", healthz),
            Route("/health", Health(self.provider, self.redis[0]).__call__),
            Route("/openapi.json", lambda _: described),
            Route("/docs", lambda _: page),
            Route("/", lambda _: RedirectResponse("/docs", 307)),
        ]
        cors = Middleware(
            CORSMiddleware,
            allow_origins=self.settings.origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
        return Starlette(routes=routes, middleware=[Middleware(Trace), cors], exception_handlers=problem.HANDLERS)

    def private(self) -> Starlette:
        """Port 8082."""
        return Starlette(routes=[Route("/metrics", self._metrics), Route("/healthz", healthz)], exception_handlers=problem.HANDLERS)

    @contextlib.asynccontextmanager
    async def running(self, port: int) -> AsyncIterator[None]:
        # Host and port are ours alone while we listen, so what is queued under this name is ours as well.
        consumer = f"{socket.gethostname()}:{port}"
        self.provider.start()
        self.callbacks.start(consumer)
        self.queue.start(consumer)
        self.cron.start()
        try:
            yield
        finally:
            await asyncio.gather(*(client.aclose() for client in self.redis))

    async def stop(self) -> None:
        """Take nothing new, stop the functions, let what they answered be settled. Takes `settings.stop_seconds` at most."""
        if self._renewing:
            self._renewing.cancel()
        kill, settle = self.settings.gateway_kill_seconds, self.settings.gateway_settle_seconds
        try:
            async with asyncio.timeout(self.settings.stop_seconds):
                await asyncio.gather(
                    self.cron.stop(),
                    self.sockets.stop(),
                    self.queue.stop_reading(kill),
                    self.callbacks.stop_reading(kill),
                    self.provider.stop(),
                )
                # A little less than there is, so that the bound above is for what should not happen.
                within = settle * 0.8
                await asyncio.gather(self.queue.stop(within), self.callbacks.stop(within))
        except TimeoutError:
            log.event(logger, logging.ERROR, "broke off", reason=f"not stopped after {self.settings.stop_seconds:g} s")

    def reload(self) -> None:
        """SIGHUP: read the stack file again and restart the functions, one after the other."""
        try:
            functions = load_functions(self.settings)
        except stackfile.Malformed as exc:
            log.event(logger, logging.ERROR, "reload refused", reason=str(exc))
            return
        if self._renewing and not self._renewing.done():
            log.event(logger, logging.WARNING, "reload refused", reason="the last one is still under way")
            return
        self._renewing = asyncio.create_task(self._renew(functions), name="reload")

    async def _renew(self, functions: Mapping[str, Function]) -> None:
        await self.cron.stop()
        await self.provider.renew(functions)
        self.queue.renew()
        self.cron.start()
        log.event(logger, logging.INFO, "reloaded", functions=len(functions))

    async def _metrics(self, _: Request) -> Response:
        for pool in self.provider:
            name = label(pool.function.name)
            self.metrics.service_count.labels(name).set(len(pool.ready))
            self.metrics.inflight.labels(name).set(pool.inflight)
            self.metrics.waiting.labels(name).set(pool.waiting)
            self.metrics.replicas.labels(name, "ready").set(len(pool.ready))
            self.metrics.replicas.labels(name, "starting").set(pool.starting)
            self.metrics.replicas.labels(name, "draining").set(len(pool.replicas) - len(pool.ready))
        await self.queue.measure()
        return Response(self.metrics.text(), media_type=CONTENT_TYPE)


def load_functions(settings: Settings) -> dict[str, Function]:
    """Raises `Malformed`."""
    functions = stackfile.load(settings.stack_file, settings.gateway_max_replicas)
    for function in functions.values():
        cron.check(function)
    return functions
