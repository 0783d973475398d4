"""H.264: packets copied, after a cut behind a few frames that take the places of those they refer to, and all of them under one sequence
parameter set, whichever sources they come from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from native.media import nal
from native.media.codecs import base
from native.media.h264 import buffer, encoder, priming, sets, slices, target
from native.media.h264.bits import Unsupported
from native.media.h264.encoder import Encoder
from native.media.h264.footage import Footage
from native.media.h264.sets import Sets, Sps
from native.media.h264.stream import Stream
from native.media.pieces import Coded, Copy, Encode, NotCopyable, Part, Piece, Primed, Undecodable
from native.media.splice import Source

FOLLOWED = 256  # packets before a cut from which its reference buffer is followed: far more than one holds


@dataclass(frozen=True)
class Head(Encode):
    """The frames between a cut and what is copied. Without `run` they go up to a clean start, perhaps for a `reason`."""

    run: priming.Start | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Run(Primed):
    """A primed run, with what is known of the source's buffer where it begins."""

    start: priming.Start


_footages: WeakKeyDictionary[Source, Footage] = WeakKeyDictionary()


def footage_of(source: Source) -> Footage:
    """The H.264 of a source, read once. Raises NotCopyable."""
    if source not in _footages:
        _footages[source] = Footage(source)
    return _footages[source]


class H264(base.Codec):
    def refusal(self, sources: Sequence[Source], container: str) -> str | None:
        del container
        try:
            _target([footage_of(source) for source in sources])
        except (Unsupported, NotCopyable) as exc:
            return str(exc)
        return None

    def pieces(self, source: Source, low: int, high: int) -> tuple[Piece, ...]:
        footage = footage_of(source)
        # the first `end` packets are the first `end` frames shown
        end = next((n for n in range(high, low, -1) if source.order.complete[n]), low)
        head, first = _beginning(footage, low, end)
        found: list[Piece] = [head] if head else []
        if first < end:
            clean = source.points.first_from(first, end)
            copied = clean.row if clean else end
            if first < copied:
                assert head is not None
                assert head.run is not None
                found.append(Run(first, copied, head.run))
            if copied < end:
                found.append(Copy(copied, end))
            if end < high:
                found.append(_anew(footage, end, high))
        else:
            found = [_anew(footage, low, high)]
        anew = [piece for piece in found if isinstance(piece, Encode)]
        if anew:
            _check_encodable(footage, anew)
        return tuple(found)

    def stitch(self, parts: Sequence[Part], sources: Sequence[Source], container: str) -> base.Stitch:
        try:
            return Stitch(parts, sources, container)
        except Unsupported as exc:
            raise NotCopyable(str(exc)) from exc


def _target(footages: Sequence[Footage]) -> Sps:
    """The one set for some sources, as near as can be to the first one's. Raises Unsupported."""
    return target.choose([s for footage in footages for s in footage.sps])


def _check_encodable(footage: Footage, anew: Sequence[Encode]) -> None:
    """Raises NotCopyable when frames at a cut cannot be encoded under the source's own parameter set."""
    if footage.interlaced:
        try:
            for piece in anew:
                footage.bottom_after_top(piece.key, piece.last)
        except Unsupported as exc:
            raise NotCopyable(str(exc)) from exc
    for s in footage.sps:
        if reason := encoder.refusal(s, footage.track.stream.pixel_format):
            raise NotCopyable(reason)


def _beginning(footage: Footage, low: int, end: int) -> tuple[Head | None, int]:
    """What is encoded from rank `low` on, and the first packet that is copied; `end` when none is."""
    points = footage.source.points
    clean = points.first_from(low, end) if low < end else None
    if clean is None and low >= end:
        return None, end
    if clean is not None and clean.rank == low:
        return None, clean.row
    reason = None
    try:
        if run := _run(footage, low, end):
            return _anew(footage, low, run.row, run), run.row
    except (Unsupported, NotCopyable) as exc:
        reason = str(exc)
    if clean is None:
        return None, end
    return _anew(footage, low, clean.rank, reason=reason), clean.row


def _run(footage: Footage, low: int, end: int) -> priming.Start | None:
    """The primed run after a cut, if there is one. Raises Unsupported, NotCopyable."""
    order = footage.order
    row = min(low, order.by_rank[low])
    begin = max(footage.track.keys.rfind(1, 0, row + 1), row - FOLLOWED, 0)
    pictures = ((picture, before) for _, _, picture, before in footage.followed(begin, end))
    return priming.find(pictures, order, _target([footage]), low)


def _anew(footage: Footage, low: int, high: int, run: priming.Start | None = None, reason: str | None = None) -> Head:
    """The frames of ranks [low, high), encoded."""
    order = footage.order
    rows = order.by_rank[low:high]
    end = order.times[high] if high < len(order.times) else order.times[-1] + 1
    key = max(0, footage.track.keys.rfind(1, 0, min(rows) + 1))
    return Head(key, 1 + max(rows), order.times[low], end, high - low, run, reason)


class Stitch(base.Stitch):
    """Pictures of H.264 under one sequence parameter set."""

    def __init__(self, parts: Sequence[Part], sources: Sequence[Source], container: str) -> None:
        copied: dict[int, int] = {}
        for part in parts:
            copied[part.source] = copied.get(part.source, 0) + part.count(Copy)
        # the source that most is copied of is the one that it is best not to touch
        used = [footage_of(sources[n]) for n in sorted(copied, key=lambda n: -copied[n])]
        chosen = _target(used)
        self._whole: set[Footage] = set()  # what is copied bit for bit
        own: dict[int, sets.Pps] = {}
        for footage in used:
            theirs = {p.id: replace(p, sps_id=chosen.id) for p in footage.sets.pps.values()}
            if all(target.same_slices(s, chosen) for s in footage.sps) and all(own.get(n, p) == p for n, p in theirs.items()):
                own |= theirs
                self._whole.add(footage)
            elif footage.interlaced:
                raise Unsupported("the sources are interlaced and have different settings")
        self._stream = Stream(chosen, own.values())
        self._width = next((footage.width for footage in used if footage in self._whole and footage.width), 4)
        for footage in used:
            for p in footage.sets.pps.values():
                self._stream.adopt(p, footage.sets.of(p.id)[1])
        self._encoders: dict[Piece, Encoder] = {}
        for part in parts:
            self._prepare(footage_of(sources[part.source]), part)
        self._known = Sets({chosen.id: chosen}, {p.id: p for p in self._stream.pps})
        self._last_idr: int | None = None  # the idr_pic_id of the last picture
        super().__init__(sources, self._record(used), "avc1" if container in ("mp4", "mov") else "\0\0\0\0")
        reasons = dict.fromkeys(piece.reason for part in parts for piece in part.pieces if isinstance(piece, Head) and piece.reason)
        self.warnings += [f"The frames from the cut to the next key frame were encoded anew: {reason}." for reason in reasons]

    def _prepare(self, footage: Footage, part: Part) -> None:
        """The encoders of a part; what parameter sets they need is known before anything is written."""
        for piece in part.pieces:
            if isinstance(piece, Head):
                low = bisect_left(footage.order.times, piece.start)
                self._encoders[piece] = made = Encoder(
                    sps=self._stream.target,
                    cabac=next(iter(footage.sets.pps.values())).cabac,
                    pixel_format=footage.track.stream.pixel_format or "",
                    qp=encoder.quantiser(footage.qp(low, low + piece.frames)),
                    reorders=piece.run is not None and any(frame.kind == "B" for frame in piece.run.frames),
                )
                known = made.sets()
                for p in known.pps.values():
                    self._stream.adopt(p, known.of(p.id)[1])

    def _record(self, used: Sequence[Footage]) -> bytes:
        """The decoder configuration; the sources' own bytes where they say the same."""
        theirs = {unit for footage in used for unit in footage.units}
        spellings = {sets.write_sps(sets.read_sps(unit)): unit for unit in theirs if unit[0] & 31 == sets.SPS}
        spellings |= {sets.write_pps(sets.read_pps(unit)): unit for unit in theirs if unit[0] & 31 == sets.PPS}
        s, chosen = sets.write_sps(self._stream.target), self._stream.target
        extension = b""
        if chosen.profile in sets.HIGH_PROFILES:
            extension = bytes((0xFC | chosen.chroma, 0xF8 | chosen.luma_depth - 8, 0xF8 | chosen.chroma_depth - 8, 0))
        pictures = tuple(spellings.get(unit, unit) for unit in map(sets.write_pps, self._stream.pps))
        return nal.Config((spellings.get(s, s),), pictures, self._width, extension).record()

    def order(self, part: Part) -> Iterator[int]:
        assert part.track is not None
        for piece in part.pieces:
            if isinstance(piece, Head) and piece.run is not None:
                yield from (part.track.pts[frame.row] for frame in piece.run.frames)
            else:
                yield from super().order(replace(part, pieces=(piece,)))

    def pictures(self, part: Part) -> Iterator[Coded]:
        try:
            for n, picture in enumerate(super().pictures(part)):
                yield self._told_apart(picture, begins=n == 0) if picture.key and not picture.left else picture
                self._last_idr = self._last_idr if picture.key and not picture.left else None
        except Unsupported as exc:
            raise NotCopyable(str(exc)) from exc

    def _told_apart(self, picture: Coded, *, begins: bool) -> Coded:
        """An IDR picture that differs in its idr_pic_id from one right before it, as it must, and that lets all before it be shown."""
        units = nal.prefixed(picture.data, self._width)
        headers = [slices.read(unit, self._known) if unit[0] & 31 == slices.IDR else None for unit in units]
        first = next((header for header in headers if header is not None), None)
        if first is None:
            return picture  # a recovery point, which a container calls a key frame
        number = first.idr_pic_id
        if number == self._last_idr:
            number = 2 if number != 2 else 3  # most encoders only use 0 and 1, so the next one will not be the same again
        self._last_idr = number
        if number == first.idr_pic_id and not (begins and first.no_output):
            return picture
        changed = [
            slices.write(replace(header, idr_pic_id=number, no_output=False), *self._known.of(header.pps_id), unit) if header else unit
            for unit, header in zip(units, headers, strict=True)
        ]
        return replace(picture, data=nal.join(changed, self._width))

    def passes(self, source: Source) -> bool:
        footage = footage_of(source)
        return footage in self._whole and footage.width == self._width

    def copied(self, source: Source, piece: Copy) -> Iterator[Coded]:
        footage = footage_of(source)
        if footage not in self._whole:
            yield from self._renumbered(footage, piece.first, piece.last, None, 0)
            return
        for sample in footage.samples(piece.first, piece.last):
            kinds, data = footage.kinds(sample.data), sample.data
            if footage.width != self._width or kinds & _NOT_IN_SAMPLES:
                # lengths instead of start codes; the sets are in the file's header, and delimiters have no place in MP4
                data = nal.join([u for u in footage.units_of(data) if u[0] & 31 not in _NOT_IN_SAMPLES], self._width)
            yield Coded(data, sample.pts, nal.IDR in kinds)

    def primed(self, source: Source, piece: Primed) -> Iterator[Coded]:
        assert isinstance(piece, Run)
        return self._renumbered(footage_of(source), piece.first, piece.last, piece.start.state, piece.start.base)

    def _renumbered(self, footage: Footage, first: int, last: int, state: buffer.State | None, origin: int) -> Iterator[Coded]:
        """Packets first … last-1 under other headers. `origin` is the order count that becomes 0."""
        for sample, units, picture, _ in footage.followed(first, last, state):
            if picture.idr:
                origin = 0
            keep = {kept.name for kept in picture.kept}
            top = (picture.top - origin) * self._step(footage)
            written = self._stream.write(units, picture, footage.sets, top=top, keep=keep, reference=picture.reference)
            yield Coded(nal.join(written, self._width), sample.pts, picture.idr)

    def _step(self, footage: Footage) -> int:
        """What a source's order counts are multiplied by: type 2 counts non-references between the others, type 0 in twos."""
        return 2 if footage.sps[0].poc_type > self._stream.target.poc_type else 1

    def encoded(self, source: Source, piece: Encode, times: Sequence[int]) -> Iterator[Coded]:
        assert isinstance(piece, Head)
        footage, run = footage_of(source), piece.run
        low = bisect_left(footage.order.times, piece.start)
        order, state, shown = footage.order, None, 0
        places = {frame.row: n for n, frame in enumerate(run.frames)} if run else {}
        kinds = {footage.track.pts[frame.row]: frame.kind for frame in run.frames} if run else {}
        needed = {frame.row for frame in run.frames if frame.needed} if run else set[int]()
        made, bottom = 0, footage.bottom_after_top(piece.key, piece.last) if footage.interlaced else None
        for pts, units, known in self._encoders[piece].code(footage.frames(low, low + piece.frames), footage.track.time_base, kinds):
            row = order.by_rank[low + bisect_left(times, pts)]
            headers = [slices.read(unit, known) for unit in units]
            state = state or buffer.start(known.of(headers[0].pps_id)[1])
            picture, state = buffer.follow(state, row, headers, known)
            if picture.idr:
                shown = made
            top, reference = 2 * (made - shown), picture.reference
            if run:
                top, reference = run.frames[places[row]].top * self._step(footage), priming.stays(run.frames, places[row])
            keep = {kept.name for kept in picture.kept} | needed
            top += max(0, -(bottom or 0))  # the field shown first has the frame's number
            written = self._stream.write(units, picture, known, top=top, keep=keep, reference=reference, bottom=bottom)
            yield Coded(nal.join(written, self._width), pts, picture.idr)
            made += 1
        if made != piece.frames:
            raise Undecodable


_NOT_IN_SAMPLES = {nal.SPS, nal.PPS, nal.AUD}
