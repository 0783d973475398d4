"""The routes, all of them, and the parts behind them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway import problem
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.provider import stackfile
from gateway.provider.process import Provider
from gateway.provider.stackfile import Function
from gateway.proxy import Proxy
from gateway.settings import Settings
from gateway.trace import Trace
from native import log

logger = logging.getLogger("gateway")


class Gateway:
    """Everything that runs, started and stopped together."""

    def __init__(self, settings: Settings, functions: Mapping[str, Function]) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.provider = Provider(functions, settings, self.metrics.cold_start)
        self.proxy = Proxy(settings, self.provider, self.metrics)

    def public(self) -> Starlette:
        routes = [
            Route("/function/{name}", self.proxy),
            Route("/function/{name}/{path:path}", self.proxy),
            Route("/healthz", healthz),
        ]
        return Starlette(routes=routes, middleware=[Middleware(Trace)], exception_handlers=problem.HANDLERS)

    def private(self) -> Starlette:
        return Starlette(routes=[Route("/metrics", self._metrics), Route("/healthz", healthz)], exception_handlers=problem.HANDLERS)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.provider.start()
        yield

    async def stop(self) -> None:
        await self.provider.stop()

    def reload(self) -> None:
        """SIGHUP: read the stack file again and restart the functions, one after the other."""
        try:
            functions = stackfile.load(self.settings.stack_file, self.settings.gateway_max_replicas)
        except stackfile.Malformed as exc:
            log.event(logger, logging.ERROR, "reload refused", reason=str(exc))
            return
        self._reloading = asyncio.create_task(self.provider.renew(functions), name="reload")

    async def _metrics(self, _: Request) -> Response:
        for pool in self.provider:
            name = f"{pool.function.name}.openfaas-fn"
            self.metrics.service_count.labels(name).set(len(pool.ready))
        return Response(self.metrics.text(), media_type=CONTENT_TYPE)


async def healthz(_: Request) -> Response:
    return PlainTextResponse("OK")
