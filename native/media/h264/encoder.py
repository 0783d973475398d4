"""x264 for the few frames at a cut: every one of them simple enough for any set that it is moved under."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.codec.context import CodecContext, Flags
from av.video.frame import PictureType

from native.media import encode, nal
from native.media.h264.bits import Unsupported
from native.media.h264.sets import BASELINE, HIGH_PROFILES, MAIN, Sets, Sps
from native.media.h264.sets import read as read_sets

# What x264 codes in the profiles that allow it.
PIXELS = {f"yuv{j}{shape}p{depth}" for j in ("", "j") for shape in ("420", "422", "444") for depth in ("", "10le")}
PROFILES = (BASELINE, MAIN, *HIGH_PROFILES)
FINER = 6  # below the source's quantiser: half the step, for many copied pictures are made from these few
FINEST, COARSEST, USUAL = 6, 24, 16
_CLOCK = Fraction(1, 90_000)  # for streams without a rate
_TYPES = {"I": PictureType.I, "P": PictureType.P, "B": PictureType.B}


def refusal(s: Sps, pixel_format: str | None) -> str | None:
    """Why frames cannot be encoded under a sequence set; None when they can."""
    if s.separate_planes:
        return "its colour planes are coded separately"
    if not s.chroma:
        return "it is without colour"  # which decoders give it
    if s.poc_type == 1:
        return "its pictures are ordered in cycles (picture order count type 1)"
    if s.profile not in PROFILES:
        return f"frames of H.264 profile {s.profile} cannot be encoded here"
    if pixel_format not in PIXELS or s.luma_depth != s.chroma_depth:
        return f"{pixel_format} pixels cannot be encoded in H.264 here"
    return None


@dataclass(frozen=True)
class Encoder:
    """Makes frames that fit a sequence set."""

    sps: Sps
    cabac: bool
    pixel_format: str
    qp: int
    reorders: bool = False  # with B frames where they are asked for

    def sets(self) -> Sets:
        """The parameter sets of what it will code. Raises Unsupported."""
        encoder = self._opened(_CLOCK, None)
        encoder.open()
        return self._checked(encoder)

    def _checked(self, encoder: Any) -> Sets:
        found = read_sets(nal.annexb(encoder.extradata))
        made, wanted = next(iter(found.sps.values())), self.sps
        if (made.macroblocks, made.pixels) != (wanted.macroblocks, wanted.pixels):
            raise Unsupported("the encoder's pictures have another shape")
        if (made.frames_only, made.adaptive_fields) != (wanted.frames_only, wanted.adaptive_fields):
            raise Unsupported("the encoder's pictures have another scan type")
        return found

    def code(
        self, frames: Iterable[av.VideoFrame], time_base: Fraction, kinds: Mapping[int, str]
    ) -> Iterator[tuple[int, list[bytes], Sets]]:
        """The frames as (ticks, slices, sets) in coding order. `kinds` are their types by ticks; without them, all but the first are P."""
        encoder, known = None, None
        for frame in frames:
            if encoder is None:
                encoder = self._opened(time_base, frame.format.name)
            assert frame.pts is not None
            frame.pict_type = _TYPES[kinds[frame.pts]] if self.reorders else PictureType.NONE
            frame.time_base = time_base
            made = encoder.encode(frame)
            known = known or self._checked(encoder)
            yield from ((packet.pts, _slices(packet), known) for packet in made)
        if encoder is not None and known is not None:
            yield from ((packet.pts, _slices(packet), known) for packet in encoder.encode(None))

    def _opened(self, time_base: Fraction, pixel_format: str | None) -> Any:
        encoder: Any = CodecContext.create("libx264", "w")
        # everything that is coded, also what the source's set crops away
        columns, rows = self.sps.macroblocks
        encoder.width, encoder.height = 16 * columns, 16 * rows * (1 if self.sps.frames_only else 2)
        encoder.pix_fmt = pixel_format or self.pixel_format
        encoder.time_base = time_base
        encoder.framerate = Fraction(25)
        encoder.thread_count = encode.THREADS
        encoder.flags |= Flags.global_header  # the sets are wanted first and once
        high = self.sps.profile in HIGH_PROFILES
        parameters = {
            "qp": self.qp,  # each frame as good as the others: all are referred to
            "keyint": "infinite"
            if self.sps.references
            else 1,  # one IDR, at the start; no others than those when nothing may be referred to
            "scenecut": 0,
            "ref": 1,  # fits every source's reference buffer
            "bframes": 16 if self.reorders else 0,  # without them decoding order is showing order, and no reordering is needed
            "b-adapt": 0,  # all types are given
            "b-pyramid": "none",
            "direct": "none",  # its rules are in the sequence set
            "weightb": 0,
            "weightp": 0,
            "cabac": int(self.cabac and self.sps.profile != BASELINE),  # Baseline has none
            "8x8dct": int(high),  # nor have Baseline and Main this
            "sliced-threads": 0,
        }
        if not self.sps.frames_only:
            # macroblocks choose between frame and field coding, or never do; the order of the fields is in the slices' headers
            parameters["tff" if self.sps.adaptive_fields else "fake-interlaced"] = 1
        options = ":".join(f"{name}={value}" for name, value in parameters.items())
        encoder.options = {"preset": "veryfast", "x264-params": options}
        return encoder


def quantiser(source: int | None) -> int:
    """The quantiser for frames that stand beside ones of a source's quantiser."""
    return USUAL if source is None else max(FINEST, min(COARSEST, source - FINER))


def _slices(packet: av.Packet) -> list[bytes]:
    return [unit for unit in nal.annexb(bytes(packet)) if unit[0] & 31 in (nal.SLICE, nal.IDR)]
