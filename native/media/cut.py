"""A plan carried out: packets copied and encoded in order, timed, and written with their sound into one file."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import OutputContainer

from native import errors
from native.media import annexb, audio, codecs, containers, demuxer, encode, extras, hdr, mux, packets, sandbox, stretches, subtitles, tags
from native.media.codecs.base import Stitch
from native.media.edit import Edit
from native.media.info import Stream
from native.media.pieces import Coded, Encode, NotCopyable, Part, Primed, Undecodable
from native.media.plan import Plan
from native.media.promise import Promise
from native.media.splice import Source

Report = Callable[[int, int], None]
ENOUGH = 0.9  # of a source whose packets are not frames one by one: fewer frames than this mean damage


@dataclass
class Job:
    """One output in the making."""

    plan: Plan
    edit: Edit
    sources: Sequence[Source]
    path: Path
    report: Report

    @property
    def container(self) -> str:
        return self.edit.output.container

    def run(self) -> Promise:
        """Writes the file. Raises Undecodable or NotCopyable when the plan does not hold, and the problems of the sources."""
        first = self.sources[self.plan.parts[0].sound]
        with demuxer.open_(first.index.blocks, first.index.kind) as template:
            return _Writing(self, template).run()


class _Writing:
    def __init__(self, job: Job, template: Any) -> None:
        self.job, self.plan, self.template = job, job.plan, template
        self.first = job.sources[job.plan.parts[0].sound]
        # what pictures that were conformed are like, and one that was not, if there is any
        self.shown = job.sources[next((p for p in job.plan.parts if p.heard is None), job.plan.parts[0]).source]
        self.done, self.total = 0, job.plan.frames
        self.guessed = any(p.track is not None and p.track.unreliable for p in job.plan.parts)
        self.made = array("q")  # ticks of the frames that a guess about the source turned into
        self.time_base = self._time_base()
        self.offsets: list[int] = []
        self.lengths: list[Fraction] = []
        at = 0
        for part in self.plan.parts:
            self.offsets.append(at)
            length = part.finish - part.begin
            ticks = round(length / self.time_base) if part.track is not None else 0
            at += ticks
            self.lengths.append(ticks * self.time_base if part.track is not None else length)
        self.end = at
        self.lengths[-1] += self.plan.run_out
        self.stretches = stretches.of(self.plan.parts, self.job.sources, self.lengths)

    def run(self) -> Promise:
        job, plan = self.job, self.plan
        rates = [t.stream.sample_rate or 0 for t in self.first.index.audio]
        out = mux.create(job.path, job.container, [self.time_base.denominator if self.shown.track else 0, *rates])
        try:
            sounds = self._write(out)
        except (av.error.FFmpegError, mux.Refused) as exc:
            raise self._blamed(exc) from exc
        finally:
            # after an error there is nothing more to say
            with suppress(av.error.FFmpegError, ValueError):
                out.close()
        if plan.hidden_after:
            mux.patch(job.path, 0, shown=self.end * self.time_base)
        return self._promise(sounds)

    def _write(self, out: OutputContainer) -> int:
        """Everything into the file, to its last byte. Returns how many sound tracks it has."""
        streams: list[tuple[Any, Any]] = []
        if self.shown.track is not None:
            streams.append(self._picture(out))
        placed, container, warnings = self.stretches, self.job.container, self.plan.warnings
        sounds = audio.streams(out, self.template, placed, container, warnings, anew=self.job.edit.mode == "encode")
        streams += sounds
        streams += subtitles.streams(out, self.template, placed, container, warnings)
        streams += extras.attached(out, self.template, self.first.index, container, warnings)
        if self.shown.track is not None:
            extras.turn(streams[0][0], self.shown.track.stream, container, warnings)
            extras.label(streams[0][0], placed, container, warnings)
        extras.describe(out, self.template, placed, container, warnings)
        for packet in mux.interleaved(streams):
            out.mux_one(packet)
        out.close()
        if container == "mov":
            mux.speak(self.job.path, [stream.metadata.get("language") for stream, _ in streams])
        return len(sounds)

    def _blamed(self, exc: av.error.FFmpegError | mux.Refused) -> Exception:
        """What an error while writing means. A full disk is no reason to write it all a second time, and larger."""
        if isinstance(exc, av.error.FFmpegError) and exc.errno in sandbox.EXHAUSTED:
            return errors.TOO_HEAVY()
        if self.plan.copies:
            return NotCopyable("the output container refused the copied stream")
        return errors.OUTPUT_REFUSED()

    def _time_base(self) -> Fraction:
        """The output's video clock: the sources' own where they share one, else one that holds every frame time of all."""
        bases = {p.track.time_base for p in self.plan.parts if p.track is not None}
        if len(bases) == 1:
            return bases.pop()
        if not bases:
            return Fraction(1, 90_000)
        common = mux.movie_timescale(b.denominator for b in bases)
        return Fraction(1, common)

    # the picture ------------------------------------------------------------------------------------------------------------------

    def _picture(self, out: OutputContainer) -> tuple[Any, Iterator[av.Packet]]:
        if self.plan.copies:
            return self._copied_picture(out)
        return self._encoded_picture(out)

    def _copied_picture(self, out: OutputContainer) -> tuple[Any, Iterator[av.Packet]]:
        track = self.shown.track
        assert track is not None
        stitch = codecs.of(track.stream.codec).stitch(self.plan.parts, self.job.sources, self.job.container)
        self.plan.warnings += stitch.warnings
        index = self.shown.index
        with nullcontext(self.template) if index is self.first.index else demuxer.open_(index.blocks, index.kind) as template:
            stream: Any = mux.copied(out, template.streams[track.stream.index], opaque=True)
        if (rate := self._steady_rate()) is not None:
            # Matroska says only so how long the last frame lasts
            stream.codec_context.framerate = rate
        stream.time_base = self.time_base
        stream.codec_context.extradata = stitch.extradata
        if stitch.tag is not None:
            stream.codec_context.codec_tag = stitch.tag
        tags.name(stream, track.stream, self.job.container, self.plan.warnings)
        return stream, self._timed(stitch, self._framing(stream, track.stream.codec))

    def _framing(self, stream: Any, codec: str) -> annexb.Stream | None:
        """How pictures stand in MPEG-TS, where that is not as in every other container."""
        if self.job.container != "ts" or codec not in ("h264", "hevc"):
            return None
        framing = annexb.of(codec, stream.codec_context.extradata or b"")
        stream.codec_context.extradata = framing.sets
        return framing

    def _steady_rate(self) -> Fraction | None:
        """The frame rate of all parts, when none of their frames lasts longer or shorter than the others."""
        tracks = {(p.track.stream.frame_rate, p.track.time_base) for p in self.plan.parts if p.track is not None}
        rates = {rate for rate, _ in tracks}
        rate = rates.pop() if len(rates) == 1 else None
        if not rate:
            return None
        slack = 2 * max(tb for _, tb in tracks)
        for part in self.plan.parts:
            if part.track is not None:
                least, most = (1 / rate - slack) / part.track.time_base, (1 / rate + slack) / part.track.time_base
                # whole numbers are compared many times faster than fractions
                low, high = math.floor(least) + 1, math.ceil(most) - 1
                if any(not low <= b - a <= high for a, b in pairwise(part.times)):
                    return None
        return rate

    def _timed(self, stitch: Stitch, framing: annexb.Stream | None) -> Iterator[av.Packet]:
        """Copied and encoded pictures with their times. The k-th packet is decoded at the k-th time of showing, less one constant delay:
        steady, never after its own showing, and the same whatever the source's own decoding times were."""
        coming = array("q")
        for part, offset in zip(self.plan.parts, self.offsets, strict=True):
            coming.extend(self._place(part, t, offset) for t in stitch.order(part))
        shown = array("q", sorted(coming))
        delay = max((early - own for early, own in zip(shown, coming, strict=True)), default=0)
        last = len(shown) - 1
        for n, picture in enumerate(self._pictures(stitch)):
            if n > last or picture.pts != coming[n]:
                raise Undecodable
            at = bisect_left(shown, picture.pts)
            packet = packets.owned(framing.written(picture.data) if framing is not None else picture.data)
            packet.pts, packet.dts, packet.time_base = picture.pts, shown[n] - delay, self.time_base
            packet.duration = (shown[at + 1] if at < last else max(self.end, picture.pts + 1)) - picture.pts
            packet.is_keyframe = picture.key
            yield packet

    def _place(self, part: Part, ticks: int, offset: int) -> int:
        """The output's tick for a tick of the part's source."""
        assert part.track is not None
        if part.track.time_base == self.time_base:
            return offset + ticks - part.origin
        return offset + round((ticks - part.origin) * part.track.time_base / self.time_base)

    def _pictures(self, stitch: Stitch) -> Iterator[Coded]:
        for part, offset in zip(self.plan.parts, self.offsets, strict=True):
            for picture in stitch.pictures(part):
                self._count()
                yield Coded(picture.data, self._place(part, picture.pts, offset), picture.key)

    def _count(self) -> None:
        self.done += 1
        self.job.report(min(self.done, self.total), self.total)

    def _encoded_picture(self, out: OutputContainer) -> tuple[Any, Iterator[av.Packet]]:
        track = self.shown.track
        assert track is not None
        facts, target = track.stream, encode.target(track.stream, self.job.container)
        stream: Any = mux.encoded(out, target.codec, rate=facts.frame_rate or Fraction(25))
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = facts.width, facts.height, target.pixel_format
        if target.pixel_format.startswith("yuv420") or target.pixel_format.startswith("yuvj420"):
            # chroma of two lines and columns: an odd size loses its last line
            context.width, context.height = max(2, facts.width // 2 * 2), max(2, facts.height // 2 * 2)  # type: ignore[operator]
        context.time_base = self.time_base
        stream.time_base = self.time_base
        if facts.sample_aspect:
            context.sample_aspect_ratio = facts.sample_aspect
        for name, value in (
            ("color_range", facts.color_range),
            ("color_primaries", facts.color_primaries),
            ("color_trc", facts.color_transfer),
            ("colorspace", facts.color_matrix),
        ):
            if value is not None:
                setattr(context, name, value)
        context.thread_count = encode.THREADS
        context.gop_size = max(1, round((facts.frame_rate or 25) * 5))  # so that the next cut of it has few frames to encode
        context.options = self._lit(target, facts)
        if target.tag and self.job.container in ("mp4", "mov"):
            context.codec_tag = target.tag
        if target.pixel_format != facts.pixel_format:
            self.plan.warnings.append(f"The pixels were converted from {facts.pixel_format} to {target.pixel_format}.")
        tags.name(stream, track.stream, self.job.container, self.plan.warnings)
        return stream, self._encoded_packets(stream)

    def _lit(self, target: encode.Target, facts: Stream) -> dict[str, str]:
        """The encoder's options, with what an HDR source says of its screen and light."""
        if target.codec != "libx265" or facts.color_transfer not in hdr.HDR or self.shown is not self.first:
            return target.options
        more = "".join(f":{name}={value}" for name, value in hdr.x265(self.template, facts.index).items())
        return target.options | {"x265-params": target.options["x265-params"] + more}

    def _encoded_packets(self, stream: Any) -> Iterator[av.Packet]:
        shown = array("q")
        for part, offset in zip(self.plan.parts, self.offsets, strict=True):
            shown.extend(self._place(part, t, offset) for t in part.times)
        for packet in encode.whole(self.job.sources, self.plan.parts, stream, self.offsets, self.time_base):
            self._count()
            assert packet.pts is not None  # its frame had one
            at = bisect_left(shown, packet.pts)
            packet.duration = (shown[at + 1] if at + 1 < len(shown) else max(self.end, packet.pts + 1)) - packet.pts
            packet.time_base = self.time_base
            self.made.append(packet.pts)
            yield packet
        if len(self.made) < len(shown) * ENOUGH:
            raise Undecodable

    def _promise(self, sounds: int) -> Promise:
        times, seams = array("q"), []
        for part, offset in zip(self.plan.parts, self.offsets, strict=True):
            if part.track is None:
                continue
            times.extend(self._place(part, t, offset) for t in part.times)
            at = 0
            for piece in part.pieces:
                seams.append(self._place(part, part.times[at], offset))
                at = min(at + piece.frames, len(part.times) - 1)
        if self.guessed:
            times, seams = array("q", sorted(self.made)), []
        total = len(times)
        encoded, primed = (sum(p.count(kind) for p in self.plan.parts) if self.plan.copies else 0 for kind in (Encode, Primed))
        encoded = encoded if self.plan.copies else total
        return Promise(
            times=times,
            time_base=self.time_base,
            end=self.end,
            seams=seams,
            sounds=sounds,
            sound_seconds=sum(self.lengths, Fraction(0)),
            copied=total - primed - encoded,
            primed=primed,
            encoded=encoded,
            guessed=self.guessed,
            slack=containers.OF[self.job.container].tick,
        )
