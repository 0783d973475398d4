"""HEVC: packets copied between clean and open starts, frames at a cut encoded by x265.

Motion vectors are borrowed from reference pictures, so a copied picture needs exactly the pictures that it was made with: everything up to
the next intra picture is encoded, with that one's leading pictures. The encoder's parameter sets, and those of further sources, get ids of
their own beside the first source's, all in the file's header: so the file is `hvc1`, which is the kind that Apple's players accept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from av.codec.context import Flags

from native.media import encode, nal, packets, splice
from native.media.codecs import base
from native.media.h264.bits import Unsupported
from native.media.hevc import record, sei, sets, slices
from native.media.pieces import Coded, Copy, Encode, NotCopyable, Part, Piece
from native.media.splice import Source

BEST, WORST, USUAL = 12, 24, 20  # the range of constant rate factors for frames at a cut, and the one for unknown quantisers
BETTER = 4  # rate factor below the source's quantiser: P frames are coded at about three above the rate factor's I frames
ENCODABLE = {f"yuv{j}{shape}p{depth}" for j in ("", "j") for shape in ("420", "422", "444") for depth in ("", "10le", "12le")}
# Of these sample entries the picture is only right with the Dolby Vision data (profile 5).
DOLBY_ONLY = ("dvhe", "dvh1")


class Hevc(base.Codec):
    def refusal(self, sources: Sequence[Source], container: str) -> str | None:
        del container
        try:
            for source in sources:
                found = _record(source)
                if found is None:
                    return "the source has no HEVC parameter sets"
                if any(sets.sps(unit).interlaced for unit in found.of(sets.SPS)):
                    return "interlaced HEVC cannot be cut without encoding"
        except Unsupported as exc:
            return str(exc)
        return None

    def pieces(self, source: Source, low: int, high: int) -> tuple[Piece, ...]:
        found = base.between_keys(source, low, high)
        stream = base.track_of(source).stream
        if any(isinstance(piece, Encode) for piece in found):
            if stream.tag in DOLBY_ONLY:
                raise NotCopyable("its Dolby Vision picture is only copied from key frame to key frame, and its colours are lost")
            if stream.pixel_format not in ENCODABLE:
                raise NotCopyable(f"{stream.pixel_format} pixels cannot be encoded in HEVC here")
        return found

    def stitch(self, parts: Sequence[Part], sources: Sequence[Source], container: str) -> base.Stitch:
        try:
            return Stitch(parts, sources, container)
        except Unsupported as exc:
            raise NotCopyable(str(exc)) from exc


def _record(source: Source) -> record.Record | None:
    """The parameter sets of a source: those of its header, else those in its first packet. Raises Unsupported."""
    track = base.track_of(source)
    found = record.parse(track.extradata)
    if found is not None and found.parameters:
        return found
    units = tuple(nal.annexb(track.extradata)) if found is None else ()
    made = record.built(units)
    if made is None:
        first = max(0, track.keys.find(1))
        made = record.built(tuple(splice.units_of(track, packets.one(source.index, track, first).data)))
    return made


class _Names:
    """The parameter sets of an output, under ids that do not clash."""

    def __init__(self, first: record.Record) -> None:
        self.record = first
        self._taken = {
            sets.VPS: {unit[2] >> 4 for unit in first.of(sets.VPS)},
            sets.SPS: {sets.sps(unit).id for unit in first.of(sets.SPS)},
            sets.PPS: {sets.pps(unit).id for unit in first.of(sets.PPS)},
        }

    def adopt(self, other: record.Record) -> int:
        """Takes in another stream's sets; the number that its picture set gets. Raises Unsupported when they are not one of each kind."""
        video, sequence, picture = (other.of(kind) for kind in (sets.VPS, sets.SPS, sets.PPS))
        if not len(video) == len(sequence) == len(picture) == 1:
            raise Unsupported("its pictures use several parameter sets")
        a, b = self._free(sets.VPS, range(16)), self._free(sets.SPS, range(16))
        number = self._free(sets.PPS, slices.MOVED)
        more = (sets.vps_as(video[0], a), sets.sps_as(sequence[0], b, a), sets.pps_as(picture[0], number, b))
        self.record = self.record.merged(more, other.level)
        return number

    def _free(self, kind: int, numbers: Sequence[int]) -> int:
        found = next((n for n in numbers if n not in self._taken[kind]), None)
        if found is None:
            raise Unsupported("there are too many HEVC parameter sets")
        self._taken[kind].add(found)
        return found


class Stitch(base.Stitch):
    """Pictures of HEVC whose parameter sets are all in the file's header."""

    def __init__(self, parts: Sequence[Part], sources: Sequence[Source], container: str) -> None:
        self._numbers: dict[tuple[bytes, ...], int | None] = {}  # a source's sets -> the new number of its picture set
        names = None
        for part in parts:
            found = _found(sources[part.source])
            if names is None:
                names = _Names(found)
                self._numbers[found.parameters] = None
            elif found.parameters not in self._numbers:
                self._numbers[found.parameters] = names.adopt(found)
        assert names is not None
        encoded = [(sources[part.source], piece) for part in parts for piece in part.pieces if isinstance(piece, Encode)]
        self._plain = bool(encoded)  # frames without Dolby Vision data among the copied ones: then none keeps them
        if encoded:
            source, piece = encoded[0]
            self._first, self._crf = source, _quality(source, piece.key)
            self._hdr = sei.lasting(_units(source, piece.key), _found(source).of(sets.SEI))
            made = record.built(tuple(nal.annexb(bytes(self._encoder().extradata))))
            assert made is not None  # x265 gives one of each
            self._encoders = names.adopt(made)
        super().__init__(sources, names.record.merged((), 0).bytes(), "hvc1" if container in ("mp4", "mov") else None)
        self._begun = False
        self._warn(parts)

    def _warn(self, parts: Sequence[Part]) -> None:
        looked = {part.source: _units(self.sources[part.source], base.decode_from(self.sources[part.source], 0)) for part in parts}
        kinds = {sets.kind(unit) for units in looked.values() for unit in units}
        if kinds & {sets.RPU, sets.ENHANCEMENT}:
            self.warnings.append("The Dolby Vision data are not kept; the picture plays as plain HDR.")
        if any(sets.layer(unit) for units in looked.values() for unit in units if sets.kind(unit) < sets.RPU):
            self.warnings.append("Only the first view of the picture is kept.")

    def copied(self, source: Source, piece: Copy) -> Iterator[Coded]:
        """A copied run, looked at while it passes: damaged packets and parameter sets that change on the way end the copy."""
        found = _found(source)
        known, number = set(found.parameters), self._numbers[found.parameters]
        width = splice.length_width(base.track_of(source))
        for made in super().copied(source, piece):
            units = _split(made.data, width)
            kept = [unit for unit in units if self._keeps(unit, known)]
            pictures = {sets.kind(unit) for unit in kept if slices.is_slice(unit)}
            if not pictures:
                raise NotCopyable("some of its packets are damaged")
            linked = pictures == {slices.CRA} and made.pts == base.track_of(source).pts[piece.first] and self._begun
            if linked or number is not None:
                kept = [self._rewritten(unit, number, linked=linked) if slices.is_slice(unit) else unit for unit in kept]
            changed = width != 4 or len(kept) != len(units) or linked or number is not None
            yield Coded(nal.join(kept) if changed else made.data, made.pts, all(16 <= kind <= 23 for kind in pictures))
            self._begun = True

    def _keeps(self, unit: bytes, known: set[bytes]) -> bool:
        kind = sets.kind(unit)
        if kind in (sets.VPS, sets.SPS, sets.PPS) and not sets.layer(unit):
            if unit not in known:
                raise NotCopyable("its parameter sets change on the way")
            return False
        if kind in (sets.RPU, sets.ENHANCEMENT):
            return not self._plain
        return kind != sets.AUD and not sets.layer(unit)

    @staticmethod
    def _rewritten(unit: bytes, number: int | None, *, linked: bool) -> bytes:
        try:
            unit = slices.as_broken_link(unit) if linked else unit
            return slices.moved(unit, number) if number is not None else unit
        except Unsupported as exc:
            raise NotCopyable(str(exc)) from exc

    def encoded(self, source: Source, piece: Encode, times: Sequence[int]) -> Iterator[Coded]:
        for packet in encode.packets_of(self._encoder(), source, piece, times):
            units = [unit for unit in nal.annexb(bytes(packet)) if sets.kind(unit) not in (sets.VPS, sets.SPS, sets.PPS, sets.AUD)]
            made = [self._rewritten(unit, self._encoders, linked=False) if slices.is_slice(unit) else unit for unit in units]
            assert packet.pts is not None  # its frame had one
            yield Coded(nal.join([*(self._hdr if packet.is_keyframe else ()), *made]), packet.pts, packet.is_keyframe)
            self._begun = True

    def _encoder(self) -> Any:
        """One IDR, then P frames, each shown in the order of coding; the pixels and all that describes them as in the source."""
        track = base.track_of(self._first)
        encoder = encode.like("libx265", track)
        encoder.flags |= Flags.global_header
        location = sets.sps(_found(self._first).of(sets.SPS)[0]).vui.chroma_location
        parameters = {
            "crf": self._crf,
            "keyint": -1,
            "bframes": 0,  # so that decoding order is showing order
            "scenecut": 0,
            "open-gop": 0,
            "rc-lookahead": 10,
            "pools": encode.THREADS,
            "info": 0,
            "log-level": "none",
            **({"chromaloc": location} if location is not None else {}),
        }
        encoder.options = {"preset": "ultrafast", "x265-params": ":".join(f"{name}={value}" for name, value in parameters.items())}
        encoder.open()
        return encoder


def _found(source: Source) -> record.Record:
    found = _record(source)
    if found is None:
        raise NotCopyable("the source has no HEVC parameter sets")
    return found


def _units(source: Source, row: int) -> list[bytes]:
    track = base.track_of(source)
    return _split(packets.one(source.index, track, row).data, splice.length_width(track))


def _split(data: bytes, width: int) -> list[bytes]:
    """The units of a packet. Raises NotCopyable."""
    try:
        units = nal.prefixed(data, width) if width else nal.annexb(data)
    except nal.Broken as exc:
        raise NotCopyable("some of its packets are damaged") from exc
    return [unit for unit in units if len(unit) > 2]


def _quality(source: Source, row: int) -> int:
    """The rate factor: better than the quantiser of the source's own intra picture, within sane bounds."""
    found = _found(source)
    known = {s.id: s for s in map(sets.sps, found.of(sets.SPS))}
    pictures = {p.id: p for p in map(sets.pps, found.of(sets.PPS))}
    seen = [slices.qp(unit, known, pictures) for unit in _units(source, row) if slices.is_slice(unit)]
    quantisers = [qp for qp in seen if qp is not None]
    return max(BEST, min(WORST, round(median(quantisers)) - BETTER)) if quantisers else USUAL
