"""upload: media come in by presigned addresses, straight into the store, in parts that can be sent again."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from native import assets, document, errors
from native.call import Call
from native.operation import Answer, Endpoint, Route, reply, serve
from native.request import Request, parse

MAX_PAGE = 100


class Upload(Request):
    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    size: Annotated[int, Field(ge=0, strict=True)]
    type: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,59}/[0-9A-Za-z][0-9A-Za-z.+-]{0,59}$")] = (
        "application/octet-stream"
    )


def create(call: Call) -> Answer:
    """A place for a file, and an address for each of its parts."""
    wanted = parse(Upload, call.json())
    limit = call.services.settings.max_source_bytes
    if wanted.size > limit:
        raise errors.TOO_LARGE(f"size: at most {limit} bytes can be taken", field="size")
    call.services.rate.check(call.owner)
    asset = assets.create(call.services, call.owner, wanted.name, wanted.size, wanted.type)
    return reply(201, assets.offer(call.services, asset), Location=f"/function/upload/{asset.id}")


def show(call: Call, asset: str) -> Answer:
    """A finished asset; or, of one that is still coming, which parts are there and addresses for the rest."""
    it = call.services.assets.get(call.owner, asset)
    body: dict[str, Any] = document.asset(call.services, it) if it.state == "ready" else assets.offer(call.services, it)
    return reply(200, body, Cache_Control="no-store")


def complete(call: Call, asset: str) -> Answer:
    """All parts are there: join them and look inside. Safe to repeat."""
    return reply(200, document.asset(call.services, assets.complete(call.services, call.owner, asset)))


def listing(call: Call) -> Answer:
    limit = max(1, int(call.number("limit", 50, MAX_PAGE)))
    found, cursor = call.services.assets.list(call.owner, cursor=call.query("cursor"), limit=limit)
    return reply(200, {"assets": [document.asset(call.services, it) for it in found], "next": cursor}, Cache_Control="no-store")


def delete(call: Call, asset: str) -> Answer:
    assets.delete(call.services, call.owner, asset)
    return reply(200, {"asset": asset, "state": "deleted"})


handle = serve(
    Endpoint(
        name="upload",
        routes=[
            Route(method="POST", path="", answer=create),
            Route(method="GET", path="", answer=listing),
            Route(method="GET", path="/{asset}", answer=show),
            Route(method="DELETE", path="/{asset}", answer=delete),
            Route(method="POST", path="/{asset}/complete", answer=complete),
        ],
    )
)
