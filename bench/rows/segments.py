"""Many short pieces of one source: what a cut interview looks like."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from bench.race import clips, ours, shown
from bench.race.result import Sample
from bench.race.row import OURS, Contestant, Ratio, Row
from bench.race.world import World
from bench.rows.trims import RATE

SINGLE, FEW = "nve, one by one", "nve, 5 of them"
SECONDS, APART, FIRST = 2, Fraction("11.3"), Fraction("3.37")


def fifty(world: World) -> Row:
    """50 pieces of 2 s out of 10 minutes."""
    clip = world.long()
    rounds, each = (5, 3) if world.quick else (5, 10)
    single, period = world.clip(clip), world.period(clip)
    source = clips.looped(single, rounds, world.clips)
    starts = [FIRST + APART * n for n in range(each)]
    wanted = [pair for start in starts for pair in shown.frames(start, start + SECONDS, RATE)] * rounds
    places = [number * period + start for number in range(rounds) for start in starts]
    count = len(places)

    def edit(chosen: Sequence[Fraction]) -> dict[str, object]:
        return {"segments": [{"start": f"{float(it):.6f}", "end": f"{float(it + SECONDS):.6f}"} for it in chosen]}

    def one_by_one(output: Path) -> Sample:
        # a tenth of them, spread over the source, stands for all
        chosen = places[:: max(1, count // 5)]
        samples = [ours.cut([source], edit([place]), output) for place in chosen]
        times = count / len(chosen)
        wall, cpu = sum(it.wall_seconds for it in samples) * times, sum(it.cpu_seconds for it in samples) * times
        return Sample(wall, cpu, max(it.peak_bytes for it in samples))

    return Row(
        "fifty",
        f"{count} pieces of {SECONDS} s out of {float(rounds * period) / 60:.0f} minutes of 1080p30 H.264, GOP 250",
        (
            Contestant(OURS, lambda output: ours.cut([source], edit(places), output)),
            Contestant(SINGLE, one_by_one, looked_at=False),
            Contestant(FEW, lambda output: ours.cut([source], edit(places[:: max(1, count // 5)]), output), looked_at=False),
            world.packages.smartcut(source, [(float(it), float(it + SECONDS)) for it in places], once=True),
        ),
        lambda output: shown.cut(output, wanted, lambda n: n / RATE),
        (
            Ratio("wall_seconds", SINGLE, Fraction(6, 5)),
            Ratio("peak_bytes", FEW, Fraction(11, 10)),
        ),
        "wall_seconds",
    )


ROWS = {"fifty": fifty}
