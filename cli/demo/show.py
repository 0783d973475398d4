"""The whole way: start, upload, trim, merge, download, check; and one honest table of what was asked, what came, and what it cost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import figures, server, transfer, watch
from cli.client import Client
from cli.demo import clips
from cli.failure import Failure, Usage
from cli.screen import Bars, Screen

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
    """One run of the demo, step by step. `steps` are in the order of the table."""

    screen: Screen
    data: Path
    client: Client
    bars: Bars
    steps: list[Step] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    #: what Ctrl-C has to cancel
    running: set[str] = field(default_factory=set)

    def trim(self, piece: Piece, asset: Future[str], step: Step) -> dict[str, Any]:
        """Cut a piece out of a clip, as soon as that is there."""
        from native.media import timecode

        request = {"source": asset.result(), "start": timecode.decimal(piece.start), "end": timecode.decimal(piece.end)}
        return self.job(step, "trim", request)

    def upload(self, path: Path, step: Step) -> str:
        with _timed(step):
            asset = transfer.upload(self.client, path, self.data / "uploads", self.bars.add(f"Uploading {path.name}", path.stat().st_size))
            step.got = self.client.asset(asset)["state"]
        return asset

    def job(self, step: Step, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Failure when it does not succeed."""
        with _timed(step):
            job = self.client.submit(operation, request)
            self.running.add(job["id"])
            job = watch.shown(self.client, job, self.bars, step.name.capitalize(), ours=True)
            self.running.discard(job["id"])
            step.take(job["result"])
        for warning in job["warnings"]:
            self.screen.say(f"  note: {warning}")
        return job

    def save(self, job: Mapping[str, Any], path: Path) -> Path:
        result = job["result"]
        with _timed(
            self.add(
                Step("download", f"{figures.size(result['size'])}{f', SHA-256 {digest[:8]}…' if (digest := result['sha256']) else ''}")
            )
        ) as step:
            bar = self.bars.add(f"Saving {path.name}", result["size"])
            transfer.download(result, path, bar, lambda: self.client.job(job["id"])["result"]["url"])
            step.got = "the same"
        return path

    def check(self, name: str, asked: str, look: Callable[[], Verdict]) -> None:
        with _timed(self.add(Step(name, asked))) as step:
            bar = self.bars.add("Comparing every frame", None)
            verdict = look()
            step.got = verdict.words()
            bar.end(f"Compared {verdict.found} frames")
        self.problems += [f"{name}: {problem}" for problem in verdict.problems]

    def add(self, step: Step) -> Step:
        self.steps.append(step)
        return step


def run(screen: Screen, data: Path, files: Sequence[Path]) -> None:
    """The demo. Raises Failure, loudly, when the film is not exactly what was asked for."""
    began = time.monotonic()
    fresh = not all((data / "demo" / recipe.name).exists() for recipe in clips.RECIPES)
    with contextlib.ExitStack() as ready:
        pool = ready.enter_context(ThreadPoolExecutor(1))
        # The clips are made while the server starts: the two wait for different things.
        making = pool.submit(_brought, files) if files else pool.submit(_made, data / "demo")
        client = ready.enter_context(server.connected(screen, data, start=True))
        started = Step("start", "the local server", got="ready", seconds=time.monotonic() - began)
        if not making.done():
            screen.say("Looking at the clips …" if files else "Making two clips of 1080p video (once) …")
        with _timed(Step("clips", "yours" if files else "two of 1080p, H.264")) as made:
            pieces = making.result()
            made.got = f"{len(pieces)} clips{'' if files or fresh else ', made before'}"
        show = Show(screen, data, client, ready.enter_context(screen.bars()), [started, made])
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
        sentence = f"The film is NOT what was asked for: {'; '.join(show.problems)}. It is in {film}."
        raise Failure(sentence, code="not_exact", document=document)
    screen.result(document, lambda: _tell(screen, show, film, total))


@contextlib.contextmanager
def _timed(step: Step) -> Iterator[Step]:
    began = time.monotonic()
    yield step
    step.seconds = time.monotonic() - began


def _way(show: Show, pieces: Sequence[Piece]) -> Path:
    """Everything that the server does, and the check of it."""
    from cli.demo import check

    room = show.data / "demo"
    room.mkdir(parents=True, exist_ok=True)
    cuts = _cuts(show, pieces)
    frames = sum(cut["result"]["frames"] for cut in cuts)
    sources = [cut["result"]["asset"] for cut in cuts]
    step = show.add(Step("merge", f"{len(cuts)} pieces: {frames} frames"))
    merged = show.job(step, "merge", {"sources": sources, "output": {"name": "film.mp4"}})
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


def _cuts(show: Show, pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """The pieces, cut side by side: two workers are what the local server has."""
    from cli.demo import check

    counts = [check.count(piece) for piece in pieces]
    uploads = {
        path: show.add(Step(f"upload {path.name}", figures.size(path.stat().st_size))) for path in dict.fromkeys(it.path for it in pieces)
    }
    trims = [
        show.add(
            Step(f"trim {piece.path.name}", f"[{figures.clock(float(piece.start))}, {figures.clock(float(piece.end))}): {count} frames")
        )
        for piece, count in zip(pieces, counts, strict=True)
    ]
    with ThreadPoolExecutor(2, "clip") as pool:
        # In this order: a trim that waits for its upload has it before itself in the queue.
        assets = {path: pool.submit(show.upload, path, step) for path, step in uploads.items()}
        cutting = [pool.submit(show.trim, piece, assets[piece.path], step) for piece, step in zip(pieces, trims, strict=True)]
        try:
            cuts = [it.result() for it in cutting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for job in list(show.running):
                with contextlib.suppress(Failure):
                    show.client.cancel(job)
            raise
    for piece, cut, count in zip(pieces, cuts, counts, strict=True):
        if cut["result"]["frames"] != count:
            show.problems.append(f"trim {piece.path.name}: {cut['result']['frames']} frames instead of {count}")
    return cuts


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
