"""merge: whole sources, or ranges of them, one after another."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from native.clips import MAX_CLIPS, Clip, Clips, plan
from native.operation import Operation, serve
from native.request import AssetId, Request, Time


class Part(Request):
    asset: AssetId
    start: Time | None = None
    end: Time | None = None


def _part(value: Any) -> Any:
    """A bare asset id stands for the whole of it."""
    return {"asset": value} if isinstance(value, str) else value


class Merge(Clips):
    parts: Annotated[list[Annotated[Part, BeforeValidator(_part)]], Field(alias="sources", min_length=1, max_length=MAX_CLIPS)]

    def clips(self) -> Sequence[Clip]:
        return [Clip(part.asset, part.start, part.end, f"sources.{n}.", "asset") for n, part in enumerate(self.parts)]


handle = serve(Operation(name="merge", request=Merge, plan=plan))
