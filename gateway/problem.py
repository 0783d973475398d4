"""Problems as answers (RFC 9457), for whatever goes wrong on this side of the functions."""

from __future__ import annotations

import json
import logging

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from native import errors

logger = logging.getLogger("gateway")


def answer(problem: errors.Problem, **headers: str) -> Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if problem.retry_after is not None:
        headers.setdefault("Retry-After", str(problem.retry_after))
    body = json.dumps(problem.document(), ensure_ascii=False)
    return Response(body, problem.status, {"Cache-Control": "no-store", **headers}, media_type="application/problem+json")


async def on_problem(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, errors.Problem)
    if exc.kind is errors.UNAUTHENTICATED:
        return answer(exc, WWW_Authenticate='Basic realm="gateway"')
    return answer(exc)


async def on_http(_: Request, exc: Exception) -> Response:
    """What the router itself refuses."""
    assert isinstance(exc, HTTPException)
    if exc.status_code == 405:
        return answer(errors.METHOD_NOT_ALLOWED(), **{"Allow": (exc.headers or {}).get("Allow", "")})
    return answer(errors.NOT_FOUND("There is nothing at this address; GET /docs says what there is"))


async def on_anything(_: Request, exc: Exception) -> Response:
    logger.error("unexpected", exc_info=exc)
    return answer(errors.INTERNAL())


HANDLERS = {errors.Problem: on_problem, HTTPException: on_http, Exception: on_anything}
