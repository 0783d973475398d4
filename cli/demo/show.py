"""The whole way: start, upload, trim, merge, download, check; and one honest table of what was asked, what came, and what it cost."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import figures, server, transfer, work
from cli.client import Client
from cli.demo import clips
from cli.failure import Failure, Usage
from cli.screen import Screen

if TYPE_CHECKING:
    from cli.demo.check import Piece, Verdict

# Odd on purpose: none of these is the time of a frame, let alone of a key frame.
# Each begins shortly before a key frame, so that there is something to encode and something to copy.
RANGES = ((Fraction("7.971"), Fraction("11.413")), (Fraction("8.007"), Fraction("9.971")))
# Of clips that people bring, at most so many seconds.
LONGEST = 6


@dataclass
class Step:
    """A row of the table."""

    name: str
    asked: str
    got: str = ""
    copied: str = ""
    encoded: str = ""
    read: str = ""
    seconds: float = 0.0

    def take(self, result: Mapping[str, Any]) -> None:
        """What a job's result says of itself."""
        self.got = f"{result['frames']} frames, {figures.size(result['size'])}"
        primed = f" + {result['primed_frames']} primed" if result["primed_frames"] else ""
        self.copied = f"{result['copied_frames']}{primed}"
        self.encoded = str(result["encoded_frames"])
        whole, read = result["source_bytes"], result["source_bytes_read"]
        self.read = f"{figures.size(read)} of {figures.size(whole)} ({figures.share(read, whole)})"


@dataclass
class Show:
    """One run of the demo, step by step."""

    screen: Screen
    data: Path
    client: Client
    steps: list[Step] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str, asked: str) -> Iterator[Step]:
        step, began = Step(name, asked), time.monotonic()
        yield step
        step.seconds = time.monotonic() - began
        self.steps.append(step)

    def upload(self, piece: Piece) -> str:
        size = piece.path.stat().st_size
        with self.step(f"upload {piece.path.name}", figures.size(size)) as step:
            asset = work.uploaded(self.screen, self.client, self.data, [piece.path])[0]
            step.got = self.client.asset(asset)["state"]
        return asset

    def job(self, step: Step, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Failure when it does not succeed."""
        job = work.follow(self.screen, self.client, self.client.submit(operation, request), ours=True)
        step.take(job["result"])
        for warning in job["warnings"]:
            self.screen.say(f"  note: {warning}")
        return job

    def trim(self, piece: Piece, asset: str) -> dict[str, Any]:
        from cli.demo import check
        from native.media import timecode

        frames = check.count(piece)
        start, end = timecode.decimal(piece.start), timecode.decimal(piece.end)
        with self.step(f"trim {piece.path.name}", f"[{start} s, {end} s): {frames} frames") as step:
            job = self.job(step, "trim", {"source": asset, "start": start, "end": end})
        if job["result"]["frames"] != frames:
            self.problems.append(f"trim {piece.path.name}: {job['result']['frames']} frames instead of {frames}")
        return job

    def save(self, job: Mapping[str, Any], path: Path) -> Path:
        result = job["result"]
        with self.step("download", f"{figures.size(result['size'])}, SHA-256 {result['sha256'][:8]}…") as step:
            with self.screen.bars() as bars:
                bar = bars.add(f"Saving {path.name}", result["size"])
                transfer.download(result, path, bar, lambda: self.client.job(job["id"])["result"]["url"])
            step.got = "the same"
        return path

    def check(self, name: str, asked: str, look: Any) -> None:
        with self.step(name, asked) as step, self.screen.bars() as bars:
            bar = bars.add("Comparing every frame", None)
            verdict: Verdict = look()
            step.got = verdict.words()
            bar.end(f"Compared {verdict.found} frames")
        self.problems += [f"{name}: {problem}" for problem in verdict.problems]


def run(screen: Screen, data: Path, files: Sequence[Path]) -> None:
    """The demo. Raises Failure, loudly, when the film is not exactly what was asked for."""
    began = time.monotonic()
    fresh = not all((data / "demo" / recipe.name).exists() for recipe in clips.RECIPES)
    with contextlib.ExitStack() as ready:
        pool = ready.enter_context(concurrent.futures.ThreadPoolExecutor(1))
        # The clips are made while the server starts: the two wait for different things.
        making = pool.submit(_brought if files else _made, list(files) if files else data / "demo")  # type: ignore[arg-type]
        client = ready.enter_context(server.connected(screen, data, start=True))
        started = Step("start", "the local server", got="ready", seconds=time.monotonic() - began)
        if not making.done():
            screen.say("Making two clips of 1080p video (once) …" if not files else "Looking at the clips …")
        with _timed("clips", "two of 1080p, H.264" if not files else "yours") as made:
            pieces = making.result()
            made.got = f"{len(pieces)} clips{', made before' if not files and not fresh else ''}"
        show = Show(screen, data, client, [started, made])
        film = _way(show, pieces)
    # Here the server that was started for this has been stopped again: that is part of the price.
    total = time.monotonic() - began
    document = {
        "exact": not show.problems,
        "film": str(film),
        "seconds": round(total, 2),
        "problems": show.problems,
        "steps": [asdict(step) for step in show.steps],
    }
    if show.problems:
        if not screen.as_json:
            _table(screen, show)
        raise Failure(
            f"The film is NOT what was asked for: {'; '.join(show.problems)}. It is in {film}.", code="not_exact", document=document
        )
    screen.result(document, lambda: _tell(screen, show, film, total))


@contextlib.contextmanager
def _timed(name: str, asked: str) -> Iterator[Step]:
    step, began = Step(name, asked), time.monotonic()
    yield step
    step.seconds = time.monotonic() - began


def _way(show: Show, pieces: Sequence[Piece]) -> Path:
    """Everything that the server does, and the check of it."""
    from cli.demo import check

    room = show.data / "demo"
    room.mkdir(parents=True, exist_ok=True)
    ids: dict[Path, str] = {}
    for piece in pieces:
        if piece.path not in ids:
            ids[piece.path] = show.upload(piece)
    cuts = [show.trim(piece, ids[piece.path]) for piece in pieces]
    with show.step("merge", f"{len(cuts)} pieces: {sum(cut['result']['frames'] for cut in cuts)} frames") as step:
        merged = show.job(step, "merge", {"sources": [cut["result"]["asset"] for cut in cuts], "output": {"name": "film.mp4"}})
    film = show.save(merged, room / "film.mp4")
    if _alike(pieces):
        show.check("check", "every frame against the clips", lambda: check.film(film, pieces))
        return film
    # Pieces that differ are made to fit the first, so the film cannot be compared with them; each cut can.
    length = Fraction(0)
    for number, (piece, cut) in enumerate(zip(pieces, cuts, strict=True), 1):
        path = show.save(cut, room / f"cut-{number}.mp4")
        show.check(f"check {piece.path.name}", "every frame against the clip", lambda p=path, q=piece: check.film(p, [q]))
        length += check.facts(path).duration
    show.check("check the film", f"lasts {float(length):.2f} s, decodes whole", lambda: check.lasts(film, length))
    return film


def _alike(pieces: Sequence[Piece]) -> bool:
    from cli.demo import check

    looks = {(it.width, it.height, it.format, it.rate, it.sound) for it in (check.facts(piece.path) for piece in pieces)}
    return len(looks) == 1


def _made(room: Path) -> list[Piece]:
    from cli.demo.check import Piece

    return [Piece(clips.make(recipe, room), start, end, recipe.hertz) for recipe, (start, end) in zip(clips.RECIPES, RANGES, strict=True)]


def _brought(files: Sequence[Path]) -> list[Piece]:
    """A part of each file, from a third of it on. Raises Usage for a file that cannot be shown."""
    import av.error

    from cli.demo import check

    pieces = []
    for path in files:
        try:
            length = check.facts(path).duration
        except (OSError, ValueError, av.error.FFmpegError) as exc:
            raise Usage(f"{path} cannot be shown: {getattr(exc, 'strerror', None) or exc}.", field="files") from None
        # To the millisecond, as people ask.
        start = Fraction(int(length * 1000 * Fraction(1, 3)), 1000)
        end = start + Fraction(int(min(length / 3, Fraction(LONGEST)) * 1000), 1000)
        if end <= start:
            raise Usage(f"{path} is too short to cut a part out of it.", field="files")
        pieces.append(check.Piece(path, start, end))
    return pieces


def _table(screen: Screen, show: Show) -> None:
    rows = [[it.name, it.asked, it.got, it.copied, it.encoded, it.read, figures.seconds(it.seconds)] for it in show.steps]
    screen.table(["step", "asked", "got", "copied", "encoded", "read of the source", "time"], rows, right=[3, 4, 6])


def _tell(screen: Screen, show: Show, film: Path, total: float) -> None:
    _table(screen, show)
    print(f"The film is exactly what was asked for. All of it took {figures.seconds(total)}.")
    print(film)
