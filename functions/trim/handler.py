"""trim: one range of one source, frame-exact."""

from collections.abc import Sequence

from native.clips import Clip, Clips, plan
from native.operation import Operation, serve
from native.request import AssetId, Time


class Trim(Clips):
    source: AssetId
    start: Time
    end: Time

    def clips(self) -> Sequence[Clip]:
        return [Clip(self.source, self.start, self.end)]


handle = serve(Operation(name="trim", request=Trim, plan=plan))
