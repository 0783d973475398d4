"""render(): an edit of some sources becomes one file in the room. Runs inside the worker; the tests run it in process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from native import errors
from native.media import cut, encode, h264, index, mux, plan, verify
from native.media.edit import Edit
from native.media.info import MediaInfo
from native.media.made import Made
from native.media.source import Readable


def render(edit: Edit, sources: Sequence[Readable], room: Path, report: Callable[[int, int], None]) -> Made:
    """Makes the output and says how. Copies what can be copied; what cannot is encoded, with the reason among the warnings.

    Raises the problems of the sources and ranges, OUTPUT_REFUSED, and plan.Disagreement when the sources must be conformed first.
    """
    indexes = {n: index.of(sources[n]) for n in sorted({s.source for s in edit.segments if s.source < len(sources)})}
    edit.check([indexes[n].media if n in indexes else _nothing() for n in range(len(sources))])
    used = [plan.Source(indexes[n]) if n in indexes else None for n in range(len(sources))]
    known = [source if source is not None else plan.Source(next(iter(indexes.values()))) for source in used]
    if reason := plan.disagreement([indexes[s.source].media for s in edit.segments]):
        raise plan.Disagreement(reason)
    path = room / f"output{mux.EXTENSIONS[edit.output.container]}"
    made = _carry_out(edit, known, path, report)
    verify.remember(path, made.promise)
    return _describe(made, edit, path)


@dataclass(frozen=True)
class _Done:
    plan: plan.Plan
    promise: cut.Promise


def _carry_out(edit: Edit, sources: Sequence[plan.Source], path: Path, report: Callable[[int, int], None]) -> _Done:
    """Copies if the source lets us to the end, else encodes once."""
    planned = plan.make(edit, sources)
    try:
        return _Done(planned, cut.Job(planned, edit, sources, path, report).run())
    except plan.NotCopyable as exc:
        reason = str(exc)
    except h264.Unsupported as exc:
        reason = str(exc)
    except encode.Undecodable as exc:
        if not planned.copies:
            raise errors.SOURCE_UNREADABLE("The source is damaged: some of the frames in the range cannot be decoded.") from exc
        reason = "some frames at the cut did not decode from the key frame before it"
    path.unlink(missing_ok=True)
    planned = plan.make(edit, sources, force_encode=reason)
    try:
        return _Done(planned, cut.Job(planned, edit, sources, path, report).run())
    except encode.Undecodable as exc:
        raise errors.SOURCE_UNREADABLE("The source is damaged: some of the frames in the range cannot be decoded.") from exc


def _describe(done: _Done, edit: Edit, path: Path) -> Made:
    result = verify.check(path, done.promise, edit.output.container)
    return Made(
        path=path,
        container=edit.output.container,
        size=os.stat(path).st_size,
        duration=result.media.duration,
        frames=len(done.promise.times),
        copied_frames=done.promise.copied,
        primed_frames=0,
        encoded_frames=done.promise.encoded,
        streams=result.media.streams,
        warnings=tuple(done.plan.warnings),
    )


def _nothing() -> MediaInfo:
    """Stands for a source that no segment uses, which is therefore never opened."""
    from fractions import Fraction

    return MediaInfo(container="", duration=Fraction(0), size=0, streams=(), start=Fraction(0))
