"""reap: finds what was lost. Called on a schedule; anyone may call it, any number at once, and nothing is done twice."""

from native import reaping
from native.call import Call
from native.operation import Answer, Endpoint, Route, reply, serve


def reap(call: Call) -> Answer:
    return reply(200, reaping.sweep(call.services))


handle = serve(Endpoint(name="reap", routes=[Route(method=method, path="", answer=reap, public=True) for method in ("POST", "GET")]))
