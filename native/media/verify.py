"""Proof that an output is what was promised. An exit code or a written file proves nothing, so the file is opened as a stranger's would be:
its tables, every frame's time, its streams and lengths, and a strict decode of the first and last group of pictures and of every seam."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av.error

from native import errors
from native.media import containers, encode, packets, samples
from native.media.cut import Promise
from native.media.edit import Edit
from native.media.index import Index, Track, build
from native.media.made import Made
from native.media.mp4.layout import Layout
from native.media.source import Blocks, FileSource

AFTER = 12  # packets decoded after a seam: more than any decoder's reordering
LONGEST = 1200  # packets decoded at most before a seam
SMALL = 100_000_000  # pixels of an output that is decoded whole, 48 frames of 1080p: two tenths of a second
SOUND = 2000  # packets of a sound track that are all decoded: 40 s of AAC, a tenth of a second of work
PIECE, PIECES = 100, 10  # of a longer one


@dataclass(frozen=True)
class _Proof:
    """A promise that a file was found to keep, and the state of the file then."""

    promise: Promise
    state: tuple[int, int]
    layout: Layout | None


_proofs: dict[Path, _Proof] = {}


def remember(path: Path, promise: Promise, layout: Layout | None = None) -> None:
    """Notes that the file at `path` was checked and keeps this promise."""
    _proofs[path] = _Proof(promise, _state(path), layout)


def verify(made: Made, edit: Edit) -> None:
    """Raises VERIFY_FAILED when the output is not what the plan promised; the detail says what is wrong."""
    proof = _proofs.get(made.path)
    if proof is None:
        raise errors.VERIFY_FAILED("Nothing is known of how the result was made.")
    promise = proof.promise
    if made.layout != proof.layout or (made.layout is not None and proof.state != _state(made.path)):
        raise errors.VERIFY_FAILED("The result is not the one that was checked.")
    if proof.state != _state(made.path):
        # The file is not the one that was proven when it was made.
        check(made.path, promise, edit.output.container)
    if (made.frames, made.copied_frames + made.primed_frames + made.encoded_frames) != (len(promise.times), len(promise.times)):
        raise errors.VERIFY_FAILED("The result's frame counts do not add up.")


def check(path: Path, promise: Promise, container: str) -> Index:
    """The index of the output at `path`, when it keeps its promise. Raises VERIFY_FAILED."""
    with FileSource(path) as file:
        return proven(Blocks(file), promise, container)


def proven(blocks: Blocks, promise: Promise, container: str, *, sparing: bool = False) -> Index:
    """The same of an output that is read from anywhere. `sparing`: of its sound only the two ends are decoded."""
    try:
        index = build(blocks)
    except errors.Problem as exc:
        raise errors.VERIFY_FAILED("The result cannot be read back.") from exc
    if index.kind.demuxer != containers.OF[container].demuxer:
        raise errors.VERIFY_FAILED("The result is in another container than was asked for.")
    _sounds(index, promise, sparing=sparing)
    if promise.times:
        track = index.video
        if track is None:
            raise errors.VERIFY_FAILED("The result has no video.")
        _times(index, track, promise, ends=containers.OF[container].lasts)
        _decoding_times(index, track)
        _decodes(index, track, promise)
    return index


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _times(index: Index, track: Track, promise: Promise, *, ends: bool) -> None:
    """Every frame is shown, once, at its time, and the last one as long as it should be, where the container says how long that is."""
    shown = track.shown_times()
    if len(shown) != len(promise.times):
        raise errors.VERIFY_FAILED(f"The result shows {len(shown)} frames instead of {len(promise.times)}.")
    tb, slack = track.time_base, promise.slack + track.time_base
    first = shown[0] * tb
    if first > slack + Fraction(1, 20) and first > index.start + slack:
        raise errors.VERIFY_FAILED("The result does not begin with its first frame.")
    for n, (is_at, should) in enumerate(zip(shown, promise.times, strict=True)):
        if abs((is_at - shown[0]) * tb - (should - promise.times[0]) * promise.time_base) > slack:
            raise errors.VERIFY_FAILED(f"Frame {n} of the result is shown at a wrong time.")
    # the packet shown last says it, and where it is not the one decoded last, the edit list
    said = [shown[-1] + track.last_shown(shown[-1]), *([] if track.hidden_from is None else [track.hidden_from])]
    apart = min(abs(end * tb - first - promise.end * promise.time_base) for end in said)
    if apart > slack + Fraction(1, 1000) and ends and not _hidden_end(track):
        raise errors.VERIFY_FAILED("The picture of the result has a wrong length.")


def _hidden_end(track: Track) -> bool:
    """Does an edit list end what is shown? Then the last packet's own length says nothing."""
    return track.hidden_from is not None and any(t >= track.hidden_from for t in track.pts)


def _decoding_times(index: Index, track: Track) -> None:
    if index.kind.demuxer != "mov":
        return  # Matroska has none, and what libavformat makes up for it is nobody's promise
    before = None
    for dts, pts in zip(track.dts, track.pts, strict=True):
        if (before is not None and dts <= before) or pts < dts:
            raise errors.VERIFY_FAILED("The result's decoding times are out of order.")
        before = dts


def _sounds(index: Index, promise: Promise, *, sparing: bool) -> None:
    """All sound tracks are there and last as long as the picture, but for a packet."""
    if len(index.audio) != promise.sounds:
        raise errors.VERIFY_FAILED(f"The result has {len(index.audio)} sound tracks instead of {promise.sounds}.")
    for track in index.audio:
        longest = max((b - a for a, b in zip(track.pts, track.pts[1:], strict=False)), default=track.last) * track.time_base
        end = (track.pts[-1] + track.last) * track.time_base - index.start
        if end > promise.sound_seconds + longest + Fraction(1, 10):
            raise errors.VERIFY_FAILED("The sound of the result is too long.")
        if not _heard(index, track, sparing=sparing):
            raise errors.VERIFY_FAILED("The sound of the result does not decode.")


def _heard(index: Index, track: Track, *, sparing: bool = False) -> bool:
    """Does the sound decode? All of a short one; of a long one pieces, spread evenly, its beginning and its end among them.
    `sparing`: those two only."""
    if track.decoder is None:
        return True  # nobody here can say
    count = len(track.pts)
    starts = range(0, count, max(1, count)) if count <= SOUND else range(0, count - PIECE + 1, max(1, (count - PIECE) // PIECES))
    whole = count <= SOUND and not sparing
    for first in starts if not sparing else sorted({0, max(0, count - PIECE)}):
        decoder = samples.decoder(track)
        decoder.options = {"err_detect": "explode"}
        try:
            for sample in packets.read(index, track, first, count if whole else min(count, first + PIECE)):
                decoder.decode(sample.packet(track))
        except av.error.FFmpegError:
            if first == 0 or not _leans(track):
                return False
    return True


def _leans(track: Track) -> bool:
    """Does a packet of this sound need those before it? Then a piece from the middle may begin with an error."""
    return track.stream.codec in ("mp3", "vorbis", "opus", "aac_latm", "wmav2", "wmapro")


def _decodes(index: Index, track: Track, promise: Promise) -> None:
    """The first and the last group of pictures and the surroundings of every seam, or all of a small output, decoded without mercy."""
    for first, last in _windows(track, promise):
        decoder = encode.video_decoder(track, err_detect="explode")
        count, wanted = 0, last - first
        try:
            for sample in packets.read(index, track, first, last):
                if _leading(track, first, sample):
                    wanted -= 1
                    continue
                count += sum(not f.is_corrupt for f in decoder.decode(sample.packet(track)))
            count += sum(not f.is_corrupt for f in decoder.decode(None))
        except av.error.FFmpegError as exc:
            raise errors.VERIFY_FAILED("The result does not decode.") from exc
        if count < wanted and not promise.guessed and promise.slack == 0 and track.keys[first]:
            missing = wanted - count
            # hidden pictures may refer to what was cut off before the first key frame: nobody sees that they are missing
            if missing > sum(1 for n in range(first, last) if not track.shown(track.pts[n])):
                raise errors.VERIFY_FAILED(f"{missing} frames of the result do not decode.")


def _leading(track: Track, first: int, sample: packets.Sample) -> bool:
    """Is a picture shown before the key frame in the middle of a file that decoding begins with? It may need what lies before."""
    return bool(first and track.keys[first] and sample.pts < track.pts[first])


def _windows(track: Track, promise: Promise) -> list[tuple[int, int]]:
    """Rows [first, last) to decode, overlapping ones joined."""
    count, by_time = len(track.pts), sorted(range(len(track.pts)), key=track.pts.__getitem__)
    shown = [n for n in by_time if track.shown(track.pts[n])]
    ticks = {t: n for n, t in enumerate(promise.times)}
    rows = [shown[ticks[seam]] for seam in promise.seams if seam in ticks]
    if count * (track.stream.width or 0) * (track.stream.height or 0) <= SMALL:
        return [(0, count)]
    windows = [(0, min(count, AFTER)), (max(0, track.keys.rfind(1)), count)]
    for row in rows:
        if row:
            # what begins with a key frame needs nothing before it
            begin = row if track.keys[row] else max(0, track.keys.rfind(1, 0, row), row - LONGEST)
            windows.append((begin, min(count, row + AFTER)))
    joined: list[tuple[int, int]] = []
    for first, last in sorted(windows):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return [(track.keys.rfind(1, 0, first + 1) if track.keys[: first + 1].count(1) else first, last) for first, last in joined]
