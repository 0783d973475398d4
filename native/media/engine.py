"""render(): an edit of some sources becomes one file in the room. Runs inside the worker; the tests run it in process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from native import errors
from native.media import cut, h264, index, mux, pieces, plan, splice, verify
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
    used = [splice.Source(indexes[n]) if n in indexes else None for n in range(len(sources))]
    known = [source if source is not None else splice.Source(next(iter(indexes.values()))) for source in used]
    if reason := plan.disagreement([indexes[s.source].media for s in edit.segments]):
        raise plan.Disagreement(reason)
    path = room / f"output{mux.EXTENSIONS[edit.output.container]}"
    planned, again = plan.make(edit, known), edit
    try:
        return _carry_out(planned, edit, known, path, report)
    except (pieces.NotCopyable, h264.Unsupported) as exc:
        reason = str(exc)
    except pieces.Undecodable as exc:
        if not planned.copies:
            raise _damaged() from exc
        reason = "some frames at the cut did not decode from the key frame before it"
    except errors.Problem as exc:
        if exc.kind is not errors.VERIFY_FAILED or edit.mode == "encode":
            raise
        reason = "the copied result did not pass its checks"
        again = edit.model_copy(update={"mode": "encode"})  # the sound as well
    path.unlink(missing_ok=True)
    try:
        return _carry_out(plan.make(edit, known, force_encode=reason), again, known, path, report)
    except pieces.Undecodable as exc:
        raise _damaged() from exc


def _carry_out(planned: plan.Plan, edit: Edit, sources: Sequence[splice.Source], path: Path, report: Callable[[int, int], None]) -> Made:
    """Makes the file, and proves it before anyone sees it."""
    promise = cut.Job(planned, edit, sources, path, report).run()
    result = verify.check(path, promise, edit.output.container)
    verify.remember(path, promise)
    return Made(
        path=path,
        container=edit.output.container,
        size=path.stat().st_size,
        duration=result.media.duration,
        frames=len(promise.times),
        copied_frames=promise.copied,
        primed_frames=promise.primed,
        encoded_frames=promise.encoded,
        streams=result.media.streams,
        warnings=tuple(planned.warnings),
    )


def _damaged() -> errors.Problem:
    return errors.SOURCE_UNREADABLE("The source is damaged: some of the frames in the range cannot be decoded.")


def _nothing() -> MediaInfo:
    """Stands for a source that no segment uses, which is therefore never opened."""
    return MediaInfo(container="", duration=Fraction(0), size=0, streams=(), start=Fraction(0))
