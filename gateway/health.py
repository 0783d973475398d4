"""/healthz: is the gateway alive. /health: how it and what it needs are. Neither needs a key, neither tells secrets."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

import gateway
from gateway.provider.process import Provider
from gateway.stream import TROUBLE

REDIS_SECONDS = 1.0


async def healthz(_: Request) -> Response:
    return PlainTextResponse("OK")


class Health:
    def __init__(self, provider: Provider, redis: Redis) -> None:
        self._provider = provider
        self._redis = redis
        self._started = time.monotonic()

    async def __call__(self, _: Request) -> Response:
        redis = await self._ask_redis()
        functions = {
            pool.function.name: {
                "state": pool.state,
                "replicas": len(pool.ready),
                "in_flight": pool.inflight,
                "waiting": pool.waiting,
            }
            for pool in self._provider
        }
        well = redis["ok"] and all(function["state"] != "failing" for function in functions.values())
        body = {
            "status": "ok" if well else "degraded",
            "gateway": {"version": gateway.VERSION, "uptime_seconds": round(time.monotonic() - self._started, 1)},
            "redis": redis,
            "functions": functions,
        }
        return JSONResponse(body, 200 if well else 503, headers={"Cache-Control": "no-store"})

    async def _ask_redis(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                info = await self._redis.info("server")
        except TROUBLE:
            return {"ok": False, "problem": "Redis does not answer"}
        return {"ok": True, "version": info.get("valkey_version") or info.get("redis_version")}
