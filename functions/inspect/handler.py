"""inspect: what is in an asset: streams, duration, key frames, and what is wrong with it."""

from native import assets
from native.call import Call
from native.operation import Answer, Endpoint, Route, reply, serve


def show(call: Call, asset: str) -> Answer:
    it = call.services.assets.get(call.owner, asset)
    return reply(200, assets.inspect(call.services, it), Cache_Control="no-store")


handle = serve(Endpoint(name="inspect", routes=[Route(method="GET", path="/{asset}", answer=show)]))
