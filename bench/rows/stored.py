"""Ranges out of objects in the S3 store: what the service does all day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

from bench.race import clips, ours, peers, shown
from bench.race.clips import Clip
from bench.race.result import Entry, Measure, Sample
from bench.race.row import OURS, AtMost, Contestant, Ratio, Row
from bench.race.world import World
from bench.rows.trims import RATE, trim

SHORT, LONG = "nve, of 2 minutes", "nve, of 2 hours"
AGAIN, SHORT_AGAIN, LONG_AGAIN = "nve, again", f"{SHORT}, again", f"{LONG}, again"


def five_minutes(world: World) -> Path:
    """300 s of 1080p30 H.264 from the quickest preset, GOP 250, 360 MB."""
    seconds = 60 if world.quick else 300
    return world.clip(Clip("five-minutes", seconds, (*clips.x264("ultrafast", 26), "-g", "250"), world.size))


def part_of(size: int, name: str = OURS) -> Callable[[Mapping[str, Entry]], float | None]:
    """The share of the source that was read."""

    def share(entries: Mapping[str, Entry]) -> float | None:
        read = entries[name].median("read_bytes")
        return None if read is None else read / size

    return share


def middle(world: World) -> Row:
    """15 s in the middle of a large file in the store, against servers that download it and programs that have it on disk."""
    path, start, end = five_minutes(world), "40.5" if world.quick else "240.5", "55.5" if world.quick else "255.5"
    stored = world.objects.put(path)
    a, b = float(start), float(end)
    wanted = shown.frames(Fraction(start), Fraction(end), RATE)
    return Row(
        "middle",
        f"[{start}, {end}) of {60 if world.quick else 300} s, {path.stat().st_size / 1e6:.0f} MB, in the S3 store",
        (
            trim(stored, start, end, world),
            trim(stored, start, end, world, name=AGAIN, kept=True),
            peers.ffmpeg("NCA", peers.nca_trim(peers.FETCHED, a, b - a), fetch=world.objects.address(stored)),
            world.packages.smartcut(path, [(a, b)]),
            world.packages.moviepy([(path, a, b)]),
            peers.melt([(path, round(a * RATE), round(b * RATE) - 1)]),
        ),
        lambda output: shown.cut(output, wanted, lambda n: n / RATE),
        (
            Ratio("cpu_seconds", "NCA", Fraction(1, 20)),
            AtMost("read of the source", part_of(stored.size), 0.12, percent=True),
            AtMost("read of the source, stored by store-side copy", part_of(stored.size), 0.06, percent=True),
            AtMost("the same, its index kept from an earlier job", part_of(stored.size, AGAIN), 0.06, percent=True),
        ),
    )


def instant(world: World) -> Row:
    """The same range without encoding anything."""
    path, start, end = five_minutes(world), "40.5" if world.quick else "240.5", "55.5" if world.quick else "255.5"
    a, b = float(start), float(end)
    wanted = shown.frames(Fraction(start), Fraction(end), RATE)
    return Row(
        "instant",
        f"[{start}, {end}) of the same file, on disk, mode instant",
        (trim(path, start, end, mode="instant"), peers.ffmpeg("FFmpeg copy", peers.mediacms_trim(path, a, b - a))),
        lambda output: shown.cut(output, wanted, lambda n: n / RATE),
        (Ratio("wall_seconds", "FFmpeg copy", Fraction(3, 2)),),
        "wall_seconds",
    )


def hours(world: World) -> Row:
    """10 s out of two hours, against the same 10 s out of two minutes: the length of a source costs nothing."""
    stored, film, period = two_hours(world)
    short = world.clip(world.long())
    begin, times = int(world.long().seconds * 0.6), film_times(world)
    a, later = Fraction(begin) + Fraction("0.37"), times // 2 * period + begin + Fraction("0.37")
    start, first = f"{float(a):.6f}", f"{float(later):.6f}"
    wanted = shown.frames(a, a + 10, RATE)

    near, end, last = world.objects.put(short), f"{float(a + 10):.6f}", f"{float(later + 10):.6f}"
    return Row(
        "hours",
        f"10 s of a source of {film / 3600:.1f} h, {stored.size / 1e9:.1f} GB, in the S3 store, against the same of 1/{times} of it",
        (
            trim(stored, first, last, world, name=LONG),
            trim(near, start, end, world, name=SHORT),
            trim(stored, first, last, world, name=LONG_AGAIN, kept=True),
            trim(near, start, end, world, name=SHORT_AGAIN, kept=True),
        ),
        lambda output: shown.cut(output, wanted, lambda n: n / RATE),
        (
            Ratio("wall_seconds", SHORT, Fraction(3, 2), LONG),
            Ratio("read_bytes", SHORT, Fraction(3, 2), LONG),
            Ratio("wall_seconds", SHORT_AGAIN, Fraction(3, 2), LONG_AGAIN),
            Ratio("read_bytes", SHORT_AGAIN, Fraction(3, 2), LONG_AGAIN),
        ),
        "wall_seconds",
    )


def inside(world: World) -> Row:
    """100 s out of two hours: what passes through the function of what is stored."""
    stored, film, period = two_hours(world)
    seconds = 20 if world.quick else 100
    start = film_times(world) // 2 * period + Fraction("6.37")
    wanted = shown.frames(Fraction("6.37"), Fraction("6.37") + seconds, RATE)
    first, last = f"{float(start):.6f}", f"{float(start + seconds):.6f}"
    made: dict[str, int] = {}

    def cut(name: str, kept: bool) -> Contestant:
        def make(output: Path) -> Sample:
            sample = trim(stored, first, last, world, kept=kept).make(output)
            made["size"] = output.stat().st_size
            return sample

        return Contestant(name, make)

    def through(*measures: Measure, name: str = OURS) -> Callable[[Mapping[str, Entry]], float | None]:
        def share(entries: Mapping[str, Entry]) -> float | None:
            found = [it for measure in measures if (it := entries[name].median(measure)) is not None]
            return sum(found) / made["size"] if len(found) == len(measures) and made else None

        return share

    return Row(
        "inside",
        f"{seconds} s of a source of {film / 3600:.1f} h in the S3 store",
        (cut(OURS, kept=False), cut(AGAIN, kept=True)),
        lambda output: shown.cut(output, wanted, lambda n: n / RATE),
        (
            AtMost("read and sent, of the output's bytes", through("read_bytes", "sent_bytes"), 0.10, percent=True),
            AtMost("the same, the source's index kept", through("read_bytes", "sent_bytes", name=AGAIN), 0.10, percent=True),
            AtMost("sent alone", through("sent_bytes"), 0.10, percent=True),
        ),
    )


def film_times(world: World) -> int:
    return 30 if world.quick else 60


def two_hours(world: World) -> tuple[ours.Stored, float, Fraction]:
    """(the object, its seconds, the seconds of one round): the long clip again and again. Only the store keeps it: it is large."""
    source, times = world.clip(world.long()), film_times(world)
    period = world.period(world.long())
    mark = world.clips / f"{source.stem}-{times}.stored"
    if not mark.exists():
        world.say("the source of two hours …")
        film = clips.looped(source, times, world.clips)
        stored = world.objects.put(film)
        film.unlink()
        mark.write_text(f"{stored.key} {stored.size}")
    key, size = mark.read_text().split()
    return ours.Stored(world.objects.environment["S3_MEDIA_BUCKET"], key, int(size)), float(times * period), period


ROWS = {"middle": middle, "instant": instant, "hours": hours, "inside": inside}
