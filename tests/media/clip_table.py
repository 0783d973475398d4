"""Every real clip cut three ways and merged with its neighbour, judged by the gates: `python -m tests.media.clip_table [name …]` prints
docs/clips.md, a row for each job, and ends with 1 when one is wrong. Each clip has its own process, so that none can spoil another.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error

from native import errors
from native.media import edit, engine, source, verify
from native.media.made import Made
from tests.media import bits, gates, joins, looking

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("NVE_MEDIA") or ROOT.parent / "shared" / "media")
LONGEST = 12  # seconds of a cut across many groups of pictures
SECONDS, MEGABYTES = 5, 300  # what a broken clip may take
PATIENCE = 900  # seconds for one clip's process

# Where FFmpeg's own decode has no times, or others at every pass, frames are counted and compared but their times are not.
TIMELESS = {"deeplabcut__vid.avi", "androidx__roadtrip-vp92-10bit.webm"}


@dataclass(frozen=True)
class Row:
    """What came of one job."""

    clip: str
    job: str
    way: str  # copied / primed / encoded
    verdict: str
    note: str
    seconds: float

    @property
    def wrong(self) -> bool:
        return self.verdict.startswith("WRONG")


def clips() -> list[Path]:
    return sorted(p for p in FOLDER.glob("*/*") if p.is_file()) if FOLDER.is_dir() else []


def broken(path: Path) -> bool:
    return "broken" in path.parent.name


def _milli(value: Fraction | float) -> Fraction:
    return Fraction(round(Fraction(value) * 1000), 1000)


def trims(path: Path) -> dict[str, tuple[Fraction, Fraction | None]]:
    """Inside one group of pictures, across many, to the very end: times of which none lies on a frame by plan."""
    shown = looking.frames(path, numbered=False)
    times = [f.time for f in shown]
    total = times[-1] - times[0]
    found = bits.packets(path)
    zero = min(p.pts for p in found)
    keys = sorted(p.pts - zero + times[0] for p in found if p.clean and p.pts - zero <= total) or [times[0]]
    ends = [*keys[1:], times[-1]]
    begin, end = max(zip(keys, ends, strict=True), key=lambda it: it[1] - it[0])
    end = min(end, begin + 8)
    cuts: dict[str, tuple[Fraction, Fraction | None]] = {
        "in one group": (_milli(begin + (end - begin) / 4), _milli(begin + (end - begin) * 2 / 3))
    }
    start = times[0] + total * 15 / 100
    cuts["across many"] = (_milli(start), _milli(min(start + LONGEST, times[0] + total * 8 / 10)))
    cuts["to the end"] = (_milli(max(times[0] + total * 6 / 10, times[-1] - 4)), None)
    return cuts


def stretch(path: Path) -> tuple[Fraction, Fraction | None]:
    """What a merge takes of a clip: a second and a half from somewhere inside."""
    times = [f.time for f in looking.frames(path, numbered=False)]
    total = times[-1] - times[0]
    start = times[0] + total / 5
    return _milli(start), _milli(min(start + Fraction(3, 2), times[0] + total * 9 / 10)) if len(times) > 3 else None


def _segment(number: int, start: Fraction, end: Fraction | None) -> edit.Segment:
    asked = {"source": number, "start": str(start)} | ({"end": str(end)} if end is not None else {})
    return edit.Segment.model_validate(asked)


def render(paths: list[Path], cuts: list[tuple[Fraction, Fraction | None]], room: Path) -> Made:
    """The job as a worker does it."""
    asked = edit.Edit(segments=tuple(_segment(n, *cut) for n, cut in enumerate(cuts)))
    sources = [source.FileSource(path) for path in paths]
    made = engine.render(asked, sources, room, lambda *_: None)
    verify.verify(made, asked)
    return made


def row(paths: list[Path], job: str, cuts: list[tuple[Fraction, Fraction | None]]) -> Row:
    """One job and its verdict."""
    began, way, note = time.monotonic(), "", ""
    with tempfile.TemporaryDirectory(prefix="clip-") as room:
        try:
            made = render(paths, cuts, Path(room))
        except errors.Problem as problem:
            sentence = problem.detail[:1].isupper() and problem.status < 500
            return Row(
                paths[0].name,
                job,
                "",
                "refused" if sentence else "WRONG: no reason given",
                f"{problem.code}: {problem.detail}",
                time.monotonic() - began,
            )
        except Exception as exc:  # an accident is what is looked for
            return Row(paths[0].name, job, "", f"WRONG: {type(exc).__name__}", str(exc)[:200], time.monotonic() - began)
        took = time.monotonic() - began
        way, note = f"{made.copied_frames} / {made.primed_frames} / {made.encoded_frames}", " ".join(made.warnings)
        try:
            verdict = judge(paths, cuts, made)
        except AssertionError as wrong:
            verdict = f"WRONG: {' '.join(str(wrong).split())[:200]}"
        except (av.error.FFmpegError, subprocess.TimeoutExpired) as exc:
            verdict = f"WRONG: {exc}"
    return Row(paths[0].name, job, way, verdict, note, took)


def judge(paths: list[Path], cuts: list[tuple[Fraction, Fraction | None]], made: Made) -> str:
    """The verdict of an output: the gates that it passed. Raises AssertionError."""
    asked = [gates.Cut(path, *cut, numbered=False) for path, cut in zip(paths, cuts, strict=True)]
    if any(not pictures(path) for path in paths):
        try:
            looking.strictly_decodes(made.path)
        except AssertionError:
            if _sound(paths[0]):
                raise
            return "sound only, as damaged as it was"
        return "sound only"
    if any(path.name in TIMELESS for path in paths):
        looking.strictly_decodes(made.path)
        return "decodes"
    if len(paths) > 1 and not joins.alike(asked, made.path):
        joins.conformed(asked, made.path)
        return "in step"
    same, counts = gates.exact(asked, made.path)
    assert made.frames == len(same) == made.copied_frames + made.primed_frames + made.encoded_frames, "its counts do not add up"
    assert made.copied_frames <= sum(same), f"{made.copied_frames} frames are said to be copied, {sum(same)} are identical"
    assert made.copied_frames <= counts.copied, (
        f"{made.copied_frames} frames are said to be copied, {counts.copied} packets are the source's"
    )
    worst = min(gates.quality(asked, made.path, same))
    return "exact" if worst == 100 else f"exact, {worst:.0f} dB"


def _sound(path: Path) -> bool:
    """Does the source itself decode strictly?"""
    try:
        looking.strictly_decodes(path)
    except AssertionError:
        return False
    return True


def pictures(path: Path) -> bool:
    with av.open(str(path), metadata_errors="replace") as container:
        return bool(container.streams.video)


def rows_of(path: Path, neighbour: Path) -> Iterator[Row]:
    """Three trims of a clip, and the merge with its neighbour."""
    if broken(path):
        yield from _broken(path)
        return
    if not pictures(path):
        for job, cut in {"a part": (Fraction(1, 10), Fraction(2, 10)), "to the end": (Fraction(1, 10), None)}.items():
            yield row([path], job, [cut])
        return
    for job, cut in trims(path).items():
        yield row([path], job, [cut])
    yield row([path, neighbour], f"with {neighbour.name}", [stretch(path), stretch(neighbour)])


def _peak() -> int:
    """The most memory this process has had, in MB. Not `ru_maxrss`: that begins with what the process was that started this one."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) >> 10  # type: ignore[index]


def _broken(path: Path) -> Iterator[Row]:
    """A broken clip is refused, whatever is asked of it, soon and in little memory."""
    for job, cut in {
        "the beginning": (Fraction(0), Fraction(3, 10)),
        "a part": (Fraction(4, 10), Fraction(9, 10)),
        "the whole": (Fraction(0), None),
    }.items():
        found = row([path], job, [cut])
        if found.verdict == "refused" and found.seconds > SECONDS:
            found = Row(path.name, job, "", f"WRONG: took {found.seconds:.1f} s", found.note, found.seconds)
        elif found.verdict != "refused" and not found.wrong:
            found = Row(path.name, job, found.way, f"WRONG: a success ({found.verdict})", found.note, found.seconds)
        yield found
    if (peak := _peak()) > MEGABYTES:
        yield Row(path.name, "memory", "", f"WRONG: {peak} MB", "", 0)


def alone(path: Path, neighbour: Path) -> list[Row]:
    """The rows of a clip, made in a process of their own."""
    command = [sys.executable, "-m", "tests.media.clip_table", "--one", str(path), str(neighbour)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return [Row(path.name, "", "", "WRONG: it hangs", "", PATIENCE)]
    found = [Row(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode:
        found.append(Row(path.name, "", "", f"WRONG: the process ended with {done.returncode}", done.stderr.strip()[-200:], 0))
    return found


def table(rows: list[Row]) -> str:
    """In Markdown."""
    lines = ["| clip | job | copied / primed / encoded | verdict | what was said |", "|---|---|---|---|---|"]
    before = ""
    for it in rows:
        name = it.clip.replace("|", "\\|")
        said = it.note.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {'' if name == before else f'`{name}`'} | {it.job} | {it.way} | {it.verdict} | {said} |")
        before = name
    return "\n".join(lines) + "\n"


_HEAD = """# The real clips

What became of {jobs} jobs over {clips} clips of cameras, phones, browsers, films and broken files, none of which is in the repository.
Each was cut inside one group of pictures, across many, and to its very end, and merged with the next one; the broken ones were asked for
their beginning, a part and the whole. The output was judged by `tests/media/gates.py`: FFmpeg, openh264 and the packets say what it
shows, not the engine.

*exact*: the frames asked for and no others, at their times, copied packets bit for bit, strictly decodable, in step with their sound;
the figure is the worst frame that was encoded or primed, against the source's. *in step*: a merge of clips that differ; each shows its
own frames at its own time for as long as it should, its sound within 2 ms. *decodes*: the source has no times that two readings agree
on. *refused*: no output, and the reason.

{wrong} of the outputs {are} wrong. Made by `python -m tests.media.clip_table > docs/clips.md`; the clips are looked for in
`../shared/media` or where `NVE_MEDIA` says.

"""


def page(rows: list[Row]) -> str:
    """docs/clips.md."""
    wrong = sum(it.wrong for it in rows)
    return _HEAD.format(
        jobs=len(rows), clips=len({it.clip for it in rows}), wrong=wrong or "None", are="is" if wrong == 1 else "are"
    ) + table(rows)


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--one"]:
        for it in rows_of(Path(arguments[1]), Path(arguments[2])):
            print(json.dumps(asdict(it)), flush=True)
        return 0
    everything = clips()
    if not everything:
        print(f"There are no clips: {FOLDER} is not there (NVE_MEDIA names the folder).", file=sys.stderr)
        return 2
    good = [p for p in everything if not broken(p) and pictures(p)]
    after = {p: good[(good.index(p) + 1) % len(good)] if p in good else p for p in everything}
    chosen = [p for p in everything if not arguments or any(word in str(p) for word in arguments)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda p: alone(p, after[p]), chosen))
    rows = [it for some in found for it in some]
    print(page(rows), end="")
    for it in rows:
        if it.wrong:
            print(f"{it.clip}, {it.job}: {it.verdict} {it.note}", file=sys.stderr)
    return 1 if any(it.wrong for it in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
