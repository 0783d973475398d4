"""render(): an edit of some sources becomes one file in the room. Runs inside the worker; the tests run it in process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from native import errors
from native.media import changes, clips, codecs, conform, cut, graph, h264, index, leaving, majority, pieces, plan, splice, verify
from native.media.clips import Target
from native.media.edit import Edit
from native.media.info import MediaInfo
from native.media.made import Made
from native.media.majority import Group
from native.media.pieces import Part
from native.media.source import Readable

Report = Callable[[int, int], None]


def render(edit: Edit, sources: Sequence[Readable], room: Path, report: Report, least: int | None = None) -> Made:
    """Makes the output and says how. Copies what can be copied; what cannot is encoded, with the reason among the warnings.
    With `least`, copied runs of so many bytes may stay in their sources; then the result has a layout.

    Raises the problems of the sources and ranges, TOO_HEAVY, VERIFY_FAILED and OUTPUT_REFUSED.
    """
    indexes = {n: index.of(sources[n]) for n in sorted({s.source for s in edit.segments if s.source < len(sources)})}
    edit.check([indexes[n].media if n in indexes else _nothing() for n in range(len(sources))])
    used = [splice.Source(indexes[n]) if n in indexes else None for n in range(len(sources))]
    known = [source if source is not None else splice.Source(next(iter(indexes.values()))) for source in used]
    path = room / f"output.{edit.output.container}"
    if edit.output.shapes or len(indexes) > 1:
        found = majority.groups(edit, known)
        if found and not _agree(found, edit, known):
            return _Mixed(edit, known, path, report, found).make()
    planned = plan.make(edit, known)
    if least is not None and (made := leaving.render(planned, edit, known, path, report, least=least)) is not None:
        return made
    try:
        return _carry_out(planned, edit, known, path, report)
    except _NO_COPY as exc:
        reason, again = _mended(exc, edit, copies=planned.copies)
    path.unlink(missing_ok=True)
    try:
        return _carry_out(plan.make(edit, known, force_encode=reason), again, known, path, report)
    except pieces.Undecodable as exc:
        raise _damaged() from exc


def _agree(found: Sequence[Group], edit: Edit, sources: Sequence[splice.Source]) -> bool:
    """Whether one way will do for all segments: every packet that is copied may follow every other, or all is encoded as it is."""
    if len(found) > 1 or len(found[0].numbers) < len(edit.segments) or not majority.fits(found[0], edit.output):
        return False
    return edit.mode == "encode" or len(majority.kept(found[0], found, edit, sources)) == len(edit.segments)


@dataclass
class _Mixed:
    """An edit of pictures that differ, or whose request says what they shall be: what agrees is copied, the others are conformed."""

    edit: Edit
    sources: list[splice.Source]
    path: Path
    report: Report
    found: Sequence[Group]
    told: int = 0

    def make(self) -> Made:
        anew = [plan.part(self.edit, n, self.sources, "encode") for n in range(len(self.edit.segments))]
        group, fits = majority.choose(self.found, anew, self.edit.output)
        reason = None if fits else "the picture is to be another"
        if fits and self.edit.mode != "encode":
            kept, why = self._copied(majority.kept(group, self.found, self.edit, self.sources))
            why |= self._left(set(group.numbers) - kept.keys() - why.keys(), kept)
            if len(kept) < len(anew):
                reason = self._refusal(group, kept)
            if kept and reason is None:
                try:
                    return self._carry_out(anew, kept, clips.like(group.track, steady=group.pace.frame is not None), why)
                except _NO_COPY as exc:
                    reason, self.edit = _mended(exc, self.edit, copies=True)
                    self.path.unlink(missing_ok=True)
            reason = reason or next(iter(why.values()), None)
        return self._whole(anew, self._upright(group), dict.fromkeys(range(len(anew)), reason) if reason else {})

    def _whole(self, anew: list[Part], to: Target, why: dict[int, str]) -> Made:
        """Every clip conformed."""
        try:
            return self._carry_out(anew, {}, to, why)
        except (pieces.NotCopyable, h264.Unsupported) as exc:
            raise errors.OUTPUT_REFUSED() from exc
        except (pieces.Undecodable, errors.Problem) as exc:
            _, self.edit = _mended(exc, self.edit, copies=False)
        self.path.unlink(missing_ok=True)
        return self._carry_out(anew, {}, to, why)

    def _refusal(self, group: Group, kept: Collection[int]) -> str | None:
        """Why nothing of this group is copied, or nothing that is made here could follow it."""
        picture, (mirrored, _) = group.picture, clips.turn(group.picture)
        if picture.codec not in graph.JOINED or picture.interlaced or mirrored or picture.rotation % 90:
            kind = "interlaced" if picture.interlaced else "mirrored" if mirrored else changes.NAMES.get(picture.codec, picture.codec)
            return f"clips that are conformed cannot be joined with {kind} video"
        used = [self.sources[self.edit.segments[n].source] for n in group.numbers]
        return None if kept else plan.not_copyable(self.edit.output.container, used)

    def _copied(self, numbers: set[int]) -> tuple[dict[int, Part], dict[int, str]]:
        """The parts of those segments that can be copied, and why the others cannot."""
        kept, why, mode = {}, {}, self.edit.mode
        for number in sorted(numbers):
            try:
                kept[number] = plan.part(self.edit, number, self.sources, "exact" if mode == "instant" else mode)
            except (pieces.NotCopyable, h264.Unsupported) as exc:
                why[number] = str(exc)
        return kept, why

    def _left(self, numbers: Collection[int], kept: Collection[int]) -> dict[int, str]:
        """Why segments of the group are not copied: for their own sake, or because they cannot follow those that are."""
        container, found = self.edit.output.container, {}
        of = {n: self.sources[self.edit.segments[n].source] for n in range(len(self.edit.segments))}
        for n in numbers:
            if reason := plan.not_copyable(container, [of[n]]) or (plan.not_copyable(container, [of[min(kept)], of[n]]) if kept else None):
                found[n] = reason
        return found

    def _upright(self, group: Group) -> Target:
        transfers = {other.picture.color_transfer for other in self.found}
        to = clips.asked(clips.upright(group.picture, transfers, steady=group.pace.frame is not None), self.edit.output)
        if self.edit.output.codec is None and self.edit.output.container == "webm":
            to = replace(to, codec="vp9")
        return to

    def _carry_out(self, anew: list[Part], kept: dict[int, Part], to: Target, why: dict[int, str]) -> Made:
        parts = [kept.get(n, part) for n, part in enumerate(anew)]
        odd = clips.resolve(parts, [n for n in range(len(parts)) if n not in kept], self.sources, to)
        frames = sum(clip.frames for clip in odd)
        total = frames + sum(len(part.times) for part in kept.values())
        with conform.Workshop(list(self.sources), self.path.parent, lambda made: self._tell(made, total)) as workshop:
            for number, part in workshop.parts(odd, to):
                parts[number] = part
            said = [*changes.conformed(odd, to, why), *changes.sounds(self.edit, self.sources)]
            planned = plan.joined(self.edit, self.sources, parts, said)
            shown = [workshop.sources[n] for n in sorted({part.source for part in parts})]
            if reason := codecs.of(to.codec).refusal(shown, self.edit.output.container):
                raise pieces.NotCopyable(reason)

            def on_frame(done: int, of: int) -> None:
                self._tell(workshop.done + done * (total - workshop.done) // max(of, 1), total)

            return _carry_out(planned, self.edit, workshop.sources, self.path, on_frame)

    def _tell(self, frames: int, total: int) -> None:
        """Progress never goes back, not even when copying fails and all is encoded."""
        self.told = max(self.told, min(frames, total))
        self.report(min(self.told, total), total)


_NO_COPY = (pieces.NotCopyable, h264.Unsupported, pieces.Undecodable, errors.Problem)


def _mended(exc: Exception, edit: Edit, *, copies: bool) -> tuple[str, Edit]:
    """Why copying failed, and what to ask for instead. Raises what encoding cannot mend."""
    if isinstance(exc, pieces.Undecodable):
        if not copies:
            raise _damaged() from exc
        return "some frames at the cut did not decode from the key frame before it", edit
    if isinstance(exc, errors.Problem):
        if exc.kind is not errors.VERIFY_FAILED or edit.mode == "encode":
            raise exc
        return "the copied result did not pass its checks", edit.model_copy(update={"mode": "encode"})  # the sound as well
    return str(exc), edit


def _carry_out(planned: plan.Plan, edit: Edit, sources: Sequence[splice.Source], path: Path, report: Report) -> Made:
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
